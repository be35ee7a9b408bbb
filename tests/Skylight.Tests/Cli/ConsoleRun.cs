using Skylight.Cli;
using Spectre.Console;

namespace Skylight.Tests.Cli;

/// <summary>
/// The whole program within this process, for the many cases that a process each would make slow. Only in tests of
/// <see cref="ConsoleOutput"/>.
/// </summary>
internal static class ConsoleRun
{
    /// <summary>Runs a command line to its end. An exception that the program would die of comes out of it.</summary>
    public static async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        (TextWriter outBefore, TextWriter errorBefore, IAnsiConsole consoleBefore) = (Console.Out, Console.Error,
            AnsiConsole.Console);
        using StringWriter output = new(), error = new();
        Console.SetOut(output);
        Console.SetError(error);
        AnsiConsole.Console = PlainConsole.On(output);
        try
        {
            int code = await ErrorReporting.RunAsync(SkylightCommand.Create(), arguments);
            return (code, output.ToString(), error.ToString());
        }
        finally
        {
            Console.SetOut(outBefore);
            Console.SetError(errorBefore);
            AnsiConsole.Console = consoleBefore;
        }
    }

    /// <summary>
    /// Asserts that a command line ends with exit code 1, nothing on standard output, and few plain lines that name
    /// things.
    /// </summary>
    public static async Task<string> FailsAsync(string[] arguments, params string[] expected)
    {
        (int code, string output, string error) = await RunAsync(arguments);
        string all = $"{string.Join(' ', arguments)}: {code}\n{output}\n{error}";
        Assert.True(code == 1, all);
        Assert.True(output.Length == 0, all);
        Assert.True(error.StartsWith("skylight: ", StringComparison.Ordinal), all);
        // A list of tensors or lines is cut after some.
        Assert.InRange(error.Trim().Split('\n').Length, 1, 30);
        Assert.InRange(error.Length, 20, 4000);
        Assert.All(expected, part => Assert.True(error.Contains(part, StringComparison.Ordinal), $"no '{part}': {all}"));
        PlainWords.Check(error);
        return error;
    }
}
