using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>Tokens drawn from logits, and logits changed before that; see <c>kernels/sampling_bounds.cu</c>,
/// <c>kernels/sampling.cu</c> and <c>kernels/logit_changes.cu</c>.</summary>
internal static class SamplingBindings
{
    // As in the kernels.
    private const string Bounds = "sampling_bounds.cu";
    private const string Source = "sampling.cu";
    private const string Changes = "logit_changes.cu";
    private const int WeighThreads = 256;
    private const int BoundThreads = 256;
    private const int BoundColumns = 8192;
    private const int ChooseThreads = 128;
    private const int TopThreads = 512;
    private const int AdjustThreads = 256;
    private const int AdjustColumns = 4096;
    private const int Bins = 2048;
    private const int BoardBytes = 32;
    private const int RowBinsBytes = Bins * (sizeof(ulong) + sizeof(int)) + 32;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<SampleTokens>(Sample);
        bindings.Add<AdjustLogits>((_, kernel) => Adjust(kernel));
        bindings.Add<MaskLogits>((_, kernel) => Mask(kernel));
    }

    private static void Sample(SampleTokens op, CudaKernelBuilder kernel)
    {
        Shape logits = kernel.Inputs[0].Shape;
        int rows = logits.Rows, vocabulary = logits.Columns, segments = LogitBindings.Segments(vocabulary);
        CudaScratch partials = LogitBindings.Reduce(kernel, null, 1, 1);
        CudaScratch maximum = kernel.Scratch((long)rows * sizeof(float)),
            logSum = kernel.Scratch((long)rows * sizeof(float));
        LogitBindings.FinishLaunch(kernel, rows).Scratch(partials).Null().Null().Null().Null()
            .Null().Output(2).Null().Scratch(maximum).Scratch(logSum)
            .FinishNumbers(rows, vocabulary, 1, temperatures: 1);
        CudaScratch sums = kernel.Scratch((long)rows * segments * sizeof(ulong)),
            ties = kernel.Scratch((long)rows * segments * sizeof(int));
        CudaScratch bins = kernel.Scratch((long)rows * RowBinsBytes);
        int weighBlocks = checked(rows * CudaKernelBuilder.Blocks(segments, WeighThreads / 32));
        kernel.Launch(Bounds, "weigh_segments", weighBlocks, WeighThreads)
            .Input(0).Input(1).Scratch(maximum).Scratch(sums).Scratch(bins).Int32(segments).Int32(vocabulary);
        for (int level = 0; level < 3; level++)
        {
            kernel.Launch(Bounds, "bound_tokens", checked(rows * CudaKernelBuilder.Blocks(vocabulary, BoundColumns)),
                BoundThreads, Bins * 4 * sizeof(int) + BoardBytes)
                .Input(0).Input(1).Input(2).Input(3).Input(4).Scratch(maximum).Scratch(logSum).Scratch(sums).Scratch(bins)
                .Int32(level).Int32(segments).Int32(vocabulary);
        }

        kernel.Launch(Bounds, "weigh_eligible", weighBlocks, WeighThreads)
            .Input(0).Input(1).Input(2).Input(3).Input(4).Scratch(maximum).Scratch(logSum).Scratch(bins).Scratch(sums)
            .Scratch(ties).Int32(segments).Int32(vocabulary);
        kernel.Launch(Source, "choose_tokens", rows, ChooseThreads, BoardBytes)
            .Input(0).Input(1).Input(2).Input(3).Input(4).Input(5).Scratch(partials).Scratch(maximum).Scratch(logSum)
            .Scratch(sums).Scratch(ties).Scratch(bins).Output(0).Output(1).Output(2).Int32(segments).Int32(vocabulary)
            .Status("row {index}: the temperature must be 0 or more, top-k 0 (all) or more, top-p in (0, 1] and " +
                "min-p in [0, 1]");
        if (op.TopTokens == 0)
            return;
        kernel.Launch(Source, "top_tokens", rows, TopThreads)
            .Input(0).Input(1).Scratch(maximum).Scratch(logSum).Output(0).Scratch(sums).Output(3).Output(4)
            .Int32(op.TopTokens).Int32(segments).Int32(vocabulary);
    }

    private static void Adjust(CudaKernelBuilder kernel)
    {
        Shape logits = kernel.Inputs[0].Shape;
        int entries = kernel.Inputs[2].Shape[0];
        kernel.Launch(Changes, "adjust_logits",
            checked(logits.Rows * CudaKernelBuilder.Blocks(logits.Columns, AdjustColumns)), AdjustThreads)
            .Input(0).Input(1).Input(2).Input(3).Input(4).Output(0).Int32(entries).Int32(logits.Columns)
            .Status(FormattableString.Invariant(
                $"the entries of row {{index}}, from {{value}}, are not a range within 0 … {entries}"))
            .Status(FormattableString.Invariant(
                $"tokens[{{index}}] is {{value}}, but within a row tokens must ascend and be from 0 to {logits.Columns - 1}"))
            .Status("the penalty of entry {index} must be above zero and finite, and its bias a number or −∞");
    }

    private static void Mask(CudaKernelBuilder kernel)
    {
        Shape logits = kernel.Inputs[0].Shape, masks = kernel.Inputs[2].Shape;
        kernel.Launch(Changes, "mask_logits",
            checked(logits.Rows * CudaKernelBuilder.Blocks(logits.Columns, AdjustColumns)), AdjustThreads)
            .Input(0).Input(1).Input(2).Output(0).Int32(masks.Rows).Int32(masks.Columns).Int32(logits.Columns)
            .Status(FormattableString.Invariant($"row {{index}} has mask {{value}}, but there are {masks.Rows}"));
    }
}
