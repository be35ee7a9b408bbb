using Skylight.Cuda;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench.Kernels;

/// <summary>The roofline that kernels are held against, measured in the same run.</summary>
/// <param name="BytesPerSecond">A device-to-device copy of 2 GiB, bytes read and written.</param>
/// <param name="FlopsPerSecond">cuBLAS's product of two 8192 × 8192 bfloat16 matrices; null without cuBLAS.</param>
/// <param name="WhyNoFlops">Why there is no product.</param>
internal sealed record CardPeak(double BytesPerSecond, double? FlopsPerSecond, string? WhyNoFlops)
{
    private const long CopyBytes = 2L << 30;
    private const int ProductSize = 8192;

    /// <summary>Measures both.</summary>
    public static CardPeak Measure(CudaDevice device, ColdTimer timer, CudaDevice libraryDevice, ColdTimer libraryTimer,
        int rounds)
    {
        double? flops = null;
        string? why = null;
        try
        {
            flops = Product(libraryDevice, libraryTimer, rounds);
        }
        catch (Exception exception) when (exception is CudaException or NotSupportedException)
        {
            why = exception.Message;
        }

        return new CardPeak(Copy(device, timer, rounds), flops, why);
    }

    /// <summary>
    /// The least time that a cost takes by this roofline, in seconds; null where it has products and none was measured.
    /// </summary>
    public double? LeastSeconds(Graphs.OpCost cost) =>
        FlopsPerSecond is { } flops ? Math.Max(cost.Flops / flops, cost.Bytes / BytesPerSecond) : null;

    private static double Copy(CudaDevice device, ColdTimer timer, int rounds)
    {
        using CudaMemory source = device.AllocateUninitialized(CopyBytes),
            destination = device.AllocateUninitialized(CopyBytes);
        device.Clear(source.Address, CopyBytes);
        double[] seconds = [.. Enumerable.Range(0, rounds + 3)
            .Select(_ => timer.Seconds(() => device.Copy(source.Address, destination.Address, CopyBytes)))];
        return 2.0 * CopyBytes / KernelBenchmark.Median(seconds[3..]);
    }

    private static double Product(CudaDevice device, ColdTimer timer, int rounds)
    {
        Workload workload = new Workload("peak", new MatMul(),
            [Operand.Normal(ProductSize, ProductSize), Operand.Weight(DataType.Float32, ProductSize, ProductSize)],
            Tiny: false).ForActivations(DataType.BFloat16);
        CudaKernelDescription description = CudaBindings.Standard.Describe(workload.Op,
            [.. workload.Inputs.Select(input => input.Type)], device.Target);
        if (!description.Steps.All(step => step is CudaProductStep))
            throw new NotSupportedException(
                "A matrix product of the library's device is not one of cuBLAS alone: there is nothing to take its " +
                "peak from.");
        using var arm = new KernelArm("peak", device, timer, workload);
        arm.WarmUp();
        for (int round = 0; round < rounds; round++)
            arm.Time();
        return 2.0 * ProductSize * ProductSize * ProductSize / KernelBenchmark.Median(arm.Times);
    }
}
