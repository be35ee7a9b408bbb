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
        new("rotary_table/tiny-yarn", new RotaryTable(16, 1e6f, new YarnRamp(4, 1, 5, 1.1386294f)),
            [Integers([0, 1, 2, 32768, 131071])], Tiny: true),
        new("rotary_table/tiny-yarn-steep", new RotaryTable(6, 1e4f, new YarnRamp(2.5f, 0.75f, 0.751f, 1)),
            [Integers([3, 0, 70000])], Tiny: true),
        new("rotary_table/qwen2.5-0.5b-4k", new RotaryTable(64, 1e6f), [Integers(0, 1024, 4096)], Tiny: false),
        new("rotary_embedding/tiny", new RotaryEmbedding(6), [Normal(4, 18), Table(4, 6)], Tiny: true),
        new("rotary_embedding/tiny-inverse", new RotaryEmbedding(34, Inverse: true), [Normal(3, 68), Table(3, 34)],
            Tiny: true),
        new("rotary_embedding/tiny-wide", new RotaryEmbedding(16), [Normal(3, 32), Table(3, 16)], Tiny: true),
        new("rotary_embedding/qwen2.5-0.5b-1k", new RotaryEmbedding(64), [Normal(1024, 896), Table(1024, 64)], Tiny: false),
        new("qkv_split_rotary/tiny", new QkvSplitRotary(4, 2, 6), [Normal(3, 48), Table(3, 6)], Tiny: true),
        new("qkv_split_rotary/tiny-wide", new QkvSplitRotary(3, 1, 16), [Normal(2, 80), Table(2, 16)], Tiny: true),
        .. Normed("tiny", 3, 4, 2, 6, tiny: true),
        .. Normed("tiny-packs", 2, 3, 1, 16, tiny: true),
        // Half a head is no multiple of an access; heads of more than a warp's accesses; no tokens.
        .. Normed("half-pack", 3, 2, 1, 24, tiny: false),
        .. Normed("odd", 5, 2, 1, 34, tiny: false),
        .. Normed("wide", 2, 1, 1, 512, tiny: false),
        .. Normed("no-rows", 0, 2, 1, 24, tiny: false),
        .. Normed("qwen3-0.6b-1k", 1024, 16, 8, 128, tiny: false),
        new("qkv_split_rotary/qwen2.5-0.5b-1k", new QkvSplitRotary(14, 2, 64), [Normal(1024, 1152), Table(1024, 64)],
            Tiny: false),
    ];

    /// <summary>Heads that are normalised, with and without their rotation.</summary>
    private static Workload[] Normed(string name, int tokens, int heads, int keyHeads, int dimension, bool tiny) =>
    [
        new(
            $"qkv_split_norm_rotary/{name}", new QkvSplitNormRotary(heads, keyHeads, dimension, 1e-6f),
            [Normal(tokens, (heads + 2 * keyHeads) * dimension), Table(tokens, dimension), Normal(dimension),
                Normal(dimension)], tiny),
        new($"rms_norm/{name}-heads", new RmsNorm(1e-6f, heads), [Normal(tokens, heads * dimension), Normal(dimension)],
            tiny),
    ];

    /// <summary>Rotations by random angles: all cosines of a token, then all sines.</summary>
    internal static Operand Table(int tokens, int dimension) => new(TensorType.Float32(tokens, dimension), seed =>
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
