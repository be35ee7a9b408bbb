using System.Diagnostics;
using System.Diagnostics.Metrics;
using Skylight.Chat;
using Skylight.Generation;

namespace Skylight.Extensions.AI;

/// <summary>
/// The source of spans and the meter. Names of spans, attributes and instruments are those of OpenTelemetry's semantic
/// conventions for generative AI (which are in development); what is Skylight's own begins with <c>skylight.</c>.
/// Nothing is measured while nobody listens.
/// </summary>
public static class SkylightTelemetry
{
    /// <summary>
    /// The name of the <see cref="System.Diagnostics.ActivitySource"/> and of the
    /// <see cref="System.Diagnostics.Metrics.Meter"/>.
    /// </summary>
    public const string SourceName = "Skylight.Extensions.AI";

    /// <summary>The value of <c>gen_ai.provider.name</c>.</summary>
    public const string ProviderName = "skylight";

    // The boundaries that the conventions advise.
    private static readonly double[] s_firstPiece =
        [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
    private static readonly double[] s_nextPiece = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
    private static readonly Lock _gate = new();
    private static readonly List<Watch> _watches = [];
    private static readonly string? _version = typeof(SkylightTelemetry).Assembly.GetName().Version?.ToString(3);

    internal static ActivitySource Source { get; } = new(SourceName, _version);

    internal static Meter Meter { get; } = new(SourceName, _version);

    internal static Histogram<double> OperationDuration { get; } = Seconds("gen_ai.client.operation.duration",
        "Duration of a chat operation.", Doubling(0.01, 2));

    internal static Histogram<long> TokenUsage { get; } = Meter.CreateHistogram(
        "gen_ai.client.token.usage", "{token}", "Tokens of a chat operation.", tags: null,
        advice: new InstrumentAdvice<long> { HistogramBucketBoundaries = [.. Doubling(1, 4).Select(value => (long)value)] });

    internal static Histogram<double> TimeToFirstChunk { get; } = Seconds(
        "gen_ai.client.operation.time_to_first_chunk", "From a streaming request to its first piece.", s_firstPiece);

    internal static Histogram<double> TimePerOutputChunk { get; } = Seconds(
        "gen_ai.client.operation.time_per_output_chunk", "Time between the pieces of a streaming request.", s_nextPiece);

    internal static Histogram<double> RequestDuration { get; } = Seconds("gen_ai.server.request.duration",
        "From the request to its last token.", Doubling(0.01, 2));

    internal static Histogram<double> TimeToFirstToken { get; } = Seconds(
        "gen_ai.server.time_to_first_token", "From the request to its first token.", s_firstPiece);

    internal static Histogram<double> TimePerOutputToken { get; } = Seconds(
        "gen_ai.server.time_per_output_token", "Time per token after the first.", s_nextPiece);

    internal static ObservableGauge<double> CacheUsage { get; } = Meter.CreateObservableGauge(
        "skylight.kv_cache.usage",
        () => Observe(load => load.PageCount == 0 ? 0 : (double)load.UsedPages / load.PageCount), "1",
        "The part of the key-value cache's pages in use.");

    internal static ObservableGauge<long> QueueLength { get; } = Meter.CreateObservableGauge(
        "skylight.queue.length", () => Observe(load => (long)load.WaitingRequests), "{request}",
        "Requests that wait for room in the key-value cache.");

    /// <summary>Lets the gauges show a model until the result is disposed, or the model forgotten.</summary>
    internal static IDisposable Observe(ChatModel model)
    {
        var watch = new Watch(model);
        lock (_gate)
        {
            _watches.RemoveAll(other => !other.Model.TryGetTarget(out _));
            _watches.Add(watch);
        }

        return watch;
    }

    private static Measurement<T>[] Observe<T>(Func<GenerationLoad, T> value)
        where T : struct
    {
        Watch[] watches;
        lock (_gate)
            watches = [.. _watches];
        return [.. watches.Select(watch => watch.Model.TryGetTarget(out ChatModel? model) ? model : null)
            .OfType<ChatModel>().Distinct()
            .Select(model =>
                new Measurement<T>(value(model.Load), new KeyValuePair<string, object?>(GenAi.RequestModel, model.Name)))];
    }

    private static Histogram<double> Seconds(string name, string description, IReadOnlyList<double> boundaries) =>
        Meter.CreateHistogram(name, "s", description, tags: null,
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = boundaries });

    /// <summary>The 14 boundaries that the conventions advise.</summary>
    private static double[] Doubling(double first, double factor) =>
        [.. Enumerable.Range(0, 14).Select(power => Math.Round(first * Math.Pow(factor, power), 2))];

    private sealed class Watch(ChatModel model) : IDisposable
    {
        public WeakReference<ChatModel> Model { get; } = new(model);

        public void Dispose()
        {
            lock (_gate)
                _watches.Remove(this);
        }
    }
}

/// <summary>Names of attributes.</summary>
internal static class GenAi
{
    public const string Chat = "chat", ExecuteTool = "execute_tool";

    public const string OperationName = "gen_ai.operation.name", Provider = "gen_ai.provider.name",
        OutputType = "gen_ai.output.type", TokenType = "gen_ai.token.type";

    public const string RequestModel = "gen_ai.request.model", RequestStream = "gen_ai.request.stream",
        RequestMaxTokens = "gen_ai.request.max_tokens",
        RequestTemperature = "gen_ai.request.temperature", RequestTopP = "gen_ai.request.top_p",
        RequestTopK = "gen_ai.request.top_k",
        RequestSeed = "gen_ai.request.seed", RequestStopSequences = "gen_ai.request.stop_sequences";

    public const string ResponseId = "gen_ai.response.id", ResponseModel = "gen_ai.response.model",
        ResponseFinishReasons = "gen_ai.response.finish_reasons";

    public const string InputTokens = "gen_ai.usage.input_tokens", OutputTokens = "gen_ai.usage.output_tokens",
        ReasoningTokens = "gen_ai.usage.reasoning.output_tokens",
        CachedTokens = "gen_ai.usage.cache_read.input_tokens",
        ImageTokens = "skylight.usage.image_tokens";

    public const string InputMessages = "gen_ai.input.messages", OutputMessages = "gen_ai.output.messages";

    public const string ErrorType = "error.type";
}
