using Spectre.Console;

namespace Skylight.Cli;

/// <summary>
/// Consoles for output that no terminal shows: without escapes, whatever the environment says, and wide enough for
/// every table.
/// </summary>
internal static class PlainConsole
{
    private const int Width = 200;

    public static IAnsiConsole On(TextWriter writer)
    {
        IAnsiConsole console = AnsiConsole.Create(
            new AnsiConsoleSettings
            {
                Ansi = AnsiSupport.No,
                ColorSystem = ColorSystemSupport.NoColors,
                Interactive = InteractionSupport.No,
                Out = new AnsiConsoleOutput(writer),
            });
        console.Profile.Width = Width;
        return console;
    }

    /// <summary>Where a command says how far it is: beside its output, if that is JSON.</summary>
    public static IAnsiConsole ForProgress(bool json) => !json ? AnsiConsole.Console
        : Console.IsErrorRedirected ? On(Console.Error)
        : AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
}
