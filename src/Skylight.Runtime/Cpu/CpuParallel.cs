using System.Runtime.ExceptionServices;

namespace Skylight.Cpu;

/// <summary>
/// A parallel loop on persistent background threads, cheap enough (a few microseconds) for single kernels.
/// </summary>
/// <remarks>
/// Workers spin for a short while after a loop, because kernels follow each other closely, and then block.
/// The caller works too and never waits for a worker that has not started. A loop inside a loop, and a loop
/// started while another thread's loop runs, run inline on their own thread, so any caller is safe.
/// </remarks>
public static class CpuParallel
{
    // Ownership of the workers, so that two callers never share one loop's fields.
    private static int _owner;

    // epoch << 17 | open << 16 | workers inside. A worker enters only by a compare-and-swap of the value in
    // which it saw the loop open, so the fields below cannot change while any worker is inside.
    private static long _state;
    private const long OpenBit = 1L << 16;
    private const long InsideMask = OpenBit - 1;
    private const int EpochShift = 17;

    private static Action<int, int>? _body;
    private static int _count;
    private static int _chunk;
    private static int _workerLimit;
    private static int _next;
    private static ExceptionDispatchInfo? _failure;

    private static readonly Lock WorkerLock = new();
    private static Worker[] _workers = [];
    private static int _threadCount = Environment.ProcessorCount;

    [ThreadStatic]
    private static bool _insideLoop;

    // Of the device whose kernel this thread runs; 0 for none.
    [ThreadStatic]
    private static int _limit;

    /// <summary>The number of threads that a loop may use, the caller included; at least 1.</summary>
    internal static int ThreadCount
    {
        get => _limit > 0 ? Math.Min(_limit, _threadCount) : _threadCount;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, 1024);
            _threadCount = value;
        }
    }

    /// <summary>
    /// The most threads of the loops that this thread starts; 0 for no limit of its own. Gives what was there before.
    /// </summary>
    internal static int SetLimit(int limit)
    {
        int before = _limit;
        _limit = limit;
        return before;
    }

    /// <summary>Runs <paramref name="body"/> for every index in [0, count), in no particular order.</summary>
    public static void For(int count, Action<int> body) => For(count, ThreadCount, body);

    /// <summary>
    /// Runs <paramref name="body"/> for every index in [0, count) on at most <paramref name="maxThreads"/> threads.
    /// </summary>
    internal static void For(int count, int maxThreads, Action<int> body)
    {
        if (RunsInline(count, maxThreads))
        {
            for (int index = 0; index < count; index++)
                body(index);
            return;
        }
        Run(count, 1, maxThreads, (start, end) =>
        {
            for (int index = start; index < end; index++)
                body(index);
        });
    }

    /// <summary>
    /// Runs <paramref name="body"/>(start, end) over ranges that cover [0, count); a range holds at least
    /// <paramref name="grain"/> indices (the last may be shorter), and starts at a multiple of it.
    /// </summary>
    internal static void ForRange(int count, int grain, Action<int, int> body)
    {
        if (count <= 0)
            return;
        if (RunsInline((count + grain - 1) / grain, ThreadCount))
        {
            body(0, count);
            return;
        }
        Run(count, grain, ThreadCount, body);
    }

    private static bool RunsInline(int pieces, int maxThreads) =>
        pieces <= 1 || maxThreads <= 1 || ThreadCount <= 1 || _insideLoop;

    private static void Run(int count, int grain, int maxThreads, Action<int, int> body)
    {
        if (Interlocked.CompareExchange(ref _owner, 1, 0) != 0)
        {
            body(0, count);
            return;
        }
        int threads = Math.Min(maxThreads, ThreadCount);
        EnsureWorkers(threads - 1);
        // A few chunks per thread level out their different speeds; a claim costs a contended increment.
        int pieces = (count + grain - 1) / grain;
        _chunk = Math.Max(1, pieces / (threads * 16)) * grain;
        _body = body;
        _count = count;
        _next = 0;
        _failure = null;
        _workerLimit = threads - 1;
        long epoch = (Volatile.Read(ref _state) >> EpochShift) + 1;
        Interlocked.Exchange(ref _state, (epoch << EpochShift) | OpenBit);
        Worker[] workers = _workers;
        for (int i = 0; i < threads - 1; i++)
            workers[i].Wake();

        Work();

        Interlocked.And(ref _state, ~OpenBit);
        var wait = new SpinWait();
        while ((Volatile.Read(ref _state) & InsideMask) != 0)
            wait.SpinOnce(sleep1Threshold: -1);
        ExceptionDispatchInfo? failure = _failure;
        _body = null;
        _failure = null;
        Volatile.Write(ref _owner, 0);
        failure?.Throw();
    }

    private static void Work()
    {
        _insideLoop = true;
        try
        {
            int count = _count, chunk = _chunk;
            while (true)
            {
                int start = Interlocked.Add(ref _next, chunk) - chunk;
                if (start >= count || start < 0)
                    return;
                _body!(start, Math.Min(count, start + chunk));
            }
        }
#pragma warning disable CA1031 // Every exception belongs to the caller, who rethrows it.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(exception), null);
            Interlocked.Exchange(ref _next, _count);
        }
        finally
        {
            _insideLoop = false;
        }
    }

    private static void EnsureWorkers(int count)
    {
        if (_workers.Length >= count)
            return;
        lock (WorkerLock)
        {
            var workers = new Worker[count];
            Array.Copy(_workers, workers, _workers.Length);
            for (int i = _workers.Length; i < count; i++)
                workers[i] = new Worker(i);
            _workers = workers;
        }
    }

    private sealed class Worker
    {
        // Roughly 30 µs: longer than the gap between two kernels of a step, short enough not to disturb others.
        private static readonly long SpinTicks = System.Diagnostics.Stopwatch.Frequency * 30 / 1_000_000;

        private readonly SemaphoreSlim _signal = new(0);
        private long _epoch;
        private int _asleep;

        public Worker(int index)
        {
            var thread = new Thread(Loop) { IsBackground = true, Name = $"Skylight CPU {index + 1}" };
            thread.Start();
        }

        public void Wake()
        {
            // The caller's exchange of the state is a full fence, and so is the worker's of _asleep: one of
            // the two sees the other's write.
            if (Volatile.Read(ref _asleep) != 0 && Interlocked.Exchange(ref _asleep, 0) != 0)
                _signal.Release();
        }

        private void Loop()
        {
            while (true)
            {
                WaitForLoop();
                TryEnterAndWork();
            }
        }

        private bool SeesNewLoop()
        {
            long state = Volatile.Read(ref _state);
            return (state & OpenBit) != 0 && state >> EpochShift != _epoch;
        }

        private void WaitForLoop()
        {
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            while (!SeesNewLoop())
            {
                Thread.SpinWait(8);
                if (System.Diagnostics.Stopwatch.GetTimestamp() - start < SpinTicks)
                    continue;
                Interlocked.Exchange(ref _asleep, 1);
                if (!SeesNewLoop() || Interlocked.Exchange(ref _asleep, 0) == 0)
                    _signal.Wait();
                start = System.Diagnostics.Stopwatch.GetTimestamp();
            }
        }

        private void TryEnterAndWork()
        {
            while (true)
            {
                long state = Volatile.Read(ref _state);
                if ((state & OpenBit) == 0)
                    return;
                _epoch = state >> EpochShift;
                if ((state & InsideMask) >= Volatile.Read(ref _workerLimit))
                    return;
                if (Interlocked.CompareExchange(ref _state, state + 1, state) != state)
                    continue;
                Work();
                Interlocked.Decrement(ref _state);
                return;
            }
        }
    }
}
