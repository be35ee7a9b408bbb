using Microsoft.AspNetCore.Http;

namespace Skylight.Cli.Chat;

/// <summary>Counts the requests that a server answers, without those that only look at it.</summary>
internal sealed class RunningRequests
{
    private readonly Lock _gate = new();
    private int _count;
    private TaskCompletionSource? _none;

    /// <summary>A middleware.</summary>
    public async Task CountAsync(HttpContext context, RequestDelegate next)
    {
        // Health and metrics are asked for until the end.
        if (!HttpMethods.IsPost(context.Request.Method))
        {
            await next(context);
            return;
        }

        lock (_gate)
            _count++;
        try
        {
            await next(context);
        }
        finally
        {
            lock (_gate)
            {
                if (--_count == 0)
                    _none?.TrySetResult();
            }
        }
    }

    /// <summary>Waits until nothing runs.</summary>
    /// <param name="cancellationToken">Ends the wait all the same.</param>
    public async Task NoneAsync(CancellationToken cancellationToken)
    {
        Task none;
        lock (_gate)
        {
            if (_count == 0)
                return;
            _none = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            none = _none.Task;
        }

        await none.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
