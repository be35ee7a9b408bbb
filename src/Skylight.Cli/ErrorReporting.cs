using System.CommandLine;
using System.CommandLine.Invocation;
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

/// <summary>Turns expected failures into one readable line and an exit code; unexpected ones keep their stack trace.</summary>
internal static class ErrorReporting
{
    /// <summary>Cancelled by the user, as shells number it.</summary>
    public const int Cancelled = 130;

    public static async Task<int> RunAsync(RootCommand root, string[] arguments)
    {
        try
        {
            ParseResult parse = root.Parse(arguments);
            // The whole help would hide the error, and go to where a program expects the answer.
            if (parse.Action is ParseErrorAction)
                return await RefuseAsync(parse);
            var configuration = new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = parse.CommandResult.Command is SignalHandlingCommand ? null : TimeSpan.FromSeconds(30),
            };
            return await parse.InvokeAsync(configuration);
        }
        catch (OperationCanceledException)
        {
            await Console.Error.WriteLineAsync("skylight: stopped.");
            return Cancelled;
        }
        catch (Exception exception) when (exception is CheckpointException or HubException or TokenizerException or ImageException or CudaException or GraphException or TrainingDivergedException or RewardException or RecipeException or OutOfDeviceMemoryException or LogitsNotFiniteException or ImageFeaturesNotFiniteException
            or ArgumentException or IOException or InvalidDataException or BadRowException or UnauthorizedAccessException or NotSupportedException)
        {
            await Console.Error.WriteLineAsync($"skylight: {AnswerPrinter.Printable(PlainMessages.Of(exception))}");
            return 1;
        }
    }

    private static async Task<int> RefuseAsync(ParseResult parse)
    {
        string command = string.Join(' ', Ancestry(parse.CommandResult).Reverse().Skip(1).Prepend("skylight"));
        string mistakes = string.Join(' ', parse.Errors.Select(error => error.Message.ReplaceLineEndings(" ").Replace("\t", "", StringComparison.Ordinal)));
        await Console.Error.WriteLineAsync($"skylight: {AnswerPrinter.Printable(mistakes)} '{command} --help' lists what there is.");
        return 1;

        static IEnumerable<string> Ancestry(SymbolResult? result)
        {
            for (; result is CommandResult at; result = at.Parent)
                yield return at.Command.Name;
        }
    }
}
