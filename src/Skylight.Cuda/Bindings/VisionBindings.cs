using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>The way into a vision transformer and out of it; see <c>kernels/vision.cu</c>.</summary>
internal static class VisionBindings
{
    private const string Source = "vision.cu";
    private const int TapsThreads = 256, TapsBytes = 32;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<PatchGather>((op, kernel) =>
        {
            DataType type = kernel.Inputs[0].DataType;
            Shape pixels = kernel.Inputs[0].Shape, patches = kernel.Outputs[0].Shape;
            Launch(kernel, "patch_gather", patches.Rows, patches.Columns, RowPacks.Width([type], op.PatchWidth), type)
                .Input(0).Output(0)
                .Int32(patches.Rows).Int32(pixels[1]).Int32(pixels[2]).Int32(pixels[3]).Int32(op.PatchHeight)
                .Int32(op.PatchWidth);
        });
        bindings.Add<PixelShuffle>((op, kernel) =>
            Shuffle(kernel, "pixel_shuffle", kernel.Inputs[0].Shape.Columns, op.GridHeight, op.GridWidth));
        bindings.Add<PixelShuffleBackward>((op, kernel) =>
            Shuffle(kernel, "pixel_shuffle_backward", kernel.Outputs[0].Shape.Columns, op.GridHeight, op.GridWidth));
        bindings.Add<AddClassTokenAndPositions>((_, kernel) =>
        {
            DataType[] types = [.. kernel.Inputs.Select(input => input.DataType)];
            Shape shape = kernel.Outputs[0].Shape;
            Launch(kernel, "add_class_token", shape.Rows, shape.Columns, RowPacks.Width(types, shape.Columns), types[0],
                classToken: types[1], position: types[2])
                .Input(0).Input(1).Input(2).Output(0).Int32(shape.Rows).Int32(shape.Columns)
                .Int32(kernel.Inputs[2].Shape[0]);
        });
        bindings.Add<AddClassTokenAndPositionsBackward>((op, kernel) =>
        {
            DataType type = kernel.Inputs[0].DataType;
            int tokens = 1 + op.PatchCount, images = kernel.Inputs[0].Shape.Rows / tokens,
                columns = kernel.Inputs[0].Shape.Columns;
            Launch(kernel, "add_class_token_backward", tokens, columns,
                RowPacks.Width([type, DataType.Float32], columns), type)
                .Input(0).Output(0).Output(1).Output(2).Int32(images).Int32(columns).Int32(tokens);
        });
        bindings.Add<InterpolatePositions>((op, kernel) =>
        {
            (CudaScratch lines, CudaScratch places) = Taps(kernel, op.SourceHeight, op.SourceWidth, op.TargetHeight,
                op.TargetWidth);
            Interpolate(kernel, "interpolate_positions").Input(0).Scratch(lines).Scratch(places).Output(0)
                .Int32(kernel.Outputs[0].Shape.Columns).Int32(op.SourceWidth).Int32(op.TargetHeight).Int32(op.TargetWidth);
        });
        bindings.Add<InterpolatePositionsBackward>((op, kernel) =>
        {
            (CudaScratch lines, CudaScratch places) = Taps(kernel, op.SourceHeight, op.SourceWidth, op.TargetHeight,
                op.TargetWidth);
            Interpolate(kernel, "interpolate_positions_backward").Input(0).Scratch(lines).Scratch(places).Output(0)
                .Int32(kernel.Outputs[0].Shape.Columns).Int32(op.SourceHeight).Int32(op.SourceWidth)
                .Int32(op.TargetHeight).Int32(op.TargetWidth);
        });
    }

    private static void Shuffle(CudaKernelBuilder kernel, string entryPoint, int columns, int gridHeight, int gridWidth)
    {
        DataType type = kernel.Inputs[0].DataType;
        Shape shape = kernel.Outputs[0].Shape;
        Launch(kernel, entryPoint, shape.Rows, shape.Columns, RowPacks.Width([type], columns), type)
            .Input(0).Output(0).Int32(shape.Rows).Int32(columns).Int32(gridHeight).Int32(gridWidth);
    }

    /// <summary>Queues what computes the taps of all lines and of all places in a line.</summary>
    private static (CudaScratch Lines, CudaScratch Places) Taps(CudaKernelBuilder kernel, int sourceHeight,
        int sourceWidth, int targetHeight, int targetWidth)
    {
        return (Axis(sourceHeight, targetHeight), Axis(sourceWidth, targetWidth));

        CudaScratch Axis(int source, int target)
        {
            CudaScratch taps = kernel.Scratch((long)target * TapsBytes);
            DataType type = kernel.Inputs[0].DataType;
            Constants(kernel.Launch(Source, "bicubic_taps", CudaKernelBuilder.Blocks(target, TapsThreads), TapsThreads),
                InterpolationWidth(kernel), DataType.Float32, DataType.Float32, type)
                .Scratch(taps).Int32(source).Int32(target);
            return taps;
        }
    }

    private static KernelLaunch Interpolate(CudaKernelBuilder kernel, string entryPoint)
    {
        Shape shape = kernel.Outputs[0].Shape;
        return Launch(kernel, entryPoint, shape.Rows, shape.Columns, InterpolationWidth(kernel), DataType.Float32,
            position: kernel.Inputs[0].DataType);
    }

    private static int InterpolationWidth(CudaKernelBuilder kernel) =>
        RowPacks.Width([kernel.Inputs[0].DataType, DataType.Float32], kernel.Outputs[0].Shape.Columns);

    private static KernelLaunch Launch(
        CudaKernelBuilder kernel, string entryPoint, int rows, int columns, int width, DataType element,
        DataType classToken = DataType.Float32, DataType position = DataType.Float32) =>
        Constants(RowPacks.Launch(kernel, Source, entryPoint, rows, columns, width), width, element, classToken, position);

    /// <summary>The constants that all kernels of the file are compiled with.</summary>
    private static KernelLaunch Constants(KernelLaunch launch, int width, DataType element, DataType classToken,
        DataType position) =>
        launch.Define("WIDTH", width).Type("ELEMENT", element).Type("CLASS", classToken).Type("POSITION", position);
}
