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
        string drawn = plan.RolloutTokens > 0 ? $", up to {plan.RolloutTokens:N0} tokens drawn a step" : "";
        string parts = $"weights {Gigabytes(plan.Estimate.WeightBytes)}, gradients and optimizer {Gigabytes(plan.Estimate.StateBytes)}, "
            + $"activations {Gigabytes(plan.Estimate.ActivationBytes)}, cache {Gigabytes(plan.CacheBytes)}"
            + (plan.ReferenceBytes > 0 ? $", reference {Gigabytes(plan.ReferenceBytes)}" : "");
        return string.Create(CultureInfo.InvariantCulture, $"""
            {plan.Recipe.Name}
              parameters   {plan.Parameters:N0}, trained {plan.TrainedParameters:N0}
              data         {plan.Examples:N0} rows; {plan.Steps:N0} steps of {plan.Recipe.Schedule.Batch}{drawn}
              memory       {Gigabytes(plan.PeakBytes)} GB of {Gigabytes(plan.DeviceBytes)} on {device.Name}: {parts}
              {(plan.Fits ? "fits" : $"DOES NOT FIT. What helps:{string.Concat(plan.Advice.Select(advice => $"\n    {advice}"))}")}

            """).ReplaceLineEndings();
    }

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
            json.WriteStartObject("bytes");
            json.WriteNumber("peak", plan.PeakBytes);
            json.WriteNumber("device", plan.DeviceBytes);
            json.WriteNumber("weights", plan.Estimate.WeightBytes);
            json.WriteNumber("gradients_and_optimizer", plan.Estimate.StateBytes);
            json.WriteNumber("activations", plan.Estimate.ActivationBytes);
            json.WriteNumber("cache", plan.CacheBytes);
            json.WriteNumber("reference", plan.ReferenceBytes);
            json.WriteEndObject();
            json.WriteBoolean("fits", plan.Fits);
            json.WriteStartArray("advice");
            foreach (string advice in plan.Advice)
                json.WriteStringValue(advice);
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

    private static string Gigabytes(long bytes) => (bytes / 1e9).ToString("F2", CultureInfo.InvariantCulture);

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
