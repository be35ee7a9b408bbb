using System.CommandLine;
using System.Globalization;
using Skylight.Chat;
using Skylight.Cpu;
using Skylight.Execution;
using Spectre.Console;

namespace Skylight.Cli.Verify;

/// <summary><c>skylight verify</c>: compares a checkpoint with a reference dump.</summary>
internal static class VerifyCommand
{
    public static Command Create()
    {
        var checkpoint = new Argument<string?>("checkpoint")
        {
            Description = ModelFolder.Description,
            Arity = ArgumentArity.ZeroOrOne,
        };
        var golden = new Argument<string?>("golden")
        {
            Description = "The reference dump, a safetensors file.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var losses =
            new Option<string?>("--losses")
            {
                Description = "In their place: a JSON file of policy objectives and their gradients to recompute.",
            };
        var form =
            new Option<string?>("--form")
            {
                Description = "Of a dump of quantised forms, the one that the checkpoint is: awq, gptq, fp8, gguf.Q4_K_M and so on. Its logits are recomputed.",
            };
        Option<string?> baseCheckpoint = ModelFolder.CreateVisionOption();
        Option<string> device = DeviceOption.Create();
        var unfused = new Option<bool>("--no-fusion") { Description = "Run without fused ops." };
        var command = new Command("verify",
            "Recompute everything a reference dump, or a file of losses, holds and compare.") { checkpoint, golden,
            losses, form, baseCheckpoint, device, unfused };
        command.Validators.Add(result =>
        {
            if (result.GetResult(losses) is null)
            {
                if (result.GetValue(checkpoint) is null || result.GetValue(golden) is null)
                    result.AddError("Give a checkpoint and a golden dump, or --losses with a file.");
            }
            else if (result.GetValue(checkpoint) is not null || result.GetValue(unfused)
                || result.GetResult(form) is not null)
            {
                result.AddError(
                    "--losses takes neither a checkpoint and a dump nor --form nor --no-fusion: it recomputes the file's " +
                    "objectives, without a model.");
            }

            if (result.GetResult(baseCheckpoint) is not null && result.GetResult(form) is null)
                result.AddError("--mmproj or --base goes with --form.");
        });
        command.SetCancellableAction((parse, cancellationToken) => parse.GetValue(losses) is { } file
            ? RunLosses(file, parse.GetRequiredValue(device), cancellationToken)
            : Run(parse.GetValue(checkpoint)!, parse.GetValue(golden)!, parse.GetValue(form), parse.GetValue(baseCheckpoint),
                parse.GetRequiredValue(device), !parse.GetValue(unfused), cancellationToken));
        return command;
    }

    private static int RunLosses(string file, string deviceName, CancellationToken cancellationToken)
    {
        using Device device = DeviceOption.Open(deviceName);
        return LossesTable.Run(file, device, cancellationToken);
    }

    private static int Run(string checkpoint, string golden, string? form, string? baseCheckpoint, string deviceName,
        bool useFusion, CancellationToken cancellationToken)
    {
        // A dump was made in float32.
        using Device device = DeviceOption.Open(deviceName, compute: deviceName == DeviceOption.Default ? "float32" : null);
        VerificationReport report;
        try
        {
            report = form is null
                ? ModelVerification.Run(checkpoint, golden, device, useFusion: useFusion, cancellationToken: cancellationToken)
                : ModelVerification.RunForm(checkpoint, golden, form, baseCheckpoint, device, useFusion, cancellationToken);
        }
        catch (ArgumentException exception) when (baseCheckpoint is null)
        {
            // What the dump holds was given to the model, not what the command line says.
            throw new InvalidDataException($"{golden} does not belong to {checkpoint}: {PlainMessages.Of(exception)}",
                exception);
        }

        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("group", "tensors", "error", "limit", "", "worst element");
        table.Columns[2].RightAligned();
        foreach (ComparisonRow row in report.Rows)
        {
            bool holds = row.Failures.Count == 0;
            table.AddRow(
                Markup.Escape(row.Group), $"{row.Tensors}", Number(row.Error, "E2", row.Measure),
                Number(row.Limit, "E0", row.Measure),
                holds ? "[green]ok[/]" : "[red]FAILS[/]", Markup.Escape(row.Worst));
        }

        AnsiConsole.MarkupLineInterpolated($"{device.Name} against {report.Reference}");
        AnsiConsole.Write(table);
        foreach (ComparisonRow row in report.Rows.Where(row => row.Failures.Count > 0))
            AnsiConsole.MarkupLineInterpolated($"[red]{row.Group}[/]: beyond the limit: {string.Join(", ", row.Failures)}");
        return report.Holds ? 0 : 1;
    }

    private static string Number(double value, string format, ErrorMeasure measure) =>
        (measure == ErrorMeasure.LargestDifference ? "±" : "") + value.ToString(format, CultureInfo.InvariantCulture);
}
