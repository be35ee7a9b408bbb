using System.CommandLine;
using Skylight.Cli;
using Skylight.Cli.Chat;
using Skylight.Cli.Demo;
using Skylight.Cli.Kernels;
using Skylight.Cli.Verify;
using Spectre.Console;

// Escapes are for terminals, whatever else the environment says.
if (Console.IsOutputRedirected)
    AnsiConsole.Console = PlainConsole.On(Console.Out);
var root = new RootCommand("Skylight: a runtime for vision-language reasoning models.") { DemoCommand.Create(), VerifyCommand.Create(), DevicesCommand.Create(), KernelsCommand.Create(), InfoCommand.Create(), InitCommand.Create(), EvalCommand.Create(), GenerateCommand.Create(), ChatCommand.Create(), ServeCommand.Create() };
return await ErrorReporting.RunAsync(root, args);
