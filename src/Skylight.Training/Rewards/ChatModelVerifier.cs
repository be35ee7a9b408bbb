using System.Runtime.ExceptionServices;
using Skylight.Chat;

namespace Skylight.Training.Rewards;

/// <summary>
/// A verifier model in this process: a checkpoint of its own, loaded when it is first asked. It takes the most likely
/// token, so its verdicts are the same in every run.
/// </summary>
public sealed class ChatModelVerifier : IVerifierModel, IAsyncDisposable
{
    private readonly Func<CancellationToken, Task<ChatModel>> _open;
    private readonly VerifierPrompt _prompt;
    private readonly GenerationOptions _options;
    private readonly SemaphoreSlim _opening = new(1);
    private ChatModel? _model;
    private ExceptionDispatchInfo? _failure;

    /// <summary>Makes a verifier.</summary>
    /// <param name="open">Loads the model, which is closed with the verifier.</param>
    /// <param name="prompt">How it is asked; <see cref="VerifierPrompt.DefaultTemplate"/> if null.</param>
    /// <param name="maximumTokens">The most tokens of its reply.</param>
    public ChatModelVerifier(Func<CancellationToken, Task<ChatModel>> open, VerifierPrompt? prompt = null,
        int maximumTokens = 256)
    {
        ArgumentNullException.ThrowIfNull(open);
        ArgumentOutOfRangeException.ThrowIfLessThan(maximumTokens, 1);
        (_open, _prompt) = (open, prompt ?? new VerifierPrompt());
        _options = new GenerationOptions
        {
            Temperature = 0,
            RepetitionPenalty = 1,
            MaxOutputTokens = maximumTokens,
            Thinking = ThinkingMode.Off,
        };
    }

    /// <summary>Loads the model now rather than when it is first asked.</summary>
    /// <param name="cancellationToken">Stops the loading.</param>
    public Task OpenAsync(CancellationToken cancellationToken = default) => ModelAsync(cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<VerifierVerdict> JudgeAsync(string question, IReadOnlyList<string> answers, string response,
        CancellationToken cancellationToken)
    {
        try
        {
            ChatModel model = await ModelAsync(cancellationToken).ConfigureAwait(false);
            ChatAnswer answer = await model.CompleteAsync([Message.User(_prompt.Fill(question, answers, response))],
                _options, cancellationToken).ConfigureAwait(false);
            return new VerifierVerdict(VerifierPrompt.Read(answer.Answer), answer.Answer, 1, answer.Usage.PromptTokens,
                answer.Usage.CompletionTokens);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            throw new VerifierException($"the verifier's checkpoint cannot judge: {PlainMessages.Of(exception)}", 1,
                exception);
        }
    }

    /// <summary>Closes the model.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_model is not null)
            await _model.DisposeAsync().ConfigureAwait(false);
        _opening.Dispose();
    }

    private async Task<ChatModel> ModelAsync(CancellationToken cancellationToken)
    {
        await _opening.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            _failure?.Throw();
            return _model ??= await _open(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // Gigabytes are not read again for each sample.
            _failure ??= ExceptionDispatchInfo.Capture(exception);
            throw;
        }
        finally
        {
            _opening.Release();
        }
    }
}
