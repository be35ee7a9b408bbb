using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Chat;
using Skylight.Tests.Cpu;
using Skylight.Training;

namespace Skylight.Tests.Models;

/// <summary>A model whose language matrices were quantised: what it writes, what it refuses.</summary>
public sealed class QuantizedModelTests
{
    private const int NewTokens = 24;

    private static readonly GenerationRequest[] s_requests =
    [
        new(TinyModel.Prompt(1, 40, TinyModel.Picture(1)), 2, 1),
        new(TinyModel.Prompt(2, PagedAttention.PageSize - 1), 1, 2),
        new(TinyModel.Prompt(3, 5), 3, 3),
    ];

    [Theory]
    [InlineData(DataType.Float32, LanguageModelKind.Qwen2)]
    [InlineData(DataType.BFloat16, LanguageModelKind.Qwen2)]
    [InlineData(DataType.BFloat16, LanguageModelKind.Qwen3)]
    public void Log_probabilities_stay_near_those_of_the_weights_it_was_made_from(DataType type, LanguageModelKind kind)
    {
        using VisionLanguageModel model = TinyModel.Create(type, kind: kind), quantized = TinyModel.Create(type, kind: kind);
        long before = Bytes(quantized);
        quantized.Quantize(QuantizedFormat.Q8);
        Assert.True(quantized.IsQuantized);
        Assert.True(Bytes(quantized) < before);
        double difference = 0;
        int compared = 0;
        foreach ((Completion[] exact, Completion[] rounded) in Generate(model, 4096).Zip(Generate(quantized, 4096)))
        {
            foreach ((Completion first, Completion second) in exact.Zip(rounded))
            {
                // As long as both wrote the same, their distributions are of the same text.
                for (int token = 0; token < first.Tokens.Length && first.Tokens[token] == second.Tokens[token];
                    token++, compared++)
                    difference = Math.Max(difference,
                        Math.Abs(first.LogProbabilities[token] - second.LogProbabilities[token]));
            }
        }

        Assert.InRange(compared, 30, int.MaxValue);
        // Not 0: the weights were rounded indeed.
        Assert.InRange(difference, 1e-6, 0.3);
    }

    [Theory]
    [InlineData(LanguageModelKind.Qwen2)]
    [InlineData(LanguageModelKind.Qwen3)]
    public void Prompts_read_in_parts_and_beside_others_give_the_same_bits(LanguageModelKind kind)
    {
        using VisionLanguageModel model = TinyModel.Create(DataType.BFloat16, kind: kind);
        model.Quantize(QuantizedFormat.Q8);
        IReadOnlyList<Completion[]> whole = Generate(model, 4096);
        foreach (int part in (int[])[1, 7, 33])
            AssertSame(whole, Generate(model, part));
        AssertSame(whole, [.. s_requests.Select(request => Generate(model, 4096, request)[0])]);
    }

    /// <summary>Nothing but the result is ever reserved.</summary>
    [Theory]
    [InlineData(DataType.Float32)]
    [InlineData(DataType.BFloat16)]
    public void Rounding_while_loading_gives_the_weights_of_rounding_afterwards(DataType type)
    {
        using var temporary = new TemporaryFolder();
        string folder = temporary["model"];
        using (VisionLanguageModel model = TinyModel.Create(type))
            ModelCheckpoint.Save(model, folder);
        foreach (QuantizedFormat format in (QuantizedFormat[])[QuantizedFormat.Q8, QuantizedFormat.Q4])
        {
            using CpuDevice device = new(), other = new();
            using VisionLanguageModel loaded = ModelCheckpoint.Load(folder, device, quantization: format);
            Assert.Equal(Bytes(loaded), device.ReservedPeakBytes);
            using VisionLanguageModel planned = ModelCheckpoint.Describe(folder, device, quantization: format),
                afterwards = ModelCheckpoint.Load(folder, other);
            Assert.True(Bytes(loaded) < Bytes(afterwards));
            afterwards.Quantize(format);
            Assert.Equal(Bytes(afterwards), Bytes(planned));
            foreach ((PersistentTensor expected, PersistentTensor found) in afterwards.Parameters.All.Zip(loaded.Parameters.All))
            {
                Assert.Equal((expected.Name, expected.Type), (found.Name, found.Type));
                Assert.True(Span(expected).SequenceEqual(Span(found)), expected.Name);
            }
        }

        static ReadOnlySpan<byte> Span(PersistentTensor parameter) => CpuMemory.Span<byte>(parameter.Tensor);
    }

    [Fact]
    public void Weights_that_a_device_cannot_hold_are_refused_with_the_numbers_before_anything_is_reserved()
    {
        using var temporary = new TemporaryFolder();
        string folder = temporary["model"];
        using (VisionLanguageModel model = TinyModel.Create(DataType.Float32))
            ModelCheckpoint.Save(model, folder);
        long bytes;
        using (VisionLanguageModel model = ModelCheckpoint.Describe(folder, new CpuDevice()))
            bytes = Bytes(model);
        using var small = new CpuDevice(memoryBytes: bytes - 1);
        string message = Assert.Throws<OutOfDeviceMemoryException>(() => ModelCheckpoint.Load(folder, small)).Message;
        Assert.Contains(FormattableString.Invariant($"take {bytes:N0} bytes in memory (vision "), message,
            StringComparison.Ordinal);
        Assert.Contains(FormattableString.Invariant($"cpu has {bytes - 1:N0} bytes"), message, StringComparison.Ordinal);
        Assert.Equal(0, small.ReservedPeakBytes);
        using VisionLanguageModel rounded = ModelCheckpoint.Load(folder, small, quantization: QuantizedFormat.Q4);
        using var large = new CpuDevice(memoryBytes: bytes);
        using VisionLanguageModel whole = ModelCheckpoint.Load(folder, large);
    }

    [Fact]
    public void A_block_is_rounded_as_llama_cpp_rounds_it()
    {
        float[] block = GemmReference.Random(32, 5), values = new float[32];
        sbyte[] codes = new sbyte[32];
        foreach (QuantizedFormat format in (QuantizedFormat[])[QuantizedFormat.Q8, QuantizedFormat.Q4])
        {
            float scale = WeightQuantizer.Round(block, format, codes);
            Assert.Equal(scale, (float)(Half)scale);
            float furthest = block.MaxBy(Math.Abs);
            Assert.Equal(format.Codes == CodeType.Int8 ? Math.Sign(furthest) * Math.Sign(scale) * 127 : -8,
                codes[Array.IndexOf(block, furthest)]);
            for (int index = 0; index < 32; index++)
            {
                values[index] = codes[index] * scale;
                // What is as far on the other side of zero has no code of its own in 4 bits.
                float room = format.Codes == CodeType.Int4 && codes[index] == 7 ? 1.01f : 0.51f;
                Assert.InRange(values[index] - block[index], -room * Math.Abs(scale), room * Math.Abs(scale));
            }
        }

        Assert.Equal(0, WeightQuantizer.Round(new float[32], QuantizedFormat.Q4, codes));
        Assert.All(codes, code => Assert.Equal(0, code));
    }

    [Fact]
    public void A_scale_is_the_binary16_number_of_any_size()
    {
        sbyte[] codes = new sbyte[32];
        for (int exponent = -40; exponent <= 24; exponent++)
        {
            float[] block = Array.ConvertAll(GemmReference.Random(32, exponent + 50), value => MathF.ScaleB(value, exponent));
            float furthest = block.MaxBy(Math.Abs);
            foreach ((QuantizedFormat format, float most) in ((QuantizedFormat, float)[])
                [(QuantizedFormat.Q8, 127f), (QuantizedFormat.Q4, -8f)])
            {
                float expected = (float)(Half)(furthest / most);
                if (float.IsFinite(expected))
                    Assert.Equal(expected, WeightQuantizer.Round(block, format, codes));
                else
                    Assert.Throws<ArgumentException>(() => WeightQuantizer.Round(block, format, codes));
            }
        }
    }

    [Fact]
    public void A_block_of_any_length_is_rounded_as_its_numbers_are_one_by_one()
    {
        foreach (QuantizedFormat format in (QuantizedFormat[])[QuantizedFormat.Q8, QuantizedFormat.Q4])
        {
            (float most, int low, int high) = format == QuantizedFormat.Q8 ? (127f, -127, 127) : (-8f, -8, 7);
            for (int length = 1; length <= 40; length++)
            {
                float[] block = GemmReference.Random(length, length);
                // As far on either side: the positive one counts.
                if (length % 3 == 0)
                    block[length / 2] = -block.Max(Math.Abs);
                sbyte[] codes = new sbyte[length];
                float scale = WeightQuantizer.Round(block, format, codes);
                float furthest = block.Max(Math.Abs);
                furthest = block.Contains(furthest) ? furthest : -furthest;
                Assert.Equal((float)(Half)(furthest / most), scale);
                Assert.Equal(block.Select(value =>
                    (sbyte)Math.Clamp((int)MathF.Round(value * (1 / scale), MidpointRounding.ToEven), low, high)), codes);
                block[length * 5 / 7] = float.NaN;
                Assert.Throws<ArgumentException>(() => WeightQuantizer.Round(block, format, codes));
            }
        }
    }

    [Fact]
    public void Training_saving_and_reading_weights_are_refused()
    {
        using VisionLanguageModel model = TinyModel.Create(DataType.BFloat16);
        model.Quantize(QuantizedFormat.Q8);
        Assert.Contains("quantised", Assert.Throws<ArgumentException>(() => new ModelTrainer(model, TrainableModules.All))
            .Message, StringComparison.Ordinal);
        using var temporary = new TemporaryFolder();
        string folder = temporary["model"];
        Assert.Contains("quantised", Assert.Throws<CheckpointException>(() => ModelCheckpoint.Save(model, folder)).Message,
            StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder));
        PersistentTensor weight = model.Parameters["language.head.weight"];
        Assert.Contains("quantised", Assert.Throws<ArgumentException>(() => PersistentTensors.Read(model.Device, weight))
            .Message, StringComparison.Ordinal);
        Assert.Contains("quantised",
            Assert.Throws<ArgumentException>(() => PersistentTensors.Write(model.Device, weight, [1])).Message,
            StringComparison.Ordinal);

        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(2, TinyModel.Configuration.Language.HiddenSize));
        Value loss = graph.Add(new Sum(), model.Language.Logits(graph, x));
        Assert.Contains("quantised",
            Assert.Throws<GraphException>(() => graph.Differentiate(loss, [x], graph.Add(new One()), new Add()))
                .Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Products_check_shapes_and_storage()
    {
        TensorType weight = TensorType.Quantized(QuantizedFormat.Q4, new Shape(6, 4));
        var product = new MatMul();
        Assert.Equal(TensorType.Float32(3, 6), product.Infer([TensorType.Float32(3, 4), weight, TensorType.Float32(6)])[0]);
        Assert.Equal(TensorType.Float32(3, 6), product.Infer([TensorType.Float32(3, 4), weight])[0]);
        Assert.Throws<GraphException>(() => product.Infer([TensorType.Float32(3, 4), weight, TensorType.Float32(4)]));
        Assert.Throws<GraphException>(() => product.Infer([TensorType.Float32(3, 5), weight]));
        Assert.Throws<GraphException>(() =>
            product.Infer([TensorType.Float32(3, 4), weight with { Storage = Storage.RowMajor }]));
        Assert.Throws<GraphException>(() => new MatMulInputGradient().Infer([TensorType.Float32(3, 6), weight]));
    }

    [Fact]
    public async Task A_chat_model_rounds_its_weights_when_asked_to()
    {
        await using ChatModel model = TinyChatModel.Create(
            new ChatModelOptions { CacheTokens = 2048, Quantization = QuantizedFormat.Q8 });
        Assert.True(model.Model.IsQuantized);
        Assert.Equal(QuantizedFormat.Q8, model.Model.Parameters["language.head.weight"].Type.Format);
        Assert.Equal(DataType.BFloat16, model.Model.Parameters["language.embedding.weight"].Type.DataType);
        ChatAnswer answer = await model.CompleteAsync(
            [Message.User("Describe.", ImagePart.FromRgb(TinyChatModel.Picture(1)))],
            new GenerationOptions { MaxOutputTokens = 8, Seed = 1 }, TestContext.Current.CancellationToken);
        Assert.InRange(answer.Usage.CompletionTokens, 1, 8);
    }

    private static long Bytes(VisionLanguageModel model) =>
        model.Parameters.All.Sum(parameter => model.Device.StorageBytes(parameter.Type));

    private static IReadOnlyList<Completion[]> Generate(VisionLanguageModel model, int prefillTokens,
        params GenerationRequest[] requests)
    {
        using var engine = new GenerationEngine(model, 1024, prefillTokens);
        return engine.Generate(requests.Length == 0 ? s_requests : requests,
            new SamplingOptions { MaxOutputTokens = NewTokens, Seed = 7 });
    }

    private static void AssertSame(IReadOnlyList<Completion[]> expected, IReadOnlyList<Completion[]> actual)
    {
        foreach ((Completion first, Completion second) in expected.SelectMany(completions => completions)
            .Zip(actual.SelectMany(completions => completions)))
        {
            Assert.Equal(first.Tokens, second.Tokens);
            Assert.Equal(first.LogProbabilities.Select(BitConverter.SingleToInt32Bits),
                second.LogProbabilities.Select(BitConverter.SingleToInt32Bits));
        }
    }
}
