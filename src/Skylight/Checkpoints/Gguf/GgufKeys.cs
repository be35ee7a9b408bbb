using System.Globalization;

namespace Skylight.Checkpoints.Gguf;

/// <summary>
/// The keys below a prefix that describe what a model computes: one that nobody reads is refused, unless it changes no
/// number or says what is computed anyway.
/// </summary>
/// <param name="read">Keys that are read.</param>
/// <param name="single">Keys of which some values are supported, which change nothing.</param>
internal sealed class GgufKeys(string[] read, (string Key, double[] Values)[] single)
{
    /// <summary>Refuses what is not known; booleans count as 0 and 1.</summary>
    /// <exception cref="CheckpointException">Names the key, its value and what is supported.</exception>
    public void Check(GgufMetadata metadata, string prefix)
    {
        foreach (string key in metadata.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)))
        {
            string name = key[prefix.Length..];
            if (read.Contains(name))
                continue;
            if (Array.Find(single, pair => pair.Key == name) is not { Key: not null } known)
                throw new CheckpointException(metadata.File,
                    $"'{key}' is {metadata.Json(key)}, and it is not known which numbers of the model it changes. This " +
                    $"model is not supported.");
            if (!known.Values.Contains(metadata.Json(key) switch
            {
                "true" => 1,
                "false" => 0,
                var number => double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
                    ? value : double.NaN,
            }))
                throw metadata.Error(key, metadata.Json(key),
                    string.Join(" or ", known.Values.Select(value => value.ToString(CultureInfo.InvariantCulture))));
        }
    }
}
