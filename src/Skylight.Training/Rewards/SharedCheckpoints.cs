using Skylight.Chat;

namespace Skylight.Training.Rewards;

/// <summary>
/// The verifiers' checkpoints of one run, each loaded once however many rewards ask it. A model is closed by the first of them
/// that is; they are closed together.
/// </summary>
/// <param name="open">Loads a checkpoint.</param>
internal sealed class SharedCheckpoints(Func<string, CancellationToken, Task<ChatModel>> open)
{
    private readonly SemaphoreSlim _gate = new(1);
    private readonly Dictionary<string, ChatModel> _models = new(StringComparer.Ordinal);

    /// <summary>The model of a folder or file.</summary>
    public async Task<ChatModel> OpenAsync(string path, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (!_models.TryGetValue(path, out ChatModel? model))
                _models[path] = model = await open(path, cancellationToken).ConfigureAwait(false);
            return model;
        }
        finally
        {
            _gate.Release();
        }
    }
}
