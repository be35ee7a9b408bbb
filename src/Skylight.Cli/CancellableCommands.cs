using System.CommandLine;

namespace Skylight.Cli;

/// <summary>How a command is run so that Ctrl-C and SIGTERM cancel it.</summary>
internal static class CancellableCommands
{
    /// <summary>
    /// Sets what a command does, which <see cref="StopSignals"/> cancel.
    /// </summary>
    public static void SetCancellableAction(this Command command, Func<ParseResult, CancellationToken, int> run) =>
        command.SetAction((parse, cancellationToken) =>
            Task.Run(() => run(parse, cancellationToken), CancellationToken.None));
}
