using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>Statistics of stored logits and their gradient; see <c>kernels/logits.cu</c>.</summary>
internal static class LogitBindings
{
    private const int Threads = 256;

    // As in kernels/common/softmax_statistics.cuh and kernels/logits.cu.
    private const int SegmentColumns = 1024;
    private const int SegmentsOfBlock = 4;
    private const int PartialBytes = 3 * sizeof(float);
    private const int GradientColumns = 4096;

    private const string WrongTarget = "target {value} of row {index} is neither −1 (none) nor a token id of the vocabulary";

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<LogitStatistics>((op, kernel) =>
        {
            CudaScratch partials = Reduce(kernel, null, null, op.Temperature);
            Shape logits = kernel.Inputs[0].Shape;
            FinishLaunch(kernel, logits.Rows).Scratch(partials).Null().Null().Null().Null()
                .Null().Output(2).Null().Output(0).Output(1)
                .FinishNumbers(logits.Rows, logits.Columns, op.Temperature);
        });
        bindings.Add<LogProbabilities>((op, kernel) =>
        {
            CudaScratch partials = Reduce(kernel, 1, null, op.Temperature);
            Shape logits = kernel.Inputs[0].Shape;
            FinishLaunch(kernel, logits.Rows).Scratch(partials).Input(1).Null().Null().Input(0)
                .Output(0).Output(1).Output(2).Output(3).Output(4)
                .FinishNumbers(logits.Rows, logits.Columns, op.Temperature);
        });
        bindings.Add<LogProbabilitiesBackward>((op, kernel) =>
        {
            Shape logits = kernel.Inputs[0].Shape;
            int blocks = checked(logits.Rows * CudaKernelBuilder.Blocks(logits.Columns, GradientColumns));
            kernel.Launch("logits.cu", "logit_gradients", blocks, Threads)
                .Input(0).Input(1).RowGradients(2, op.HasLogProbabilityGradient, op.HasEntropyGradient).Output(0)
                .Int32(logits.Columns).Float32(op.Temperature).Status(WrongTarget);
        });
    }

    /// <summary>The number of segments of a vocabulary.</summary>
    public static int Segments(int vocabulary) => CudaKernelBuilder.Blocks(vocabulary, SegmentColumns);

    /// <summary>Temporary memory for the partial sums of every segment of every row.</summary>
    public static CudaScratch Partials(CudaKernelBuilder kernel, int rows, int vocabulary) =>
        kernel.Scratch((long)rows * Segments(vocabulary) * PartialBytes);

    /// <summary>The launch that merges the segments of each row.</summary>
    public static KernelLaunch FinishLaunch(CudaKernelBuilder kernel, int rows) =>
        kernel.Launch("logits.cu", "finish_rows", CudaKernelBuilder.Blocks(rows, Threads / 32), Threads,
            2 * sizeof(double) * Threads);

    /// <summary>The numbers that end the arguments of <see cref="FinishLaunch"/>.</summary>
    /// <param name="launch">The launch.</param>
    /// <param name="rows">Rows of logits.</param>
    /// <param name="vocabulary">Their length.</param>
    /// <param name="temperature">Divides the logits.</param>
    /// <param name="temperatures">The input with a temperature for each row, which then counts instead.</param>
    public static KernelLaunch FinishNumbers(this KernelLaunch launch, int rows, int vocabulary, float temperature,
        int? temperatures = null) =>
        launch.Int32(rows).Int32(Segments(vocabulary)).Int32(vocabulary).InputOrNull(temperatures).Float32(temperature)
            .Float32(LargestEntropy(vocabulary)).Status(WrongTarget).Programmatic();

    /// <summary>
    /// The arguments maximum, logSum, entropy, dLogProbability and dEntropy, of which the op has the last three as far
    /// as they are needed.
    /// </summary>
    /// <param name="launch">The launch.</param>
    /// <param name="first">The input that is maximum.</param>
    /// <param name="hasLogProbability">Whether dLogProbability is an input.</param>
    /// <param name="hasEntropy">Whether entropy and dEntropy are inputs.</param>
    public static KernelLaunch RowGradients(this KernelLaunch launch, int first, bool hasLogProbability, bool hasEntropy)
    {
        int next = first + 2;
        launch.Input(first).Input(first + 1);
        launch = hasEntropy ? launch.Input(next++) : launch.Null();
        launch = hasLogProbability ? launch.Input(next++) : launch.Null();
        return hasEntropy ? launch.Input(next) : launch.Null();
    }

    /// <summary>Queues the reduction of the logits (input 0) to segments.</summary>
    /// <param name="kernel">Where to.</param>
    /// <param name="targets">The input that says which rows count; null: all.</param>
    /// <param name="temperatures">The input with a temperature for each row; null: they have the same.</param>
    /// <param name="temperature">That temperature.</param>
    /// <returns>The partial sums, for <see cref="FinishLaunch"/>.</returns>
    public static CudaScratch Reduce(CudaKernelBuilder kernel, int? targets, int? temperatures, float temperature)
    {
        Shape logits = kernel.Inputs[0].Shape;
        CudaScratch partials = Partials(kernel, logits.Rows, logits.Columns);
        int segments = Segments(logits.Columns),
            blocks = checked(logits.Rows * CudaKernelBuilder.Blocks(segments, SegmentsOfBlock));
        kernel.Launch("logits.cu", "reduce_logits", blocks, Threads, Threads / 4 * PartialBytes).Input(0)
            .InputOrNull(targets)
            .Scratch(partials).Int32(segments).Int32(logits.Columns).InputOrNull(temperatures).Float32(temperature)
            .Programmatic();
        return partials;
    }

    private static KernelLaunch InputOrNull(this KernelLaunch launch, int? input) => input is int index
        ? launch.Input(index) : launch.Null();

    /// <summary>ln V, rounded towards zero.</summary>
    private static float LargestEntropy(int vocabulary)
    {
        float rounded = (float)Math.Log(vocabulary);
        return rounded > Math.Log(vocabulary) ? MathF.BitDecrement(rounded) : rounded;
    }
}
