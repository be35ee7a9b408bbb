using Microsoft.Extensions.AI;
using Skylight.Chat;

namespace Skylight.Extensions.AI;

/// <summary>Fetches a picture that a message only refers to. The client itself never opens a file or a connection.</summary>
/// <param name="uri">Where the picture is; from the message, so not to be trusted.</param>
/// <param name="cancellationToken">Cancelled with the request.</param>
/// <returns>The content of a picture's file.</returns>
public delegate ValueTask<ReadOnlyMemory<byte>> ImageUriResolver(Uri uri, CancellationToken cancellationToken);

/// <summary>How a <see cref="SkylightChatClient"/> works.</summary>
public sealed record SkylightChatClientOptions
{
    /// <summary>The environment variable that turns <see cref="CaptureContent"/> on.</summary>
    public const string CaptureContentVariable = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";

    /// <summary>What is used where a request's <see cref="ChatOptions"/> say nothing.</summary>
    public GenerationOptions Defaults { get; init; } = new();

    /// <summary>Fetches pictures that come as <see cref="UriContent"/>; if null, only <c>data:</c> URIs are taken.</summary>
    public ImageUriResolver? ImageUriResolver { get; init; }

    /// <summary>Whether the model is closed together with the client.</summary>
    public bool OwnsModel { get; init; }

    /// <summary>
    /// Whether spans carry the text of messages and answers; pixels they never do. By default only if the environment
    /// variable <see cref="CaptureContentVariable"/> is "true".
    /// </summary>
    public bool CaptureContent { get; init; } =
        string.Equals(Environment.GetEnvironmentVariable(CaptureContentVariable), "true",
            StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// Whether requests have spans and <c>gen_ai.client.*</c> metrics of this client. Where <c>UseOpenTelemetry</c> of
    /// Microsoft.Extensions.AI stands before it and somebody listens to its spans, that is seen and nothing is counted
    /// twice: what only the model knows goes into that span. Where a host takes metrics from both but spans from neither,
    /// this is to be false. What the model does by itself (<c>gen_ai.server.*</c>, <c>skylight.*</c>) is measured always.
    /// </summary>
    public bool ClientTelemetry { get; init; } = true;

    /// <summary>What tells the time of updates.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}
