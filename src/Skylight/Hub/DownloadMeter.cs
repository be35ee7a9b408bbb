using System.Diagnostics;

namespace Skylight.Hub;

/// <summary>Adds up what several downloads have, and reports it some times a second.</summary>
/// <param name="repository">Of which repository.</param>
/// <param name="length">All bytes that were missing.</param>
/// <param name="progress">Who is told.</param>
internal sealed class DownloadMeter(string repository, long length, IProgress<HubProgress>? progress)
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(200);

    private readonly Lock _gate = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private long _bytes, _received, _last;

    /// <summary>What has come over the network, what had to be thrown away included.</summary>
    public long Received => Interlocked.Read(ref _received);

    /// <summary>Counts bytes of a file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="there">What there is of it now.</param>
    /// <param name="change">What is more, or with a minus less, than before.</param>
    /// <param name="isReceived">Whether they came just now.</param>
    public void Add(HubFile file, long there, long change, bool isReceived)
    {
        lock (_gate)
        {
            _bytes += change;
            _received += isReceived ? change : 0;
            if (_last != 0 && Stopwatch.GetElapsedTime(_last) < s_pause)
                return;
            _last = Stopwatch.GetTimestamp();
            Report(file, there, isComplete: false, note: null);
        }
    }

    /// <summary>A file is there and checked.</summary>
    public void Complete(HubFile file)
    {
        lock (_gate)
            Report(file, file.Length, isComplete: true, note: null);
    }

    /// <summary>Something to be told.</summary>
    public void Tell(HubFile file, string note)
    {
        lock (_gate)
            Report(file, 0, isComplete: false, note);
    }

    private void Report(HubFile file, long there, bool isComplete, string? note) => progress?.Report(
        new HubProgress(repository, file.Path, there, file.Length, _bytes, length,
            _received / Math.Max(1e-3, Stopwatch.GetElapsedTime(_start).TotalSeconds),
            note)
        { IsFileComplete = isComplete });
}
