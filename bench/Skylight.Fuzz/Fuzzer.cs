using System.Diagnostics;
using System.IO.Hashing;

namespace Skylight.Fuzz;

/// <summary>
/// Reads spoilt inputs one after the other. An input that takes new branches is spoilt further. Every fault is kept as
/// a file: an exception that is not documented, more than a second, more memory than the target's limit. An input that
/// ends the process, or takes more than half a minute, is kept as well.
/// </summary>
/// <param name="target">What reads.</param>
/// <param name="seed">Everything random follows from it.</param>
/// <param name="failures">The folder of inputs that are faults; made with the first. Null for none.</param>
internal sealed class Fuzzer(FuzzTarget target, int seed, string? failures)
{
    /// <summary>The longest time of an input.</summary>
    public static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(1);

    private const int MostBytes = 1 << 16, MostFilesOfAKind = 5;
    private static readonly TimeSpan s_hangLimit = TimeSpan.FromSeconds(30);

    private readonly SortedDictionary<string, long> _faults = new(StringComparer.Ordinal);
    private readonly Random _random = new(seed);
    private byte[] _current = [];
    private long _started;
    private long _refused, _largest;
    private double _slowest, _share;

    /// <summary>Reads so many inputs, or for so long, whichever ends first.</summary>
    public FuzzResult Run(long inputs, TimeSpan time)
    {
        var coverage = new Coverage();
        using var watch = new Timer(_ => KeepIfItHangs(), null, s_hangLimit, TimeSpan.FromSeconds(5));
        var mutator = new Mutator(target.Words);
        List<byte[]> corpus = [.. target.Seeds];
        // What is loaded for the first time is no input's fault; and most of what is spoilt must have been right.
        List<byte[]> read = [.. corpus.Where(IsRead)];
        if (read.Count * 2 <= corpus.Count)
            throw new InvalidOperationException(
                $"{target.Name}: half of the {corpus.Count} inputs to begin with are refused.");
        coverage.IsNew();

        long count = 0, start = Stopwatch.GetTimestamp();
        for (; count < inputs && Stopwatch.GetElapsedTime(start) < time; count++)
        {
            // Half of the time one that was read to its end, and of the others half of the time one of those that were
            // found last.
            byte[] parent = _random.Next(2) == 0 ? read[_random.Next(read.Count)]
                : corpus[_random.Next(2) == 0 ? _random.Next(corpus.Count)
                    : corpus.Count - 1 - _random.Next(Math.Min(corpus.Count, 50))];
            byte[] input = mutator.Mutate(parent, corpus[_random.Next(corpus.Count)], MostBytes, _random);
            if (_random.Next(4) != 0)
                target.Repair(input, _random);
            bool isRead = Read(input);
            if (!coverage.IsNew())
                continue;
            corpus.Add(input);
            if (isRead)
                read.Add(input);
        }

        Volatile.Write(ref _started, 0);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return new FuzzResult(
            target.Name, seed, count, Math.Round(count / seconds, 1), _refused, corpus.Count, coverage.Branches,
            Math.Round(_slowest, 2), _largest, Math.Round(_share, 3), _faults);
    }

    private bool IsRead(byte[] input)
    {
        try
        {
            target.Run(input);
            return true;
        }
        catch (Exception exception) when (target.IsDocumented(exception))
        {
            return false;
        }
    }

    private bool Read(byte[] input)
    {
        (TimeSpan time, long bytes, Exception? exception) = Measure(input);
        // Other programs take time too; who is slow is slow three times.
        for (int again = 0; again < 2 && time > TimeLimit; again++)
            time = TimeSpan.FromTicks(Math.Min(time.Ticks, Measure(input).Time.Ticks));
        _slowest = Math.Max(_slowest, time.TotalMilliseconds);
        _largest = Math.Max(_largest, bytes);
        double share = bytes / (double)target.AllocationLimit(input.Length);
        _share = Math.Max(_share, share);
        if (exception is not null && target.IsDocumented(exception))
            _refused++;
        else if (exception is not null)
            Keep(input, Kind(exception), $"{exception}");
        if (time > TimeLimit)
            Keep(input, "slow", $"{time.TotalSeconds:F1} s");
        if (share > 1)
            Keep(input, "memory", $"{bytes} bytes of {target.AllocationLimit(input.Length)}");
        return exception is null;
    }

    private (TimeSpan Time, long Bytes, Exception? Exception) Measure(byte[] input)
    {
        _current = input;
        long start = Stopwatch.GetTimestamp(), before = GC.GetAllocatedBytesForCurrentThread();
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        Volatile.Write(ref _started, start);
        Exception? caught = null;
        try
        {
            target.Run(input);
        }
        catch (Exception exception)
        {
            caught = exception;
        }

        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
        TimeSpan time = Stopwatch.GetElapsedTime(start);
        // On a machine that others use too, an input that waits for the processor is not slow.
        return (time > TimeLimit ? Min(time, Environment.CpuUsage.TotalTime - processor) : time, bytes, caught);
    }

    private static TimeSpan Min(TimeSpan first, TimeSpan second) => first < second ? first : second;

    /// <summary>The type, and the innermost place of ours.</summary>
    private static string Kind(Exception exception)
    {
        string place = (exception.StackTrace ?? "").Split('\n')
            .FirstOrDefault(line => line.Contains("Skylight.", StringComparison.Ordinal)
                && !line.Contains("Skylight.Fuzz", StringComparison.Ordinal)) ?? "";
        int end = place.IndexOf('(', StringComparison.Ordinal);
        return $"{exception.GetType().Name} {(end < 0 ? place : place[..end]).Trim()}".Trim();
    }

    private void Keep(byte[] input, string kind, string text)
    {
        long times = _faults[kind] = _faults.GetValueOrDefault(kind) + 1;
        if (failures is null || times > MostFilesOfAKind)
            return;
        Directory.CreateDirectory(failures);
        string file = Path.Combine(failures,
            $"{target.Name.Replace(' ', '-')}-{Convert.ToHexStringLower(XxHash64.Hash(input))}");
        File.WriteAllBytes(file, input);
        File.WriteAllText(file + ".txt", $"{target.Name}: {kind}\n{text}\n");
    }

    private void KeepIfItHangs()
    {
        long started = Volatile.Read(ref _started);
        if (started == 0 || Stopwatch.GetElapsedTime(started) < s_hangLimit)
            return;
        Keep(_current, "hangs", $"more than {s_hangLimit.TotalSeconds} s");
        Environment.FailFast($"{target.Name}: an input takes more than {s_hangLimit.TotalSeconds} s.");
    }
}
