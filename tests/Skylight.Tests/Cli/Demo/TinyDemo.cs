using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Digits;
using Skylight.Cli.Demo.Report;
using Skylight.Tensors;
using Skylight.Training;

namespace Skylight.Tests.Cli.Demo;

/// <summary>A demo of seconds: one drawing of one digit, so few steps that the model learns hardly more than to end its answers.</summary>
internal static class TinyDemo
{
    public static DemoSettings Settings { get; } = new()
    {
        Seed = 7,
        Preset = DemoPreset.Tiny,
        Pretraining = new LearningRateSchedule(2e-3f, 3),
        PretrainingCaptions = 4,
        PretrainingProblems = 2,
        ColdStart = new LearningRateSchedule(4e-3f, 28, 3),
        ColdStartTraces = 8,
        ColdStartBatch = 8,
        Grpo = new LearningRateSchedule(1e-4f, 4),
        GrpoPrompts = 4,
        GroupSize = 4,
        CheckpointEvery = 2,
        ConnectorOnly = new LearningRateSchedule(1e-4f, 2),
        ConnectorOnlyBatch = 6,
        TestProblems = 8,
        ValidationProblems = 6,
    };

    /// <summary>As few steps as there can be.</summary>
    public static DemoSettings Shortest { get; } = Settings with
    {
        Pretraining = new LearningRateSchedule(1e-3f, 1),
        ColdStart = new LearningRateSchedule(1e-3f, 1),
        Grpo = new LearningRateSchedule(1e-3f, 1),
        CheckpointEvery = 1,
        ConnectorOnly = new LearningRateSchedule(1e-3f, 1),
        GrpoPrompts = 2,
        TestProblems = 2,
        ValidationProblems = 2,
    };

    public static DigitDataset Digits { get; } = new(OneDigit(1), OneDigit(2));

    private static DigitSet OneDigit(ulong seed)
    {
        var random = new CounterRandom(seed, 0);
        var pixels = new byte[DigitSet.Area];
        for (int index = 0; index < pixels.Length; index++)
            pixels[index] = (byte)(index / DigitSet.Side is > 5 and < 22 ? random.Next(256) : 0);
        return new DigitSet(pixels, [3]);
    }
}

/// <summary>Counts steps and says at which the user presses Ctrl-C.</summary>
internal sealed class ScriptedDisplay(Func<int, bool>? cancelAfter = null) : IDemoDisplay
{
    public CancellationTokenSource Cancellation { get; } = new();

    public int Steps { get; private set; }

    public List<string> Phases { get; } = [];

    public void Begin(string phase, string description, int steps) => Phases.Add(phase);

    public void Step(int step, string figures)
    {
        if (cancelAfter?.Invoke(++Steps) == true)
            Cancellation.Cancel();
    }

    public void End(PhaseResult result)
    {
        // Only steps are counted.
    }
}
