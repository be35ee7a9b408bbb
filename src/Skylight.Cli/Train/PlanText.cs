using System.Globalization;
using System.Text;
using Skylight.Training.Runs;

namespace Skylight.Cli.Train;

/// <summary>A plan as <c>skylight train --plan</c> prints it.</summary>
internal static class PlanText
{
    public static string Format(RunPlan plan, string device)
    {
        CultureInfo culture = CultureInfo.InvariantCulture;
        var text = new StringBuilder();
        text.AppendLine(culture, $"  parameters   {plan.Parameters:N0}, trained {plan.TrainedParameters:N0}");
        text.AppendLine(culture, $"  data         {plan.Examples:N0} rows; {plan.Steps:N0} steps of {plan.Recipe.Schedule.Batch}{(plan.RolloutTokens > 0 ? $", up to {plan.RolloutTokens.ToString("N0", culture)} tokens drawn a step" : "")}");
        string tiles = plan.Rows.MostTiles > 0 ? $" with {plan.Rows.MostTiles} tiles" : "", unusable = plan.Rows.Unusable > 0 ? $"; {plan.Rows.Unusable} of them cannot be used, the first: {plan.Rows.FirstUnusable}" : "";
        text.AppendLine(culture, $"  longest      {plan.Rows.LongestTokens:N0} tokens{tiles} of {plan.Rows.Looked:N0} rows that were looked at; longer ones need more{unusable}");
        RunMemory memory = plan.Memory;
        text.AppendLine(culture, $"  memory       {Size(plan.PeakBytes)} of {Size(plan.DeviceBytes)} on {device}: {string.Join(", ", Parts(memory).Where(part => part.Bytes > 0).Select(part => $"{part.Name} {Size(part.Bytes)}"))}");
        text.AppendLine("               not in it: kernels and libraries of the device, pictures and text in the host's memory");
        text.Append(plan.Fits ? "  fits" : "  DOES NOT FIT.");
        foreach (RunAdvice advice in plan.Advice)
            text.Append(culture, $"\n    {Size(advice.PeakBytes)} with {string.Join(' ', advice.Settings.Select(setting => setting.Contains(' ') ? $"--set '{setting}'" : $"--set {setting}"))} ({advice.Reason})");
        return text.ToString();
    }

    private static (string Name, long Bytes)[] Parts(RunMemory memory) =>
    [
        ("weights", memory.WeightBytes), ("gradients and optimizer", memory.StateBytes), ("activations", memory.ActivationBytes), ("cache", memory.CacheBytes),
        ("passes of rollouts and evaluations", memory.GenerationBytes), ("reference", memory.ReferenceBytes), ("verifiers", memory.VerifierBytes),
    ];

    private static string Size(long bytes) => bytes < 1e9
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F1} MB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB");
}
