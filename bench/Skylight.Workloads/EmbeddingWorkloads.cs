using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Rows that are looked up by index.</summary>
internal static class EmbeddingWorkloads
{
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("embedding_lookup/tiny", new EmbeddingLookup(), [Normal(7, 5), Integers([3, 0, 6, 3, 3])],
            Tiny: true) { OpFor = Lookup },
        new("embedding_lookup/tiny-weight", new EmbeddingLookup(),
            [Weight(DataType.Float32, 37, 6), Integers([3, 0, 36, 32, 3, 31])], Tiny: true) { OpFor = Lookup },
        new("embedding_lookup/tiny-bf16", new EmbeddingLookup(),
            [Weight(DataType.BFloat16, 37, 6), Integers([3, 0, 36, 32, 3, 31])], Tiny: true) { OpFor = Lookup },
        // Columns of whole 16-byte accesses.
        new("embedding_lookup/tiny-wide", new EmbeddingLookup(),
            [Weight(DataType.BFloat16, 9, 24), Integers([8, 0, 4, 4])], Tiny: true) { OpFor = Lookup },
        new("embedding_lookup/demo-16k", new EmbeddingLookup(),
            [Weight(DataType.Float32, 96, 128), Integers(0, 96, 16384)], Tiny: false) { OpFor = Lookup },
        new("embedding_lookup/qwen2.5-0.5b-1k", new EmbeddingLookup(),
            [Weight(DataType.BFloat16, 32768, 896), Integers(0, 32768, 1024)], Tiny: false) { OpFor = Lookup },
        Gradient("embedding_gradient/tiny", 11, 5, Integers([3, 0, 10, 3, 3, 0])),
        // More tokens of a row than any kernel has on the way at once.
        Gradient("embedding_gradient/tiny-repeated", 4, 16, Integers(0, 3, 80)),
        Gradient("embedding_gradient/tiny-long", 7, 2, Integers(0, 6, 2100)),
        new("embedding_gradient/demo-16k",
            new EmbeddingGradient(new TensorType(DataType.Float32, new Shape(96, 128), Storage.Weight)),
            [Integers(0, 96, 16384), Normal(16384, 128)], Tiny: false),
        new("scatter_image_features/tiny", new ScatterImageFeatures(),
            [Normal(6, 5), Normal(4, 5), Integers([-1, 2, 0, -1, 2, 3])], Tiny: true),
        new("scatter_image_features/tiny-wide", new ScatterImageFeatures(),
            [Normal(5, 16), Normal(2, 16), Integers([1, -1, 0, 1, 1])], Tiny: true),
        new("scatter_image_features/internvl3-1b-1k", new ScatterImageFeatures(),
            [Normal(1024, 896), Normal(256, 896), Integers(-1, 256, 1024)], Tiny: false),
        new("gather_rows/tiny", new GatherRows(), [Normal(6, 5), Integers([5, 1, 1, 0])], Tiny: true),
        new("gather_rows/tiny-wide", new GatherRows(), [Normal(3, 8), Integers([2, 2, 2, 0, 2, 2, 2, 2, 2, 2, 2])],
            Tiny: true),
        new("gather_rows/qwen2.5-0.5b-1k", new GatherRows(), [Normal(1024, 896), Integers(0, 1024, 512)], Tiny: false),
    ];

    private static Workload Gradient(string name, int rows, int columns, Operand ids) =>
        new(name, new EmbeddingGradient(TensorType.Float32(rows, columns)),
            [ids, Normal(ids.Type.Shape[0], columns) with { Differentiable = false }], Tiny: true);

    private static EmbeddingLookup Lookup(DataType type) => new(type);
}
