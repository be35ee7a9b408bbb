using Skylight.Cli;
using Spectre.Console;

// Escapes are for terminals, whatever else the environment says.
if (Console.IsOutputRedirected)
    AnsiConsole.Console = PlainConsole.On(Console.Out);
return await ErrorReporting.RunAsync(SkylightCommand.Create(), args);
