using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Hub;
using Skylight.Models;

namespace Skylight.Extensions.AI;

/// <summary>
/// Loads one model when it is first asked for, for everybody who asks, and closes it. To load at the start of a
/// program: <c>await provider.GetAsync()</c>.
/// </summary>
public sealed class SkylightModelProvider : IAsyncDisposable, IDisposable
{
    private readonly Func<CancellationToken, Task<ChatModel>> _load;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _closing = new();
    private readonly Lock _gate = new();
    private Task<ChatModel>? _model;
    private IDisposable? _watch;
    private bool _disposed;

    /// <summary>Makes a provider; nothing is loaded yet.</summary>
    /// <param name="options">The model.</param>
    /// <param name="logger">Hears of the loading.</param>
    public SkylightModelProvider(SkylightOptions options, ILogger<SkylightModelProvider>? logger = null)
        : this(NameOf(options), cancellationToken => LoadAsync(options, cancellationToken), logger)
    {
    }

    /// <summary>Makes a provider with a way of its own to load a model.</summary>
    /// <param name="name">What the model is called.</param>
    /// <param name="load">Loads it; called again after it has failed.</param>
    /// <param name="logger">Hears of the loading.</param>
    public SkylightModelProvider(string name, Func<CancellationToken, Task<ChatModel>> load,
        ILogger<SkylightModelProvider>? logger = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(load);
        (Name, _load) = (name, load);
        _logger = (ILogger?)logger ?? NullLogger.Instance;
    }

    /// <summary>What the model is called: the name of its folder.</summary>
    public string Name { get; }

    /// <summary>The model if it is loaded, else null.</summary>
    public ChatModel? LoadedModel
    {
        get
        {
            lock (_gate)
                return _model is { IsCompletedSuccessfully: true } model && !_disposed ? model.Result : null;
        }
    }

    /// <summary>The model; loads it if nobody has yet. After a failure the next call tries again.</summary>
    /// <param name="cancellationToken">Stops waiting; the loading goes on for the others.</param>
    /// <exception cref="CheckpointException">The checkpoint is incomplete, corrupt, not downloaded, or of another
    /// architecture.</exception>
    /// <exception cref="Text.TokenizerException">The tokenizer cannot be read, or does not belong to the model.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The device has too little memory.</exception>
    /// <exception cref="ObjectDisposedException">The provider is closed.</exception>
    public Task<ChatModel> GetAsync(CancellationToken cancellationToken = default)
    {
        Task<ChatModel> model;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_model is null or { IsFaulted: true } or { IsCanceled: true })
                _model = Task.Run(LoadAsync);
            model = _model;
        }

        return model.WaitAsync(cancellationToken);
    }

    /// <summary>Stops the loading, ends all requests, and frees everything.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Close() is { } loading)
        {
            // Whoever waited for it hears why it failed.
            await loading.ContinueWith(static _ => { }, CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default).ConfigureAwait(false);
            if (loading.IsCompletedSuccessfully)
                await (await loading.ConfigureAwait(false)).DisposeAsync().ConfigureAwait(false);
            _closing.Dispose();
        }
    }

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    private static string NameOf(SkylightOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentException.ThrowIfNullOrWhiteSpace(options.ModelDirectory);
        return ModelSource.NameOf(options.ModelDirectory);
    }

    private static async Task<ChatModel> LoadAsync(SkylightOptions options, CancellationToken cancellationToken)
    {
        Device? device = options.CreateDevice?.Invoke();
        try
        {
            return await ChatModel.LoadAsync(options.ModelDirectory, options.Model with { Device = device },
                options.Progress, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            device?.Dispose();
            throw;
        }
    }

    private async Task<ChatModel> LoadAsync()
    {
        Log.Loading(_logger, Name);
        long start = Stopwatch.GetTimestamp();
        try
        {
            ChatModel model = await _load(_closing.Token).ConfigureAwait(false);
            lock (_gate)
                _watch = _disposed ? null : SkylightTelemetry.Observe(model);
            Log.Loaded(_logger, Name, model.Model.Device.GetType().Name, Stopwatch.GetElapsedTime(start).TotalSeconds,
                model.Model.Parameters.ElementCount, model.ContextTokens);
            foreach (string warning in model.Warnings)
                Log.SettingIgnored(_logger, Name, warning);
            return model;
        }
        catch (Exception exception) when (!_closing.IsCancellationRequested)
        {
            Log.LoadingFailed(_logger, Name, exception);
            throw;
        }
    }

    private Task<ChatModel>? Close()
    {
        lock (_gate)
        {
            if (_disposed)
                return null;
            _disposed = true;
            _watch?.Dispose();
        }

        _closing.Cancel();
        return _model;
    }
}
