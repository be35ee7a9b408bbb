using Skylight.Cli;
using Spectre.Console;

AnsiConsole.Console = PlainConsole.Of(Console.Out, Console.IsOutputRedirected);
return await ErrorReporting.RunAsync(SkylightCommand.Create(), args);
