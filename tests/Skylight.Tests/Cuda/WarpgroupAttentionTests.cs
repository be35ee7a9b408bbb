using System.Runtime.InteropServices;
using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Attention by the instructions of Hopper's warpgroups, on the emulator: where it rounds <c>wgmma</c> as <c>mma.sync</c>, its
/// bits are those of the kernels for all cards.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class WarpgroupAttentionTests
{
    private const string Gradient = "warpgroup_attention_backward.cu";

    /// <summary>Schedules, each with late and with immediate completion.</summary>
    public static TheoryData<string, string> Modes => WarpgroupProductTests.Modes;

    [Theory]
    [MemberData(nameof(Modes))]
    public void The_bits_are_those_of_mma_where_both_round_alike(string schedule, string mode)
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        foreach (Packed batch in (Packed[])
        [
            // Rows of no sequence, an empty one, ends inside of a block and of a half; more than a tile of rows.
            new(3, 1, 64, IsCausal: true, [2, 20, 20, 155], 160),
            new(2, 1, 128, IsCausal: true, [0, 70], 70),
            new(2, 2, 128, IsCausal: false, [0, 33, 161], 170),
            // Three spans, more blocks than stages; whole blocks; one row.
            new(1, 1, 64, IsCausal: true, [0, 1, 1100], 1100),
            new(1, 1, 128, IsCausal: false, [0, 64, 704], 704),
        ])
        {
            byte[][] expected = batch.Run(kernels, usesWarpgroups: false), actual = batch.Run(kernels, usesWarpgroups: true);
            Assert.Equal(expected[0], actual[0]);
            Assert.Equal(expected[1], actual[1]);
            Assert.Contains(expected[0], value => value != 0);
        }
    }

    /// <summary>A mistake in the kernel's source, and what the emulator says of it; nothing: the numbers are wrong.</summary>
    public static TheoryData<string, string, string> Mistakes => new()
    {
        // Registers that a wait does not name: scores, then queries, then p; and no wait.
        { "wgmma_wait<1>(scores, query)", "wgmma_wait<1>(query)", "does not name its registers" },
        { "wgmma_wait<1>(scores, query)", "wgmma_wait<1>(scores)", "does not name its registers" },
        { "wgmma_wait<0>(sums.output[0], weights)", "wgmma_wait<0>(sums.output[0])", "does not name its registers" },
        { "wgmma_wait<1>(scores, query);", "", "does not name its registers|were written" },
        { "wgmma_wait<0>(sums.output[0], weights);\n        leave(1, values);",
            "leave(1, values);\n        wgmma_wait<0>(sums.output[0], weights);", "may still be reading it" },
        // p that is rounded into registers which the product before still reads.
        { "wgmma_wait<0>(sums.output[0], weights);\n        leave", "round_weights<depth>(weights, scores); "
            + "wgmma_wait<0>(sums.output[0], weights);\n        leave", "were written before the wait" },
        { "wgmma_fence();", "", "without a wgmma_fence" },
        // Wrong phases: of what is full, and of what is empty.
        { "full(0, keys.stage), keys.parity", "full(0, keys.stage), 0", "no wait covers that copy|more than the" },
        { "full(1, values.stage), values.parity", "full(1, values.stage), 0", "no wait covers that copy|more than the" },
        { "ring.parity ^ 1", "ring.parity", "mbarrier_wait" },
        { "empty(kind, stage), consumer_warps", "empty(kind, stage), consumer_warps + 1", "arrivals in phase" },
        // Bytes that are not counted, and bytes that never come.
        { "source.copied_bytes(kind)", "source.copied_bytes(kind) - 16", "no wait covers that copy|misses -" },
        { "source.copied_bytes(kind)", "source.copied_bytes(kind) + 16", "misses 16 bytes" },
        // Rows that there are not: zeros that tensor cores need not see, none, and zeros before the copy has arrived.
        { "fence_proxy_async();", "", "without a fence_proxy_async" },
        { "piece < half_block * 8", "piece < 0", "" },
        { "mbarrier_wait(part, part_parity);", "", "no wait covers that copy|asynchronous copy|has yet to" },
        // A descriptor that does not say how the engine laid the tile out; the wrong half of a head; sums that are not joined.
        { "swizzle_128 = 1;", "swizzle_128 = 2;", "shared memory|no wait covers that copy" },
        { "first / panel * panel_bytes", "first / panel * half_bytes", "" },
        { "if (joins) walk.sums.template join<threads>(earlier, scale);\n    store", "store", "" },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_mistake_in_the_kernel_is_found(string right, string wrong, string findings)
    {
        KernelSource mistaken = WarpgroupProductTests.Mistaken("warpgroup_attention.cu", right, wrong);
        using var kernels = new EmulatedKernels();
        // So that warps are apart, and one gives back what another still reads.
        Emulator.Configure("schedule", "seed:7");
        // More blocks than stages, two spans, an end inside of a block before rows that are not numbers.
        var batch = new Packed(1, 1, 128, IsCausal: false, [0, 600], 640);
        if (findings.Length == 0)
        {
            Assert.NotEqual(batch.Run(kernels, usesWarpgroups: true)[0],
                batch.Run(kernels, usesWarpgroups: true, mistaken)[0]);
            return;
        }

        string report = Assert.ThrowsAny<Exception>(() => batch.Run(kernels, usesWarpgroups: true, mistaken)).Message;
        Assert.Contains("warpgroup_attention", report, StringComparison.Ordinal);
        Assert.True(findings.Split('|').Any(finding => report.Contains(finding, StringComparison.Ordinal)), report);
    }

    [Theory]
    [InlineData("arrive_named(turn_barrier + 1 - group", "arrive_named(turn_barrier + group")]
    [InlineData("if (group == 1 && end > begin + 1) pass_turn(true);", "")]
    [InlineData("take_turn(); pass_turn(block < end - 1);", "take_turn();")]
    [InlineData("take_turn(); pass_turn(block < end - 1);", "")]
    public void A_turn_that_is_not_given_is_found(string right, string wrong)
    {
        KernelSource mistaken = WarpgroupProductTests.Mistaken("warpgroup_attention.cu", right, wrong);
        using var kernels = new EmulatedKernels();
        // Groups of one tile that see different blocks, and one that sees none.
        var batch = new Packed(1, 1, 64, IsCausal: true, [0, 64, 65, 129, 400], 400);
        Assert.Contains("no thread can go on",
            Assert.ThrowsAny<Exception>(() => batch.Run(kernels, usesWarpgroups: true, mistaken)).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void Gradients_agree_with_those_of_mma_and_have_the_same_bits_in_every_schedule(string schedule, string mode)
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("workers", "2");
        foreach (Packed batch in (Packed[])
        [
            // Rows of no sequence, an empty one, ends inside of a block and of a tile; a group of heads.
            new(3, 1, 64, IsCausal: true, [2, 20, 20, 155], 160),
            new(2, 1, 128, IsCausal: true, [0, 70], 70),
            new(2, 2, 128, IsCausal: false, [0, 33, 161], 170),
            // Several tiles of keys, more blocks of queries than stages; one row.
            new(2, 1, 64, IsCausal: false, [0, 300], 300),
            new(4, 2, 128, IsCausal: true, [0, 1, 350], 350),
        ])
        {
            byte[][] expected = batch.RunBackward(kernels, usesWarpgroups: false),
                before = batch.RunBackward(kernels, usesWarpgroups: true);
            Emulator.Configure("schedule", schedule);
            Emulator.Configure("async", mode);
            byte[][] actual = batch.RunBackward(kernels, usesWarpgroups: true);
            Emulator.Configure("schedule", "forward");
            Emulator.Configure("async", "late");
            Assert.Equal(before, actual);
            // Those of keys and values are the same chains. That of a query is a chain for each tile, and their sum.
            Assert.Equal(expected[1], actual[1]);
            Assert.Equal(expected[2], actual[2]);
            Assert.InRange(Distance(expected[0], actual[0]), 0, 1e-4);
            Assert.All(expected, gradient => Assert.Contains(gradient, value => value != 0));
        }
    }

    /// <summary>A mistake in the gradient's source, and what the emulator says of it; nothing: the numbers are wrong.</summary>
    public static TheoryData<string, string, string> BackwardMistakes => new()
    {
        // Registers that a wait does not name, and no wait.
        { "wgmma_wait<1>(p, keys.rows);", "wgmma_wait<1>(keys.rows);", "does not name its registers" },
        { "wgmma_wait<1>(dp, values.rows);", "", "does not name its registers|were written" },
        { "(value_sums, weights, query_sums);", "(value_sums, query_sums);", "does not name its registers" },
        { "(value_sums, weights, query_sums);", "(value_sums, weights);", "does not name its registers" },
        { "(key_sums, gradients);", "(key_sums);", "does not name its registers" },
        { "hand_over(step);\n            wgmma_wait<0>(key_sums, gradients);\n            leave(0, ring.stage);",
            "leave(0, ring.stage);\n            hand_over(step);\n            wgmma_wait<0>(key_sums, gradients);",
            "may still be reading it" },
        { "wgmma_fence();\n            add_rows(value_sums", "add_rows(value_sums", "without a wgmma_fence" },
        // Wrong phases: of what is full, and of what is empty.
        { "shared.full(0, ring.stage), ring.parity", "shared.full(0, ring.stage), 0", "no wait covers that copy|more than the" },
        { "shared.full(1, ring.stage), ring.parity", "shared.full(1, ring.stage), 0", "no wait covers that copy|more than the" },
        { "shared.empty(kind, stage), step / STAGES & 1 ^ 1", "shared.empty(kind, stage), step / STAGES & 1", "mbarrier_wait" },
        { "shared.resident_full(), 0", "shared.resident_full(), 1", "no wait covers that copy" },
        { "shared.sums_full(group), step & 1", "shared.sums_full(group), 1", "mbarrier_wait" },
        { "shared.sums_empty(group), step & 1 ^ 1", "shared.sums_empty(group), 1", "mbarrier_wait" },
        // Bytes that are not counted, and bytes that never come.
        { "stage), statistic_bytes)", "stage), statistic_bytes - 16)", "no wait covers that copy|misses -" },
        { "source.copied_bytes(kind)", "source.copied_bytes(kind) - 16", "no wait covers that copy|misses -" },
        { "source.copied_bytes(kind)", "source.copied_bytes(kind) + 16", "misses 16 bytes|misses 64 bytes" },
        // What tensor cores and the copy engine need not see; what the other warpgroup has yet to write, or to read.
        { "fence_proxy_async();\n            synchronize_named", "synchronize_named", "without a fence_proxy_async" },
        { "fence_proxy_async();\n        synchronize_warp();\n        if (lane_index() == 0) mbarrier_arrive(shared.sums_full",
            "synchronize_warp();\n        if (lane_index() == 0) mbarrier_arrive(shared.sums_full", "without a fence_proxy_async" },
        { "synchronize_named(1, consumer_threads);", "", "stmatrix" },
        { "+ step % 2 * score_bytes", "", "stmatrix" },
        { "tma_store_wait", "if (false) tma_store_wait", "may still be reading" },
        // Descriptors and swizzles that do not say how the tile lies; the wrong half of a head, or of the keys.
        { "swizzle_128 = 1;", "swizzle_128 = 2;", "shared memory|no wait covers that copy" },
        { "^ row % 8) * 16, gradients", ") * 16, gradients", "" },
        { "column_step(group * query_columns)", "column_step(0)", "" },
        { "index / depth * tile_bytes / 16", "index / depth * tile_bytes / 32", "" },
        // Keys that a query does not see; rows that there are not.
        { "if (first >= from[1]) return;", "return;", "" },
        { "piece < half_block * 8", "piece < 0", "" },
    };

    [Theory]
    [MemberData(nameof(BackwardMistakes))]
    public void A_mistake_in_the_gradient_is_found(string right, string wrong, string findings)
    {
        KernelSource mistaken = WarpgroupProductTests.Mistaken(Gradient, right, wrong);
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", "seed:7");
        var batch = new Packed(2, 1, 128, IsCausal: true, [0, 330], 400);
        if (findings.Length == 0)
        {
            Assert.NotEqual(batch.RunBackward(kernels, usesWarpgroups: true),
                batch.RunBackward(kernels, usesWarpgroups: true, mistaken));
            return;
        }

        // What is given back too early is seen only where somebody else comes at that moment.
        string report = ((string[])["seed:7", "seed:8"]).Select(schedule =>
        {
            Emulator.Configure("schedule", schedule);
            return Record.Exception(() => batch.RunBackward(kernels, usesWarpgroups: true, mistaken))?.Message;
        }).FirstOrDefault(message => message is not null) ?? "";
        Assert.Contains("warpgroup_attention_backward", report, StringComparison.Ordinal);
        Assert.True(findings.Split('|').Any(finding => report.Contains(finding, StringComparison.Ordinal)), report);
    }

    [Theory]
    [InlineData(64, true)]
    [InlineData(128, false)]
    public void Tiles_of_keys_add_to_a_query_in_turn(int dimension, bool isCausal)
    {
        const string Begin = "int done = 0, needed = 0;", Turn = "while ((done = atomicAdd(progress - later, 0)) < needed) {";
        // The tile that must be the first is late: all others could have added by then.
        const string Late = Begin + " for (int i = 0; !has_later && i < 20000; i++) __nanosleep(32);";
        using var kernels = new EmulatedKernels();
        Emulator.Configure("workers", "2");
        var batch = new Packed(1, 1, dimension, isCausal, [0, 250], 250);
        byte[][] expected = batch.RunBackward(kernels, usesWarpgroups: true);
        KernelSource late = WarpgroupProductTests.Mistaken(Gradient, Begin, Late);
        Assert.Equal(expected, batch.RunBackward(kernels, usesWarpgroups: true, late));
        KernelSource unordered = late with { Text = KernelText.Replace(late.Text, Turn, "while (false) {") };
        byte[][] actual = batch.RunBackward(kernels, usesWarpgroups: true, unordered);
        Assert.NotEqual(expected[0], actual[0]);
        Assert.Equal(expected[1..], actual[1..]);
    }

    /// <summary>
    /// A mistake in when a tile of keys says that a step is done, or in how another one learns it, and what the emulator says.
    /// </summary>
    public static TheoryData<string, string, string> TurnMistakes => new()
    {
        { "", "", "" },
        { "fence_proxy_async_global(); fence_device(); atomicExch", "fence_proxy_async_global(); atomicExch", "no fence" },
        // Said before it is written: in every step, at the end, and before the tile waits.
        { "tma_store_wait<1>(); publish(step);", "publish(step + 1);", Early },
        { "tma_store_wait<0>(); publish(work.steps());", "publish(work.steps()); " + Delay, Early },
        { "while ((done = atomicAdd(progress - later, 0)) < needed) { tma_store_wait<0>();",
            "publish(step); " + Delay + " while ((done = atomicAdd(progress - later, 0)) < needed) {", Early },
        // Known without a fence, and not asked for at all.
        { "fence_device(); fence_proxy_async_global();", "fence_proxy_async_global();", "has not come behind it" },
        { "while ((done = atomicAdd(progress - later, 0)) < needed) {", "while (false) {", Early },
    };

    // Not written yet, or written and not seen.
    private const string Early = "no fence|has not come behind it";

    private const string Delay = "for (int i = 0; i < 20000; i++) __nanosleep(32);";

    [Theory]
    [MemberData(nameof(TurnMistakes))]
    public void A_mistake_in_the_turns_of_the_gradient_is_found(string right, string wrong, string findings)
    {
        KernelSource source = right.Length == 0 ? KernelSource.Resource(Gradient)
            : WarpgroupProductTests.Mistaken(Gradient, right, wrong);
        using var kernels = new EmulatedKernels();
        // Three tiles of keys: one that all others wait for, one that waits and is waited for, one that waits.
        Emulator.Configure("workers", "3");
        Emulator.Configure("visibility", "on");
        try
        {
            foreach (Packed batch in (Packed[])
            [
                new(1, 1, 64, IsCausal: true, [0, 330], 330),
                new(1, 1, 64, IsCausal: false, [0, 330], 330),
            ])
            {
                if (findings.Length == 0)
                {
                    Assert.Contains(batch.RunBackward(kernels, usesWarpgroups: true, source)[0], value => value != 0);
                    continue;
                }

                // In causal attention a tile is behind the one that it waits for, and may never have to wait. Else somebody
                // must come at the wrong moment, for which a busy machine may need a few runs.
                string report = "";
                for (int run = 0; run < (batch.IsCausal ? 1 : 8) && report.Length == 0; run++)
                    report = Record.Exception(() => batch.RunBackward(kernels, usesWarpgroups: true, source))?.Message ?? "";
                if (report.Length == 0 && batch.IsCausal)
                    continue;
                Assert.Contains("warpgroup_attention_backward", report, StringComparison.Ordinal);
                Assert.True(findings.Split('|').Any(finding => report.Contains(finding, StringComparison.Ordinal)), report);
                return;
            }
        }
        finally
        {
            Emulator.Configure("visibility", "off");
            Emulator.Configure("workers", "2");
        }
    }

    [Fact]
    public void One_resident_block_at_a_time_is_enough_for_the_gradient()
    {
        using var kernels = new EmulatedKernels();
        var batch = new Packed(2, 1, 64, IsCausal: true, [0, 400], 400);
        byte[][] expected = batch.RunBackward(kernels, usesWarpgroups: true);
        Emulator.Configure("workers", "1");
        foreach (string schedule in (string[])["forward", "reverse", "seed:3"])
        {
            Emulator.Configure("schedule", schedule);
            Assert.Equal(expected, batch.RunBackward(kernels, usesWarpgroups: true));
        }
    }

    private static double Distance(byte[] expected, byte[] actual)
    {
        float[] numbers = Floats(expected);
        return Math.Sqrt(numbers.Zip(Floats(actual)).Sum(pair => Math.Pow(pair.First - pair.Second, 2))
            / numbers.Sum(number => Math.Pow(number, 2)));

        static float[] Floats(byte[] bytes) =>
            [.. MemoryMarshal.Cast<byte, BFloat16>(bytes).ToArray().Select(value => (float)value)];
    }

    /// <summary>A packed batch; rows of no sequence are not numbers.</summary>
    private sealed record Packed(int Heads, int KeyValueHeads, int Dimension, bool IsCausal, int[] Starts, int Rows)
    {
        public byte[][] Run(EmulatedKernels kernels, bool usesWarpgroups, KernelSource? source = null)
        {
            TensorType[] inputs = [Half(Heads), Half(KeyValueHeads), Half(KeyValueHeads), TensorType.Int32(Starts.Length)],
                outputs = [Half(Heads), TensorType.Float32(Rows, Heads)];
            var op = new Attention(Heads, KeyValueHeads, Dimension, IsCausal);
            var kernel = new CudaKernelBuilder(op, inputs, outputs, CudaTarget.Hopper);
            AttentionBindings.QueueForward(op, kernel, usesWarpgroups, source);
            return kernels.Run(kernel.Build(), outputs, Random(1, Heads), Random(2, KeyValueHeads),
                Random(3, KeyValueHeads), Starts);
        }

        public byte[][] RunBackward(EmulatedKernels kernels, bool usesWarpgroups, KernelSource? source = null)
        {
            TensorType[] inputs = [Half(Heads), Half(KeyValueHeads), Half(KeyValueHeads), Half(Heads),
                TensorType.Float32(Rows, Heads), Half(Heads), TensorType.Int32(Starts.Length)],
                outputs = [Half(Heads), Half(KeyValueHeads), Half(KeyValueHeads)];
            var op = new AttentionBackward(Heads, KeyValueHeads, Dimension, IsCausal);
            var kernel = new CudaKernelBuilder(op, inputs, outputs, CudaTarget.Hopper);
            AttentionBindings.QueueBackward(op, kernel, usesWarpgroups, source);
            float[] logSumExp = [.. Numbers.Random(6, Rows * Heads).Select(value => value + MathF.Log(Rows) + 2)];
            return kernels.Run(kernel.Build(), outputs, Random(1, Heads), Random(2, KeyValueHeads),
                Random(3, KeyValueHeads), Random(4, Heads), logSumExp, Random(5, Heads), Starts);
        }

        private TensorType Half(int heads) => new(DataType.BFloat16, new Shape(Rows, heads * Dimension));

        private BFloat16[] Random(int seed, int heads)
        {
            float[] values = Numbers.Random(seed, Rows * heads * Dimension);
            return [.. values.Select((value, index) => index / (heads * Dimension) is var row
                && (row < Starts[0] || row >= Starts[^1]) ? (BFloat16)float.NaN : (BFloat16)value)];
        }
    }
}
