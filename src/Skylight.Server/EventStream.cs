using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Skylight.Server;

/// <summary>
/// Server-sent events as OpenAI's clients read them: <c>data: {json}</c>, an empty line, and <c>data: [DONE]</c> at the
/// end.
/// </summary>
internal sealed class EventStream
{
    private readonly PipeWriter _writer;

    /// <summary>Begins a stream, or goes on with one.</summary>
    public EventStream(HttpResponse response)
    {
        if (!response.HasStarted)
        {
            response.ContentType = "text/event-stream; charset=utf-8";
            response.Headers.CacheControl = "no-cache";
            // Proxies would collect the pieces.
            response.Headers["X-Accel-Buffering"] = "no";
            response.HttpContext.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        }

        _writer = response.BodyWriter;
    }

    public void Add<T>(T piece, JsonTypeInfo<T> type) => Add(JsonSerializer.SerializeToUtf8Bytes(piece, type));

    /// <summary>Adds an event that has a name.</summary>
    public void Add<T>(string name, T piece, JsonTypeInfo<T> type)
    {
        _writer.Write(System.Text.Encoding.ASCII.GetBytes($"event: {name}\n"));
        Add(piece, type);
    }

    public void AddError(ApiException error) => Add(error.ToJson());

    public void End() => Add("[DONE]"u8);

    /// <summary>Sends what was added.</summary>
    /// <exception cref="OperationCanceledException">The client went away.</exception>
    public async Task FlushAsync(CancellationToken cancellationToken)
    {
        FlushResult result = await _writer.FlushAsync(cancellationToken).ConfigureAwait(false);
        if (result.IsCompleted || result.IsCanceled)
            throw new OperationCanceledException("The client went away.");
    }

    private void Add(ReadOnlySpan<byte> data)
    {
        _writer.Write("data: "u8);
        _writer.Write(data);
        _writer.Write("\n\n"u8);
    }
}
