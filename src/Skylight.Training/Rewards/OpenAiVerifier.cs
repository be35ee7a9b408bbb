using System.Buffers;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Skylight.Training.Rewards;

/// <summary>
/// A verifier model behind an endpoint with OpenAI's chat completions. What passes (429, 408, 5xx, timeouts,
/// connections that fail or break) is tried again; what does not (a wrong key, a wrong model, a reply that is no chat
/// completion) fails at once. The key is read from the environment and stands in no message.
/// </summary>
public sealed class OpenAiVerifier : IVerifierModel, IDisposable
{
    private const int MostBytes = 1 << 20, MostKeyCharacters = 8192;

    private readonly OpenAiVerifierOptions _options;
    private readonly HttpClient _client;
    private readonly Uri _address;
    private readonly string? _key;
    private readonly JsonDocument? _extra;
    private int _failuresInARow;

    /// <summary>Makes a client; nothing is asked yet.</summary>
    /// <param name="options">Where and how it asks.</param>
    /// <exception cref="ArgumentException">An option is out of its range, or the environment variable of the key is not
    /// set.</exception>
    public OpenAiVerifier(OpenAiVerifierOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrWhiteSpace(options.Model);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaximumTokens, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(options.Retries);
        foreach (TimeSpan time in new[] { options.Timeout, options.RetryDelay, options.LongestRetryDelay })
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(time, TimeSpan.Zero);
        (_options, _address, _key, _extra) = (options, AddressOf(options.Endpoint), KeyOf(options),
            ExtraOf(options.ExtraBody));
        // A redirect would take the key to another host.
        _client = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        })
        { Timeout = Timeout.InfiniteTimeSpan };
        _client.DefaultRequestHeaders.UserAgent.ParseAdd("Skylight");
    }

    /// <inheritdoc/>
    public async ValueTask<VerifierVerdict> JudgeAsync(string question, IReadOnlyList<string> answers, string response,
        CancellationToken cancellationToken)
    {
        byte[] body = BodyOf(_options.Prompt.Fill(question, answers, response));
        for (int attempt = 1; ; attempt++)
        {
            Outcome outcome = await AskAsync(body, cancellationToken).ConfigureAwait(false);
            if (outcome.Verdict is { } verdict)
            {
                Volatile.Write(ref _failuresInARow, 0);
                return verdict with { Requests = attempt };
            }

            // An endpoint that is down is not waited for again and again, once for each of a thousand samples.
            bool isDown = Volatile.Read(ref _failuresInARow) >= 32;
            if (!outcome.MayPass || attempt > _options.Retries || isDown)
            {
                if (outcome.MayPass)
                    Interlocked.Increment(ref _failuresInARow);
                throw new VerifierException(
                    $"the verifier endpoint {_address.Authority} " +
                    $"{outcome.Fault}{(attempt > 1 ? $" ({attempt} attempts)" : "")}.", attempt);
            }

            await Task.Delay(WaitBefore(attempt, outcome.RetryAfter), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Closes its connections.</summary>
    public void Dispose()
    {
        _client.Dispose();
        _extra?.Dispose();
    }

    private TimeSpan WaitBefore(int retry, TimeSpan? asked)
    {
        double doubled = _options.RetryDelay.TotalSeconds * Math.Pow(2, Math.Min(retry - 1, 30))
            * (0.5 + Random.Shared.NextDouble());
        double seconds = Math.Max(asked?.TotalSeconds ?? 0, doubled);
        return TimeSpan.FromSeconds(Math.Min(seconds, _options.LongestRetryDelay.TotalSeconds));
    }

    private async Task<Outcome> AskAsync(byte[] body, CancellationToken cancellationToken)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(_options.Timeout);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, _address) { Content = new ByteArrayContent(body) };
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            if (_key is not null)
                request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", _key);
            using HttpResponseMessage response = await _client.SendAsync(request,
                HttpCompletionOption.ResponseHeadersRead, timeout.Token).ConfigureAwait(false);
            byte[]? content = await ReadAsync(response, timeout.Token).ConfigureAwait(false);
            if (!response.IsSuccessStatusCode)
                return Refusal(response, content);
            return content is null ? new Outcome($"sends more than {MostBytes:N0} bytes, which is no verdict")
                : ReplyOf(content);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new Outcome($"does not answer within {_options.Timeout.TotalSeconds:0.###} s", MayPass: true);
        }
        catch (HttpRequestException exception) when (exception.HttpRequestError == HttpRequestError.SecureConnectionError)
        {
            return new Outcome(
                $"has no certificate that is trusted: {exception.InnerException?.Message ?? exception.Message}");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or SocketException)
        {
            return new Outcome(
                $"cannot be reached or breaks off: {(exception.InnerException ?? exception).Message.TrimEnd('.')}",
                MayPass: true);
        }
    }

    private Outcome Refusal(HttpResponseMessage response, byte[]? content)
    {
        int status = (int)response.StatusCode;
        string advice = response.StatusCode switch
        {
            HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden =>
                "; check the key in the environment variable that key_variable names",
            HttpStatusCode.NotFound => "; check the base URL, which usually ends in /v1, and the model's name",
            _ when status is >= 300 and < 400 => "; give the address that it redirects to",
            _ => "",
        };
        bool mayPass = status is 408 or 425 or 429 or >= 500;
        TimeSpan? after = response.Headers.RetryAfter switch
        {
            { Delta: { } delta } => delta,
            { Date: { } date } => date - DateTimeOffset.UtcNow,
            _ => null,
        };
        return new Outcome($"answers {status}{Explanation(content)}{advice}", mayPass, after);
    }

    /// <summary>What the body of a refusal says, or the beginning of its text.</summary>
    private string Explanation(byte[]? content)
    {
        if (content is null)
            return "";
        string message = AnswerKey.Shortened(WithoutKey(ChatReply.ErrorOf(content) ?? Encoding.UTF8.GetString(content)),
            200).TrimEnd('.');
        return message.Length == 0 ? "" : $": {message}";
    }

    private Outcome ReplyOf(byte[] content)
    {
        ChatReply reply;
        try
        {
            reply = ChatReply.Parse(content);
        }
        catch (InvalidDataException)
        {
            return new Outcome(
                $"sends no chat completion but '{AnswerKey.Shortened(WithoutKey(Encoding.UTF8.GetString(content)))}'");
        }

        bool? verdict = VerifierPrompt.Read(reply.Text);
        string shown = WithoutKey(reply.Text);
        // A reply that is cut off while it thinks is the usual reason.
        if (verdict is null && reply.IsCutOff)
            shown = $"{AnswerKey.Shortened(shown, 20)} (cut off at the most tokens of a reply, {_options.MaximumTokens})";
        return new Outcome(null)
        {
            Verdict = new VerifierVerdict(verdict, shown, 1, reply.PromptTokens, reply.CompletionTokens),
        };
    }

    /// <summary>The body of a reply; null if it is larger than any verdict.</summary>
    private static async Task<byte[]?> ReadAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        if (response.Content.Headers.ContentLength > MostBytes)
            return null;
        using var content = new MemoryStream();
        using Stream stream = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        byte[] buffer = new byte[16 << 10];
        int read;
        while ((read = await stream.ReadAsync(buffer, cancellationToken).ConfigureAwait(false)) > 0)
        {
            if (content.Length + read > MostBytes)
                return null;
            content.Write(buffer, 0, read);
        }

        return content.ToArray();
    }

    private byte[] BodyOf(string prompt)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (IsOurs("model"))
                json.WriteString("model", _options.Model);
            if (IsOurs("messages"))
            {
                json.WriteStartArray("messages");
                json.WriteStartObject();
                json.WriteString("role", "user");
                json.WriteString("content", prompt);
                json.WriteEndObject();
                json.WriteEndArray();
            }

            if (IsOurs("temperature"))
                json.WriteNumber("temperature", 0);
            // Newer models of OpenAI take the other name alone.
            if (IsOurs("max_tokens") && IsOurs("max_completion_tokens"))
                json.WriteNumber("max_tokens", _options.MaximumTokens);
            foreach (JsonProperty field in _extra?.RootElement.EnumerateObject().AsEnumerable() ?? [])
            {
                // Null takes a field away.
                if (field.Value.ValueKind != JsonValueKind.Null)
                    field.WriteTo(json);
            }

            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();

        bool IsOurs(string field) => _extra?.RootElement.TryGetProperty(field, out _) != true;
    }

    // Before anything is shortened, or a part of it would stay. JSON may write a stroke with a backslash.
    private string WithoutKey(string text) => _key is null ? text
        : text.Replace(_key, "(the key)", StringComparison.Ordinal)
        .Replace(_key.Replace("/", "\\/", StringComparison.Ordinal), "(the key)", StringComparison.Ordinal);

    internal static Uri AddressOf(Uri endpoint)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        // Neither is shown: either could hold a key.
        if (!endpoint.IsAbsoluteUri || endpoint.Scheme is not ("http" or "https"))
            throw new ArgumentException(
                "The verifier's endpoint must be an http or https URL, such as http://host:8000/v1.", nameof(endpoint));
        if (endpoint.UserInfo.Length > 0)
            throw new ArgumentException(
                $"The verifier's endpoint at {endpoint.Authority} has a user or password in its URL; put the key " +
                $"into an environment variable.", nameof(endpoint));
        string path = endpoint.AbsolutePath.TrimEnd('/');
        return path.EndsWith("/chat/completions", StringComparison.Ordinal) ? endpoint
            : new UriBuilder(endpoint) { Path = path + "/chat/completions" }.Uri;
    }

    private static string? KeyOf(OpenAiVerifierOptions options)
    {
        if (options.KeyVariable is not { } variable)
            return null;
        // What is no name, or does not look like one, may be the key itself.
        bool isName = variable.Length is > 0 and <= 64 && variable.All(character => char.IsAsciiLetterUpper(character)
            || char.IsAsciiDigit(character) || character == '_');
        string named = isName ? $"the environment variable {variable}" : "the environment variable that key_variable names";
        string? key = options.EnvironmentVariable(variable)?.Trim();
        if (string.IsNullOrEmpty(key))
            throw new ArgumentException(
                $"{char.ToUpperInvariant(named[0])}{named[1..]} is not set; it must hold the key of the verifier's " +
                $"endpoint (key_variable is its name, not the key).");
        if (key.Length > MostKeyCharacters || !key.All(character => character is > ' ' and <= '~'))
            throw new ArgumentException(
                $"What {named} holds cannot be a key: it has more than {MostKeyCharacters} characters, or others " +
                $"than visible ASCII.");
        return key;
    }

    private static JsonDocument? ExtraOf(string? extra)
    {
        if (extra is null)
            return null;
        JsonDocument document;
        try
        {
            document = JsonText.Parse(System.Text.Encoding.UTF8.GetBytes(extra));
        }
        catch (JsonException exception)
        {
            throw new ArgumentException($"The verifier's extra body is no JSON: {exception.Message}", exception);
        }

        if (document.RootElement.ValueKind == JsonValueKind.Object && !document.RootElement.TryGetProperty("stream", out _))
            return document;
        document.Dispose();
        throw new ArgumentException(
            "The verifier's extra body must be a JSON object without 'stream': replies are read as a whole.");
    }

    /// <summary>A verdict, or a fault as the rest of a sentence that begins with the endpoint.</summary>
    private readonly record struct Outcome(string? Fault, bool MayPass = false, TimeSpan? RetryAfter = null)
    {
        public VerifierVerdict? Verdict { get; init; }
    }
}
