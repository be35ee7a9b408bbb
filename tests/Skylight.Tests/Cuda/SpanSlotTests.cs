using Skylight.Cuda;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// The slots in which blocks of a walk keep the sums of earlier spans (<c>kernels/common/attention_walk.cuh</c>).
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class SpanSlotTests
{
    private const int Blocks = 40, Slots = 2, Workers = 4;

    // Every block holds a slot until another block holds one too, or until none comes: faults[0] counts slots that have two
    // blocks, or are none, faults[1] the blocks that met another.
    private const string Source = """
        #include "common/attention_walk.cuh"
        extern "C" __global__ void clear(int* faults) { faults[0] = faults[1] = 0; }

        extern "C" __global__ void hold(int* state, int* owners, int* holders, int* faults, int count) {
            const SpanSlots slots{nullptr, state, count};
            const int slot = slots.take() * FACTOR + SHIFT, own = (int)blockIdx.x + 1;
            if (slot < 0 || slot >= count || atomicExch(owners + slot, own) != 0) atomicAdd(faults, 1);
            atomicAdd(holders, 1);
            int polls = 0;
            while (polls < 300000 && atomicAdd(holders, 0) < 2) polls++;
            if (polls < 300000) atomicAdd(faults + 1, 1);
            if (slot >= 0 && slot < count && atomicExch(owners + slot, 0) != own) atomicAdd(faults, 1);
            atomicAdd(holders, -1);
            slots.give(slot);
        }
        """;

    [Theory]
    [InlineData("forward", 1, 0)]
    [InlineData("seed:4", 1, 0)]
    [InlineData("forward", 0, 0)] // planted: one slot for all
    [InlineData("forward", 1, 1)] // planted: one that is not there
    public void A_slot_has_one_block_at_a_time(string schedule, int factor, int shift)
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("workers", $"{Workers}");
        TensorType[] types = [TensorType.Int32(2 + Blocks), TensorType.Int32(Slots), TensorType.Int32(1)];
        TensorType faults = TensorType.Int32(2);
        var kernel = new CudaKernelBuilder(new Multiply(), types, [faults], CudaTarget.Hopper);
        kernel.Launch(new KernelSource("slots.cu", Source), "clear", 1, 1)
            .Define("FACTOR", factor).Define("SHIFT", shift).Output(0);
        kernel.Launch(new KernelSource("slots.cu", Source), "hold", Blocks, 1).Define("FACTOR", factor).Define("SHIFT", shift)
            .Input(0).Input(1).Input(2).Output(0).Int32(Slots);
        int[] found = kernels.Run<int>(kernel.Build(), faults, new int[2 + Blocks], new int[Slots], new int[1]);
        Assert.Equal((factor, shift) == (1, 0), found[0] == 0);
        // Otherwise nothing was tried.
        Assert.True(found[1] > Blocks / 4, $"{found[1]} of {Blocks} blocks met another");
    }
}
