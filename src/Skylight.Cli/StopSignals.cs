using System.Runtime.InteropServices;

namespace Skylight.Cli;

/// <summary>
/// Ctrl-C and SIGTERM, which cancel what a command does; the exit code says which of them it was, as shells number them.
/// </summary>
internal sealed class StopSignals : IDisposable
{
    private const int Interrupted = 130, Terminated = 143;

    // What is half written has so long to be put away; the second signal ends the process at once.
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(30);

    private static int s_exitCode = Interrupted;

    private readonly CancellationTokenSource _source = new();
    private readonly PosixSignalRegistration[] _registrations;
    private Timer? _ending;

    /// <summary>Listens from now on.</summary>
    public StopSignals() =>
        _registrations = [.. ((PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM])
            .Select(signal => PosixSignalRegistration.Create(signal, Stop))];

    /// <summary>The exit code of what was stopped: 130 by Ctrl-C, 143 by SIGTERM.</summary>
    public static int ExitCode => Volatile.Read(ref s_exitCode);

    /// <summary>Cancelled by the first signal.</summary>
    public CancellationToken Token => _source.Token;

    /// <summary>Remembers which signal came, for a command that listens itself.</summary>
    public static void Note(PosixSignal signal) =>
        Volatile.Write(ref s_exitCode, signal == PosixSignal.SIGTERM ? Terminated : Interrupted);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
            registration.Dispose();
        _ending?.Dispose();
        _source.Dispose();
    }

    private void Stop(PosixSignalContext context)
    {
        if (_source.IsCancellationRequested)
            return;
        context.Cancel = true;
        Note(context.Signal);
        int code = ExitCode;
        _ending = new Timer(_ => Environment.Exit(code), null, s_longest, Timeout.InfiniteTimeSpan);
        // Apart: what listens to the token may take its time, and the next signal is to be heard.
        _ = Task.Run(_source.Cancel);
    }
}
