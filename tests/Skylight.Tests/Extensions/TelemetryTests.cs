using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Skylight.Chat;
using Skylight.Extensions.AI;
using Skylight.Generation;
using ChatRole = Microsoft.Extensions.AI.ChatRole;

namespace Skylight.Tests.Extensions;

/// <summary>Spans, metrics and log, with a model whose name no other test uses.</summary>
public sealed class TelemetryTests : IDisposable
{
    private const string Name = "telemetry-model", Secret = "xyzzy plugh";

    private readonly ChatModel _model = ExtensionModel.Create(Name);
    private readonly RecordingLogger<SkylightChatClient> _logger = new();
    private readonly ConcurrentQueue<Activity> _spans = new();
    private readonly ConcurrentQueue<(string Name, double Value, Dictionary<string, object?> Tags)> _measurements = new();
    private readonly ActivityListener _activities = new();
    private readonly MeterListener _meters = new();
    private readonly Activity _parent = new Activity("test").Start();

    public TelemetryTests()
    {
        _activities.ShouldListenTo = source => source.Name == SkylightTelemetry.SourceName;
        _activities.Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded;
        _activities.ActivityStopped = activity =>
        {
            if (activity.TraceId == _parent.TraceId)
                _spans.Enqueue(activity);
        };
        ActivitySource.AddActivityListener(_activities);
        _meters.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == SkylightTelemetry.SourceName)
                listener.EnableMeasurementEvents(instrument);
        };
        _meters.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, value, tags));
        _meters.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags));
        _meters.Start();
    }

    private static ChatOptions Options => new()
    {
        Temperature = 0.5f,
        TopP = 0.75f,
        TopK = 50,
        Seed = 3,
        MaxOutputTokens = 6,
        StopSequences = ["\u0001"],
        Reasoning = new() { Effort = ReasoningEffort.High },
    };

    public void Dispose()
    {
        _meters.Dispose();
        _activities.Dispose();
        _parent.Dispose();
        _model.Dispose();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_request_is_a_span_with_the_conventions_attributes(bool isStreaming)
    {
        using var client = new SkylightChatClient(_model, logger: _logger);
        ChatMessage[] messages = [
            new(ChatRole.User, [new DataContent(ExtensionModel.Png(1, 2, 3), "image/png"), new TextContent(Secret)])];
        ChatResponse response = isStreaming
            ? await client.GetStreamingResponseAsync(messages, Options)
            .ToChatResponseAsync(TestContext.Current.CancellationToken)
            : await client.GetResponseAsync(messages, Options, TestContext.Current.CancellationToken);

        Activity span = Assert.Single(_spans);
        Assert.Equal(($"chat {Name}", ActivityKind.Internal, ActivityStatusCode.Unset),
            (span.DisplayName, span.Kind, span.Status));
        Assert.Equal(_parent.SpanId, span.ParentSpanId);
        Assert.Equal(SkylightTelemetry.SourceName, span.Source.Name);
        var expected = new Dictionary<string, object?>
        {
            ["gen_ai.operation.name"] = "chat",
            ["gen_ai.provider.name"] = "skylight",
            ["gen_ai.request.model"] = Name,
            ["gen_ai.request.stream"] = isStreaming,
            ["gen_ai.request.max_tokens"] = 6,
            ["gen_ai.request.temperature"] = 0.5,
            ["gen_ai.request.top_p"] = 0.75,
            ["gen_ai.request.top_k"] = 50.0,
            ["gen_ai.request.seed"] = 3L,
            ["gen_ai.output.type"] = "text",
            ["gen_ai.response.id"] = response.ResponseId,
            ["gen_ai.response.model"] = Name,
            ["gen_ai.usage.input_tokens"] = (int)response.Usage!.InputTokenCount!,
            ["gen_ai.usage.output_tokens"] = 6,
            ["gen_ai.usage.reasoning.output_tokens"] = 6,
            ["gen_ai.usage.cache_read.input_tokens"] = 0,
            ["skylight.usage.image_tokens"] = ExtensionModel.TokensPerTile,
        };
        Dictionary<string, object?> tags = span.TagObjects.ToDictionary(tag => tag.Key, tag => tag.Value);
        Assert.Equal(["\u0001"], Assert.IsType<string[]>(tags["gen_ai.request.stop_sequences"]));
        Assert.Equal(["length"], Assert.IsType<string[]>(tags["gen_ai.response.finish_reasons"]));
        tags.Remove("gen_ai.request.stop_sequences");
        tags.Remove("gen_ai.response.finish_reasons");
        Assert.Equal(expected.OrderBy(tag => tag.Key, StringComparer.Ordinal),
            tags.OrderBy(tag => tag.Key, StringComparer.Ordinal));

        Assert.Equal([1, 2], _logger.Entries.Select(entry => entry.Event));
        Assert.DoesNotContain(_logger.Entries, entry => entry.Text.Contains(Secret, StringComparison.Ordinal)
            || entry.Level > LogLevel.Debug);
    }

    [Fact]
    public async Task A_request_is_measured()
    {
        using var client = new SkylightChatClient(_model);
        ChatResponse response = await client.GetResponseAsync(Secret, Options, TestContext.Current.CancellationToken);
        Dictionary<string, (double Value, Dictionary<string, object?> Tags)> one = _measurements.Where(
            measured => measured.Name != "gen_ai.client.token.usage")
            .ToDictionary(measured => measured.Name, measured => (measured.Value, measured.Tags));
        Assert.Equal(
            ["gen_ai.client.operation.duration", "gen_ai.server.request.duration",
                "gen_ai.server.time_per_output_token", "gen_ai.server.time_to_first_token"],
            one.Keys.Order(StringComparer.Ordinal));
        Assert.All(one.Values, measured =>
        {
            Assert.True(measured.Value > 0);
            Assert.Equal(
                ["gen_ai.operation.name=chat", "gen_ai.provider.name=skylight", $"gen_ai.request.model={Name}",
                    $"gen_ai.response.model={Name}"],
                measured.Tags.Select(tag => $"{tag.Key}={tag.Value}").Order(StringComparer.Ordinal));
        });
        Assert.True(one["gen_ai.server.time_to_first_token"].Value + 5
            * one["gen_ai.server.time_per_output_token"].Value <= one["gen_ai.server.request.duration"].Value * 1.001);
        Dictionary<string, double> tokens = _measurements.Where(measured => measured.Name == "gen_ai.client.token.usage")
            .ToDictionary(measured => (string)measured.Tags["gen_ai.token.type"]!, measured => measured.Value);
        Assert.Equal((2, (double)response.Usage!.InputTokenCount!, 6.0), (tokens.Count, tokens["input"], tokens["output"]));
    }

    [Fact]
    public async Task Pieces_of_a_stream_are_timed()
    {
        using var client = new SkylightChatClient(_model);
        int pieces = 0;
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(Secret, Options))
            pieces += update.Contents.Any(content => content is TextContent or TextReasoningContent) ? 1 : 0;
        Assert.Single(_measurements, measured => measured.Name == "gen_ai.client.operation.time_to_first_chunk");
        Assert.Equal(pieces - 1,
            _measurements.Count(measured => measured.Name == "gen_ai.client.operation.time_per_output_chunk"));
    }

    [Fact]
    public async Task A_prompt_that_was_kept_is_counted()
    {
        using var client = new SkylightChatClient(_model);
        string prompt = string.Concat(Enumerable.Repeat("A long beginning. ", 40));
        await client.GetResponseAsync(prompt, Options, TestContext.Current.CancellationToken);
        ChatResponse again = await client.GetResponseAsync(prompt, Options, TestContext.Current.CancellationToken);
        Assert.True(again.Usage!.CachedInputTokenCount > 0);
        Assert.Equal((int)again.Usage.CachedInputTokenCount!,
            _spans.Last().GetTagItem("gen_ai.usage.cache_read.input_tokens"));
    }

    /// <summary>A host that takes spans and metrics of UseOpenTelemetry and of this client has each of them once.</summary>
    [Fact]
    public async Task Nothing_is_counted_twice_behind_UseOpenTelemetry()
    {
        using var outer = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "outer",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = _spans.Enqueue,
        };
        ActivitySource.AddActivityListener(outer);
        using IChatClient client = new SkylightChatClient(_model).AsBuilder().UseOpenTelemetry(sourceName: "outer").Build();
        await client.GetResponseAsync(
            [new(ChatRole.User, [new DataContent(ExtensionModel.Png(1, 2, 3), "image/png"), new TextContent(Secret)])],
            Options,
            TestContext.Current.CancellationToken);
        Activity span = Assert.Single(_spans);
        Assert.Equal("outer", span.Source.Name);
        Assert.Equal(ExtensionModel.TokensPerTile, span.GetTagItem("skylight.usage.image_tokens"));
        Assert.DoesNotContain(_measurements,
            measured => measured.Name.StartsWith("gen_ai.client.", StringComparison.Ordinal));
        Assert.Contains(_measurements, measured => measured.Name == "gen_ai.server.request.duration");

        _spans.Clear();
        using var quiet = new SkylightChatClient(_model, new SkylightChatClientOptions { ClientTelemetry = false });
        await quiet.GetResponseAsync(Secret, Options, TestContext.Current.CancellationToken);
        Assert.Empty(_spans);
        Assert.DoesNotContain(_measurements,
            measured => measured.Name.StartsWith("gen_ai.client.", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Failures_and_cancellation_have_their_type_and_quote_nothing()
    {
        using var client = new SkylightChatClient(_model, logger: _logger);
        await Assert.ThrowsAsync<NotSupportedException>(
            () => client.GetResponseAsync([new(ChatRole.User, [new HostedFileContent(Secret)])], Options));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => client.GetResponseAsync(Secret, Options, new CancellationToken(canceled: true)));
        Assert.Equal(["System.NotSupportedException", "System.OperationCanceledException"],
            _spans.Select(span => (string)span.GetTagItem("error.type")!));
        Assert.All(_spans, span => Assert.Equal((ActivityStatusCode.Error, null), (span.Status, span.StatusDescription)));
        Assert.Equal(
            ["System.NotSupportedException", "System.OperationCanceledException"],
            _measurements.Where(measured => measured.Name == "gen_ai.client.operation.duration")
                .Select(measured => (string)measured.Tags["error.type"]!));
        Assert.Equal([1, 5, 1, 3], _logger.Entries.Select(entry => entry.Event));
        Assert.DoesNotContain(_logger.Entries, entry => entry.Text.Contains(Secret, StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_span_is_current_within_the_request_and_not_in_its_reader()
    {
        string? withinResolver = null;
        ImageUriResolver resolver = (_, _) =>
        {
            withinResolver = Activity.Current?.DisplayName;
            return ValueTask.FromResult<ReadOnlyMemory<byte>>(ExtensionModel.Png(1, 2, 3));
        };
        using var client = new SkylightChatClient(_model, new SkylightChatClientOptions { ImageUriResolver = resolver },
            _logger);
        int updates = 0;
        await foreach (
            ChatResponseUpdate _ in client.GetStreamingResponseAsync(
                [new(ChatRole.User, [new UriContent("https://example.com/a.png", "image/png"), new TextContent("?")])],
                Options))
        {
            Assert.Same(_parent, Activity.Current);
            updates++;
        }

        Assert.Same(_parent, Activity.Current);
        Assert.True(updates > 1);
        Assert.Equal($"chat {Name}", withinResolver);
        // The last entry is written long after the first yield.
        Assert.Equal([(1, $"chat {Name}"), (2, $"chat {Name}")],
            _logger.Entries.Select(entry => (entry.Event, entry.Activity!)));
    }

    [Fact]
    public async Task Abandoning_is_no_error()
    {
        using var client = new SkylightChatClient(_model, logger: _logger);
        await foreach (ChatResponseUpdate _ in client.GetStreamingResponseAsync("?", Options))
            break;
        Activity span = Assert.Single(_spans);
        Assert.Equal((ActivityStatusCode.Unset, null), (span.Status, span.GetTagItem("error.type")));
        Assert.Equal([1, 4], _logger.Entries.Select(entry => entry.Event));
    }

    [Fact]
    public async Task Text_is_captured_only_when_asked_for_and_pixels_never()
    {
        Assert.False(new SkylightChatClientOptions().CaptureContent);
        using var silent = new SkylightChatClient(_model);
        using var talking = new SkylightChatClient(_model, new SkylightChatClientOptions { CaptureContent = true });
        ChatMessage[] messages = [
            new(ChatRole.User, [new DataContent(ExtensionModel.Png(1, 2, 3), "image/png"), new TextContent(Secret)])];
        await silent.GetResponseAsync(messages, Options, TestContext.Current.CancellationToken);
        ChatResponse response = await talking.GetResponseAsync(messages, Options, TestContext.Current.CancellationToken);
        Activity[] spans = [.. _spans];
        Assert.DoesNotContain(spans[0].TagObjects, tag => tag.Key.EndsWith("messages", StringComparison.Ordinal)
            || tag.Value?.ToString()?.Contains(Secret, StringComparison.Ordinal) == true);
        Assert.Equal(
            $$"""[{"role":"user","parts":[{"type":"blob","modality":"image"},{"type":"text","content":"{{Secret}}"}]}]""", spans[1].GetTagItem("gen_ai.input.messages"));
        using System.Text.Json.JsonDocument output = System.Text.Json.JsonDocument.Parse(
            (string)spans[1].GetTagItem("gen_ai.output.messages")!);
        System.Text.Json.JsonElement part = output.RootElement[0].GetProperty("parts")[0];
        Assert.Equal("reasoning", part.GetProperty("type").GetString());
        Assert.Equal(string.Concat(response.Messages[0].Contents.OfType<TextReasoningContent>()
            .Select(content => content.Text)), part.GetProperty("content").GetString());
        Assert.Equal("length", output.RootElement[0].GetProperty("finish_reason").GetString());
    }

    [Fact]
    public async Task Gauges_show_the_cache_and_the_queue_as_long_as_there_is_a_client()
    {
        using var client = new SkylightChatClient(_model);
        using var second = new SkylightChatClient(_model);
        bool read = false;
        await foreach (ChatResponseUpdate _ in client.GetStreamingResponseAsync("?",
            new ChatOptions { MaxOutputTokens = 4000, Temperature = 1, Seed = 1 }))
        {
            if (_model.Load.UsedPages == 0)
                continue;
            GenerationLoad load = _model.Load;
            Assert.Equal((double)load.UsedPages / load.PageCount, Gauge("skylight.kv_cache.usage"), 0.5);
            Assert.True(Gauge("skylight.kv_cache.usage") > 0);
            Assert.Equal(0, Gauge("skylight.queue.length"));
            read = true;
            break;
        }

        Assert.True(read);
        client.Dispose();
        Gauge("skylight.queue.length");
        second.Dispose();
        _measurements.Clear();
        _meters.RecordObservableInstruments();
        Assert.DoesNotContain(_measurements, measured => measured.Name.StartsWith("skylight.", StringComparison.Ordinal));
    }

    [Fact]
    public void Buckets_are_the_advised_ones()
    {
        IReadOnlyList<double> seconds = SkylightTelemetry.OperationDuration.Advice!.HistogramBucketBoundaries!;
        Assert.Equal((14, 0.01, 81.92), (seconds.Count, seconds[0], seconds[^1]));
        IReadOnlyList<long> tokens = SkylightTelemetry.TokenUsage.Advice!.HistogramBucketBoundaries!;
        Assert.Equal((14, 1, 67108864), (tokens.Count, tokens[0], tokens[^1]));
    }

    private double Gauge(string name)
    {
        _measurements.Clear();
        _meters.RecordObservableInstruments();
        return Assert.Single(_measurements, measured => measured.Name == name).Value;
    }

    private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var all = new Dictionary<string, object?>(tags.ToArray());
        if (Equals(all.GetValueOrDefault("gen_ai.request.model"), Name))
            _measurements.Enqueue((instrument.Name, value, all));
    }
}
