using Skylight.Cli.Demo.Digits;
using Skylight.Models;
using Skylight.Training;

namespace Skylight.Cli.Demo;

/// <summary>How long a demo run is.</summary>
internal enum DemoPreset
{
    /// <summary>The run that the figures in the documentation are from.</summary>
    Full,

    /// <summary>Shorter, with a smaller gain.</summary>
    Quick,

    /// <summary>A few steps of every phase: shows that a device can do it all, and nothing about learning.</summary>
    Tiny,
}

/// <summary>Sizes, steps and learning rates of a demo run.</summary>
internal sealed record DemoSettings
{
    /// <summary>Everything random follows from it.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Which run this is.</summary>
    public required DemoPreset Preset { get; init; }

    /// <summary>Captions per step of pre-training.</summary>
    public int PretrainingCaptions { get; init; } = 48;

    /// <summary>Text problems per step of pre-training.</summary>
    public int PretrainingProblems { get; init; } = 24;

    public required LearningRateSchedule Pretraining { get; init; }

    /// <summary>Reasoning traces about pictures; all that is ever shown.</summary>
    public int ColdStartTraces { get; init; } = 128;

    public int ColdStartBatch { get; init; } = 32;

    public required LearningRateSchedule ColdStart { get; init; }

    /// <summary>Prompts per step of GRPO.</summary>
    public int GrpoPrompts { get; init; } = 32;

    public int GroupSize { get; init; } = 8;

    public required LearningRateSchedule Grpo { get; init; }

    /// <summary>A checkpoint is saved and validated after so many steps of GRPO.</summary>
    public required int CheckpointEvery { get; init; }

    public required LearningRateSchedule ConnectorOnly { get; init; }

    /// <summary>Traces per step of connector-only tuning.</summary>
    public int ConnectorOnlyBatch { get; init; } = 32;

    /// <summary>Held-out problems that accuracy is measured on.</summary>
    public int TestProblems { get; init; } = 1000;

    /// <summary>Problems of training digits that checkpoints are validated on.</summary>
    public int ValidationProblems { get; init; } = 256;

    /// <summary>The most tokens of an answer; traces have at most 40.</summary>
    public int MaxNewTokens { get; init; } = 48;

    public static DemoSettings Create(ulong seed, DemoPreset preset) => preset switch
    {
        DemoPreset.Quick => new DemoSettings
        {
            Seed = seed,
            Preset = preset,
            Pretraining = new LearningRateSchedule(1.5e-3f, 350, 20, LearningRateDecay.Cosine, 0.05f),
            ColdStart = new LearningRateSchedule(5e-4f, 40, 5),
            Grpo = new LearningRateSchedule(2e-4f, 90, 3),
            CheckpointEvery = 15,
            ConnectorOnly = new LearningRateSchedule(2e-4f, 10, 2, LearningRateDecay.Cosine),
        },
        // Every phase, none long enough to learn from.
        DemoPreset.Tiny => new DemoSettings
        {
            Seed = seed,
            Preset = preset,
            Pretraining = new LearningRateSchedule(2e-3f, 3),
            PretrainingCaptions = 4,
            PretrainingProblems = 2,
            ColdStart = new LearningRateSchedule(4e-3f, 12, 3),
            ColdStartTraces = 4,
            ColdStartBatch = 4,
            Grpo = new LearningRateSchedule(1e-4f, 2),
            GrpoPrompts = 2,
            GroupSize = 4,
            CheckpointEvery = 1,
            ConnectorOnly = new LearningRateSchedule(1e-4f, 1),
            ConnectorOnlyBatch = 2,
            TestProblems = 4,
            ValidationProblems = 2,
        },
        _ => new DemoSettings
        {
            Seed = seed,
            Preset = preset,
            Pretraining = new LearningRateSchedule(1.5e-3f, 700, 30, LearningRateDecay.Cosine, 0.05f),
            ColdStart = new LearningRateSchedule(5e-4f, 40, 5),
            Grpo = new LearningRateSchedule(2e-4f, 160, 5),
            CheckpointEvery = 20,
            ConnectorOnly = new LearningRateSchedule(1e-4f, 30, 3, LearningRateDecay.Cosine),
        },
    };

    /// <summary>A vision-language model of the InternVL3 architecture with under a million parameters.</summary>
    public static ModelConfiguration Model(int vocabularySize, int imageTokenId, int endTokenId, int channels) => new ModelConfiguration
    {
        Vision = new VisionConfiguration
        {
            HiddenSize = 64,
            LayerCount = 3,
            HeadCount = 4,
            IntermediateSize = 256,
            ImageHeight = DigitPicture.Height,
            ImageWidth = DigitPicture.Width,
            PatchHeight = 7,
            PatchWidth = 7,
            ChannelCount = channels,
        },
        Language = new LanguageConfiguration
        {
            HiddenSize = 128,
            LayerCount = 3,
            HeadCount = 4,
            KeyValueHeadCount = 2,
            HeadDimension = 32,
            IntermediateSize = 384,
            VocabularySize = vocabularySize,
            RopeTheta = 10000,
            MaxPositions = 256,
        },
        ImageTokenId = imageTokenId,
        StopTokenIds = [endTokenId],
    }.Validate();
}
