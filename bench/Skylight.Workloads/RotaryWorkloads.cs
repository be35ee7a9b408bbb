using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Rotary position embedding.</summary>
internal static class RotaryWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("rotary_table/tiny", new RotaryTable(6, 10000f), [Integers([0, 1, 2, 0, 1, 100])], Tiny: true),
        // Angles of many turns: the longest contexts, and the last position there is.
        new("rotary_table/tiny-far", new RotaryTable(16, 1e6f),
            [Integers([100000, 99999, 131071, 1000003, int.MaxValue - 1])], Tiny: true),
        new("rotary_table/qwen2.5-0.5b-4k", new RotaryTable(64, 1e6f), [Integers(0, 1024, 4096)], Tiny: false),
        new("rotary_embedding/tiny", new RotaryEmbedding(6), [Normal(4, 18), Table(4, 6)], Tiny: true),
        new("rotary_embedding/tiny-inverse", new RotaryEmbedding(34, Inverse: true), [Normal(3, 68), Table(3, 34)],
            Tiny: true),
        new("rotary_embedding/tiny-wide", new RotaryEmbedding(16), [Normal(3, 32), Table(3, 16)], Tiny: true),
        new("rotary_embedding/qwen2.5-0.5b-1k", new RotaryEmbedding(64), [Normal(1024, 896), Table(1024, 64)], Tiny: false),
        new("qkv_split_rotary/tiny", new QkvSplitRotary(4, 2, 6), [Normal(3, 48), Table(3, 6)], Tiny: true),
        new("qkv_split_rotary/tiny-wide", new QkvSplitRotary(3, 1, 16), [Normal(2, 80), Table(2, 16)], Tiny: true),
        new("qkv_split_rotary/qwen2.5-0.5b-1k", new QkvSplitRotary(14, 2, 64), [Normal(1024, 1152), Table(1024, 64)],
            Tiny: false),
    ];

    /// <summary>Rotations by random angles: all cosines of a token, then all sines.</summary>
    private static Operand Table(int tokens, int dimension) => new(TensorType.Float32(tokens, dimension), seed =>
    {
        var random = new Random(seed);
        var table = new float[tokens * dimension];
        for (int token = 0; token < tokens; token++)
        {
            for (int index = 0; index < dimension / 2; index++)
            {
                (float sine, float cosine) = MathF.SinCos(10f * random.NextSingle());
                table[token * dimension + index] = cosine;
                table[token * dimension + dimension / 2 + index] = sine;
            }
        }

        return table;
    });
}
