using Skylight.Cpu;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;
using Skylight.Training;

namespace Skylight.Tests.Cuda;

/// <summary>A model whose language matrices stay quantised, through the whole CUDA device on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class QuantizedModelOnCardTests(KernelFolder kernels)
{
    private static readonly GenerationRequest[] s_requests =
    [
        new(TinyModel.Prompt(1, 40, TinyModel.Picture(1)), 2, 1),
        new(TinyModel.Prompt(2, PagedAttention.PageSize - 1), 1, 2),
    ];

    [Theory]
    [InlineData(4)]
    [InlineData(8)]
    public void It_writes_what_the_CPU_finds_as_likely_and_every_way_to_read_has_the_same_bits(int bits)
    {
        QuantizedFormat format = bits == 8 ? QuantizedFormat.Q8 : QuantizedFormat.Q4;
        using SimulatedCard card = new(cacheFolder: kernels.Path);
        using var cpu = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        using VisionLanguageModel onCard = TinyModel.Create(DataType.BFloat16, device: card.Device),
            onCpu = TinyModel.Create(DataType.BFloat16, device: cpu), plain = TinyModel.Create(DataType.BFloat16, device: cpu);
        onCard.Quantize(format);
        onCpu.Quantize(format);
        Assert.Equal(format, onCard.Parameters["language.head.weight"].Type.Format);
        Completion[] whole = Generate(onCard, 4096, s_requests), parts = Generate(onCard, 7, s_requests),
            alone = [.. s_requests.SelectMany(request => Generate(onCard, 4096, request))];
        TrainingSample[] samples = [.. s_requests.SelectMany(request => Enumerable.Repeat(request, request.Count))
            .Zip(whole, (request, completion) => Sample(request, completion.Tokens))];
        float[][] scored = Score(onCard, samples);
        for (int index = 0; index < whole.Length; index++)
        {
            Assert.Equal(whole[index].Tokens, parts[index].Tokens);
            Assert.Equal(Bits(whole[index].LogProbabilities), Bits(parts[index].LogProbabilities));
            Assert.Equal(Bits(whole[index].LogProbabilities), Bits(alone[index].LogProbabilities));
            Assert.Equal(Bits(whole[index].LogProbabilities), Bits(scored[index]));
        }

        double near = Distance(scored, Score(onCpu, samples)), far = Distance(scored, Score(plain, samples));
        // The rest is the activations' bfloat16; what rounding the weights did is more.
        Assert.True(near < 0.05, $"{near} from the CPU with the same codes");
        Assert.True(far > near, $"{near} with the same codes, {far} with the weights they were made from");
    }

    private static double Distance(float[][] left, float[][] right) => Math.Sqrt(left.SelectMany(row => row)
        .Zip(right.SelectMany(row => row), (first, second) => Math.Pow(first - second, 2)).Average());

    private static float[][] Score(VisionLanguageModel model, TrainingSample[] samples)
    {
        using var scorer = new ModelScorer(model, microBatchTokens: 700);
        return [.. scorer.Score(samples, 1).LogProbabilities];
    }

    private static Completion[] Generate(VisionLanguageModel model, int prefillTokens, params GenerationRequest[] requests)
    {
        using var engine = new GenerationEngine(model, 1024, prefillTokens);
        return [.. engine.Generate(requests, new SamplingOptions { MaxOutputTokens = 12, Seed = 7 })
            .SelectMany(completions => completions)];
    }

    private static TrainingSample Sample(GenerationRequest request, int[] tokens)
    {
        int[] prompt = request.Prompt.Tokens;
        var sequence = new TokenSequence([.. prompt, .. tokens], request.Prompt.Images) { TextFrom = prompt.Length };
        return new TrainingSample(sequence, prompt.Length, [.. Enumerable.Repeat(0.01f, tokens.Length)]);
    }

    private static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];
}
