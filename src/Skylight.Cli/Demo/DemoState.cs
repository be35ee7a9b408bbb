using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Cli.Demo.Report;
using Skylight.Training;

namespace Skylight.Cli.Demo;

/// <summary>How far a run has come and what it found: with the weights all that is needed to go on.</summary>
internal sealed record DemoState
{
    public ulong Seed { get; set; }

    public DemoPreset Preset { get; set; }

    /// <summary>The folder of the digits; null for the bundled ones.</summary>
    public string? Digits { get; set; }

    /// <summary>The index of the phase that runs or comes next.</summary>
    public int Phase { get; set; }

    /// <summary>The steps of that phase that are done.</summary>
    public int Step { get; set; }

    /// <summary>The optimizer steps of that phase.</summary>
    public int OptimizerSteps { get; set; }

    /// <summary>Wall time so far, over all sittings.</summary>
    public double Seconds { get; set; }

    /// <summary>Wall time of the current phase so far.</summary>
    public double PhaseSeconds { get; set; }

    public double CaptionAccuracy { get; set; }

    public double MaximumLogProbabilityDifference { get; set; }

    public List<PhaseResult> Results { get; set; } = [];

    public List<TrainingStep> Grpo { get; set; } = [];

    public List<TrainingStep> Frozen { get; set; } = [];

    public List<CheckpointScore> Checkpoints { get; set; } = [];

    public List<ExampleAnswer> Before { get; set; } = [];

    public List<ExampleAnswer> After { get; set; } = [];

    public string ToJson() => JsonSerializer.Serialize(this, DemoStateJson.Default.DemoState);

    /// <exception cref="JsonException">The text is not such a state.</exception>
    /// <exception cref="InvalidDataException">It is one that no run has.</exception>
    public static DemoState FromJson(string json)
    {
        DemoState state = JsonText.Deserialize(Encoding.UTF8.GetBytes(json), DemoStateJson.Default.DemoState);
        if (!Enum.IsDefined(state.Preset))
            throw new InvalidDataException("its 'Preset' is a number that stands for nothing.");
        if (state.Phase < 0 || state.Step < 0 || state.Results.Count != state.Phase)
            throw new InvalidDataException($"it says phase {state.Phase}, step {state.Step}, with the results of {state.Results.Count} phases.");
        return state;
    }
}

[JsonSourceGenerationOptions(
    WriteIndented = true, UseStringEnumConverter = true, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(DemoState))]
internal sealed partial class DemoStateJson : JsonSerializerContext;
