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
        bindings.Add<CrossEntropy>((_, kernel) => Launch(kernel, "cross_entropy", 1, SumBytes).Input(0).Input(1).Output(0).Int32(Tokens(kernel)));
        bindings.Add<CrossEntropyBackward>((_, kernel) => Launch(kernel, "cross_entropy_gradient", Blocks(kernel)).Input(0).Input(1).Output(0).Int32(Tokens(kernel)));
        bindings.Add<PolicyLoss>((op, kernel) => Settings(
            Inputs(Launch(kernel, "policy_loss", 1, SumBytes), 5).Output(0).Output(1).Output(2).Output(3).Int32(Tokens(kernel)), op));
        bindings.Add<PolicyLossBackward>((op, kernel) => Settings(
            Inputs(Launch(kernel, "policy_loss_gradient", Blocks(kernel)), 6).Output(0).Int32(Tokens(kernel)), op.Forward));
    }

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
        launch.Float32(op.ClipLow).Float32(op.ClipHigh).Int32((int)op.Kl).Float32(op.Beta).Float32(op.DualClip);
}
