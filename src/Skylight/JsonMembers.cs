using System.Text.Json;

namespace Skylight;

/// <summary>
/// Refuses objects in which a member comes twice: which of the two counts would be a guess. System.Text.Json can do the
/// same (AllowDuplicateProperties), but for objects of many members it draws a seed from OpenSSL, without which the
/// whole process ends on a machine that has none.
/// </summary>
internal static class JsonMembers
{
    /// <summary>Looks through a value and all that is in it.</summary>
    /// <exception cref="JsonException">A member comes twice in one object; the message names it.</exception>
    public static void CheckUnique(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Array)
        {
            foreach (JsonElement item in value.EnumerateArray())
                CheckUnique(item);
        }
        else if (value.ValueKind == JsonValueKind.Object)
        {
            var names = new HashSet<string>(StringComparer.Ordinal);
            foreach (JsonProperty member in value.EnumerateObject())
            {
                if (!names.Add(member.Name))
                    throw new JsonException($"Duplicate property '{member.Name}': it may be there once.");
                CheckUnique(member.Value);
            }
        }
    }
}
