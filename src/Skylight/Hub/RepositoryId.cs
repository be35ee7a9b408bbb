using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

namespace Skylight.Hub;

/// <summary>A repository of the hub by its owner and name.</summary>
/// <param name="Owner">Who it belongs to.</param>
/// <param name="Name">What it is called there.</param>
internal sealed partial record RepositoryId(string Owner, string Name)
{
    /// <summary>The branch that is meant where none is named.</summary>
    public const string DefaultRevision = "main";

    public const string Form = "OWNER/NAME, such as OpenGVLab/InternVL3-1B, with @REVISION behind it for another than main";

    private const int MostCharacters = 96, MostRevisionCharacters = 255;

    private static readonly SearchValues<char> s_strays = SearchValues.Create(" ~^:?*[\\\"<>|@");

    public override string ToString() => $"{Owner}/{Name}";

    /// <summary>Reads OWNER/NAME or OWNER/NAME@REVISION.</summary>
    /// <param name="text">What was given.</param>
    /// <param name="id">The repository.</param>
    /// <param name="revision">What stands behind the @; null where there is none.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out RepositoryId? id, out string? revision)
    {
        (id, revision) = (null, null);
        int at = text.IndexOf('@', StringComparison.Ordinal), slash = text.IndexOf('/', StringComparison.Ordinal);
        string name = at < 0 ? text : text[..at];
        if (slash < 0 || slash >= name.Length || !IsPart(name[..slash]) || !IsPart(name[(slash + 1)..])
            || name.Length > MostCharacters)
            return false;
        if (at >= 0 && FaultOfRevision(text[(at + 1)..]) is not null)
            return false;
        (id, revision) = (new RepositoryId(name[..slash], name[(slash + 1)..]), at < 0 ? null : text[(at + 1)..]);
        return true;
    }

    /// <summary>
    /// What keeps a text from being a branch, a tag or a commit, as the end of a sentence; null if it may be one. It
    /// becomes a path.
    /// </summary>
    public static string? FaultOfRevision(string revision)
    {
        if (revision.Length is 0 or > MostRevisionCharacters)
            return $"it must have 1 to {MostRevisionCharacters} characters";
        int stray = revision.AsSpan().IndexOfAny(s_strays);
        if (stray >= 0 || revision.Any(char.IsControl))
            return stray >= 0 ? $"it may not hold '{revision[stray]}'" : "it may not hold control characters";
        return revision.Split('/').Any(part => part.Length == 0 || part[0] == '.' || part[^1] == '.'
            || part.Contains("..", StringComparison.Ordinal) || part.EndsWith(".lock", StringComparison.Ordinal))
            ? "its parts between slashes may not be empty, begin or end with '.', hold '..' or end with '.lock'"
            : null;
    }

    /// <summary>Whether a text is a whole commit's hash.</summary>
    public static bool IsCommit(string text) => text.Length == 40 && text.All(char.IsAsciiHexDigitLower);

    // '--' separates owner and name in the cache.
    private static bool IsPart(string part) => Part().IsMatch(part) && !part.Contains("--", StringComparison.Ordinal)
        && !part.Contains("..", StringComparison.Ordinal)
        && part[^1] is not ('-' or '.') && !part.EndsWith(".git", StringComparison.Ordinal);

    [GeneratedRegex(@"\A[A-Za-z0-9_][A-Za-z0-9_.-]*\z")]
    private static partial Regex Part();
}
