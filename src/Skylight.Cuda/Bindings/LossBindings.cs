using Skylight.Ops;

namespace Skylight.Cuda.Bindings;

/// <summary>Losses of tokens and their gradients; see <c>kernels/policy_loss.cu</c>.</summary>
internal static class LossBindings
{
    private const int Threads = 256;
    private const int SumBytes = Threads * sizeof(double);

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<CrossEntropy>((_, kernel) =>
            Launch(kernel, "cross_entropy", 1, SumBytes).Input(0).Input(1).Output(0).Int32(Tokens(kernel)));
        bindings.Add<CrossEntropyBackward>((_, kernel) =>
            Launch(kernel, "cross_entropy_gradient", Blocks(kernel)).Input(0).Input(1).Output(0).Int32(Tokens(kernel)));
        bindings.Add<PolicyLoss>(Loss);
        bindings.Add<PolicyLossBackward>((op, kernel) => Gradient(op.Forward, kernel));
    }

    private static void Loss(PolicyLoss op, CudaKernelBuilder kernel)
    {
        if (!op.TakesSequences)
        {
            Settings(Outputs(Inputs(Launch(kernel, "policy_loss", 1, SumBytes), 5).Null().Null()).Int32(Tokens(kernel)), op);
            return;
        }

        // Also where there are no rows: the sums are launched all the same, and a region without bytes has no address.
        CudaScratch ratios = kernel.Scratch(Math.Max(Tokens(kernel), 1L) * sizeof(double));
        Launch(kernel, "sequence_log_ratio", Tokens(kernel), SumBytes).Input(0).Input(1).Input(5).Scratch(ratios)
            .Int32(Tokens(kernel));
        Settings(Outputs(Inputs(Launch(kernel, "policy_loss", 1, SumBytes), 6).Scratch(ratios)).Int32(Tokens(kernel)), op);
    }

    private static void Gradient(PolicyLoss op, CudaKernelBuilder kernel)
    {
        KernelLaunch launch = op.TakesSequences
            ? Inputs(Launch(kernel, "sequence_policy_loss_gradient", Tokens(kernel), SumBytes), 7)
            : Inputs(Launch(kernel, "policy_loss_gradient", Blocks(kernel)), 6);
        Settings(launch.Output(0).Int32(Tokens(kernel)), op);
    }

    private static KernelLaunch Outputs(KernelLaunch launch) => launch.Output(0).Output(1).Output(2).Output(3);

    private static int Tokens(CudaKernelBuilder kernel) => checked((int)kernel.Inputs[0].Shape.ElementCount);

    private static int Blocks(CudaKernelBuilder kernel) => CudaKernelBuilder.Blocks(Tokens(kernel), Threads);

    private static KernelLaunch Launch(CudaKernelBuilder kernel, string entryPoint, int blocks, int sharedBytes = 0) =>
        kernel.Launch("policy_loss.cu", entryPoint, blocks, Threads, sharedBytes);

    private static KernelLaunch Inputs(KernelLaunch launch, int count)
    {
        for (int input = 0; input < count; input++)
            launch.Input(input);
        return launch;
    }

    private static void Settings(KernelLaunch launch, PolicyLoss op) =>
        launch.Int32((int)op.Form).Float32(op.ClipLow).Float32(op.ClipHigh).Int32((int)op.Kl).Float32(op.Beta)
            .Float32(op.DualClip)
            .Float32(op.SapoPositive).Float32(op.SapoNegative);
}
