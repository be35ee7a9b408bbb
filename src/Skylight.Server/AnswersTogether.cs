using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Skylight.Chat;

namespace Skylight.Server;

/// <summary>Several answers to one request, written together.</summary>
internal static class AnswersTogether
{
    /// <summary>All answers, piece by piece. One that fails fails all.</summary>
    /// <param name="model">The model.</param>
    /// <param name="jobs">A prompt and options for each answer.</param>
    /// <param name="start">When the request came.</param>
    /// <param name="cancellationToken">Takes all of them out.</param>
    public static async IAsyncEnumerable<(int Choice, GenerationUpdate Update)> GenerateAsync(ChatModel model,
        IReadOnlyList<(PreparedPrompt Prompt, GenerationOptions Options)> jobs, long start,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (jobs is [var (prompt, options)])
        {
            await foreach (GenerationUpdate update in model.GenerateAsync(prompt, options, start, cancellationToken)
                .ConfigureAwait(false))
                yield return (0, update);
            yield break;
        }

        using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var updates = Channel.CreateUnbounded<(int, GenerationUpdate)>(new UnboundedChannelOptions { SingleReader = true });
        Task all = Task.WhenAll(
            Enumerable.Range(0, jobs.Count).Select(choice => ForwardAsync(choice, cancellation.Token)))
            .ContinueWith(_ => updates.Writer.TryComplete(), CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        try
        {
            await foreach (
                (int, GenerationUpdate) update in updates.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
                yield return update;
        }
        finally
        {
            await cancellation.CancelAsync().ConfigureAwait(false);
            await all.ConfigureAwait(false);
        }

        async Task ForwardAsync(int choice, CancellationToken token)
        {
            try
            {
                await foreach (GenerationUpdate update in model.GenerateAsync(jobs[choice].Prompt, jobs[choice].Options,
                    start, token).ConfigureAwait(false))
                    updates.Writer.TryWrite((choice, update));
            }
            catch (Exception exception)
            {
                updates.Writer.TryComplete(exception);
            }
        }
    }
}
