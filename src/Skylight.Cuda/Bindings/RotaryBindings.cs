using System.Globalization;
using Skylight.Execution;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Rotary position embedding, and writing keys and values into a cache; see <c>kernels/rotary.cu</c> and
/// <c>kernels/key_value_write.cu</c>.
/// </summary>
internal static class RotaryBindings
{
    private const string Source = "rotary.cu";
    private const int TableRows = 8;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<RotaryTable>(Table);
        bindings.Add<RotaryEmbedding>((op, kernel) =>
        {
            int tokens = kernel.Inputs[0].Shape[0], heads = kernel.Inputs[0].Shape.Columns / op.HeadDimension;
            Rotate(kernel, "rotary_embedding", kernel.Inputs[0].DataType, tokens, heads, op.HeadDimension)
                .Input(0).Input(1).Output(0).Int32(tokens).Int32(heads).Int32(op.HeadDimension)
                .Float32(op.Inverse ? -1f : 1f).Programmatic();
        });
        bindings.Add<QkvSplitRotary>((op, kernel) =>
        {
            int tokens = kernel.Inputs[0].Shape[0];
            Rotate(kernel, "qkv_split_rotary", kernel.Inputs[0].DataType, tokens,
                op.HeadCount + 2 * op.KeyValueHeadCount, op.HeadDimension)
                .Input(0).Input(1).Output(0).Output(1).Output(2).Int32(tokens).Int32(op.HeadCount)
                .Int32(op.KeyValueHeadCount).Int32(op.HeadDimension).Programmatic();
        });
        bindings.Add<QkvSplitNormRotary>(SplitNorm);
        bindings.Add<QkvMergeRotary>(Merge);
        bindings.Add<KeyValueWrite>(Write);
    }

    private static void Table(RotaryTable op, CudaKernelBuilder kernel)
    {
        int tokens = kernel.Inputs[0].Shape[0], groups = (tokens + TableRows - 1) / TableRows;
        // One element at a time, of float32 only: the type and the width of the file's other kernels do not matter here.
        RowPacks.Launch(kernel, Source, "rotary_table", groups, op.HeadDimension / 2, width: 1)
            .Type("ELEMENT", DataType.Float32)
            .Input(0).Output(0).Int32(tokens).Int32(op.HeadDimension).Float32(op.Theta)
            .Float32(op.Yarn?.Factor ?? 0).Float32(op.Yarn?.Low ?? 0).Float32(op.Yarn?.High ?? 0)
            .Float32(op.Yarn?.AttentionFactor ?? 1)
            .Status(RowPacks.RangeMessage("positions", 0, int.MaxValue)).Programmatic();
    }

    /// <summary>
    /// A warp for each head, as <see cref="RmsNorm"/> has it: so the sums, and all bits, are those of the two ops one
    /// after the other.
    /// </summary>
    private static void SplitNorm(QkvSplitNormRotary op, CudaKernelBuilder kernel)
    {
        const int Warps = 4;
        TensorType qkv = kernel.Inputs[0];
        int tokens = qkv.Shape[0];
        RowLayout layout = RowLayout.Forward(qkv.DataType, op.HeadDimension);
        if (layout.Threads != 32)
            throw kernel.Unsupported($"one warp normalises a head, and heads of {op.HeadDimension} are too wide for it");
        long heads = (long)tokens * (op.HeadCount + 2 * op.KeyValueHeadCount);
        layout.Define(kernel.Launch("rotary_norm.cu", "qkv_split_norm_rotary", CudaKernelBuilder.Blocks(heads, Warps),
            32 * Warps, Warps * op.HeadDimension * sizeof(float)))
            .Type("ELEMENT", qkv.DataType).Type("PARAMETER", kernel.Inputs[2].DataType)
            .Input(0).Input(1).Input(2).Input(3).Output(0).Output(1).Output(2)
            .Int32(tokens).Int32(op.HeadCount).Int32(op.KeyValueHeadCount).Int32(op.HeadDimension).Float32(op.Epsilon)
            .Programmatic();
    }

    private static void Merge(QkvMergeRotary op, CudaKernelBuilder kernel)
    {
        int tokens = kernel.Outputs[0].Shape[0], input = 1;
        KernelLaunch launch = Rotate(kernel, "qkv_merge_rotary", kernel.Outputs[0].DataType, tokens,
            op.HeadCount + 2 * op.KeyValueHeadCount, op.HeadDimension).Input(0);
        foreach (bool present in (ReadOnlySpan<bool>)[op.HasQuery, op.HasKey, op.HasValue])
        {
            if (present)
                launch.Input(input++);
            else
                launch.Null();
        }

        launch.Output(0).Int32(tokens).Int32(op.HeadCount).Int32(op.KeyValueHeadCount).Int32(op.HeadDimension);
    }

    private static void Write(KeyValueWrite op, CudaKernelBuilder kernel)
    {
        DataType type = kernel.Inputs[0].DataType;
        int tokens = kernel.Inputs[0].Shape[0];
        long slots = (long)kernel.Inputs[2].Shape[0] * KeyValuePages.Size;
        if (slots > int.MaxValue)
            throw kernel.Unsupported(
                string.Create(CultureInfo.InvariantCulture, $"slots are int32, and the cache has {slots:N0}"));
        RowPacks.Launch(kernel, "key_value_write.cu", "key_value_write", tokens,
            op.KeyValueHeadCount * op.HeadDimension, RowPacks.Width([type], op.HeadDimension))
            .Type("ELEMENT", type).Input(0).Input(1).Input(2).Input(3).Input(4)
            .Int32(tokens).Int32(op.KeyValueHeadCount).Int32(op.HeadDimension).Int32((int)slots)
            .Status(string.Create(CultureInfo.InvariantCulture,
                $"slots[{{index}}] is {{value}}, but must be −1 or within the cache's {slots} slots")).Programmatic();
    }

    /// <summary>A launch with a thread for each pack of the first halves of all heads.</summary>
    private static KernelLaunch Rotate(CudaKernelBuilder kernel, string entryPoint, DataType type, int tokens,
        int heads, int dimension) =>
        RowPacks.Launch(kernel, Source, entryPoint, tokens, heads * (dimension / 2),
            RowPacks.Width([type], dimension / 2)).Type("ELEMENT", type);
}
