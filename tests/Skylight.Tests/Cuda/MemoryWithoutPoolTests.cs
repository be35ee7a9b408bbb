using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// A card without memory pools (attribute 115 is 0, as on some virtual GPUs): its memory is reserved and freed plainly.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class MemoryWithoutPoolTests : IDisposable
{
    public MemoryWithoutPoolTests()
    {
        Emulator.Require();
        Emulator.Configure("pools", "off");
    }

    public void Dispose() => Emulator.ConfigureDefaults();

    [Fact]
    public void Plans_run_and_are_replayed_and_all_memory_comes_back()
    {
        using var card = new SimulatedCard();
        Assert.False(card.Device.Stream.HasMemoryPool);
        long before = card.Device.ReadMemory().FreeBytes;
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(new Scale(2),
            TensorType.Float32(4));
        for (int run = 1; run <= 4; run++)
        {
            executor.Write<float>(inputs[0], [run, 0, -run, 10 * run]);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal([2 * run, 0, -2 * run, 20 * run], executor.Read<float>(outputs[0]));
        }

        Assert.True(executor.IsRecorded);
        DeviceMemory memory = card.Device.Allocate(1 << 20);
        Assert.True(card.Device.ReadMemory().FreeBytes <= before - (1 << 20));
        memory.Dispose();
        card.Workspace.Dispose();
        card.Device.Synchronize();
        Assert.Equal(before, card.Device.ReadMemory().FreeBytes);
    }

    [Fact]
    public void Memory_is_not_freed_before_the_work_that_uses_it()
    {
        using var card = new SimulatedCard();
        Tensor first = card.Device.AllocateTensor(TensorType.Int32(1000)),
            second = card.Device.AllocateTensor(TensorType.Int32(1000));
        card.Device.Copy(first, second);

        // The emulator reports a copy whose place was freed before its turn.
        first.Memory.Dispose();
        card.Device.Synchronize();
        second.Memory.Dispose();
    }

    [Fact]
    public void Memory_given_back_while_work_is_recorded_waits_for_its_end()
    {
        using var card = new SimulatedCard();
        long before = card.Device.ReadMemory().FreeBytes;
        DeviceMemory memory = card.Device.Allocate(1 << 20);
        Tensor tensor = card.Device.AllocateTensor(TensorType.Int32(16));
        card.Device.Synchronize();
        using RecordedWork work = Assert.IsType<RecordedWork>(
            card.Device.Record(() =>
            {
                card.Device.Clear(tensor);
                memory.Dispose();
            }),
            exactMatch: false);
        work.Replay();
        tensor.Memory.Dispose();
        card.Device.Synchronize();
        Assert.Equal(before, card.Device.ReadMemory().FreeBytes);
    }

    [Fact]
    public void Memory_that_is_not_there_is_refused_with_the_numbers()
    {
        using var card = new SimulatedCard();
        OutOfDeviceMemoryException error = Assert.Throws<OutOfDeviceMemoryException>(() => card.Device.Allocate(1L << 40));
        Assert.Contains("1,099,511,627,776 bytes", error.Message, StringComparison.Ordinal);
        card.Device.Allocate(1 << 20).Dispose();
    }
}
