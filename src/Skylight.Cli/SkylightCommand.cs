using System.CommandLine;
using Skylight.Cli.Chat;
using Skylight.Cli.Demo;
using Skylight.Cli.Kernels;
using Skylight.Cli.Train;
using Skylight.Cli.Verify;

namespace Skylight.Cli;

/// <summary>The <c>skylight</c> command with all that is below it.</summary>
internal static class SkylightCommand
{
    public static RootCommand Create()
    {
        var root = new RootCommand("Skylight: a runtime for vision-language reasoning models.")
        {
            PullCommand.Create(), TrainCommand.Create(), DemoCommand.Create(), VerifyCommand.Create(), DevicesCommand.Create(), KernelsCommand.Create(), InfoCommand.Create(), InitCommand.Create(),
            EvalCommand.Create(), GenerateCommand.Create(), ChatCommand.Create(), ServeCommand.Create(),
        };
        OptionReaders.Apply(root);
        return root;
    }
}
