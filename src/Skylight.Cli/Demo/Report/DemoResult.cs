using System.Text;
using System.Text.Json;
using Skylight.Training;

namespace Skylight.Cli.Demo.Report;

/// <summary>All that one run of the demo measured: what the report and the JSON line are made of.</summary>
internal sealed record DemoResult
{
    /// <summary>Held-out accuracy after each phase, in the order they ran.</summary>
    public required IReadOnlyList<PhaseResult> Phases { get; init; }

    /// <summary>The GRPO run with the connector trained.</summary>
    public required IReadOnlyList<TrainingStep> Grpo { get; init; }

    /// <summary>The ablation: the same run with the connector frozen; empty if it was not run.</summary>
    public required IReadOnlyList<TrainingStep> FrozenConnector { get; init; }

    /// <summary>The checkpoints saved during GRPO, in the order of their steps.</summary>
    public required IReadOnlyList<CheckpointScore> Checkpoints { get; init; }

    /// <summary>Held-out problems with the model's answers before and after GRPO.</summary>
    public required IReadOnlyList<ExampleProblem> Examples { get; init; }

    /// <summary>Largest |Δ log p| of any token between decoding and the training forward.</summary>
    public required double RolloutTrainMaxAbsLogprobDiff { get; init; }

    /// <summary>Wall time of the run.</summary>
    public required double Seconds { get; init; }

    /// <summary>Seed of the run.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Which run this was.</summary>
    public DemoPreset Preset { get; init; }

    /// <summary>The name of the device it ran on.</summary>
    public required string Device { get; init; }

    /// <summary>The model in words: sizes and parameter count.</summary>
    public required string Model { get; init; }

    /// <summary>The machine in words: processor, cores, system.</summary>
    public required string Machine { get; init; }

    /// <summary>The command that repeats the run.</summary>
    public required string Command { get; init; }

    /// <summary>The name of <see cref="Preset"/>.</summary>
    public string PresetName => NameOf(Preset);

    /// <summary>What a preset is called.</summary>
    public static string NameOf(DemoPreset preset) =>
        preset switch { DemoPreset.Full => "full", DemoPreset.Quick => "quick", _ => "tiny" };

    /// <summary>The phase of that key, or null if it was not run.</summary>
    public PhaseResult? Phase(string key) => Phases.FirstOrDefault(phase => phase.Key == key);

    /// <summary>One JSON object on one line: accuracy per phase, log-probability difference, seconds, seed.</summary>
    public string ToJson()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            foreach (PhaseResult phase in Phases)
                json.WriteNumber(phase.Key, phase.Accuracy);
            json.WriteNumber("rollout_train_max_abs_logprob_diff", RolloutTrainMaxAbsLogprobDiff);
            json.WriteNumber("seconds", Math.Round(Seconds, 1));
            json.WriteNumber("seed", Seed);
            json.WriteBoolean("quick", Preset == DemoPreset.Quick);
            json.WriteString("device", Device);
            json.WriteString("preset", PresetName);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }
}

/// <summary>Held-out accuracy after a phase.</summary>
/// <param name="Key">Its key in JSON, such as <see cref="ColdStart"/>.</param>
/// <param name="Name">Its name for people.</param>
/// <param name="Description">What was trained on what, in a few words.</param>
/// <param name="Correct">Problems solved.</param>
/// <param name="Count">Problems given; at least 1.</param>
/// <param name="Seconds">Wall time of the phase.</param>
internal sealed record PhaseResult(string Key, string Name, string Description, int Correct, int Count, double Seconds)
{
    public const string Pretrained = "pretrained";
    public const string ColdStart = "cold_start";
    public const string Grpo = "grpo";
    public const string ConnectorOnly = "connector_only";
    public const string GrpoConnectorFrozen = "grpo_connector_frozen";

    /// <summary>The report of its run, relative to the page; null if there is none.</summary>
    public string? Report { get; init; }

    /// <summary>Share of problems solved, in [0, 1].</summary>
    public double Accuracy => (double)Correct / Count;

    /// <summary>The 95 % confidence interval of <see cref="Accuracy"/> (Wilson's, which holds near 0 and 1 too).</summary>
    public (double Low, double High) Interval
    {
        get
        {
            const double z = 1.959964;
            double shrink = 1 + z * z / Count;
            double middle = (Accuracy + z * z / (2 * Count)) / shrink;
            double half = z / shrink * Math.Sqrt(Accuracy * (1 - Accuracy) / Count + z * z / (4.0 * Count * Count));
            return (Math.Max(0, middle - half), Math.Min(1, middle + half));
        }
    }
}

/// <summary>One step of GRPO.</summary>
/// <param name="Step">Its number, from 1.</param>
/// <param name="Reward">Mean total reward of its completions.</param>
/// <param name="Accuracy">Share of its completions with the right answer; not finite if that was not measured.</param>
/// <param name="CriticalEntropy">Mean entropy of critical tokens, in nats; null if there was none.</param>
/// <param name="MeanEntropy">Mean entropy of all tokens, in nats.</param>
/// <param name="ResponseLength">Mean tokens of a completion.</param>
/// <param name="TokensPerSecond">Tokens generated per second of rollout.</param>
internal sealed record TrainingStep(
    int Step, double Reward, double Accuracy, double? CriticalEntropy, double MeanEntropy, double ResponseLength,
    double TokensPerSecond);

/// <summary>A held-out problem and what the model made of it.</summary>
/// <param name="Picture">The picture as a PNG file.</param>
/// <param name="Width">Width of the picture.</param>
/// <param name="Height">Height of the picture.</param>
/// <param name="Question">The question for people.</param>
/// <param name="Expected">The right answer.</param>
/// <param name="Before">The model after the cold start.</param>
/// <param name="After">The model after GRPO.</param>
internal sealed record ExampleProblem(
    byte[] Picture, int Width, int Height, string Question, string Expected, ExampleAnswer Before, ExampleAnswer After);

/// <summary>One answer: the model's text, special tokens spelled out, and whether it is right.</summary>
internal sealed record ExampleAnswer(string Text, bool Correct);
