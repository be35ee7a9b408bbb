using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Training;
using Skylight.Training.Objectives;
using Skylight.Workloads;

namespace Skylight.Tests.Models;

/// <summary>
/// YaRN and dynamic NTK: transformers' frequencies, and one and the same for every token of every sequence.
/// </summary>
public sealed class RopeScalingTests
{
    private const int Trained = 64, Positions = 256;

    public static TheoryData<int, double, RopeScaling> Yarns => new()
    {
        { 128, 1e6, new RopeScaling(RopeScalingKind.Yarn, 4, 32768) },
        { 64, 1e6, new RopeScaling(RopeScalingKind.Yarn, 2, 40960) { Truncate = false } },
        { 24, 1e4, new RopeScaling(RopeScalingKind.Yarn, 16, 2048) { BetaFast = 16, BetaSlow = 2, AttentionFactor = 0.75 } },
        { 64, 1e4, new RopeScaling(RopeScalingKind.Yarn, 40, 4096) { MScale = 1, MScaleAllDimensions = 0.707 } },
        { 128, 5e5, new RopeScaling(RopeScalingKind.Yarn, 8, 8192) { MScale = 0.5 } },
        // All frequencies turn often or never: both ends of the ramp are at the edge.
        { 8, 1e6, new RopeScaling(RopeScalingKind.Yarn, 3, 4) },
        { 16, 100, new RopeScaling(RopeScalingKind.Yarn, 3, 1 << 20) },
        { 32, 1e4, new RopeScaling(RopeScalingKind.Yarn, 1, 1024) },
    };

    /// <summary>The formula of transformers' _compute_yarn_parameters, in double precision.</summary>
    [Theory]
    [MemberData(nameof(Yarns))]
    public void Yarn_has_the_frequencies_and_the_attention_factor_of_transformers(int dimension, double theta,
        RopeScaling scaling)
    {
        double Turns(double rotations) =>
            dimension * Math.Log(scaling.TrainedPositions / (rotations * 2 * Math.PI)) / (2 * Math.Log(theta));
        double low = Turns(scaling.BetaFast), high = Turns(scaling.BetaSlow);
        if (scaling.Truncate)
        {
            low = Math.Floor(low);
            high = Math.Ceiling(high);
        }

        low = Math.Max(low, 0);
        high = Math.Min(high, dimension - 1);
        high = low == high ? high + 0.001 : high;
        double MScale(double by) => scaling.Factor <= 1 ? 1 : 0.1 * by * Math.Log(scaling.Factor) + 1;
        double attention = scaling.AttentionFactor ?? (scaling.MScale > 0 && scaling.MScaleAllDimensions > 0
            ? MScale(scaling.MScale.Value) / MScale(scaling.MScaleAllDimensions.Value) : MScale(1));

        RotaryTable table = RopeScaling.Table(scaling, dimension, theta, 123);
        float[] frequencies = table.Frequencies();
        int[] positions = [0, 1, 7, 500];
        float[] rotations = OpRun.Floats(table, Operand.Integers(positions))[0];
        for (int index = 0; index < dimension / 2; index++)
        {
            double ramp = Math.Clamp((index - low) / (high - low), 0, 1),
                frequency = Math.Pow(theta, -2.0 * index / dimension);
            double expected = frequency / scaling.Factor * ramp + frequency * (1 - ramp);
            Assert.Equal(expected, frequencies[index], 2e-6 * expected);
            for (int row = 0; row < positions.Length; row++)
            {
                double angle = positions[row] * (double)frequencies[index], tolerance = 1e-6 + angle * 2e-7;
                Assert.Equal(attention * Math.Cos(angle), rotations[row * dimension + index], tolerance);
                Assert.Equal(attention * Math.Sin(angle), rotations[row * dimension + dimension / 2 + index], tolerance);
            }
        }
    }

    /// <summary>The formula of transformers' _compute_dynamic_ntk_parameters at the length that is configured.</summary>
    [Theory]
    [InlineData(128, 1e6, 2.0, 32768, 65536)]
    [InlineData(64, 1e4, 4.0, 2048, 5000)]
    [InlineData(8, 1e6, 1.0, 64, 256)]
    [InlineData(128, 1e6, 2.0, 32768, 32768)]
    public void Dynamic_scaling_has_the_base_of_the_configured_length(int dimension, double theta, double factor,
        int trained, int positions)
    {
        double length = Math.Max(positions, trained),
            expectedBase = theta * Math.Pow(factor * length / trained - (factor - 1), dimension / (dimension - 2.0));
        float[] frequencies = RopeScaling.Table(new RopeScaling(RopeScalingKind.Dynamic, factor, trained), dimension,
            theta, positions).Frequencies();
        for (int index = 0; index < frequencies.Length; index++)
        {
            double expected = Math.Pow(expectedBase, -2.0 * index / dimension);
            Assert.Equal(expected, frequencies[index], 2e-6 * expected);
        }

        if (positions == trained)
            Assert.Equal(new RotaryTable(dimension, (float)theta).Frequencies(), frequencies);
    }

    public static TheoryData<RopeScalingKind, LanguageModelKind, DataType> Models => new(
        from scaling in Enum.GetValues<RopeScalingKind>()
        from model in ((LanguageModelKind, DataType)[])[(LanguageModelKind.Qwen2, DataType.Float32),
            (LanguageModelKind.Qwen3, DataType.BFloat16)]
        select (scaling, model.Item1, model.Item2));

    /// <summary>Prompts that end before the trained length, at it and beyond, and answers that cross it.</summary>
    [Theory]
    [MemberData(nameof(Models))]
    public void Prefill_decoding_cache_and_training_have_the_same_bits_across_the_trained_length(
        RopeScalingKind scaling, LanguageModelKind kind, DataType type)
    {
        using VisionLanguageModel model = TinyModel.Create(type, maxPositions: Positions, kind: kind,
            scaling: new RopeScaling(scaling, 4, Trained));
        GenerationRequest[] requests =
        [
            new(TinyModel.Prompt(1, 20, TinyModel.Picture(1)), 2, 1), new(TinyModel.Prompt(2, Trained - 1), 2, 2),
            new(TinyModel.Prompt(3, Trained), 1, 3),
            new(TinyModel.Prompt(4, Trained + 1, TinyModel.Picture(2)), 2, 4), new(TinyModel.Prompt(5, 3 * Trained), 1, 5),
        ];
        var options = new SamplingOptions { Temperature = 0.8f, MaxOutputTokens = 60, Seed = 7 };
        Completion[] whole = Generate(model, requests, options, 4096, keepsPages: false);
        Assert.Contains(whole.Zip(Prompts(requests)), pair => pair.Second.Tokens.Length < Trained
            && pair.Second.Tokens.Length + pair.First.Tokens.Length > Trained);

        foreach (Completion[] again in (Completion[][])
        [
            Generate(model, requests, options, 17, keepsPages: false),
            [.. requests.SelectMany(request => Generate(model, [request], options, 4096, keepsPages: false))],
            Generate(model, requests, options, 4096, keepsPages: true),
        ])
        {
            Assert.Equal(whole.Select(completion => completion.Tokens), again.Select(completion => completion.Tokens));
            Assert.Equal(whole.Select(Bits), again.Select(Bits));
        }

        TrainingSample[] samples = [.. whole.Zip(Prompts(requests), (completion, prompt) => new TrainingSample(
            new TokenSequence([.. prompt.Tokens, .. completion.Tokens],
                prompt.Images) { TextFrom = prompt.Tokens.Length }, prompt.Tokens.Length,
                    [.. completion.Tokens.Select(_ => 0.01f)]))];
        using var trainer = new ModelTrainer(model, TrainableModules.All);
        BatchResult scores = trainer.AccumulateGradients(samples, new CrossEntropyObjective { Temperature = 0.8f });
        Assert.Equal(whole.Select(Bits),
            scores.LogProbabilities.Select(values => values.Select(BitConverter.SingleToInt32Bits).ToArray()));
    }

    [Fact]
    public void The_scaling_changes_what_is_computed_and_its_length_is_a_limit()
    {
        float[] Score(RopeScaling? scaling, int positions)
        {
            using VisionLanguageModel model = TinyModel.Create(maxPositions: positions, scaling: scaling);
            using var scorer = new ModelScorer(model);
            return scorer.Score([new TrainingSample(new TokenSequence(TinyModel.Text(1, 60), []), 1, new float[59])])
                .LogProbabilities[0];
        }

        float[] plain = Score(null, Trained);
        Assert.Equal(plain, Score(new RopeScaling(RopeScalingKind.Dynamic, 4, Trained), Trained));
        Assert.NotEqual(plain, Score(new RopeScaling(RopeScalingKind.Dynamic, 4, Trained), Positions));
        Assert.NotEqual(plain, Score(new RopeScaling(RopeScalingKind.Yarn, 4, Trained), Positions));
        using VisionLanguageModel model = TinyModel.Create(maxPositions: Positions,
            scaling: new RopeScaling(RopeScalingKind.Yarn, 4, Trained));
        using var engine = new GenerationEngine(model, 4096);
        string message = Assert.Throws<ArgumentException>(() =>
            engine.Generate([new(TinyModel.Prompt(1, Positions))], new SamplingOptions { MaxOutputTokens = 1 })).Message;
        Assert.Contains("256 positions (YaRN by 4 beyond 64)", message, StringComparison.Ordinal);
    }

    private static IEnumerable<TokenSequence> Prompts(GenerationRequest[] requests) =>
        requests.SelectMany(request => Enumerable.Repeat(request.Prompt, request.Count));

    /// <summary>With pages that are kept, everything is asked twice, and the second answers count.</summary>
    private static Completion[] Generate(VisionLanguageModel model, GenerationRequest[] requests,
        SamplingOptions options, int prefillTokens, bool keepsPages)
    {
        using var engine = new GenerationEngine(model, 8192, prefillTokens, cachePrefixes: keepsPages);
        if (keepsPages)
            engine.Generate(requests, options);
        return [.. engine.Generate(requests, options).SelectMany(completions => completions)];
    }

    private static int[] Bits(Completion completion) =>
        [.. completion.LogProbabilities.Select(BitConverter.SingleToInt32Bits)];
}
