using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Skylight.Tensors;

namespace Skylight.Bench.Soak;

/// <summary>
/// Streaming clients of a server for some minutes. Of the requests 40 % are to be left after a few pieces, unless they
/// end before, and some poison themselves with numbers that are not finite. Every answer that ends is compared with
/// that of the same request alone, every one that was left with its beginning, and every poisoned one must end with its
/// own error.
/// </summary>
internal static class SoakRun
{
    private const double Cancelling = 0.4;
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    public static async Task<int> RunAsync(string[] arguments)
    {
        double minutes = 10;
        int clients = 64;
        string? output = null;
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string value = index + 1 < arguments.Length ? arguments[index + 1] : "";
            bool isRead = arguments[index] switch
            {
                "--minutes" => double.TryParse(value, CultureInfo.InvariantCulture, out minutes) && minutes > 0,
                "--clients" => int.TryParse(value, CultureInfo.InvariantCulture, out clients) && clients > 0,
                "--output" => (output = value).Length > 0,
                _ => false,
            };
            if (!isRead)
            {
                Console.Error.WriteLine(
                    $"'{arguments[index]} {value}' is not understood. Usage: soak [--minutes 10] [--clients 64] [--output PATH]");
                return 2;
            }
        }

        SoakServer server = await SoakServer.StartAsync();
        await using (server)
        {
            using var client = new HttpClient(
                new SocketsHttpHandler
                {
                    ResponseDrainTimeout = TimeSpan.Zero,
                    MaxConnectionsPerServer = 2 * clients,
                })
            { BaseAddress = server.Address, Timeout = Timeout.InfiniteTimeSpan };
            SoakRequest[] requests = SoakRequest.All(server);
            foreach (SoakRequest request in requests)
            {
                Answer alone = await AskAsync(client, request, int.MaxValue);
                if (alone.End != (request.IsPoisoned ? End.Failed : End.Whole))
                    throw new InvalidOperationException(
                        $"Alone, a request ended as {alone.End}: {alone.Fault ?? request.Body.ToJsonString()}");
                request.Expected = alone.Text;
            }

            var tally = new Tally();
            using var time = new CancellationTokenSource(TimeSpan.FromMinutes(minutes));
            var memory = new List<MemorySample>();
            Task watching = WatchAsync(memory, tally, time.Token);
            await Task.WhenAll(Enumerable.Range(0, clients)
                .Select(number => ClientAsync(client, requests, number, tally, time.Token)));
            await watching;
            bool isIdle = await server.BecomesIdleAsync();
            (long first, long last) = Ends(memory);
            BenchmarkReport.Write("soak.json", $"soak {string.Join(' ', arguments)}".Trim(), json =>
            {
                json.WriteNumber("minutes", minutes);
                json.WriteNumber("clients", clients);
                json.WriteNumber("whole_answers", tally.Whole);
                json.WriteNumber("left_answers", tally.Left);
                json.WriteNumber("poisoned_requests", tally.Poisoned);
                json.WriteNumber("lost_or_mixed_answers", tally.Faults.Count);
                json.WriteBoolean("idle_afterwards", isIdle);
                json.WriteNumber("resident_bytes_after_warm_up", first);
                json.WriteNumber("resident_bytes_at_the_end", last);
                json.WriteStartArray("memory");
                foreach (MemorySample sample in memory)
                {
                    json.WriteStartObject();
                    json.WriteNumber("seconds", Math.Round(sample.Seconds));
                    json.WriteNumber("resident_bytes", sample.Resident);
                    json.WriteNumber("managed_bytes", sample.Managed);
                    json.WriteNumber("managed_committed_bytes", sample.Committed);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            }, output);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{tally.Whole} answers whole, {tally.Left} left by their clients, {tally.Poisoned} poisoned; {tally.Faults.Count} lost or mixed; {(isIdle ? "idle afterwards" : "STILL BUSY afterwards")}; "
                + $"resident {first / 1e6:0} MB after warm-up (median of the second quarter), {last / 1e6:0} MB at the end (of the last)"));
            foreach (string fault in tally.Faults.Take(10))
                Console.WriteLine(fault);
            return tally.Faults.IsEmpty && isIdle && tally is { Whole: > 0, Left: > 0, Poisoned: > 0 } ? 0 : 1;
        }
    }

    private static async Task ClientAsync(HttpClient client, SoakRequest[] requests, int number, Tally tally,
        CancellationToken time)
    {
        var random = new CounterRandom(7, (ulong)number);
        while (!time.IsCancellationRequested)
        {
            SoakRequest request = requests[random.Next(requests.Length)];
            int patience = random.NextSingle() < Cancelling ? random.Next(8) : int.MaxValue;
            Answer answer = await AskAsync(client, request, patience);
            tally.Add(request, answer);
        }
    }

    /// <summary>Asks, and leaves after so many pieces.</summary>
    private static async Task<Answer> AskAsync(HttpClient client, SoakRequest request, int patience)
    {
        var text = new StringBuilder();
        using var limit = new CancellationTokenSource(s_patience);
        try
        {
            using var content = new ByteArrayContent(request.ToJson());
            content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            using var message = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = content };
            // Who has no patience at all does not wait for the first piece either.
            using CancellationTokenSource leaving = CancellationTokenSource.CreateLinkedTokenSource(limit.Token);
            if (patience == 0)
                leaving.CancelAfter(TimeSpan.FromMilliseconds(5));
            using HttpResponseMessage response = await client.SendAsync(message,
                HttpCompletionOption.ResponseHeadersRead, leaving.Token);
            if (!response.IsSuccessStatusCode)
                return FailureOf(await response.Content.ReadAsStringAsync(limit.Token), "");
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(leaving.Token));
            string? reason = null;
            while (await reader.ReadLineAsync(leaving.Token) is { } line)
            {
                if (line.Length == 0)
                    continue;
                if (line == "data: [DONE]")
                    return reason is null ? new Answer(End.Lost, text.ToString(), "[DONE] without a finish_reason")
                        : new Answer(End.Whole, text.ToString());
                if (!line.StartsWith("data: {", StringComparison.Ordinal))
                    return new Answer(End.Lost, text.ToString(), $"no event: {line}");
                using JsonDocument piece = JsonDocument.Parse(line["data: ".Length..]);
                if (piece.RootElement.TryGetProperty("error", out _))
                    return FailureOf(line["data: ".Length..], text.ToString());
                JsonElement choice = piece.RootElement.GetProperty("choices")[0];
                if (choice.GetProperty("delta").TryGetProperty("content", out JsonElement delta))
                    text.Append(delta.GetString());
                reason ??= choice.GetProperty("finish_reason").GetString();
                if (--patience <= 0)
                    return new Answer(End.Left, text.ToString());
            }

            return new Answer(End.Lost, text.ToString(), "the stream ended without [DONE]");
        }
        catch (OperationCanceledException) when (patience == 0 && !limit.IsCancellationRequested)
        {
            return new Answer(End.Left, "");
        }
        catch (Exception exception)
            when (exception is OperationCanceledException or HttpRequestException or IOException or JsonException)
        {
            return new Answer(End.Lost, text.ToString(), exception.Message);
        }
    }

    private static Answer FailureOf(string json, string text)
    {
        using JsonDocument body = JsonDocument.Parse(json);
        string? code = body.RootElement.GetProperty("error").GetProperty("code").GetString();
        return code == "model_error" ? new Answer(End.Failed, text) : new Answer(End.Lost, text, json);
    }

    private static async Task WatchAsync(List<MemorySample> memory, Tally tally, CancellationToken time)
    {
        long start = Stopwatch.GetTimestamp();
        using var process = Process.GetCurrentProcess();
        while (!time.IsCancellationRequested)
        {
            await Task.Delay(TimeSpan.FromSeconds(2), time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            process.Refresh();
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            memory.Add(new MemorySample(seconds, process.WorkingSet64, GC.GetTotalMemory(forceFullCollection: false),
                GC.GetGCMemoryInfo().TotalCommittedBytes));
            if (memory.Count % 15 == 0)
                Console.WriteLine(
                    string.Create(CultureInfo.InvariantCulture,
                        $"{seconds,5:0} s: {tally.Whole} whole, {tally.Left} left, {tally.Poisoned} poisoned, {tally.Faults.Count} lost or mixed, {process.WorkingSet64 / 1e6:0} MB, {memory[^1].Committed / 1e6:0} of it managed"));
        }
    }

    /// <summary>The medians of the second quarter, after the warm-up, and of the last one.</summary>
    private static (long First, long Last) Ends(List<MemorySample> memory)
    {
        int quarter = Math.Max(1, memory.Count / 4);
        return (Median(memory.Skip(quarter).Take(quarter)), Median(memory.TakeLast(quarter)));

        static long Median(IEnumerable<MemorySample> samples)
        {
            long[] sorted = [.. samples.Select(sample => sample.Resident).Order()];
            return sorted.Length == 0 ? 0 : sorted[sorted.Length / 2];
        }
    }

    /// <summary>The process at a moment.</summary>
    /// <param name="Seconds">Since the clients began.</param>
    /// <param name="Resident">Bytes in memory.</param>
    /// <param name="Managed">Bytes of managed objects, dead ones among them.</param>
    /// <param name="Committed">Bytes that the garbage collector holds.</param>
    private sealed record MemorySample(double Seconds, long Resident, long Managed, long Committed);

    private enum End
    {
        /// <summary>With all its marks.</summary>
        Whole,

        /// <summary>By the client.</summary>
        Left,

        /// <summary>With the error of a model whose numbers are not finite.</summary>
        Failed,

        /// <summary>In any other way.</summary>
        Lost,
    }

    private sealed record Answer(End End, string Text, string? Fault = null);

    /// <summary>What has come of all requests.</summary>
    private sealed class Tally
    {
        private long _whole;
        private long _left;
        private long _poisoned;

        public long Whole => Interlocked.Read(ref _whole);

        public long Left => Interlocked.Read(ref _left);

        public long Poisoned => Interlocked.Read(ref _poisoned);

        public ConcurrentQueue<string> Faults { get; } = [];

        public void Add(SoakRequest request, Answer answer)
        {
            bool isRight = answer.End switch
            {
                End.Whole => !request.IsPoisoned && answer.Text == request.Expected,
                End.Failed => request.IsPoisoned && answer.Text == request.Expected,
                End.Left => request.Expected.StartsWith(answer.Text, StringComparison.Ordinal),
                _ => false,
            };
            if (!isRight)
                Faults.Enqueue(
                    $"{answer.End}{(request.IsPoisoned ? ", poisoned" : "")}: {answer.Fault} '{answer.Text}' instead of '{request.Expected}'");
            else if (answer.End == End.Left)
                Interlocked.Increment(ref _left);
            else
                Interlocked.Increment(ref request.IsPoisoned ? ref _poisoned : ref _whole);
        }
    }
}
