using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cli.Chat;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Hub;
using Skylight.Images;
using Skylight.Text;
using Skylight.Training;
using Skylight.Training.Data;
using Skylight.Training.Rewards;
using Skylight.Training.Runs;

namespace Skylight.Cli;

/// <summary>
/// Turns expected failures into one readable line and an exit code; unexpected ones keep their stack trace. The codes:
/// 0 for what was done, 1 for what failed, 2 for a command line that makes no sense or asks for what there is not, 130
/// for what Ctrl-C stopped and 143 for what SIGTERM did.
/// </summary>
internal static class ErrorReporting
{
    /// <summary>Stopped by a signal, as shells number it.</summary>
    public static int Cancelled => StopSignals.ExitCode;

    /// <summary>Tried, and not done; or done, and found not to hold.</summary>
    public const int Failed = 1;

    /// <summary>
    /// A command line that cannot be meant: an option that does not exist, one that is missing, a value out of its
    /// range.
    /// </summary>
    public const int Usage = 2;

    /// <summary>Begins a line where a terminal has shown what was typed to interrupt, such as ^C.</summary>
    public static void BeginLine()
    {
        if (!Console.IsErrorRedirected)
            Console.Error.WriteLine();
    }

    public static async Task<int> RunAsync(Command root, string[] arguments)
    {
        try
        {
            ParseResult parse = root.Parse(arguments);
            // The whole help would hide the error, and go to where a program expects the answer.
            if (parse.Errors.Count > 0 && parse.Action is not HelpAction)
                return await RefuseAsync(parse);
            var configuration = new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
            };
            using StopSignals? signals = parse.CommandResult.Command is SignalHandlingCommand ? null : new StopSignals();
            return await parse.InvokeAsync(configuration, signals?.Token ?? CancellationToken.None);
        }
        catch (OperationCanceledException)
        {
            BeginLine();
            await Console.Error.WriteLineAsync("skylight: stopped.");
            return Cancelled;
        }
        catch (Exception exception)
            when (exception is CheckpointException or HubException or TokenizerException or ImageException
                or CudaException or GraphException or TrainingDivergedException or RewardException or RecipeException
                    or OutOfDeviceMemoryException or LogitsNotFiniteException or ImageFeaturesNotFiniteException
            or ArgumentException or IOException or InvalidDataException or BadRowException
                or UnauthorizedAccessException or NotSupportedException)
        {
            await Console.Error.WriteLineAsync($"skylight: {AnswerPrinter.Printable(PlainMessages.Of(exception))}");
            // What the library refuses as an argument was one of the command line.
            return exception is ArgumentException ? Usage : Failed;
        }
    }

    private static async Task<int> RefuseAsync(ParseResult parse)
    {
        string command = string.Join(' ', Ancestry(parse.CommandResult).Reverse());
        string mistakes = string.Join(' ',
            parse.Errors.Select(error => error.Message.ReplaceLineEndings(" ").Replace("\t", "", StringComparison.Ordinal)));
        await Console.Error.WriteLineAsync(
            $"skylight: {AnswerPrinter.Printable(mistakes)} '{command} --help' lists what there is.");
        return Usage;

        static IEnumerable<string> Ancestry(SymbolResult? result)
        {
            for (; result is CommandResult at; result = at.Parent)
                yield return at.Command.Name;
        }
    }
}
