using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Cuts images into patches, one row each: <c>pixels [B, C, H, W] → [B·(H/ph)·(W/pw), C·ph·pw]</c>. Patches of an image
/// go row by row; the columns are ordered (channel, y, x), as a convolution's weight [h, C, ph, pw] flattened to [h,
/// C·ph·pw] expects, so that patch embedding is this and a matrix product.
/// </summary>
/// <param name="PatchHeight">ph; divides H.</param>
/// <param name="PatchWidth">pw; divides W.</param>
public sealed record PatchGather(int PatchHeight, int PatchWidth) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(1).Activation(0, "pixels").Rank(0, "pixels", 4)
            .That(PatchHeight > 0 && PatchWidth > 0, $"patches cannot be {PatchHeight} x {PatchWidth}");
        Shape pixels = inputs[0].Shape;
        check.That(pixels[2] % PatchHeight == 0 && pixels[3] % PatchWidth == 0,
            $"images of {pixels[2]} x {pixels[3]} pixels cannot be cut into patches of {PatchHeight} x {PatchWidth}");
        int patches = checked(pixels[0] * (pixels[2] / PatchHeight) * (pixels[3] / PatchWidth));
        return [inputs[0] with { Shape = new Shape(patches, checked(pixels[1] * PatchHeight * PatchWidth)) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        throw new GraphException(
            $"{Name} has no gradient: pixels are data. Do not ask for gradients of what they are computed from.");

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Shape shape = arguments.Input(0).Shape;
        int channels = shape[1], height = shape[2], width = shape[3];
        int gridHeight = height / PatchHeight, gridWidth = width / PatchWidth;
        int patchHeight = PatchHeight, patchWidth = PatchWidth;
        float* pixels = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, arguments.Output(0).Shape.Columns, (start, count) =>
        {
            float* target = y + (long)start * channels * patchHeight * patchWidth;
            for (int patch = start; patch < start + count; patch++)
            {
                int image = patch / (gridHeight * gridWidth), top = patch / gridWidth % gridHeight * patchHeight,
                    left = patch % gridWidth * patchWidth;
                for (int channel = 0; channel < channels; channel++)
                {
                    for (int line = 0; line < patchHeight; line++, target += patchWidth)
                    {
                        float* source = pixels + (((long)image * channels + channel) * height + top + line) * width + left;
                        new ReadOnlySpan<float>(source, patchWidth).CopyTo(new Span<float>(target, patchWidth));
                    }
                }
            }
        });
    }
}
