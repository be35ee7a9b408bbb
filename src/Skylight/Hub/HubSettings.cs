using System.Text;

namespace Skylight.Hub;

/// <summary>What options and environment come to.</summary>
internal sealed class HubSettings
{
    private const string DefaultEndpoint = "https://huggingface.co";

    // A token has some forty characters.
    private const int MostTokenBytes = 4096;

    private HubSettings(HubOptions options, Uri endpoint, string cacheDirectory, bool isOffline) =>
        (Options, Endpoint, CacheDirectory, IsOffline) = (options, endpoint, cacheDirectory, isOffline);

    public HubOptions Options { get; }

    /// <summary>With a slash at its end.</summary>
    public Uri Endpoint { get; }

    /// <summary>The endpoint as people write it, without a name and password that may be in it.</summary>
    public string EndpointName =>
        Endpoint.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped).TrimEnd('/');

    public string CacheDirectory { get; }

    public bool IsOffline { get; }

    /// <exception cref="HubException">A setting cannot be used.</exception>
    public static HubSettings Of(HubOptions options)
    {
        if (options.Timeout <= TimeSpan.Zero)
            throw new HubException(HubFault.Setting,
                $"{nameof(HubOptions.Timeout)} is {options.Timeout}; give more than nothing.");
        if (options.MaximumDownloads < 1)
            throw new HubException(HubFault.Setting,
                $"{nameof(HubOptions.MaximumDownloads)} is {options.MaximumDownloads}; give 1 or more.");
        return new HubSettings(
            options, EndpointOf(options), CacheOf(options),
            options.Offline ?? (IsTrue(Variable(options, "HF_HUB_OFFLINE") ?? Variable(options, "TRANSFORMERS_OFFLINE"))));
    }

    /// <summary>The token to send; null for none. Read when it is needed: a cache needs none.</summary>
    /// <exception cref="HubException">It cannot be read, or is no token.</exception>
    public string? Token()
    {
        if (Options.Token is { } given)
            return Checked(given, "the token that was given");
        if (IsTrue(Variable(Options, "HF_HUB_DISABLE_IMPLICIT_TOKEN")))
            return null;
        foreach (string name in (ReadOnlySpan<string>)["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
        {
            if (Variable(Options, name) is { } value && Checked(value, name) is { } token)
                return token;
        }

        string path = Variable(Options, "HF_TOKEN_PATH") is { } own ? Expanded(Options, own)
            : Path.Combine(HomeOf(Options), "token");
        if (!Path.Exists(path))
            return null;
        try
        {
            byte[] bytes = BoundedFile.Read(path, MostTokenBytes);
            return Utf8Text.Fault(bytes) is { } fault
                ? throw new HubException(HubFault.Setting,
                    $"The token file '{path}' holds no token: {fault} Log in again with `hf auth login`, or set HF_TOKEN.")
                : Checked(Encoding.UTF8.GetString(Utf8Text.WithoutMark(bytes).Span), $"what '{path}' holds");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new HubException(HubFault.Setting,
                $"The token file '{path}' cannot be read: {exception.Message} Make it readable, or set HF_TOKEN.",
                exception);
        }
    }

    // As Python: line ends go, whatever their place; then a header must be able to hold it.
    private static string? Checked(string token, string where)
    {
        token = token.ReplaceLineEndings("").Trim();
        if (token.Any(character => character is <= ' ' or > '~'))
            throw new HubException(HubFault.Setting,
                $"A token has only letters, digits and signs of ASCII, and {where} has others. Copy it again from " +
                $"the hub's settings.");
        return token.Length == 0 ? null : token;
    }

    private static Uri EndpointOf(HubOptions options)
    {
        string? variable = options.Endpoint is null ? Variable(options, "HF_ENDPOINT") : null;
        string text = options.Endpoint?.OriginalString ?? variable ?? DefaultEndpoint;
        return Uri.TryCreate(text.TrimEnd('/') + "/", UriKind.Absolute, out Uri? endpoint)
            && endpoint.Scheme is "http" or "https" && endpoint.Query.Length == 0 && endpoint.Fragment.Length == 0
            ? endpoint
            : throw new HubException(HubFault.Setting,
                $"The hub's endpoint '{text}'{(variable is null ? "" : " (HF_ENDPOINT)")} is no http or https " +
                $"address, such as {DefaultEndpoint}.");
    }

    private static string CacheOf(HubOptions options) => Path.GetFullPath(
        options.CacheDirectory
        ?? ((Variable(options, "HF_HUB_CACHE") ?? Variable(options, "HUGGINGFACE_HUB_CACHE")) is { } cache
            ? Expanded(options, cache) : Path.Combine(HomeOf(options), "hub")));

    private static string HomeOf(HubOptions options)
    {
        if (Variable(options, "HF_HOME") is { } home)
            return Expanded(options, home);
        return Path.Combine(Variable(options, "XDG_CACHE_HOME") is { } cache ? Expanded(options, cache)
            : Path.Combine(UserFolder(options), ".cache"), "huggingface");
    }

    private static string UserFolder(HubOptions options)
    {
        string? folder = Variable(options, "HOME") ?? Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        return !string.IsNullOrEmpty(folder) ? folder
            : throw new HubException(HubFault.Setting, "There is no home folder to keep models in. Say where with HF_HOME.");
    }

    /// <summary>
    /// A path with ~ for the home folder and $NAME, ${NAME} and on Windows %NAME% for variables; what is not set stays
    /// as it is written.
    /// </summary>
    private static string Expanded(HubOptions options, string path)
    {
        if (path == "~" || path.StartsWith("~/", StringComparison.Ordinal)
            || (OperatingSystem.IsWindows() && path.StartsWith("~\\", StringComparison.Ordinal)))
            path = UserFolder(options) + path[1..];
        if (OperatingSystem.IsWindows())
            path = Environment.ExpandEnvironmentVariables(path);
        var expanded = new StringBuilder();
        for (int at = 0; at < path.Length; at++)
        {
            int start = at + 1 < path.Length && path[at + 1] == '{' ? at + 2 : at + 1, end = start;
            while (end < path.Length && (char.IsAsciiLetterOrDigit(path[end]) || path[end] == '_'))
                end++;
            bool isBraced = start == at + 2, isWhole = end > start && (!isBraced || (end < path.Length && path[end] == '}'));
            if (path[at] != '$' || !isWhole || Variable(options, path[start..end]) is not { } value)
            {
                expanded.Append(path[at]);
                continue;
            }

            expanded.Append(value);
            at = isBraced ? end : end - 1;
        }

        return expanded.ToString();
    }

    private static string? Variable(HubOptions options, string name) => options.Variable(name) is { Length: > 0 } value
        ? value : null;

    private static bool IsTrue(string? value) => value?.ToUpperInvariant() is "1" or "ON" or "YES" or "TRUE";
}
