using System.CommandLine;
using System.CommandLine.Help;
using Skylight.Cli.Chat;
using Skylight.Cli.Demo;
using Skylight.Cli.Kernels;
using Skylight.Cli.Train;
using Skylight.Cli.Verify;

namespace Skylight.Cli;

/// <summary>The <c>skylight</c> command with all that is below it.</summary>
internal static class SkylightCommand
{
    /// <summary>What the program is called, in its help too, whatever file it lies in.</summary>
    public const string Name = "skylight";

    public static Command Create()
    {
        // A RootCommand would be called like the program's file.
        var root = new Command(Name, "Skylight: a runtime for vision-language reasoning models.")
        {
            new HelpOption(), new VersionOption(),
            PullCommand.Create(), TrainCommand.Create(), DemoCommand.Create(), VerifyCommand.Create(),
            DevicesCommand.Create(), KernelsCommand.Create(), InfoCommand.Create(), InitCommand.Create(),
            QuantizeCommand.Create(), CacheCommand.Create(),
            EvalCommand.Create(), GenerateCommand.Create(), ChatCommand.Create(), ServeCommand.Create(),
            CompletionCommand.Create(), CompletionCommand.CreateCandidates(),
        };
        OptionReaders.Apply(root);
        return root;
    }
}
