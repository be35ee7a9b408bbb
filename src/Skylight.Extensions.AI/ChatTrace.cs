using System.Diagnostics;
using System.Text;
using Microsoft.Extensions.Logging;
using Skylight.Chat;
using Skylight.Generation;

namespace Skylight.Extensions.AI;

/// <summary>One request as spans, metrics and the log see it.</summary>
internal sealed class ChatTrace : IDisposable
{
    private readonly long _start = Stopwatch.GetTimestamp();
    // Ours, or that of an OpenTelemetryChatClient before us, which has the conventions' attributes already.
    private readonly Activity? _activity, _outer;
    private readonly bool _isStreaming, _isClientMeasured;
    private readonly string _modelName;
    private readonly string _responseId;
    private readonly ILogger _logger;
    private readonly bool _captures;
    private readonly StringBuilder? _thinking, _answer;
    private readonly ToolCallCollector _calls = new();
    private TimeSpan _handedOver, _lastPiece;
    private TimeSpan? _firstPiece;
    private Usage? _usage;
    private string? _finishReason;
    private Exception? _error;

    /// <summary>Begins a request.</summary>
    public ChatTrace(string modelName, string responseId, bool isStreaming, SkylightChatClientOptions options,
        ILogger logger)
    {
        (_modelName, _responseId, _isStreaming, _logger) = (modelName, responseId, isStreaming, logger);
        _outer = OuterOf(Activity.Current);
        _isClientMeasured = options.ClientTelemetry && _outer is null;
        // Internal: the model runs in this process.
        _activity = !_isClientMeasured ? null
            : SkylightTelemetry.Source.StartActivity($"{GenAi.Chat} {modelName}", ActivityKind.Internal);
        _activity?.SetTag(GenAi.OperationName, GenAi.Chat).SetTag(GenAi.Provider, SkylightTelemetry.ProviderName)
            .SetTag(GenAi.RequestModel, modelName)
            .SetTag(GenAi.ResponseModel, modelName).SetTag(GenAi.ResponseId, responseId)
            .SetTag(GenAi.RequestStream, isStreaming);
        _captures = options.CaptureContent && _activity is { IsAllDataRequested: true };
        if (_captures)
            (_thinking, _answer) = (new StringBuilder(), new StringBuilder());
        Log.Started(_logger, responseId, modelName, isStreaming);
    }

    /// <summary>
    /// The span of a client that has counted this request already: of a chat with this provider, not one that called a
    /// tool.
    /// </summary>
    private static Activity? OuterOf(Activity? activity)
    {
        for (; activity is not null; activity = activity.Parent)
        {
            string? operation = activity.GetTagItem(GenAi.OperationName) as string;
            if (operation == GenAi.Chat)
                return activity.GetTagItem(GenAi.Provider) as string == SkylightTelemetry.ProviderName ? activity : null;
            if (operation == GenAi.ExecuteTool)
                return null;
        }

        return null;
    }

    /// <summary>
    /// To be called after every <c>yield</c>: an asynchronous iterator goes on in its caller's context, in which
    /// another activity is the current one.
    /// </summary>
    public void Resume()
    {
        if (_activity is not null)
            Activity.Current = _activity;
    }

    /// <summary>The request, as it goes to the model.</summary>
    public void Record(IReadOnlyList<Message> messages, GenerationOptions options)
    {
        _handedOver = Stopwatch.GetElapsedTime(_start);
        if (_activity is not { IsAllDataRequested: true })
            return;
        Set(GenAi.RequestMaxTokens, options.MaxOutputTokens);
        Set(GenAi.RequestTemperature, (double?)options.Temperature);
        Set(GenAi.RequestTopP, (double?)options.TopP);
        Set(GenAi.RequestTopK, (double?)options.TopK);
        Set(GenAi.RequestSeed, options.Seed is { } seed ? unchecked((long)seed) : null);
        Set(GenAi.RequestStopSequences, options.StopSequences.Count > 0 ? options.StopSequences.ToArray() : null);
        Set(GenAi.OutputType, "text");
        if (_captures)
            _activity.SetTag(GenAi.InputMessages, CapturedContent.Input(messages));
    }

    /// <summary>A piece of the answer.</summary>
    public void Record(GenerationUpdate update)
    {
        (update.Kind == UpdateKind.Thinking ? _thinking : _answer)?.Append(update.Text);
        if (_isStreaming && _isClientMeasured && update.Text.Length > 0)
            RecordPiece();
        _usage = update.Usage ?? _usage;
        _calls.Add(update.ToolCall);
        _finishReason = update.FinishReason switch
        {
            null => _finishReason,
            FinishReason.Length => "length",
            FinishReason.ToolCalls => "tool_call",
            _ => "stop",
        };
    }

    /// <summary>The request failed, or was cancelled.</summary>
    public void Fail(Exception exception) => _error = exception;

    /// <summary>The request is over, one way or another.</summary>
    public void Dispose()
    {
        TimeSpan duration = Stopwatch.GetElapsedTime(_start);
        string? errorType = _error?.GetType().FullName;
        RecordMetrics(duration, errorType);
        // Before the span ends, so that log and span can be joined.
        WriteLog(duration);
        RecordSpan(errorType);
    }

    private void RecordMetrics(TimeSpan duration, string? errorType)
    {
        TagList tags = Tags();
        if (_usage is { } usage)
        {
            SkylightTelemetry.TimeToFirstToken.Record((_handedOver + usage.TimeToFirstToken).TotalSeconds, tags);
            if (usage.CompletionTokens > 1)
                SkylightTelemetry.TimePerOutputToken.Record(
                    (usage.Duration - usage.TimeToFirstToken).TotalSeconds / (usage.CompletionTokens - 1), tags);
            if (_isClientMeasured)
            {
                RecordTokens(usage.PromptTokens, "input", tags);
                RecordTokens(usage.CompletionTokens, "output", tags);
            }
        }

        if (errorType is not null)
            tags.Add(GenAi.ErrorType, errorType);
        if (_isClientMeasured)
            SkylightTelemetry.OperationDuration.Record(duration.TotalSeconds, tags);
        SkylightTelemetry.RequestDuration.Record(
            (_usage is { } done ? _handedOver + done.Duration : duration).TotalSeconds, tags);
    }

    private TagList Tags() => new()
    {
        { GenAi.OperationName, GenAi.Chat },
        { GenAi.Provider, SkylightTelemetry.ProviderName },
        { GenAi.RequestModel, _modelName },
        { GenAi.ResponseModel, _modelName },
    };

    private void RecordPiece()
    {
        TimeSpan now = Stopwatch.GetElapsedTime(_start);
        if (_firstPiece is null)
            SkylightTelemetry.TimeToFirstChunk.Record(now.TotalSeconds, Tags());
        else
            SkylightTelemetry.TimePerOutputChunk.Record((now - _lastPiece).TotalSeconds, Tags());
        _firstPiece ??= now;
        _lastPiece = now;
    }

    private static void RecordTokens(int tokens, string type, TagList tags)
    {
        tags.Add(GenAi.TokenType, type);
        SkylightTelemetry.TokenUsage.Record(tokens, tags);
    }

    private void RecordSpan(string? errorType)
    {
        if (_usage is { } own)
            (_activity ?? _outer)?.SetTag(GenAi.ImageTokens, own.ImageTokens).SetTag(GenAi.CachedTokens, own.CachedTokens);
        if (_activity is null)
            return;
        if (_usage is { } usage)
        {
            _activity.SetTag(GenAi.InputTokens, usage.PromptTokens).SetTag(GenAi.OutputTokens, usage.CompletionTokens)
                .SetTag(GenAi.ReasoningTokens, usage.ThinkingTokens);
        }

        if (_finishReason is not null)
            _activity.SetTag(GenAi.ResponseFinishReasons, new[] { _finishReason });
        if (_answer is not null)
            _activity.SetTag(GenAi.OutputMessages,
                CapturedContent.Output(_thinking!.ToString(), _answer.ToString(), [.. _calls.All], _finishReason));
        if (errorType is not null)
        {
            // A message may quote what was asked.
            _activity.SetTag(GenAi.ErrorType, errorType)
                .SetStatus(ActivityStatusCode.Error, _captures ? _error!.Message : null);
        }

        _activity.Dispose();
    }

    private void WriteLog(TimeSpan duration)
    {
        double seconds = duration.TotalSeconds;
        if (_error is OperationCanceledException)
            Log.Cancelled(_logger, _responseId, seconds);
        else if (_error is not null)
            Log.Failed(_logger, _responseId, _error.GetType().Name, seconds);
        else if (_usage is { } usage)
            Log.Finished(_logger, _responseId, usage.PromptTokens, usage.ImageTokens, usage.CompletionTokens,
                usage.ThinkingTokens, _finishReason, usage.TimeToFirstToken.TotalSeconds, seconds);
        else
            Log.Abandoned(_logger, _responseId, seconds);
    }

    private void Set(string name, object? value)
    {
        if (value is not null)
            _activity!.SetTag(name, value);
    }
}
