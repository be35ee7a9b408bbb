using System.CommandLine;

namespace Skylight.Cli;

/// <summary>How a command is run so that Ctrl-C and SIGTERM cancel it.</summary>
internal static class CancellableCommands
{
    /// <summary>
    /// Sets what a command does, on a thread of its own: signals are listened to only once the action has returned its
    /// task, and until then one would end the process at once, whatever is half written.
    /// </summary>
    public static void SetCancellableAction(this Command command, Func<ParseResult, CancellationToken, int> run) =>
        command.SetAction((parse, cancellationToken) =>
            Task.Run(() => run(parse, cancellationToken), CancellationToken.None));
}
