using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>The vocabulary head by the instructions of Hopper's warpgroups, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class WarpgroupHeadTests
{
    private static readonly WarpgroupTile[] s_tiles = [WarpgroupTile.Small, WarpgroupTile.Large, WarpgroupTile.Largest,
        WarpgroupTile.Large with { Cluster = 2 }];

    [Theory]
    [InlineData(896, false, "sm_90a", true)]
    [InlineData(900, false, "sm_90a", false)]
    [InlineData(896, true, "sm_90a", false)]
    [InlineData(896, false, "sm_80", false)]
    [InlineData(896, false, "sm_90", false)]
    public void A_head_has_the_instructions_of_its_logits(int width, bool isQuantized, string architecture, bool warpgroups)
    {
        CudaTarget target = CudaTarget.For(architecture);
        foreach (int rows in (int[])[1, 64, 65, 5000])
        {
            TensorType[] types = [Half(rows, width), isQuantized ? TensorType.Quantized(QuantizedFormat.Q8,
                new Shape(2048, width)) : Weight(2048, width), TensorType.Int32(rows)];
            string[] logits = [.. Sources(new MatMul(DataType.Float32), types[..2])],
                head = [.. Sources(new VocabularyHead(), types)];
            Assert.Equal(warpgroups ? "warpgroup_gemm.cu" : isQuantized ? "quantized_gemm.cu" : "gemm.cu",
                Assert.Single(logits));
            Assert.Equal(["target_rows.cu", warpgroups ? "warpgroup_head.cu" : "vocabulary_head.cu", "logits.cu"], head);
        }

        IEnumerable<string> Sources(Op op, TensorType[] types) => CudaBindings.Standard.Describe(op, types, target)
            .Launches.Select(launch => launch.Source.Name).Distinct();
    }

    [Theory]
    [MemberData(nameof(WarpgroupProductTests.Modes), MemberType = typeof(WarpgroupProductTests))]
    public void Head_and_stored_logits_give_the_same_bits_by_every_tile(string schedule, string mode)
    {
        const int Tokens = 139, Vocabulary = 2100, Width = 24;
        float[][]? first = null;
        foreach (WarpgroupTile tile in s_tiles)
        {
            // Fewer blocks than there are segments, so that blocks go on to the next.
            using SimulatedCard card = Card(schedule, mode, "own", CudaBindings.Standard.With<VocabularyHead>(
                (op, kernel) => VocabularyHeadBindings.Forward(op, kernel, tile)));
            (Graph graph, Value[] inputs) = Inputs(Tokens, Vocabulary, Width);
            Value logits = graph.Add(new MatMul(DataType.Float32), inputs[0], inputs[1]);
            IReadOnlyList<Value> head = graph.AddNode(new VocabularyHead(0.7f), inputs),
                stored = graph.AddNode(new LogProbabilities(0.7f), logits, inputs[2]);
            float[][] results = Run(card, graph, inputs, [.. head, .. stored], Vocabulary);
            for (int output = 0; output < 5; output++)
            {
                Assert.Contains(results[output], value => value != 0);
                Assert.Equal(Bits(results[5 + output]), Bits(results[output]));
                Assert.Equal(Bits((first ??= results)[output]), Bits(results[output]));
            }
        }

        // mma.sync rounds in another way there: with it the bits would be others.
        using SimulatedCard plain = Card(schedule, mode, "same", CudaBindings.Standard);
        (Graph other, Value[] values) = Inputs(Tokens, Vocabulary, Width);
        float[][] rounded = Run(plain, other, values, [.. other.AddNode(new VocabularyHead(0.7f), values)], Vocabulary);
        Assert.NotEqual(Bits(first![0]), Bits(rounded[0]));
    }

    [Theory]
    [MemberData(nameof(WarpgroupProductTests.Modes), MemberType = typeof(WarpgroupProductTests))]
    public void Tiles_and_chunks_change_no_bit_of_the_gradients(string schedule, string mode)
    {
        const int Tokens = 139, Vocabulary = 700, Width = 24;
        List<float[][]> results = [];
        foreach ((WarpgroupTile tile, long workspace) in ((WarpgroupTile, long)[])[(WarpgroupTile.Largest, 1 << 20),
            (WarpgroupTile.Largest, Tokens * 128), (WarpgroupTile.Small, Tokens * 3 * 128),
            (WarpgroupTile.Large, Tokens * 2 * 128), (WarpgroupTile.Large with { Cluster = 2 }, Tokens * 128)])
        {
            using SimulatedCard card = Card(schedule, mode, "own", CudaBindings.Standard.With<VocabularyHeadBackward>(
                (op, kernel) => VocabularyHeadBindings.Backward(op, kernel, workspace, tile)));
            results.Add(Gradients(card, Tokens, Vocabulary, Width));
        }

        foreach (float[][] other in results)
        {
            for (int output = 0; output < 2; output++)
            {
                Assert.Contains(other[output], value => value != 0);
                Assert.Equal(Bits(results[0][output]), Bits(other[output]));
            }
        }
    }

    /// <summary>
    /// A mistake in the kernels' source, and what the emulator says of it; nothing: the numbers are wrong.
    /// </summary>
    public static TheoryData<string, string, string> ForwardMistakes => new()
    {
        { "wgmma_wait<0>(sums)", "wgmma_wait<0>()", "does not name its registers" },
        { "ring.parity ^ 1", "ring.parity", "mbarrier_wait" },
        { "expect(barrier, loaded_bytes)", "expect(barrier, loaded_bytes - Right::bytes)", "no wait covers that copy|misses -" },
        { "swizzle_128 = 1;", "swizzle_128 = 2;", "" },
        // Columns that are none, slices that are forgotten, and the wrong rows of a warp.
        { "column + TILE_COLUMNS > vocabulary)", "false)", "" },
        { "slice == 0 && column % segment_columns == 0", "column % segment_columns == 0", "" },
        { "j / 2 * 4 + half * 2 + j % 2]", "j / 2 * 4 + (1 - half) * 2 + j % 2]", "" },
    };

    [Theory]
    [MemberData(nameof(ForwardMistakes))]
    public void A_mistake_in_the_forward_pass_is_found(string right, string wrong, string findings) =>
        Finds(right, wrong, findings, "head_statistics", card =>
        {
            (Graph graph, Value[] inputs) = Inputs(139, 2100, 24);
            return Run(card, graph, inputs, [.. graph.AddNode(new VocabularyHead(), inputs)], 2100);
        }, source => CudaBindings.Standard.With<VocabularyHead>(
            (op, kernel) => VocabularyHeadBindings.Forward(op, kernel, WarpgroupTile.Largest, source)));

    /// <summary>The same of the backward pass.</summary>
    public static TheoryData<string, string, string> BackwardMistakes => new()
    {
        { "wgmma_fence();", "", "without a wgmma_fence" },
        { "wgmma_wait<0>(sums);", "", "no wgmma_wait covers it|were written|may still be reading it" },
        // A chunk that forgets the ones before, targets of another chunk, rows in places of others.
        { "if constexpr (IsFirst)", "if constexpr (true)", "" },
        { "gradient.target -= chunk_first;", "", "" },
        { "(long long)rows[row] * width", "(long long)row * width", "" },
        // Rows of other gradients, and sums that go on from another row.
        { "+ half * 2 + i % 2];", "+ i % 2];", "" },
        { "row + i % 4 / 2 * 8", "row + i % 4", "" },
    };

    [Theory]
    [MemberData(nameof(BackwardMistakes))]
    public void A_mistake_in_the_backward_pass_is_found(string right, string wrong, string findings) =>
        Finds(right, wrong, findings, "head_", card => Gradients(card, 139, 700, 24),
            source => CudaBindings.Standard.With<VocabularyHeadBackward>(
                (op, kernel) => VocabularyHeadBindings.Backward(op, kernel, 139 * 256, WarpgroupTile.Largest, source)));

    private static void Finds(string right, string wrong, string findings, string entryPoint,
        Func<SimulatedCard, float[][]> run, Func<KernelSource?, CudaBindings> bindings)
    {
        KernelSource mistaken = WarpgroupProductTests.Mistaken("warpgroup_head.cu", right, wrong);
        float[][] expected;
        using (SimulatedCard card = Card("forward", "late", "same", bindings(null)))
            expected = run(card);
        using SimulatedCard other = Card("forward", "late", "same", bindings(mistaken));
        if (findings.Length == 0)
        {
            float[][] actual = run(other);
            Assert.Contains(Enumerable.Range(0, expected.Length),
                output => !Bits(expected[output]).SequenceEqual(Bits(actual[output])));
            return;
        }

        string report = Assert.ThrowsAny<Exception>(() => run(other)).Message;
        // The context works again, so that its memory can be given back.
        Assert.Equal(0, Emulator.simtReset());
        Assert.Contains(entryPoint, report, StringComparison.Ordinal);
        Assert.True(findings.Split('|').Any(finding => report.Contains(finding, StringComparison.Ordinal)), report);
    }

    private static SimulatedCard Card(string schedule, string mode, string rounding, CudaBindings bindings)
    {
        var card = new SimulatedCard(bindings, rounding: rounding);
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        return card;
    }

    private static float[][] Gradients(SimulatedCard card, int tokens, int vocabulary, int width)
    {
        (Graph graph, Value[] inputs) = Inputs(tokens, vocabulary, width);
        Value[] all = [.. inputs, graph.Input("maximum", TensorType.Float32(tokens)),
            graph.Input("logSum", TensorType.Float32(tokens)), graph.Input("gradient", TensorType.Float32(tokens))];
        return Run(card, graph, all, [.. graph.AddNode(new VocabularyHeadBackward(1, true, false, true, true), all)],
            vocabulary);
    }

    private static (Graph Graph, Value[] Inputs) Inputs(int tokens, int vocabulary, int width)
    {
        var graph = new Graph();
        return (graph, [graph.Input("hidden", Half(tokens, width)), graph.Input("weight", Weight(vocabulary, width)),
            graph.Input("targets", TensorType.Int32(tokens))]);
    }

    private static float[][] Run(SimulatedCard card, Graph graph, Value[] inputs, Value[] results, int vocabulary)
    {
        for (int index = 0; index < results.Length; index++)
            graph.Output($"result{index}", results[index]);
        var executor = new Executor(Planner.Plan(graph, card.Device), card.Workspace);
        for (int index = 0; index < inputs.Length; index++)
        {
            TensorType type = inputs[index].Type;
            int count = (int)type.Shape.ElementCount;
            // Every third row has no target.
            if (type.DataType == DataType.Int32)
                executor.Write<int>(inputs[index], [.. Enumerable.Range(0, count)
                    .Select(row => row % 3 == 1 ? -1 : row * 7919 % vocabulary)]);
            else if (type.DataType == DataType.Float32)
                executor.Write<float>(inputs[index], Normal(count, index));
            else
                executor.Write<BFloat16>(inputs[index], [.. Normal(count, index).Select(number => (BFloat16)number)]);
        }

        executor.Run(TestContext.Current.CancellationToken);
        return [.. results.Select(executor.ReadFloats)];
    }

    private static TensorType Half(params int[] shape) => new(DataType.BFloat16, new Shape(shape));

    private static TensorType Weight(int rows, int columns) =>
        new(DataType.BFloat16, new Shape(rows, columns), Storage.Weight);

    private static float[] Normal(int count, int seed) => (float[])Operand.Normal(count).Fill(seed);

    private static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];
}
