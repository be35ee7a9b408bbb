using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;

namespace Skylight.Hub;

/// <summary>
/// Speaks with the hub. The token goes to the endpoint's own scheme, host and port only, whatever a redirect says, and
/// nothing is fetched over http that was asked for over https. What passes by itself (a cut connection, 429, 5xx) is
/// tried again.
/// </summary>
internal sealed class HubClient : IDisposable
{
    private const int MostRedirects = 10, MostTries = 6, MostTriesUnreachable = 3;
    private const long MostAnswerBytes = 64 << 20;

    private static readonly TimeSpan s_longestWait = TimeSpan.FromMinutes(2);

    private readonly HubSettings _settings;
    private readonly HttpClient _http;
    private readonly Lazy<string?> _token;

    public HubClient(HubSettings settings)
    {
        _settings = settings;
        _http = settings.Options.HttpClient ?? new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            ConnectTimeout = TimeSpan.FromSeconds(20),
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
        _token = new Lazy<string?>(settings.Token);
    }

    /// <summary>The commit of a revision and all its files.</summary>
    public Task<HubListing> ListAsync(RepositoryId id, string revision, CancellationToken cancellationToken) => TryAsync(
        $"the list of files of {id}",
        async () =>
        {
            Uri address = new(_settings.Endpoint, $"api/models/{id}/revision/{Uri.EscapeDataString(revision)}?blobs=true");
            using HttpResponseMessage response = await SendAsync(HttpMethod.Get, address, staysAtHub: false,
                change: null, cancellationToken).ConfigureAwait(false);
            HubErrors.Demand(response, _settings, _token.Value is not null, id, revision, path: null);
            byte[] bytes = await ReadAsync(response, cancellationToken).ConfigureAwait(false);
            try
            {
                return HubListing.ParseAnswer(bytes);
            }
            catch (JsonException exception)
            {
                throw new HubException(HubFault.Untrusted,
                    $"{_settings.EndpointName} answers something about {id} that hubs do not say: " +
                    $"{exception.Message} Is the endpoint (HF_ENDPOINT) a hub, and is no login page of a " +
                    $"network before it?", exception);
            }
        },
        cancellationToken);

    /// <summary>Length and hash of a file, where the list does not say them.</summary>
    public Task<HubFile> DescribeAsync(RepositoryId id, string commit, HubFile file,
        CancellationToken cancellationToken) => TryAsync(
        $"'{file.Path}' of {id}",
        async () =>
        {
            using HttpResponseMessage response = await SendAsync(HttpMethod.Head, AddressOf(id, commit, file),
                staysAtHub: true, change: null, cancellationToken).ConfigureAwait(false);
            if ((int)response.StatusCode is < 300 or >= 400)
                HubErrors.Demand(response, _settings, _token.Value is not null, id, commit, file.Path);
            if (HubErrors.Header(response, "X-Repo-Commit") is { } other && other != commit)
                throw new HubException(HubFault.Untrusted,
                    $"{_settings.EndpointName} was asked for '{file.Path}' of commit {commit} of {id}, and answers " +
                    $"for {other}. Pull again.");
            string hash = (HubErrors.Header(response, "X-Linked-Etag") ?? response.Headers.ETag?.Tag ?? "")
                .Replace("W/", "", StringComparison.Ordinal).Trim('"');
            string? size = HubErrors.Header(response, "X-Linked-Size")
                ?? response.Content.Headers.ContentLength?.ToString(CultureInfo.InvariantCulture);
            if (!long.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out long length)
                || hash.Length is not (40 or 64) || !hash.All(char.IsAsciiHexDigitLower))
                throw new HubException(HubFault.Untrusted,
                    $"{_settings.EndpointName} gives no length and SHA-1 or SHA-256 for '{file.Path}' of {id}, " +
                    $"without which nothing that comes can be checked. Use another endpoint (HF_ENDPOINT).");
            return hash.Length == 64 ? file with { Length = length, Sha256 = hash }
                : file with { Length = length, BlobId = hash };
        },
        cancellationToken);

    /// <summary>Opens a file for reading, from some byte on if the server can.</summary>
    /// <param name="id">The repository.</param>
    /// <param name="commit">The commit.</param>
    /// <param name="file">The file.</param>
    /// <param name="offset">What there is already.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <returns>An answer of 200, 206 or 416.</returns>
    /// <exception cref="PassingFaultException">It may work in a moment.</exception>
    public async Task<HttpResponseMessage> OpenAsync(RepositoryId id, string commit, HubFile file, long offset,
        CancellationToken cancellationToken)
    {
        HttpResponseMessage response = await SendAsync(
            HttpMethod.Get,
            AddressOf(id, commit, file),
            staysAtHub: false,
            (request, isAtHub) =>
            {
                if (offset == 0)
                    return;
                request.Headers.Range = new RangeHeaderValue(offset, null);
                // The name of the content is the hub's; a store that it redirects to may have names of its own, and
                // there the hash decides in the end.
                if (isAtHub)
                    request.Headers.IfRange = new RangeConditionHeaderValue(new EntityTagHeaderValue($"\"{file.Hash}\""));
            },
            cancellationToken).ConfigureAwait(false);
        try
        {
            if (response.StatusCode != HttpStatusCode.RequestedRangeNotSatisfiable)
                HubErrors.Demand(response, _settings, _token.Value is not null, id, commit, file.Path);
            return response;
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    /// <summary>Does something until it works, or until there is no hope.</summary>
    /// <exception cref="HubException">There is none.</exception>
    public async Task<T> TryAsync<T>(string what, Func<Task<T>> act, CancellationToken cancellationToken)
    {
        for (int tried = 1; ; tried++)
        {
            try
            {
                return await act().ConfigureAwait(false);
            }
            catch (PassingFaultException fault)
            {
                await PauseAsync(what, fault, tried, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Waits before another try: as long as the server asks, else twice as long each time.</summary>
    /// <exception cref="HubException">There were enough.</exception>
    public async Task PauseAsync(string what, PassingFaultException fault, int tried, CancellationToken cancellationToken)
    {
        TimeSpan pause = fault.RetryAfter
            ?? TimeSpan.FromSeconds(Math.Pow(2, tried - 1) * (0.75 + Random.Shared.NextDouble() / 2));
        bool isTooLong = fault.RetryAfter > s_longestWait;
        if (isTooLong || tried >= (fault.IsUnreachable ? MostTriesUnreachable : MostTries))
        {
            string when = isTooLong ? string.Create(CultureInfo.InvariantCulture,
                $" Try again in {pause.TotalSeconds:F0} seconds.") : fault.IsUnreachable
                    ? " Check the network, HF_ENDPOINT and the proxy's variables."
                    : " Try again later; what has come stays.";
            throw new HubException(HubFault.Unreachable,
                $"{char.ToUpperInvariant(what[0])}{what[1..]} cannot be had from {_settings.EndpointName}: " +
                $"{fault.Message}{when}", fault);
        }

        await _settings.Options.WaitAsync(pause, cancellationToken).ConfigureAwait(false);
    }

    public void Dispose()
    {
        if (_settings.Options.HttpClient is null)
            _http.Dispose();
    }

    /// <summary>Whether two addresses are the same scheme, host and port.</summary>
    internal static bool IsSamePlace(Uri left, Uri right) =>
        left.Scheme == right.Scheme && string.Equals(left.IdnHost, right.IdnHost, StringComparison.OrdinalIgnoreCase)
            && left.Port == right.Port;

    private Uri AddressOf(RepositoryId id, string commit, HubFile file) =>
        new(_settings.Endpoint,
            $"{id}/resolve/{commit}/{string.Join('/', file.Path.Split('/').Select(Uri.EscapeDataString))}");

    /// <summary>Sends a request and follows redirects.</summary>
    /// <param name="method">GET or HEAD.</param>
    /// <param name="address">Where to begin, at the hub.</param>
    /// <param name="staysAtHub">Whether a redirect to elsewhere is the answer.</param>
    /// <param name="change">What the request has beside the usual; is told whether it goes to the hub.</param>
    /// <param name="cancellationToken">Stops it.</param>
    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, Uri address, bool staysAtHub,
        Action<HttpRequestMessage, bool>? change, CancellationToken cancellationToken)
    {
        for (int redirects = 0; ; redirects++)
        {
            bool isAtHub = IsSamePlace(address, _settings.Endpoint);
            HttpResponseMessage response = await SendOnceAsync(method, address, isAtHub, change, cancellationToken)
                .ConfigureAwait(false);
            if ((int)response.StatusCode is < 300 or >= 400 || response.Headers.Location is not { } location)
                return response;
            Uri next = location.IsAbsoluteUri ? location : new Uri(address, location);
            if (staysAtHub && !IsSamePlace(next, _settings.Endpoint))
                return response;
            response.Dispose();
            if (next.Scheme is not ("http" or "https") || (address.Scheme == "https" && next.Scheme == "http"))
                throw new HubException(HubFault.Untrusted,
                    $"{address.Host} redirects to {next.Scheme}://{next.Host}, which is not as safe as https. It is " +
                    $"not followed.");
            if (redirects == MostRedirects)
                throw new HubException(HubFault.Untrusted,
                    $"{_settings.EndpointName} redirects more than {MostRedirects} times.");
            address = next;
        }
    }

    private async Task<HttpResponseMessage> SendOnceAsync(HttpMethod method, Uri address, bool isAtHub,
        Action<HttpRequestMessage, bool>? change, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(method, address);
        request.Headers.UserAgent.ParseAdd("skylight");
        request.Headers.AcceptEncoding.ParseAdd("identity");
        if (isAtHub && _token.Value is { } token)
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        change?.Invoke(request, isAtHub);
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(_settings.Options.Timeout);
        HttpResponseMessage? response = null;
        try
        {
            response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, timeout.Token)
                .ConfigureAwait(false);
            return (int)response.StatusCode is 408 or 429 or 500 or 502 or 503 or 504
                ? throw new PassingFaultException(
                    $"{address.Host} answers " +
                    $"{(int)response.StatusCode}{(response.StatusCode == HttpStatusCode.TooManyRequests ? " (too many requests)" : "")}.")
                { RetryAfter = RetryAfter(response) }
                : response;
        }
        catch (PassingFaultException)
        {
            response?.Dispose();
            throw;
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw Silent(address.Host, exception);
        }
        catch (HttpRequestException exception)
        {
            throw new PassingFaultException(Sentence(exception), exception)
            {
                IsUnreachable = exception.HttpRequestError is HttpRequestError.ConnectionError
                    or HttpRequestError.NameResolutionError or HttpRequestError.SecureConnectionError
                        or HttpRequestError.ProxyTunnelError,
            };
        }
    }

    /// <summary>The fault of a server that says nothing any more.</summary>
    public PassingFaultException Silent(string host, Exception exception) =>
        new(string.Create(CultureInfo.InvariantCulture,
            $"{host} has sent nothing for {_settings.Options.Timeout.TotalSeconds:0.#} seconds."), exception);

    /// <summary>What the system says, as a sentence.</summary>
    public static string Sentence(Exception exception)
    {
        string message = (exception.InnerException is { } inner and not System.Net.Sockets.SocketException ? inner
            : exception).Message.ReplaceLineEndings(" ").Trim();
        return message.EndsWith('.') ? message : message + ".";
    }

    private static TimeSpan? RetryAfter(HttpResponseMessage response) => response.Headers.RetryAfter switch
    {
        { Delta: { } delta } when delta >= TimeSpan.Zero => delta,
        { Date: { } date } => TimeSpan.FromSeconds(Math.Max(0, (date - DateTimeOffset.UtcNow).TotalSeconds)),
        _ => null,
    };

    private async Task<byte[]> ReadAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            using Stream stream = await response.Content.ReadAsStreamAsync(timeout.Token).ConfigureAwait(false);
            using var content = new MemoryStream();
            byte[] buffer = new byte[64 << 10];
            while (true)
            {
                timeout.CancelAfter(_settings.Options.Timeout);
                int read = await stream.ReadAsync(buffer, timeout.Token).ConfigureAwait(false);
                if (read == 0)
                    return content.ToArray();
                content.Write(buffer, 0, read);
                if (content.Length > MostAnswerBytes)
                    throw new HubException(HubFault.Untrusted,
                        $"{_settings.EndpointName} answers with more than {MostAnswerBytes >> 20} MB where a list of " +
                        $"files was asked for. Is the endpoint (HF_ENDPOINT) a hub?");
            }
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw Silent(_settings.Endpoint.Host, exception);
        }
        catch (Exception exception) when (exception is IOException or HttpRequestException)
        {
            throw new PassingFaultException(Sentence(exception), exception);
        }
    }
}
