using Skylight.Images;

namespace Skylight.Server;

/// <summary>How a model is served over HTTP.</summary>
public sealed record SkylightServerOptions
{
    private const long MostBodyBytes = 1L << 30;

    /// <summary>What clients call the model; <c>ChatModel.Name</c> if null.</summary>
    public string? ModelName { get; init; }

    /// <summary>What clients must send as <c>Authorization: Bearer …</c>, except to <c>/health</c>; none if empty.</summary>
    public IReadOnlyList<string> ApiKeys { get; init; } = [];

    /// <summary>
    /// The most bytes of a request's body; a picture in a data URL takes 4/3 of its file. A host's own limit does not
    /// apply to these endpoints.
    /// </summary>
    public long MaximumBodyBytes { get; init; } = 32L << 20;

    /// <summary>The most answers to one request (<c>n</c>).</summary>
    public int MaximumChoices { get; init; } = 8;

    /// <summary>
    /// The most responses that are kept for <c>previous_response_id</c> and <c>GET /v1/responses/{id}</c>, in memory; the
    /// oldest go first. 0 keeps none.
    /// </summary>
    public int MaximumStoredResponses { get; init; } = 1000;

    /// <summary>
    /// The most bytes that kept responses take together with the conversations behind them, pictures included; the
    /// oldest go first. 0 keeps none.
    /// </summary>
    public long MaximumStoredBytes { get; init; } = 256L << 20;

    /// <summary>
    /// Gets the file of a picture that a request names by a URL that is not a data URL. Null, the default, refuses such
    /// URLs: nothing is ever fetched.
    /// <see cref="ImageUrlFetcher"/> fetches from public addresses. May throw <see cref="ImageException"/> or
    /// <see cref="HttpRequestException"/>.
    /// </summary>
    public Func<Uri, CancellationToken, ValueTask<ReadOnlyMemory<byte>>>? ImageResolver { get; init; }

    /// <summary>
    /// The origins whose pages may ask from a browser, such as <c>https://example.com</c>, or <c>*</c> for all; none by
    /// default. Their requests need a key like any other. A host with a CORS policy of its own leaves this empty.
    /// </summary>
    public IReadOnlyList<string> CorsOrigins { get; init; } = [];

    /// <summary>
    /// Whether a page for people is at <c>/</c>: chat with pictures, and a view of the server. Its files are the same for
    /// everybody and need no key; what it asks the server for does. Not by default, so that <c>/</c> stays the host's.
    /// </summary>
    public bool ServesPage { get; init; }

    /// <summary>
    /// When it is cancelled no more requests are taken, and <c>GET /health</c> says so, while those that run go on and
    /// the host still listens. A host that stops does the same, but its web server takes no new connections from then
    /// on: cancel this first, where whoever asks for the health is to get an answer.
    /// </summary>
    public CancellationToken Draining { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">A value is of no use.</exception>
    internal SkylightServerOptions Validate()
    {
        if (MaximumBodyBytes is < 1 or > MostBodyBytes)
            throw new ArgumentException(
                $"{nameof(MaximumBodyBytes)} is {MaximumBodyBytes}; it must be from 1 to {MostBodyBytes}.");
        if (MaximumChoices < 1)
            throw new ArgumentException($"{nameof(MaximumChoices)} is {MaximumChoices}; it must be at least 1.");
        if (MaximumStoredResponses < 0)
            throw new ArgumentException(
                $"{nameof(MaximumStoredResponses)} is {MaximumStoredResponses}; it must be 0 or more.");
        if (MaximumStoredBytes < 0)
            throw new ArgumentException($"{nameof(MaximumStoredBytes)} is {MaximumStoredBytes}; it must be 0 or more.");
        if (ModelName is { Length: 0 })
            throw new ArgumentException($"{nameof(ModelName)} is empty; leave it null for the model's own name.");
        if (ApiKeys.Any(string.IsNullOrWhiteSpace))
            throw new ArgumentException($"One of the {nameof(ApiKeys)} is empty: everybody could guess it.");
        if (CorsOrigins.Select(CrossOrigin.Fault).OfType<string>().FirstOrDefault() is { } fault)
            throw new ArgumentException($"{nameof(CorsOrigins)}: {fault}");
        return this;
    }
}
