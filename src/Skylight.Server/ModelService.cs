using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Skylight.Chat;

namespace Skylight.Server;

/// <summary>Answers the requests to one model.</summary>
/// <param name="model">The model.</param>
/// <param name="options">Names, keys and limits.</param>
/// <param name="logger">Where it is noted.</param>
/// <param name="stopping">When no more requests are taken.</param>
internal sealed partial class ModelService(ChatModel model, SkylightServerOptions options, ILogger logger,
    CancellationToken stopping)
{
    private readonly string _name = options.ModelName ?? model.Name;
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private readonly byte[][] _keyHashes = [.. options.ApiKeys.Select(key => SHA256.HashData(Encoding.UTF8.GetBytes(key)))];
    private readonly ServerMetrics _metrics = new();

    private bool IsDraining => stopping.IsCancellationRequested || options.Draining.IsCancellationRequested;

    /// <summary><c>POST /v1/chat/completions</c>.</summary>
    public Task CompleteAsync(HttpContext context)
    {
        string id = $"chatcmpl-{Guid.NewGuid():N}";
        var answers = new AnswerCollector(id, _name, model.Tokenizer);
        return ServeAsync(context, id, answers, async body =>
        {
            ChatRequest request = await NewReader().ReadAsync(body, context.RequestAborted).ConfigureAwait(false);
            answers.Start(request);
            long start = Stopwatch.GetTimestamp();
            PreparedPrompt prompt = await model.PrepareAsync(request.Messages, request.Options, context.RequestAborted)
                .ConfigureAwait(false);
            await AnswerAsync(context, answers, [.. Enumerable.Range(0, request.Count)
                .Select(choice => (prompt, request.OptionsOf(choice)))], start, request.Stream, request.IncludeUsage)
                .ConfigureAwait(false);
        });
    }

    /// <summary><c>GET /v1/models</c>.</summary>
    public Task ListModelsAsync(HttpContext context) =>
        GuardAsync(context, () => WriteAsync(context, new ModelList("list", [Card()]), ServerJson.Compact.ModelList));

    /// <summary><c>GET /v1/models/{id}</c>.</summary>
    public Task DescribeModelAsync(HttpContext context) =>
        GuardAsync(context, () => context.Request.RouteValues["id"] as string == _name
        ? WriteAsync(context, Card(), ServerJson.Compact.ModelCard)
        : throw new ApiException(StatusCodes.Status404NotFound,
            $"There is no such model here. This server has: {_name}.", "model", "model_not_found"));

    /// <summary><c>GET /health</c>: 200 while requests are taken, 503 afterwards. Needs no key.</summary>
    public Task ReportHealthAsync(HttpContext context)
    {
        bool takes = !IsDraining;
        context.Response.StatusCode = takes ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        return WriteAsync(context, new Health(takes ? "ok" : "draining", _name), ServerJson.Compact.Health);
    }

    /// <summary><c>GET /metrics</c>.</summary>
    public Task ReportMetricsAsync(HttpContext context) => GuardAsync(context, () =>
    {
        context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
        return context.Response.WriteAsync(_metrics.Format(model.Load), context.RequestAborted);
    });

    private ModelCard Card() => new(_name, "model", _created, "skylight", model.ContextTokens);

    /// <summary>Whether the request may be answered at all; looked at before its body.</summary>
    private void Admit(HttpContext context)
    {
        Authorize(context);
        if (IsDraining)
            throw ApiException.Draining();
    }

    private void Authorize(HttpContext context)
    {
        const string Scheme = "Bearer ";
        if (_keyHashes.Length == 0)
            return;
        string? header = context.Request.Headers.Authorization;
        // Hashes have one length: how long the comparison takes says nothing about the key.
        byte[] given = SHA256.HashData(Encoding.UTF8.GetBytes(header is not null
            && header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? header[Scheme.Length..].Trim() : ""));
        bool known = false;
        foreach (byte[] hash in _keyHashes)
            known |= CryptographicOperations.FixedTimeEquals(hash, given);
        if (known)
            return;
        context.Response.Headers.WWWAuthenticate = "Bearer";
        string message = string.IsNullOrEmpty(header) ? "An API key is needed: send it as 'Authorization: Bearer KEY'."
            : "The API key is not one of this server's.";
        throw new ApiException(StatusCodes.Status401Unauthorized, message, code: "invalid_api_key");
    }

    private ChatRequestReader NewReader() => new(_name, model.Tokenizer.VocabularySize, options);

    /// <summary>Reads a request and answers it; counts and logs it whatever comes of it.</summary>
    /// <param name="context">The request.</param>
    /// <param name="id">What it is called in the log.</param>
    /// <param name="answers">What has come of it; null where nothing is written by the model.</param>
    /// <param name="work">Answers a body.</param>
    private async Task ServeAsync(HttpContext context, string id, IAnswers? answers, Func<ReadOnlyMemory<byte>, Task> work)
    {
        long start = Stopwatch.GetTimestamp();
        int status = StatusCodes.Status200OK;
        Exception? failure = null;
        _metrics.Begin();
        try
        {
            Admit(context);
            await work(await RequestBody.ReadAsync(context, options.MaximumBodyBytes).ConfigureAwait(false))
                .ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            failure = exception;
            status = await FailAsync(context, exception, answers).ConfigureAwait(false);
        }

        TimeSpan duration = Stopwatch.GetElapsedTime(start);
        _metrics.End(status, duration);
        foreach (Usage usage in answers?.Usages ?? [])
            _metrics.Add(usage);
        Log(id, status, duration.TotalMilliseconds, failure, answers);
    }

    /// <summary>Writes answers to prompts, in pieces or whole.</summary>
    private async Task AnswerAsync(HttpContext context, IAnswers answers,
        IReadOnlyList<(PreparedPrompt Prompt, GenerationOptions Options)> jobs, long start, bool inPieces, bool includeUsage)
    {
        if (jobs.Count > model.MaximumRequests)
            throw ApiException.BadRequest($"The request asks for {jobs.Count} answers, its prompts times 'n'; this server " +
                $"writes {model.MaximumRequests} at once at most.", "n");
        CancellationToken aborted = context.RequestAborted;
        IAsyncEnumerator<(int Choice, GenerationUpdate Update)> updates = AnswersTogether.GenerateAsync(model, jobs, start,
            aborted).GetAsyncEnumerator(aborted);
        await using (updates.ConfigureAwait(false))
        {
            // Whatever is wrong with a request shows before its first token, while the status can still say so.
            bool more = await updates.MoveNextAsync().ConfigureAwait(false);
            EventStream? stream = inPieces ? new EventStream(context.Response) : null;
            if (stream is not null)
                answers.Open(stream);
            for (; more; more = await updates.MoveNextAsync().ConfigureAwait(false))
            {
                (int choice, GenerationUpdate update) = updates.Current;
                answers.Add(choice, update);
                if (stream is not null && answers.Write(stream, choice, update))
                    await stream.FlushAsync(aborted).ConfigureAwait(false);
            }

            if (stream is null)
            {
                await WriteAsync(context, answers.ToJson()).ConfigureAwait(false);
                return;
            }

            if (includeUsage)
                answers.WriteUsage(stream);
            answers.Close(stream);
            await stream.FlushAsync(aborted).ConfigureAwait(false);
        }
    }

    /// <summary>Says what went wrong, as far as it can still be said; gives the status for the log.</summary>
    private static async Task<int> FailAsync(HttpContext context, Exception exception, IAnswers? answers)
    {
        // A write to a connection that was closed can fail before the request is marked as aborted.
        if (context.RequestAborted.IsCancellationRequested || exception is IOException and not BadHttpRequestException)
            return ApiException.ClientClosedRequest;
        ApiException error = ApiException.From(exception);
        try
        {
            if (context.Response.HasStarted)
            {
                var stream = new EventStream(context.Response);
                // Without the mark of a complete answer. Only answers are streamed.
                answers!.Fail(stream, error);
                await stream.FlushAsync(context.RequestAborted).ConfigureAwait(false);
            }
            else
            {
                await WriteErrorAsync(context, error).ConfigureAwait(false);
            }
        }
        catch (Exception writing) when (writing is OperationCanceledException or IOException)
        {
            return ApiException.ClientClosedRequest;
        }

        return error.Status;
    }

    internal static Task WriteErrorAsync(HttpContext context, ApiException error)
    {
        context.Response.StatusCode = error.Status;
        context.Response.ContentType = "application/json; charset=utf-8";
        if (error.Status == StatusCodes.Status429TooManyRequests)
            context.Response.Headers.RetryAfter = "1";
        return context.Response.Body.WriteAsync(error.ToJson(), context.RequestAborted).AsTask();
    }

    private static Task WriteAsync<T>(HttpContext context, T value, JsonTypeInfo<T> type) =>
        WriteAsync(context, JsonSerializer.SerializeToUtf8Bytes(value, type));

    private static Task WriteAsync(HttpContext context, byte[] json)
    {
        context.Response.ContentType = "application/json; charset=utf-8";
        return context.Response.Body.WriteAsync(json, context.RequestAborted).AsTask();
    }

    private async Task GuardAsync(HttpContext context, Func<Task> answer)
    {
        try
        {
            Authorize(context);
            await answer().ConfigureAwait(false);
        }
        catch (ApiException error)
        {
            await WriteErrorAsync(context, error).ConfigureAwait(false);
        }
    }

    private void Log(string id, int status, double milliseconds, Exception? failure, IAnswers? answers)
    {
        if (answers?.BrokenToolCalls > 0)
            ServerLog.BrokenToolCalls(logger, id, answers.BrokenToolCalls);
        if (status == ApiException.ClientClosedRequest)
        {
            ServerLog.Abandoned(logger, id, milliseconds);
        }
        else if (failure is null)
        {
            if (answers is null)
            {
                ServerLog.Told(logger, id, status, milliseconds);
                return;
            }

            Usage[] usages = [.. answers.Usages];
            ServerLog.Answered(
                logger, id, status, milliseconds, usages[0].PromptTokens, usages[0].ImageTokens,
                usages.Sum(usage => usage.CompletionTokens),
                usages.Min(usage => usage.TimeToFirstToken).TotalMilliseconds, answers.Ends);
        }
        else if (status >= StatusCodes.Status500InternalServerError && status != StatusCodes.Status503ServiceUnavailable)
        {
            ServerLog.Failed(logger, failure, id, status, milliseconds);
        }
        else
        {
            ApiException error = ApiException.From(failure);
            ServerLog.Refused(logger, id, status, milliseconds, error.Code, error.Parameter);
        }
    }
}
