using System.Globalization;
using System.Text;
using Skylight.Chat;
using Skylight.Generation;

namespace Skylight.Server;

/// <summary>Counts what a server does, for Prometheus (text format 0.0.4). Safe for use by several threads.</summary>
internal sealed class ServerMetrics
{
    private static readonly double[] Bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

    private readonly Lock _gate = new();
    private readonly SortedDictionary<int, long> _requests = [];
    private readonly Histogram _firstToken = new(Bounds), _duration = new(Bounds);
    private long _promptTokens, _imageTokens, _cachedTokens, _completionTokens, _thinkingTokens,
        _guessedTokens, _acceptedTokens;
    private int _running;

    /// <summary>A request came.</summary>
    public void Begin() => Interlocked.Increment(ref _running);

    /// <summary>A request has its answer, or the reason why not.</summary>
    public void End(int status, TimeSpan duration)
    {
        lock (_gate)
        {
            _requests[status] = _requests.GetValueOrDefault(status) + 1;
            _duration.Add(duration.TotalSeconds);
        }

        // At the end: who sees that nothing runs sees all that ran.
        Interlocked.Decrement(ref _running);
    }

    /// <summary>An answer is complete.</summary>
    public void Add(Usage usage)
    {
        lock (_gate)
        {
            _promptTokens += usage.PromptTokens;
            _imageTokens += usage.ImageTokens;
            _cachedTokens += usage.CachedTokens;
            _completionTokens += usage.CompletionTokens;
            _thinkingTokens += usage.ThinkingTokens;
            _guessedTokens += usage.GuessedTokens;
            _acceptedTokens += usage.AcceptedTokens;
            _firstToken.Add(usage.TimeToFirstToken.TotalSeconds);
        }
    }

    /// <summary>All of it.</summary>
    /// <param name="load">What goes on.</param>
    public string Format(GenerationLoad load)
    {
        var text = new StringBuilder();
        lock (_gate)
        {
            Header(text, "skylight_requests_total", "counter",
                "Requests for answers and tokens, by HTTP status (499: the client went away).");
            foreach ((int status, long count) in _requests)
                text.Append(CultureInfo.InvariantCulture, $"skylight_requests_total{{status=\"{status}\"}} {count}\n");
            Single(text, "skylight_requests_running", "gauge", "Requests for answers and tokens that have no end yet.",
                Volatile.Read(ref _running));
            Single(text, "skylight_prompt_tokens_total", "counter",
                "Tokens of prompts of complete answers, those of pictures included.", _promptTokens);
            Single(text, "skylight_image_tokens_total", "counter", "Tokens of prompts that stand for pictures.",
                _imageTokens);
            Single(text, "skylight_cached_tokens_total", "counter",
                "Tokens of prompts that were still in the key-value cache.", _cachedTokens);
            Single(text, "skylight_completion_tokens_total", "counter", "Tokens of complete answers.", _completionTokens);
            Single(text, "skylight_thinking_tokens_total", "counter",
                "Tokens of complete answers that are in the think block.", _thinkingTokens);
            Single(text, "skylight_guessed_tokens_total", "counter",
                "Tokens of complete answers that were guessed and run in one pass with others.", _guessedTokens);
            Single(text, "skylight_accepted_tokens_total", "counter", "Those of them that were right.", _acceptedTokens);
            Single(text, "skylight_queue_length", "gauge", "Answers that wait for room in the key-value cache.",
                load.WaitingRequests);
            Single(text, "skylight_prompts_reading", "gauge", "Prompts that are being read.", load.ReadingRequests);
            Single(text, "skylight_answers_writing", "gauge", "Answers that are being written.", load.WritingSequences);
            Single(text, "skylight_cache_pages_used", "gauge", "Pages of the key-value cache in use.", load.UsedPages);
            Single(text, "skylight_cache_pages", "gauge", "Pages of the key-value cache.", load.PageCount);
            Single(text, "skylight_image_cache_bytes", "gauge", "Bytes of image features kept for later requests.",
                load.ImageCacheBytes);
            _firstToken.Format(text, "skylight_time_to_first_token_seconds",
                "From the request to the first token of an answer: pictures, waiting and prompt.");
            _duration.Format(text, "skylight_request_duration_seconds", "From the request to the end of its answer.");
        }

        return text.ToString();
    }

    private static void Header(StringBuilder text, string name, string type, string help) =>
        text.Append(CultureInfo.InvariantCulture, $"# HELP {name} {help}\n# TYPE {name} {type}\n");

    private static void Single(StringBuilder text, string name, string type, string help, long value)
    {
        Header(text, name, type, help);
        text.Append(CultureInfo.InvariantCulture, $"{name} {value}\n");
    }

    /// <summary>How many values lie below each bound.</summary>
    private sealed class Histogram(double[] bounds)
    {
        private readonly long[] _counts = new long[bounds.Length + 1];
        private double _sum;

        public void Add(double value)
        {
            int bucket = 0;
            while (bucket < bounds.Length && value > bounds[bucket])
                bucket++;
            _counts[bucket]++;
            _sum += value;
        }

        public void Format(StringBuilder text, string name, string help)
        {
            Header(text, name, "histogram", help);
            long total = 0;
            for (int bucket = 0; bucket < _counts.Length; bucket++)
            {
                total += _counts[bucket];
                string bound = bucket < bounds.Length ? bounds[bucket].ToString(CultureInfo.InvariantCulture) : "+Inf";
                text.Append(CultureInfo.InvariantCulture, $"{name}_bucket{{le=\"{bound}\"}} {total}\n");
            }

            text.Append(CultureInfo.InvariantCulture, $"{name}_sum {_sum}\n{name}_count {total}\n");
        }
    }
}
