using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Skylight.Execution;

namespace Skylight.Generation;

/// <summary>What a service does at a moment.</summary>
/// <param name="WaitingRequests">Requests that wait for room in the cache.</param>
/// <param name="ReadingRequests">Requests whose prompt is being read.</param>
/// <param name="WritingSequences">Completions that are being written.</param>
/// <param name="UsedPages">Pages of the key-value cache in use.</param>
/// <param name="PageCount">Pages of the key-value cache.</param>
/// <param name="ImageCacheBytes">Bytes of image features kept for later requests.</param>
public sealed record GenerationLoad(int WaitingRequests, int ReadingRequests, int WritingSequences, int UsedPages,
    int PageCount, long ImageCacheBytes);

/// <summary>A service already has as many requests as it may hold.</summary>
public sealed class GenerationQueueFullException : InvalidOperationException
{
    /// <summary>Makes the error.</summary>
    public GenerationQueueFullException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the error.</summary>
    public GenerationQueueFullException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes the error.</summary>
    public GenerationQueueFullException()
    {
    }
}

/// <summary>
/// A <see cref="GenerationEngine"/> on a thread of its own, for any number of callers at once: their requests are
/// batched continuously. A request that is cancelled, or whose enumeration is abandoned, leaves before the next step
/// and its pages are free. Safe for use by several threads.
/// </summary>
public sealed class GenerationService : IAsyncDisposable, IDisposable
{
    // One plan runs at a time on a device, also where several models live on it: a verifier beside the model that is
    // trained.
    private static readonly ConditionalWeakTable<Device, Lock> s_steps = [];

    private readonly GenerationEngine _engine;
    private readonly int _mostRequests;
    private readonly Thread _thread;
    private readonly Lock _gate = new();
    private readonly HashSet<Job> _jobs = [];
    private readonly ConcurrentQueue<Action> _commands = new();
    private readonly SemaphoreSlim _wake = new(0);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationTokenSource? _step;
    private volatile bool _draining;
    private volatile bool _stopping;

    /// <summary>Starts a service.</summary>
    /// <param name="engine">The engine; the service owns it, and nobody else may use it any more.</param>
    /// <param name="mostRequests">How many requests it holds at once, those that wait included; more are refused.</param>
    public GenerationService(GenerationEngine engine, int mostRequests = 1024)
    {
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentOutOfRangeException.ThrowIfLessThan(mostRequests, 1);
        _engine = engine;
        _mostRequests = mostRequests;
        _thread = new Thread(Work) { IsBackground = true, Name = "Skylight generation" };
        _thread.Start();
    }

    /// <summary>What the service did after its last step.</summary>
    public GenerationLoad Load { get; private set; } = new(0, 0, 0, 0, 0, 0);

    /// <summary>Completes a prompt.</summary>
    /// <param name="request">The prompt.</param>
    /// <param name="options">How tokens are chosen.</param>
    /// <param name="cancellationToken">Takes the request out, also while its prompt is read.</param>
    /// <returns>The tokens of all its completions, as they are made.</returns>
    /// <exception cref="ArgumentException">The request can never be served; the message has the numbers.</exception>
    /// <exception cref="GenerationQueueFullException">There are too many requests already.</exception>
    /// <exception cref="ObjectDisposedException">The service is, or is being, closed; also while the request
    /// runs.</exception>
    /// <exception cref="LogitsNotFiniteException">The request's logits are not finite; other requests go on.</exception>
    /// <exception cref="ImageFeaturesNotFiniteException">The features of one of its pictures are not; likewise.</exception>
    public async IAsyncEnumerable<GeneratedToken> GenerateAsync(
        GenerationRequest request, SamplingOptions options,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(options);
        cancellationToken.ThrowIfCancellationRequested();
        var job = new Job(request, options);
        Enter(job);
        try
        {
            using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(_ => Leave(job), null);
            await foreach (GeneratedToken token in job.Tokens.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
            {
                yield return token;
                // A caller who cancels has cancelled, also where the rest of the answer was written already and waits
                // to be read.
                cancellationToken.ThrowIfCancellationRequested();
            }
        }
        finally
        {
            Leave(job);
        }
    }

    /// <summary>
    /// Runs something between two steps, when nothing of the model is in use: training on the same weights, say.
    /// </summary>
    /// <param name="action">Gets the engine; may not keep it.</param>
    /// <param name="cancellationToken">Heard until the action begins.</param>
    /// <returns>Ends when the action has, with its error if it failed.</returns>
    public Task BetweenStepsAsync(Action<GenerationEngine> action, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(action);
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        // 1 as soon as it has begun, 2 if it was cancelled before.
        int state = 0;
        CancellationTokenRegistration registration = cancellationToken.Register(() =>
        {
            if (Interlocked.CompareExchange(ref state, 2, 0) == 0)
                done.TrySetCanceled(cancellationToken);
        });
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stopping, this);
            Post(() =>
            {
                try
                {
                    if (Interlocked.CompareExchange(ref state, 1, 0) != 0)
                        return;
                    action(_engine);
                    done.SetResult();
                }
                catch (Exception exception)
                {
                    done.SetException(exception);
                }
                finally
                {
                    registration.Dispose();
                }
            });
        }

        return done.Task;
    }

    /// <summary>Takes no more requests, and ends when those that are there have.</summary>
    /// <param name="cancellationToken">Stops waiting; requests go on.</param>
    public async Task DrainAsync(CancellationToken cancellationToken = default)
    {
        lock (_gate)
            _draining = true;
        _wake.Release();
        await _ended.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Ends all requests with an <see cref="ObjectDisposedException"/> and frees everything; waits for at most the node
    /// of the graph that runs.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        Stop();
        await _ended.Task.ConfigureAwait(false);
    }

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose()
    {
        Stop();
        if (Thread.CurrentThread != _thread)
            _thread.Join();
    }

    private void Stop()
    {
        lock (_gate)
        {
            _draining = _stopping = true;
            _step?.Cancel();
        }

        _wake.Release();
    }

    private void Enter(Job job)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_draining, this);
            if (_jobs.Count >= _mostRequests)
                throw new GenerationQueueFullException(
                    $"{_jobs.Count} requests are running or waiting, and no more than {_mostRequests} may: try " +
                    $"again later.");
            _jobs.Add(job);
            Post(() => Begin(job));
        }
    }

    /// <summary>Takes a job out; safe to call more than once and from any thread.</summary>
    private void Leave(Job job)
    {
        lock (_gate)
        {
            if (!_jobs.Remove(job))
                return;
            Post(() => End(job, new OperationCanceledException("The request was cancelled.")));
            // A step that nobody waits for is not worth ending.
            if (_jobs.Count == 0)
                _step?.Cancel();
        }
    }

    private void Post(Action command)
    {
        _commands.Enqueue(command);
        _wake.Release();
    }

    private void Begin(Job job)
    {
        if (job.Tokens.Reader.Completion.IsCompleted)
            return;
        try
        {
            job.Run = _engine.Add(job.Request, job.Options, token => job.Tokens.Writer.TryWrite(token));
        }
        catch (Exception exception)
        {
            Forget(job);
            job.Tokens.Writer.TryComplete(exception);
        }
    }

    private void End(Job job, Exception? exception)
    {
        if (job.Run is { } run)
            _engine.Remove(run);
        job.Tokens.Writer.TryComplete(exception);
    }

    private void Forget(Job job)
    {
        lock (_gate)
            _jobs.Remove(job);
    }

    private Job[] Jobs()
    {
        lock (_gate)
            return [.. _jobs];
    }

    private void Work()
    {
        try
        {
            while (!_stopping)
            {
                while (_commands.TryDequeue(out Action? command))
                    command();
                if (_engine.HasWork)
                    RunStep();
                EndFinished();
                RecordLoad();
                if (_draining && Jobs().Length == 0)
                    break;
                if (!_engine.HasWork && _commands.IsEmpty && !_stopping)
                    _wake.Wait();
            }
        }
        finally
        {
            foreach (Job job in Jobs())
                job.Tokens.Writer.TryComplete(new ObjectDisposedException(nameof(GenerationService),
                    "The model was closed while the request ran."));
            lock (_gate)
            {
                _draining = _stopping = true;
                _jobs.Clear();
            }

            while (_commands.TryDequeue(out Action? command))
                command();
            _engine.Dispose();
            _ended.SetResult();
        }
    }

    private void RunStep()
    {
        using var cancellation = new CancellationTokenSource();
        try
        {
            lock (_gate)
            {
                if (_stopping || _jobs.Count == 0)
                    return;
                _step = cancellation;
            }

            lock (s_steps.GetValue(_engine.Device, _ => new Lock()))
                _engine.Step(cancellation.Token);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // Those who left are taken out by their commands.
        }
        catch (Exception exception)
        {
            // Whose fault it was cannot be told, and what was computed cannot be trusted: everybody in the batch hears
            // of it.
            Job[] all = Jobs(), admitted = [.. all.Where(job => job.Run is { IsAdmitted: true })];
            foreach (Job job in admitted.Length > 0 ? admitted : all)
            {
                Forget(job);
                End(job, exception);
            }
        }
        finally
        {
            lock (_gate)
                _step = null;
        }
    }

    /// <summary>Not after a step alone: what runs between two steps may make some of its own.</summary>
    private void EndFinished()
    {
        foreach (Job job in Jobs().Where(job => job.Run is { IsFinished: true }))
        {
            Forget(job);
            job.Tokens.Writer.TryComplete(job.Run!.Failure);
        }
    }

    private void RecordLoad() =>
        Load = new GenerationLoad(
            _engine.WaitingRequests, _engine.ReadingRequests, _engine.WritingSequences,
            _engine.PageCount - _engine.FreePages, _engine.PageCount, _engine.ImageCacheBytes);

    /// <summary>A caller's request.</summary>
    private sealed class Job(GenerationRequest request, SamplingOptions options)
    {
        public GenerationRequest Request { get; } = request;

        public SamplingOptions Options { get; } = options;

        /// <summary>Never holds more than the tokens the request may have.</summary>
        public Channel<GeneratedToken> Tokens { get; } = Channel.CreateUnbounded<GeneratedToken>(
            new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });

        public RequestRun? Run { get; set; }
    }
}
