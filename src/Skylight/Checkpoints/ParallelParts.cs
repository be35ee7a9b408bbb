using System.Runtime.ExceptionServices;

namespace Skylight.Checkpoints;

/// <summary>Reads parts on all cores; of what goes wrong, a checkpoint's own fault is what is reported.</summary>
internal static class ParallelParts
{
    public static void Run(int count, Action<int> read)
    {
        if (count == 1)
        {
            read(0);
            return;
        }

        try
        {
            Parallel.For(0, count, read);
        }
        catch (AggregateException exception) when (exception.InnerExceptions[0] is CheckpointException
            or OperationCanceledException)
        {
            ExceptionDispatchInfo.Throw(exception.InnerExceptions[0]);
        }
    }
}
