using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Rows chosen by an index, and sums of rows that an index sends to one place; see <c>kernels/embedding.cu</c>.
/// </summary>
internal static class EmbeddingBindings
{
    private const string Source = "embedding.cu";
    private const int SortThreads = 256, SortSharedBytes = 4096, SortedTokenBytes = 8;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<EmbeddingLookup>((_, kernel) =>
        {
            if (kernel.Inputs[0].Format is null)
                Gather(kernel, "ids");
            else
                GatherQuantized(kernel);
        });
        bindings.Add<EmbeddingGradient>((_, kernel) => SumRows(kernel, "ids", minimum: 0));
        bindings.Add<GatherRows>((_, kernel) => Gather(kernel, "rows"));
        bindings.Add<GatherRowsBackward>((_, kernel) => SumRows(kernel, "rows", minimum: 0));
        bindings.Add<ScatterImageFeatures>((_, kernel) => Scatter(kernel));
        bindings.Add<ScatterImageFeaturesEmbeddingGradient>((_, kernel) =>
        {
            Shape shape = kernel.Outputs[0].Shape;
            Launch(kernel, "clear_replaced_rows", kernel.Inputs[1], kernel.Outputs[0], shape.Rows).Input(0).Input(1)
                .Output(0).Int32(shape.Rows).Int32(shape.Columns);
        });
        bindings.Add<ScatterImageFeaturesGradient>((_, kernel) => SumRows(kernel, "featureIndex", minimum: -1));
    }

    private static void Gather(CudaKernelBuilder kernel, string index)
    {
        int count = kernel.Inputs[1].Shape[0], limit = kernel.Inputs[0].Shape[0];
        Launch(kernel, "gather_rows", kernel.Inputs[0], kernel.Outputs[0], count)
            .Input(0).Input(1).Output(0).Int32(count).Int32(kernel.Outputs[0].Shape.Columns).Int32(limit)
            .Status(RowPacks.RangeMessage(index, 0, limit)).Programmatic();
    }

    /// <summary>Rows of a quantised table; see <c>kernels/quantized_rows.cu</c>.</summary>
    private static void GatherQuantized(CudaKernelBuilder kernel)
    {
        const int Threads = 256;
        TensorType table = kernel.Inputs[0], result = kernel.Outputs[0];
        QuantizedWeightLayout layout = QuantizedWeightLayout.Of(table);
        int count = kernel.Inputs[1].Shape[0], columns = table.Shape.Columns, limit = table.Shape.Rows;
        long chunks = (long)count * layout.ChunksOfRow;
        if (chunks > int.MaxValue - Threads)
            throw kernel.Unsupported($"quantized_rows counts chunks in 32 bits, and there are {chunks}");
        layout.Define(kernel.Launch("quantized_rows.cu", "quantized_rows", CudaKernelBuilder.Blocks(chunks, Threads), Threads,
            layout.QuantileBytes))
            .Define("ALIGNED", columns % 8 == 0).Type("TARGET", result.DataType)
            .Input(0).Input(1).Output(0).Int32(count).Int32(columns).Int32(limit)
            .Status(RowPacks.RangeMessage("ids", 0, limit)).Programmatic();
    }

    private static void Scatter(CudaKernelBuilder kernel)
    {
        int count = kernel.Inputs[2].Shape[0], limit = kernel.Inputs[1].Shape[0];
        Launch(kernel, "scatter_image_features", kernel.Inputs[0], kernel.Outputs[0], count)
            .Input(0).Input(1).Input(2).Output(0).Int32(count).Int32(kernel.Outputs[0].Shape.Columns).Int32(limit)
            .Status(RowPacks.RangeMessage("featureIndex", -1, limit)).Programmatic();
    }

    /// <summary>(index, rows) → table: zeros, and in the rows that the index names the sums of their tokens.</summary>
    private static void SumRows(CudaKernelBuilder kernel, string index, int minimum)
    {
        int count = kernel.Inputs[0].Shape[0], limit = kernel.Outputs[0].Shape[0], columns = kernel.Outputs[0].Shape.Columns;
        kernel.Clear(kernel.Output(0));
        if (count == 0 || columns == 0)
            return;
        CudaScratch sorted = kernel.Scratch((long)count * SortedTokenBytes);
        KernelLaunch sort = kernel.Launch(Source, "sort_tokens", CudaKernelBuilder.Blocks(count, SortThreads),
            SortThreads, SortSharedBytes)
            .Input(0).Scratch(sorted).Int32(count).Int32(minimum).Int32(limit)
            .Status(RowPacks.RangeMessage(index, minimum, limit));
        KernelLaunch sum = Launch(kernel, "sum_rows", kernel.Inputs[1], kernel.Outputs[0], count).Scratch(sorted)
            .Input(1).Output(0).Int32(count).Int32(columns);
        // One compilation for both.
        foreach ((string name, string value) in sum.Defines)
            sort.Define(name, value);
    }

    /// <summary>
    /// A launch with a thread for each pack of some rows that are read in one type and written in another.
    /// </summary>
    private static KernelLaunch Launch(CudaKernelBuilder kernel, string entryPoint, TensorType source,
        TensorType target, int rows)
    {
        int columns = target.Shape.Columns, width = RowPacks.Width([source.DataType, target.DataType], columns);
        return RowPacks.Launch(kernel, Source, entryPoint, rows, columns, width).Type("SOURCE", source.DataType)
            .Type("TARGET", target.DataType);
    }
}
