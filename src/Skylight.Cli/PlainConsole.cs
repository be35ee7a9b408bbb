using Spectre.Console;

namespace Skylight.Cli;

/// <summary>
/// Which console is written to: escapes are for terminals, and not for those whose users want none (NO_COLOR,
/// https://no-color.org).
/// </summary>
internal static class PlainConsole
{
    private const int Width = 200;
    private const string NoColour = "NO_COLOR";

    /// <summary>
    /// A console that no terminal shows: without escapes, whatever the environment says, and wide enough for every
    /// table.
    /// </summary>
    public static IAnsiConsole On(TextWriter writer)
    {
        IAnsiConsole console = WithoutEscapes(writer);
        console.Profile.Width = Width;
        return console;
    }

    /// <summary>A console of the program's own.</summary>
    /// <param name="writer">Standard output or error.</param>
    /// <param name="redirected">Whether it goes to something else than a terminal.</param>
    public static IAnsiConsole Of(TextWriter writer, bool redirected)
    {
        if (redirected)
            return On(writer);
        if (Environment.GetEnvironmentVariable(NoColour) is { Length: > 0 })
            return WithoutEscapes(writer);
        // Set and empty is as if it were not set, which Spectre.Console does not know.
        Environment.SetEnvironmentVariable(NoColour, null);
        return AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(writer) });
    }

    /// <summary>Where a command says how far it is: beside its output, if that is JSON.</summary>
    public static IAnsiConsole ForProgress(bool json) => json ? Of(Console.Error, Console.IsErrorRedirected)
        : AnsiConsole.Console;

    private static IAnsiConsole WithoutEscapes(TextWriter writer) => AnsiConsole.Create(
        new AnsiConsoleSettings
        {
            Ansi = AnsiSupport.No,
            ColorSystem = ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(writer),
        });
}
