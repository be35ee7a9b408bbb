using System.Globalization;
using System.Net;

namespace Skylight.Hub;

/// <summary>What a refusing answer of the hub means, and what to do about it.</summary>
internal static class HubErrors
{
    private const int MostCharacters = 200;

    /// <summary>Lets only success through.</summary>
    /// <param name="response">The answer.</param>
    /// <param name="settings">Which hub it is.</param>
    /// <param name="hasToken">Whether a token was sent.</param>
    /// <param name="id">The repository that was asked for.</param>
    /// <param name="revision">The revision.</param>
    /// <param name="path">The file; null for the list of files.</param>
    /// <exception cref="HubException">It is no success.</exception>
    public static void Demand(HttpResponseMessage response, HubSettings settings, bool hasToken, RepositoryId id,
        string revision, string? path)
    {
        if (response.StatusCode is HttpStatusCode.OK or HttpStatusCode.PartialContent)
            return;
        int status = (int)response.StatusCode;
        string hub = settings.EndpointName, said = Header(response, "X-Error-Message") is { } message
            ? $" ({message.TrimEnd('.')})" : "";
        string? code = Header(response, "X-Error-Code");
        bool isAtHub = response.RequestMessage?.RequestUri is not { } address
            || HubClient.IsSamePlace(address, settings.Endpoint);
        if (!isAtHub)
            throw new HubException(HubFault.Unreachable,
                $"'{path}' of {id} cannot be had: {response.RequestMessage!.RequestUri!.Host}, where {hub} keeps it, " +
                $"answers {status}{said}. Try again.");
        throw (code, status) switch
        {
            ("GatedRepo", _) => new HubException(HubFault.Gated, hasToken
                ? $"{id} is open only to those who accepted its conditions, and the token's account has not, or not " +
                    $"been let in yet{said}. Accept them at {hub}/{id}, or set HF_TOKEN to a token of an " +
                    $"account that has."
                : $"{id} is open only to those who accepted its conditions{said}. Accept them at {hub}/{id}, make a " +
                    $"token at {hub}/settings/tokens, and set HF_TOKEN to it."),
            ("RevisionNotFound", _) => new HubException(HubFault.RevisionNotFound,
                $"{id} has no revision '{revision}'. {hub}/{id}/tree/main lists branches and tags."),
            ("EntryNotFound", _) when path is not null =>
                new HubException(HubFault.Untrusted, $"{hub} lists '{path}' for {id}, but does not have it. Pull again."),
            ("RepoNotFound", _) => NotFound(),
            (_, 404) when path is null => NotFound(),
            (_, 404) => new HubException(HubFault.Untrusted,
                $"{hub} lists '{path}' for {id}, but answers 404 for it{said}. Pull again."),
            // The hub does not tell strangers whether there is a repository that they may not see.
            (_, 401) when !hasToken
                || (path is null && !said.Contains("credentials", StringComparison.OrdinalIgnoreCase)) => NotFound(),
            (_, 401) => new HubException(HubFault.Token,
                $"{hub} refuses the token for {id}{said}. Set HF_TOKEN to one that is valid, or unset it: public " +
                $"models need none."),
            (_, 403) => new HubException(HubFault.Gated,
                $"{hub} does not let {(hasToken ? "the token's account" : "strangers")} see {id}{said}. Look at " +
                $"{hub}/{id}; a token is given with HF_TOKEN."),
            _ => new HubException(HubFault.Untrusted,
                string.Create(CultureInfo.InvariantCulture,
                    $"{hub} answers {status} for {(path is null ? "" : $"'{path}' of ")}{id}{said}. Is the endpoint " +
                    $"(HF_ENDPOINT) a hub?")),
        };

        HubException NotFound() =>
            new(HubFault.NotFound,
                $"{hub} has no model " +
                $"'{id}'{(hasToken ? ", or the token's account may not see it" : ", or it is private: then set HF_TOKEN")}{(revision == RepositoryId.DefaultRevision ? "" : $"; or it has no revision '{revision}'")}. Check owner and name.");
    }

    /// <summary>A header's first value, short and printable; null if it is not there.</summary>
    public static string? Header(HttpResponseMessage response, string name)
    {
        if (!response.Headers.TryGetValues(name, out IEnumerable<string>? values)
            || values.FirstOrDefault() is not { Length: > 0 } value)
            return null;
        value = string.Concat(value.Select(character => char.IsControl(character) ? '\uFFFD' : character));
        return value.Length <= MostCharacters ? value : value[..MostCharacters] + "…";
    }
}
