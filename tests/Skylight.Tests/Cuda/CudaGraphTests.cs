using System.Runtime.InteropServices;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>Plans that are recorded and replayed do what plans do step by step.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class CudaGraphTests
{
    private static readonly KernelSource PickSource = new("pick.cu", """
        #include "common/status.cuh"
        extern "C" __global__ void pick(const float* table, const int* index, float* picked, int count, Status* status, int tag) {
            const int i = index[threadIdx.x];
            const bool good = i >= 0 && i < count;
            if (!good)
                report_status(status, tag, threadIdx.x, i);
            picked[threadIdx.x] = good ? table[i] : 0;
        }
        """);

    private static CudaBindings PickBindings =>
        CudaBindings.Standard.With<HostOp>((_, kernel) => kernel.Launch(PickSource, "pick", 1, 4)
        .Input(0).Input(1).Output(0).Int32(4).Status("index[{index}] is {value}"));

    [Fact]
    public void The_second_run_is_recorded_and_later_ones_see_new_inputs()
    {
        using var card = new SimulatedCard();
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(new Add(),
            TensorType.Float32(300), TensorType.Float32(300));
        for (int run = 0; run < 4; run++)
        {
            float[] left = [.. Enumerable.Range(0, 300).Select(index => (float)(index * run))],
                right = [.. Enumerable.Range(0, 300).Select(index => index + 0.5f * run)];
            Assert.Equal(run >= 2, executor.IsRecorded);
            executor.Write<float>(inputs[0], left);
            executor.Write<float>(inputs[1], right);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal(left.Zip(right, (a, b) => a + b), executor.Read<float>(outputs[0]));
        }

        using var canceled = new CancellationTokenSource();
        canceled.Cancel();
        Assert.Throws<OperationCanceledException>(() => executor.Run(canceled.Token));
    }

    [Fact]
    public void Training_with_replays_equals_training_step_by_step()
    {
        using SimulatedCard recording = new(), stepping = new(captureGraphs: false);
        TinyTraining recorded = new(recording.Device), stepped = new(stepping.Device);
        for (int step = 1; step <= 6; step++)
        {
            // Two shapes take turns on one workspace, whose memory grows with the second.
            int rows = step % 2 == 0 ? 40 : 3;
            float[] residual = recorded.Step(recording.Workspace, rows, step);
            Assert.Equal(stepped.Step(stepping.Workspace, rows, step), residual);
            Assert.Contains(residual, value => value != 0);
        }

        Assert.Equal(stepped.State, recorded.State);
        Assert.True(recorded.ExecutorOf(40)!.IsRecorded);
        Assert.False(stepped.ExecutorOf(40)!.IsRecorded);
    }

    [Fact]
    public void Weights_that_are_written_or_bound_anew_between_replays_are_seen()
    {
        using var card = new SimulatedCard();
        var graph = new Graph();
        var weight = new PersistentTensor("weight", TensorType.Float32(8));
        Value x = graph.Input("x", TensorType.Float32(8)), y = graph.Add(new Multiply(), x, graph.Persistent(weight));
        graph.Output("y", y);
        card.Device.Bind(weight);
        var executor = new Executor(Planner.Plan(graph, card.Device), card.Workspace);
        for (int run = 1; run <= 3; run++)
            Check(run);
        Assert.True(executor.IsRecorded);

        DeviceMemory old = weight.Tensor.Memory;
        card.Device.Bind(weight);
        old.Dispose();
        Check(10);
        Assert.False(executor.IsRecorded);
        Check(11);
        Check(12);
        Assert.True(executor.IsRecorded);

        weight.Tensor.Memory.Dispose();
        Assert.Throws<ObjectDisposedException>(() => executor.Run());

        void Check(float factor)
        {
            float[] factors = new float[8];
            factors.AsSpan().Fill(factor);
            card.Device.Upload(MemoryMarshal.AsBytes<float>(factors), weight.Tensor);
            executor.Write<float>(x, [1, 2, 3, 4, 5, 6, 7, 8]);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal([factor, 2 * factor, 3 * factor, 4 * factor, 5 * factor, 6 * factor, 7 * factor, 8 * factor],
                executor.Read<float>(y));
        }
    }

    [Fact]
    public void Constants_hold_in_every_replay_though_their_place_is_used_again()
    {
        using var card = new SimulatedCard(PickBindings);
        var graph = new Graph();
        Value order = graph.Constant("order", [3, 1, 0, 2]), table = graph.Input("table", TensorType.Float32(4));
        Value picked = graph.AddNode(new HostOp(TensorType.Float32(4)), table, order)[0];
        Value scaled = graph.Add(new Scale(2), picked), again = graph.Add(new Add(), scaled, picked);
        graph.Output("again", again);
        Plan plan = Planner.Plan(graph, card.Device);
        Assert.Contains(plan.Slots, slot => slot.Key != order && slot.Value.FirstStep >= 0
            && slot.Value.Offset == plan.Slots[order].Offset);
        var executor = new Executor(plan, card.Workspace);
        for (int run = 1; run <= 4; run++)
        {
            executor.Write<float>(table, [0, run, 2 * run, 3 * run]);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal([9f * run, 3f * run, 0, 6f * run], executor.Read<float>(again));
        }
    }

    [Fact]
    public void A_replay_reports_bad_indices()
    {
        using var card = new SimulatedCard(PickBindings);
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(
            new HostOp(TensorType.Float32(4)), TensorType.Float32(4), TensorType.Int32(4));
        Run([0, 1, 2, 3]);
        Run([0, 1, 2, 3]);
        Assert.True(executor.IsRecorded);
        Run([0, 1, 7, 3]);
        Assert.Contains("HostOp: index[2] is 7.",
            Assert.Throws<ArgumentOutOfRangeException>(() => executor.Read<float>(outputs[0])).Message);
        Run([3, 2, 1, 0]);
        Assert.Equal([4f, 3f, 2f, 1f], executor.Read<float>(outputs[0]));

        void Run(int[] index)
        {
            executor.Write<float>(inputs[0], [1, 2, 3, 4]);
            executor.Write<int>(inputs[1], index);
            executor.Run();
        }
    }

    [Fact]
    public void What_no_graph_can_hold_is_refused_and_the_device_works_on()
    {
        using var card = new SimulatedCard();
        CudaException error = Assert.Throws<CudaException>(() => card.Device.Record(card.Device.Synchronize));
        Assert.Contains("cannot be recorded as a CUDA graph", error.Message);
        Assert.Contains("cuStreamSynchronize", error.Message);
        Assert.Contains("CaptureGraphs = false", error.Message);
        error = Assert.Throws<CudaException>(() => card.Device.Record(() => card.Device.Allocate(256)));
        Assert.Contains("256 bytes cannot be reserved while work is recorded", error.Message);
        The_second_run_is_recorded_and_later_ones_see_new_inputs();

        using var stepping = new SimulatedCard(captureGraphs: false);
        Assert.Null(stepping.Device.Record(() => Assert.Fail("nothing is recorded")));
    }

    [Fact]
    public void Memory_that_is_given_back_during_a_recording_is_not_part_of_it()
    {
        using var card = new SimulatedCard();
        Tensor kept = card.Device.AllocateTensor(TensorType.Float32(4)),
            given = card.Device.AllocateTensor(TensorType.Float32(1 << 20));
        card.Device.Synchronize();
        long before = card.Device.ReadMemory().FreeBytes;
        using RecordedWork work = card.Device.Record(() =>
        {
            card.Device.Clear(kept);
            given.Memory.Dispose();
        })!;
        card.Device.Synchronize();
        Assert.Equal(before + (4 << 20), card.Device.ReadMemory().FreeBytes);
        for (int run = 0; run < 3; run++)
        {
            card.Device.Upload(MemoryMarshal.AsBytes<float>([1, 2, 3, 4]), kept);
            work.Replay();
            var read = new float[4];
            card.Device.Download(kept, MemoryMarshal.AsBytes(read.AsSpan()));
            Assert.Equal([0f, 0, 0, 0], read);
        }

        kept.Memory.Dispose();
        Assert.Throws<ObjectDisposedException>(work.Replay);
    }

    [Fact]
    public void Times_are_read_between_marks()
    {
        using var card = new SimulatedCard();
        using SimulatedCard other = new();
        using CudaEvent first = new(card.Device), second = new(card.Device), foreign = new(other.Device);
        Assert.Throws<InvalidOperationException>(first.Synchronize);
        first.Record();
        Assert.Throws<InvalidOperationException>(() => second.Since(first));
        Tensor tensor = card.Device.AllocateTensor(TensorType.Float32(100));
        card.Device.Clear(tensor);
        second.Record();
        foreign.Record();

        // The emulator has no time of its own.
        Assert.Equal(TimeSpan.Zero, second.Since(first));
        Assert.Contains("two devices", Assert.Throws<ArgumentException>(() => second.Since(foreign)).Message);
        using var timer = new CudaTimer(card.Device);
        Assert.Throws<InvalidOperationException>(() => timer.Stop());
        Assert.Equal(TimeSpan.Zero, timer.Measure(() => card.Device.Clear(tensor)));
        tensor.Memory.Dispose();
    }
}
