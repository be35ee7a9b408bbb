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
    private const string Header = "common/warpgroup_attention.cuh";

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
        { "source.copied_bytes()", "source.copied_bytes() - 16", "no wait covers that copy|misses -" },
        { "source.copied_bytes()", "source.copied_bytes() + 16", "misses 16 bytes" },
        // Rows that there are not: zeros that tensor cores need not see, none, and zeros before the copy has arrived.
        { "fence_proxy_async();", "", "without a fence_proxy_async" },
        { "piece < half_block * 8", "piece < 0", "" },
        { "mbarrier_wait(pipeline.part(), part_parity);", "", "no wait covers that copy|asynchronous copy|has yet to" },
        // A descriptor that does not say how the engine laid the tile out; the wrong half of a head; sums that are not joined.
        { "swizzle_128 = 1;", "swizzle_128 = 2;", "shared memory|no wait covers that copy" },
        { "first / panel * panel_bytes", "first / panel * half_bytes", "" },
        { "if (joins) walk.sums.template join<threads>(earlier, scale);\n    store", "store", "" },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_mistake_in_the_kernel_is_found(string right, string wrong, string findings)
    {
        KernelSource kernel = KernelSource.Resource("warpgroup_attention.cu"),
            header = KernelSource.Headers.Single(one => one.Name == Header);
        Assert.Contains(right, header.Text, StringComparison.Ordinal);
        KernelSource mistaken = kernel with
        {
            Text = kernel.Text.Replace($"#include \"{Header}\"",
                header.Text.Replace("#pragma once", "", StringComparison.Ordinal)
                    .Replace(right, wrong, StringComparison.Ordinal), StringComparison.Ordinal),
        };
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

        private TensorType Half(int heads) => new(DataType.BFloat16, new Shape(Rows, heads * Dimension));

        private BFloat16[] Random(int seed, int heads)
        {
            float[] values = Numbers.Random(seed, Rows * heads * Dimension);
            return [.. values.Select((value, index) => index / (heads * Dimension) is var row
                && (row < Starts[0] || row >= Starts[^1]) ? (BFloat16)float.NaN : (BFloat16)value)];
        }
    }
}
