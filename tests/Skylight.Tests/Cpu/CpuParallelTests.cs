using Skylight.Cpu;

namespace Skylight.Tests.Cpu;

[Collection(CpuThreadsCollection.Name)]
public sealed class CpuParallelTests : IDisposable
{
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Every_index_runs_once(int threads)
    {
        CpuParallel.ThreadCount = threads;
        for (int round = 0; round < 2000; round++)
        {
            int count = round % 97;
            var runs = new int[count];
            CpuParallel.For(count, i => Interlocked.Increment(ref runs[i]));
            Assert.All(runs, value => Assert.Equal(1, value));
            if (round % 500 == 0)
                Thread.Sleep(2); // Let the workers fall asleep.
        }
    }

    [Fact]
    public void Ranges_cover_everything_once_and_start_at_the_grain()
    {
        CpuParallel.ThreadCount = 3;
        var runs = new int[10_007];
        CpuParallel.ForRange(runs.Length, 16, (start, end) =>
        {
            Assert.Equal(0, start % 16);
            for (int i = start; i < end; i++)
                Interlocked.Increment(ref runs[i]);
        });
        Assert.All(runs, value => Assert.Equal(1, value));
    }

    [Fact]
    public void Another_thread_takes_part()
    {
        CpuParallel.ThreadCount = 2;
        int first = 0, other = 0;
        CpuParallel.For(2, _ =>
        {
            // Both indices wait for each other, so they must be on two threads.
            if (Interlocked.CompareExchange(ref first, Environment.CurrentManagedThreadId, 0) != 0)
                Volatile.Write(ref other, Environment.CurrentManagedThreadId);
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref other) != 0, TimeSpan.FromSeconds(10)));
        });
        Assert.NotEqual(first, other);
    }

    [Fact]
    public void The_thread_limit_holds()
    {
        CpuParallel.ThreadCount = 4;
        int caller = Environment.CurrentManagedThreadId;
        CpuParallel.For(100, maxThreads: 1, _ => Assert.Equal(caller, Environment.CurrentManagedThreadId));
        var seen = new System.Collections.Concurrent.ConcurrentDictionary<int, bool>();
        CpuParallel.For(200, maxThreads: 2, _ =>
        {
            seen[Environment.CurrentManagedThreadId] = true;
            Thread.SpinWait(1000);
        });
        Assert.InRange(seen.Count, 1, 2);
    }

    [Fact]
    public void A_loop_inside_a_loop_runs_inline()
    {
        CpuParallel.ThreadCount = 2;
        int sum = 0;
        CpuParallel.For(20, _ =>
        {
            int thread = Environment.CurrentManagedThreadId;
            CpuParallel.For(20, _ =>
            {
                Assert.Equal(thread, Environment.CurrentManagedThreadId);
                Interlocked.Increment(ref sum);
            });
        });
        Assert.Equal(400, sum);
    }

    [Fact]
    public void Loops_of_several_callers_do_not_mix()
    {
        CpuParallel.ThreadCount = 3;
        var failures = new System.Collections.Concurrent.ConcurrentQueue<string>();
        var callers = new Thread[4];
        for (int t = 0; t < callers.Length; t++)
        {
            callers[t] = new Thread(() =>
            {
                for (int round = 0; round < 2000; round++)
                {
                    long sum = 0;
                    CpuParallel.For(50, i => Interlocked.Add(ref sum, i));
                    if (sum != 1225)
                        failures.Enqueue($"round {round}: {sum}");
                }
            });
            callers[t].Start();
        }
        foreach (Thread caller in callers)
            caller.Join();
        Assert.Empty(failures);
    }

    [Fact]
    public void An_exception_reaches_the_caller_and_the_next_loop_works()
    {
        CpuParallel.ThreadCount = 2;
        for (int round = 0; round < 100; round++)
        {
            var error = Assert.Throws<InvalidOperationException>(() =>
                CpuParallel.For(64, i =>
                {
                    if (i == 37)
                        throw new InvalidOperationException("index 37");
                }));
            Assert.Equal("index 37", error.Message);
            int sum = 0;
            CpuParallel.For(10, _ => Interlocked.Increment(ref sum));
            Assert.Equal(10, sum);
        }
    }

    [Fact]
    public void A_thread_count_below_one_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => CpuParallel.ThreadCount = 0);
}
