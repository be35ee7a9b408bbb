using System.Diagnostics;
using Skylight.Generation;

namespace Skylight.Tests.Generation;

/// <summary>
/// Keeps a service between two of its steps until it is disposed, so that no test has to be faster than a tiny model.
/// </summary>
internal sealed class GenerationHold : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(1);

    private readonly TaskCompletionSource _end = new();
    private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Lets the service work until it has come somewhere. Looks before every step, so nothing is missed.</summary>
    /// <param name="betweenSteps">The method of the service, or of a model, that runs something between its steps.</param>
    /// <param name="isThere">Whether it has come there; by default, that it writes an answer.</param>
    public static async Task<GenerationHold> WhenAsync(Func<Action<GenerationEngine>, CancellationToken,
        Task> betweenSteps, Func<GenerationEngine, bool>? isThere = null)
    {
        var hold = new GenerationHold();
        long start = Stopwatch.GetTimestamp();
        isThere ??= engine => engine.WritingSequences > 0;
        Look();
        await hold._reached.Task;
        return hold;

        // One look asks for the next: other callers' requests and departures go between them.
        void Look() => _ = betweenSteps(engine =>
        {
            try
            {
                if (isThere(engine))
                {
                    hold._reached.SetResult();
                    hold._end.Task.Wait(s_patience);
                    hold._left.SetResult();
                    return;
                }

                Assert.True(Stopwatch.GetElapsedTime(start) < s_patience, "No request has come where it was to be held.");
                if (engine.HasWork)
                    engine.Step();
                else
                    Thread.Sleep(1);
                Look();
            }
            catch (Exception exception)
            {
                hold._reached.TrySetException(exception);
            }
        }, CancellationToken.None);
    }

    /// <summary>Lets the service go on.</summary>
    public void Dispose()
    {
        _end.TrySetResult();
        _left.Task.Wait();
    }
}
