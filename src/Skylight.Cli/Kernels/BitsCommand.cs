using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Skylight.Cli.Verify;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Models;
using Spectre.Console;

namespace Skylight.Cli.Kernels;

/// <summary><c>skylight kernels bits</c>: whether a device computes a token alike wherever it stands.</summary>
internal static class BitsCommand
{
    private const int DefaultTokens = 24;

    public static Command Create()
    {
        var checkpoint = new Argument<string>("checkpoint") { Description = ModelFolder.Description };
        Option<string?> vision = ModelFolder.CreateVisionOption();
        Option<string> device = DeviceOption.Create();
        var tokens = new Option<int>("--tokens")
        {
            Description = "How many tokens each of the nine completions has.",
            DefaultValueFactory = _ => DefaultTokens,
        };
        var seed = new Option<int>("--seed") { Description = "Of prompts and completions." };
        var json = new Option<bool>("--json") { Description = "Print the rows as JSON." };
        var command = new Command("bits",
            "Compute the same tokens one by one, beside each other, scored and in training, and compare the bits.")
        {
            checkpoint, vision, device, tokens, seed, json,
        };
        command.SetCancellableAction((parse, cancellationToken) => Run(parse.GetRequiredValue(checkpoint),
            parse.GetValue(vision), parse.GetRequiredValue(device), parse.GetValue(tokens), parse.GetValue(seed),
            parse.GetValue(json), cancellationToken));
        return command;
    }

    private static int Run(string checkpoint, string? vision, string deviceName, int tokens, int seed, bool json,
        CancellationToken cancellationToken)
    {
        if (tokens < 1)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture,
                $"--tokens is {tokens}; give a number of at least 1."));
        using Device device = DeviceOption.Open(deviceName);
        // Where only the tokenizer knows which token stands for a picture, any will do.
        using VisionLanguageModel model = FormCheckpoint.Load(checkpoint, vision, device, type: null,
            configuration => configuration.ImageTokenId ?? configuration.Language.VocabularySize - 1, cancellationToken);
        var rows = new List<EqualityRow>();
        try
        {
            foreach (EqualityRow row in new BitEquality(model, tokens, seed).Compare(cancellationToken))
            {
                rows.Add(row);
                if (!json)
                    Print(row);
            }
        }
        finally
        {
            if (json)
                Console.WriteLine(JsonSerializer.Serialize([.. rows], KernelJson.Default.EqualityRowArray));
        }

        if (model.IsQuantized)
            Console.Error.WriteLine("Not trained on: quantised weights have no gradients.");
        int different = rows.Sum(row => row.Different);
        string instructions = device is CudaDevice { Target: { HasHopperInstructions: true } target }
            ? $", products by {(target.UsesWarpgroups ? "wgmma" : "mma.sync")}" : "";
        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{DeviceOption.Describe(device)}{instructions}: {rows.Sum(row => row.Tokens)} tokens compared, {different} with other bits."));
        return different == 0 ? 0 : 1;
    }

    private static void Print(EqualityRow row)
    {
        string line = string.Create(CultureInfo.InvariantCulture, $"{row.Way,-34} {row.Tokens,6} tokens  ");
        string difference = row.LargestDifference is { } value ? value.ToString("E2", CultureInfo.InvariantCulture)
            : "not a number";
        AnsiConsole.MarkupLine(Markup.Escape(line) + (row.Different == 0 ? "[green]same bits[/]"
            : Markup.Escape(string.Create(CultureInfo.InvariantCulture, $"{row.Different} differ, by up to {difference}"))));
    }
}
