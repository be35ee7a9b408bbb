using System.Globalization;
using Skylight.Execution;
using Skylight.Training.Objectives;
using Spectre.Console;

namespace Skylight.Cli.Verify;

/// <summary><c>skylight verify --losses</c>: shows how the policy objectives compare with a file of references.</summary>
internal static class LossesTable
{
    /// <summary>Computes and prints; 0 only if everything holds.</summary>
    public static int Run(string file, Device device, CancellationToken cancellationToken)
    {
        LossReport report = LossVerification.Run(file, device, cancellationToken);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("objective", "loss", "limit", "gradient", "limit", "", "worst element");
        foreach (int column in (int[])[1, 3])
            table.Columns[column].RightAligned();
        foreach (LossCheck check in report.Checks)
        {
            table.AddRow(
                Markup.Escape(check.Name), check.LossError is { } error ? Number(error, "E2") : "",
                check.LossError is null ? "" : Number(LossCheck.LossLimit, "E0"),
                Number(check.VectorError, "E2"), Number(LossCheck.VectorLimit, "E0"), check.Holds ? "[green]ok[/]"
                    : "[red]FAILS[/]", Markup.Escape(check.Worst));
        }

        AnsiConsole.MarkupLineInterpolated($"{device.Name} against {file}");
        AnsiConsole.Write(table);
        if (report.Skipped.Count > 0)
            AnsiConsole.MarkupLineInterpolated($"skipped, on preference pairs: {string.Join(", ", report.Skipped)}");
        return report.Holds ? 0 : 1;
    }

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
