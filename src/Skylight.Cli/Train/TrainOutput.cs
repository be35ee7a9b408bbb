using System.Globalization;
using System.Text;
using System.Text.Json;
using Skylight.Execution;
using Skylight.Training.Runs;

namespace Skylight.Cli.Train;

/// <summary>What <c>skylight train</c> prints in the end: docs/training.md describes the members.</summary>
internal static class TrainOutput
{
    /// <summary>A plan in a few lines.</summary>
    public static string Text(RunPlan plan, Device device)
    {
        CultureInfo culture = CultureInfo.InvariantCulture;
        RunPlanRows rows = plan.Rows;
        var text = new StringBuilder();
        string drawn = plan.RolloutTokens > 0
            ? string.Create(culture, $", up to {plan.RolloutTokens:N0} tokens drawn a step") : "";
        text.AppendLine(plan.Recipe.Name)
            .AppendLine(culture, $"  parameters   {plan.Parameters:N0}, trained {plan.TrainedParameters:N0}")
            .AppendLine(culture,
                $"  data         {plan.Examples:N0} rows; {plan.Steps:N0} steps of {plan.Recipe.Schedule.Batch}{drawn}");
        string tiles = rows.MostTiles > 0 ? $" with {rows.MostTiles} tiles" : "";
        string unusable = rows.Unusable > 0
            ? $"; {rows.Unusable} of them cannot be used, the first: {rows.FirstUnusable}" : "";
        text.AppendLine(culture,
            $"  longest      {rows.LongestTokens:N0} tokens{tiles} of {rows.Looked:N0} rows that were looked at; longer ones need more{unusable}");
        IEnumerable<string> parts = Parts(plan.Memory).Where(part => part.Bytes > 0)
            .Select(part => $"{part.Name} {Size(part.Bytes)}");
        text.AppendLine(culture,
            $"  memory       {Size(plan.PeakBytes)} of {Size(plan.DeviceBytes)} on {device.Name}: {string.Join(", ", parts)}")
            .AppendLine(plan.Fits ? "  fits" : "  DOES NOT FIT. What helps:");
        foreach (RunAdvice advice in plan.Advice)
        {
            IEnumerable<string> settings = advice.Settings.Select(
                setting => setting.Contains(' ', StringComparison.Ordinal) ? $"--set '{setting}'" : $"--set {setting}");
            text.AppendLine(culture, $"    {Size(advice.PeakBytes)} with {string.Join(' ', settings)} ({advice.Reason})");
        }

        if (!plan.Fits && plan.Advice.All(advice => advice.PeakBytes > plan.DeviceBytes))
            text.AppendLine(plan.Advice.Count > 0 ? "    a device with more memory: these settings alone do not do"
                : "    a device with more memory");
        return text.ToString();
    }

    private static (string Name, long Bytes)[] Parts(RunMemory memory) =>
    [
        ("weights", memory.WeightBytes), ("gradients and optimizer", memory.StateBytes),
        ("activations", memory.ActivationBytes), ("cache", memory.CacheBytes),
        ("passes of rollouts and evaluations", memory.GenerationBytes), ("reference", memory.ReferenceBytes),
        ("verifiers", memory.VerifierBytes),
    ];

    /// <summary>Plans as one object.</summary>
    public static string Json(IReadOnlyList<(RunPlan Plan, string Model)> plans, Device device) => Object(json =>
    {
        json.WriteString("device", device.Name);
        json.WriteBoolean("fits", plans.All(plan => plan.Plan.Fits));
        json.WriteStartArray("plans");
        foreach ((RunPlan plan, string model) in plans)
        {
            json.WriteStartObject();
            json.WriteString("name", plan.Recipe.Name);
            json.WriteString("model", model);
            json.WriteNumber("parameters", plan.Parameters);
            json.WriteNumber("trained_parameters", plan.TrainedParameters);
            json.WriteNumber("rows", plan.Examples);
            json.WriteNumber("steps", plan.Steps);
            json.WriteNumber("batch", plan.Recipe.Schedule.Batch);
            json.WriteNumber("drawn_tokens_per_step", plan.RolloutTokens);
            json.WriteStartObject("looked_at");
            json.WriteNumber("rows", plan.Rows.Looked);
            json.WriteNumber("unusable", plan.Rows.Unusable);
            json.WriteString("first_unusable", plan.Rows.FirstUnusable);
            json.WriteNumber("longest_tokens", plan.Rows.LongestTokens);
            json.WriteNumber("most_tiles", plan.Rows.MostTiles);
            json.WriteEndObject();
            json.WriteStartObject("bytes");
            json.WriteNumber("peak", plan.PeakBytes);
            json.WriteNumber("device", plan.DeviceBytes);
            json.WriteNumber("weights", plan.Memory.WeightBytes);
            json.WriteNumber("gradients_and_optimizer", plan.Memory.StateBytes);
            json.WriteNumber("activations", plan.Memory.ActivationBytes);
            json.WriteNumber("cache", plan.Memory.CacheBytes);
            json.WriteNumber("passes", plan.Memory.GenerationBytes);
            json.WriteNumber("reference", plan.Memory.ReferenceBytes);
            json.WriteNumber("verifiers", plan.Memory.VerifierBytes);
            json.WriteEndObject();
            json.WriteBoolean("fits", plan.Fits);
            json.WriteStartArray("advice");
            foreach (RunAdvice advice in plan.Advice)
            {
                json.WriteStartObject();
                json.WriteStartArray("settings");
                foreach (string setting in advice.Settings)
                    json.WriteStringValue(setting);
                json.WriteEndArray();
                json.WriteString("reason", advice.Reason);
                json.WriteNumber("peak", advice.PeakBytes);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    /// <summary>Results of runs as one object.</summary>
    public static string Json(IReadOnlyList<RunResult> results) => Object(json =>
    {
        json.WriteStartArray("runs");
        foreach (RunResult result in results)
        {
            json.WriteStartObject();
            json.WriteString("name", result.Name);
            json.WriteString("folder", result.Folder);
            json.WriteNumber("steps", result.Steps);
            json.WriteNumber("result_step", result.ResultStep);
            Number(json, "accuracy", result.Accuracy);
            Number(json, "accuracy_before", result.FirstAccuracy);
            Number(json, "log_probability_difference", result.LogProbabilityDifference);
            json.WriteNumber("seconds", Math.Round(result.Seconds, 1));
            json.WriteNumber("bad_rows", result.BadRows);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    private static string Size(long bytes) => bytes < 1e9
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F1} MB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB");

    private static void Number(Utf8JsonWriter json, string name, double? value)
    {
        if (value is { } number)
            json.WriteNumber(name, number);
        else
            json.WriteNull(name);
    }

    private static string Object(Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }
}
