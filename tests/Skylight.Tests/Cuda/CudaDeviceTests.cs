using System.Runtime.InteropServices;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>The CUDA device, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class CudaDeviceTests
{
    private static readonly KernelSource PickSource = new("pick.cu", """
        #include "common/status.cuh"
        extern "C" __global__ void pick(const float* table, const int* index, float* picked, int count, Status* status, int tag, int offset) {
            const int i = index[threadIdx.x];
            const bool good = i >= 0 && i < count;
            if (!good)
                report_status(status, tag, threadIdx.x, i);
            picked[threadIdx.x] = good ? table[i] + offset : 0;
        }
        """);

    private static readonly KernelSource FaultySource = new("faulty.cu", """
        extern "C" __global__ void faulty(float* x, int count) {
            x[count + threadIdx.x] = 1;
        }
        """);

    [Theory]
    [InlineData(DataType.Float32, 3, 1000)]
    [InlineData(DataType.BFloat16, 3, 1001)]
    [InlineData(DataType.BFloat16, 1, 1)]
    public void A_graph_runs_again_and_again(DataType dataType, int rows, int columns)
    {
        using var card = new SimulatedCard();
        var type = new TensorType(dataType, new Shape(rows, columns));
        var graph = new Graph();
        Value a = graph.Input("a", type), b = graph.Input("b", type);
        Value sum = graph.Add(new Add(), a, b);
        graph.Output("sum", sum);
        Value scaled = graph.Add(new Scale(-0.5f), sum);
        graph.Output("scaled", scaled);
        var executor = new Executor(Planner.Plan(graph, card.Device), card.Workspace);
        for (int run = 0; run < 3; run++)
        {
            float[] left = Values(rows * columns, run), right = Values(rows * columns, run + 10);
            Write(executor, a, left);
            Write(executor, b, right);
            executor.Run(TestContext.Current.CancellationToken);
            float[] sums = [.. left.Zip(right, (x, y) => Rounded(Rounded(x, dataType) + Rounded(y, dataType), dataType))];
            Assert.Equal(sums, executor.ReadFloats(sum));
            Assert.Equal(sums.Select(x => Rounded(-0.5f * x, dataType)), executor.ReadFloats(scaled));
        }
    }

    [Fact]
    public void Tensors_larger_than_the_staging_memory_go_to_the_card_and_back()
    {
        using var card = new SimulatedCard();
        TensorType type = TensorType.Int32(3_300_007);
        Tensor first = card.Device.AllocateTensor(type), second = card.Device.AllocateTensor(type);
        int[] elements = [.. Enumerable.Range(1, type.Shape[0])], read = new int[elements.Length];
        card.Device.Download(first, MemoryMarshal.AsBytes(read.AsSpan()));
        Assert.DoesNotContain(read, element => element != 0);
        card.Device.Upload(MemoryMarshal.AsBytes(elements.AsSpan()), first);
        card.Device.Copy(first, second);
        card.Device.Clear(first);
        card.Device.Download(second, MemoryMarshal.AsBytes(read.AsSpan()));
        Assert.True(elements.AsSpan().SequenceEqual(read));
        card.Device.Download(first, MemoryMarshal.AsBytes(read.AsSpan()));
        Assert.DoesNotContain(read, element => element != 0);
        first.Memory.Dispose();
        second.Memory.Dispose();
        Assert.Throws<ObjectDisposedException>(() => card.Device.Clear(first));
    }

    [Fact]
    public void Many_small_uploads_keep_their_order()
    {
        using var card = new SimulatedCard();
        Tensor tensor = card.Device.AllocateTensor(TensorType.Int32(100_000));
        int[] elements = new int[100_000], read = new int[elements.Length];
        for (int upload = 1; upload <= 30; upload++)
        {
            elements.AsSpan().Fill(upload);
            card.Device.Upload(MemoryMarshal.AsBytes(elements.AsSpan()), tensor);
        }

        card.Device.Download(tensor, MemoryMarshal.AsBytes(read.AsSpan()));
        Assert.DoesNotContain(read, element => element != 30);
        tensor.Memory.Dispose();
    }

    [Fact]
    public void The_card_is_described()
    {
        using var card = new SimulatedCard();
        Assert.Equal(("simt:0", "Skylight SIMT emulator"), (card.Device.Name, card.Device.CardName));
        Assert.Equal(new CudaTarget(90, "sm_90a", 4, 227 * 1024), card.Device.Target);
        Assert.InRange(card.Device.MemoryBytes, 1, 4L << 30);
        CudaException error = Assert.Throws<CudaException>(
            () => new CudaDevice(new CudaDeviceOptions { Libraries = card.Device.Libraries, Ordinal = 7 }));
        Assert.Contains("no card 7", error.Message);
    }

    [Fact]
    public void Memory_that_is_not_there_is_refused_with_the_numbers()
    {
        using var card = new SimulatedCard(memoryBytes: 1000);
        OutOfDeviceMemoryException error = Assert.Throws<OutOfDeviceMemoryException>(() => card.Device.Allocate(1L << 40));
        Assert.Contains("1,099,511,627,776 bytes", error.Message);
        Assert.Throws<OutOfDeviceMemoryException>(() => card.Prepare(new Scale(2), TensorType.Float32(1000)));
        card.Device.Allocate(1 << 20).Dispose();
    }

    [Fact]
    public void A_bad_index_is_reported_with_op_and_message_when_results_are_read()
    {
        CudaBindings bindings = CudaBindings.Standard.With<HostOp>((_, kernel) => kernel.Launch(PickSource, "pick", 1, 4)
            .Input(0).Input(1).Output(0).Int32(10).Status("index[{index}] is {value}, but must be less than 10").Int32(1));
        using var card = new SimulatedCard(bindings);
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(
            new HostOp(TensorType.Float32(4)), TensorType.Float32(10), TensorType.Int32(4));
        Run([0, 9, 12, 3]);
        ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(
            () => executor.Read<float>(outputs[0]));
        Assert.Contains("HostOp: index[2] is 12, but must be less than 10.", error.Message);

        // Several tensors come back with one wait, whatever they fill of the staging memory; a report comes before any
        // of them.
        float[][] parts = [Values(900_000, 1), Values(3, 2), Values(700_000, 3), [], Values(1_300_000, 4)];
        Tensor[] tensors = [.. parts.Select(part => card.Device.AllocateTensor(TensorType.Float32(part.Length)))];
        for (int part = 0; part < parts.Length; part++)
            card.Device.Upload(MemoryMarshal.AsBytes(parts[part].AsSpan()), tensors[part]);
        foreach (int count in (int[])[2, 5])
        {
            float[] expected = [.. parts[..count].SelectMany(part => part)], read = new float[expected.Length];
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Throws<ArgumentOutOfRangeException>(
                () => card.Device.Download(tensors.AsSpan(0, count), MemoryMarshal.AsBytes(read.AsSpan())));
            Assert.All(read.Take(5), value => Assert.Equal(0, value));
            card.Device.Download(tensors.AsSpan(0, count), MemoryMarshal.AsBytes(read.AsSpan()));
            Assert.Equal(expected, read);
            Assert.Throws<ArgumentException>(
                () => card.Device.Download(tensors.AsSpan(0, count), MemoryMarshal.AsBytes(read.AsSpan(1))));
        }

        foreach (Tensor tensor in tensors)
            tensor.Memory.Dispose();
        Run([0, -1, 2, 3]);
        Assert.Contains("index[1] is -1", Assert.Throws<ArgumentOutOfRangeException>(card.Device.Synchronize).Message);
        Run([0, 9, 2, 3]);
        Assert.Equal([1f, 10f, 3f, 4f], executor.Read<float>(outputs[0]));

        void Run(int[] index)
        {
            executor.Write<float>(inputs[0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
            executor.Write<int>(inputs[1], index);
            executor.Run();
        }
    }

    [Fact]
    public void Temporary_memory_is_cleared_and_copied_and_aligned()
    {
        CudaBindings bindings = CudaBindings.Standard.With<HostOp>((_, kernel) =>
        {
            CudaScratch first = kernel.Scratch(4), second = kernel.Scratch(64);
            kernel.Clear(second);
            kernel.Copy(kernel.Input(0).At(4), second.ToOperand().At(8), 4);
            kernel.Copy(second, kernel.Output(0), 20);
            kernel.Launch(
                new KernelSource("address.cu",
                    "extern \"C\" __global__ void address(void* x, void* y, int* z) { z[4] = ((unsigned long long)x " +
                    "% 256 | (unsigned long long)y % 256) == 0; }"),
                "address",
                1,
                1).Scratch(first).Scratch(second).Output(0);
        });
        using var card = new SimulatedCard(bindings);
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(new HostOp(), TensorType.Int32(5));
        executor.Write<int>(inputs[0], [1, 2, 3, 4, 5]);
        executor.Run(TestContext.Current.CancellationToken);
        Assert.Equal([0, 0, 2, 0, 1], executor.Read<int>(outputs[0]));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void Products_of_the_library_are_row_major(bool transposeLeft, bool transposeRight)
    {
        const int Rows = 3, Columns = 5, Inner = 4, Batch = 2;
        CudaBindings bindings = CudaBindings.Standard.With<HostOp>((_, kernel) => kernel.Product(new CudaProductStep
        {
            Left = kernel.Input(0),
            Right = kernel.Input(1),
            Result = kernel.Output(0),
            Rows = Rows,
            Columns = Columns,
            Inner = Inner,
            TransposeLeft = transposeLeft,
            TransposeRight = transposeRight,
            Batch = Batch,
            LeftBatchStride = Rows * Inner,
            RightBatchStride = Inner * Columns,
            ResultBatchStride = Rows * Columns,
            Alpha = 2,
        }));
        using var card = new SimulatedCard(bindings, deterministic: false);
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(
            new HostOp(TensorType.Float32(Batch, Rows, Columns)),
            new TensorType(DataType.BFloat16, new Shape(Batch, Rows, Inner)),
            new TensorType(DataType.BFloat16, new Shape(Batch, Inner, Columns)));
        float[] left = [.. Enumerable.Range(0, Batch * Rows * Inner).Select(index => (float)(index % 7 - 3))];
        float[] right = [.. Enumerable.Range(0, Batch * Inner * Columns).Select(index => (float)(index % 5 - 2))];
        Write(executor, inputs[0], left);
        Write(executor, inputs[1], right);
        executor.Run(TestContext.Current.CancellationToken);
        float[] result = executor.Read<float>(outputs[0]);
        for (int index = 0; index < result.Length; index++)
        {
            int batch = index / (Rows * Columns), row = index / Columns % Rows, column = index % Columns;
            float sum = 0;
            for (int k = 0; k < Inner; k++)
            {
                sum += left[batch * Rows * Inner + (transposeLeft ? k * Rows + row : row * Inner + k)]
                    * right[batch * Inner * Columns + (transposeRight ? column * Inner + k : k * Columns + column)];
            }

            Assert.Equal(2 * sum, result[index]);
        }
    }

    [Fact]
    public void A_kernel_that_does_not_compile_is_named_with_its_line()
    {
        var source = new KernelSource("broken.cu",
            "\nextern \"C\" __global__ void broken(float* x) {\n    x[0] = missing;\n}\n");
        using var card = new SimulatedCard(
            CudaBindings.Standard.With<HostOp>((_, kernel) => kernel.Launch(source, "broken", 1, 1).Output(0)));
        (Executor executor, _, _) = card.Prepare(new HostOp(), TensorType.Float32(1));
        KernelCompilationException error = Assert.Throws<KernelCompilationException>(() => executor.Run());
        Assert.Contains("broken.cu:3", error.Message);
        Assert.Contains("missing", error.Message);
    }

    [Fact]
    public void A_kernel_that_is_not_there_is_named()
    {
        using var card = new SimulatedCard(
            CudaBindings.Standard.With<HostOp>((_, kernel) => kernel.Launch(FaultySource, "fault", 1, 1).Output(0)));
        (Executor executor, _, _) = card.Prepare(new HostOp(), TensorType.Float32(1));
        Assert.Contains("fault in faulty.cu", Assert.Throws<CudaException>(() => executor.Run()).Message);
    }

    [Fact]
    public void A_device_that_a_kernel_broke_is_replaced_by_a_new_one()
    {
        CudaBindings bindings = CudaBindings.Standard.With<HostOp>(
            (_, kernel) => kernel.Launch(FaultySource, "faulty", 1, 1).Output(0).Int32(1 << 20));
        using (var card = new SimulatedCard(bindings))
        {
            (Executor executor, _, IReadOnlyList<Value> outputs) = card.Prepare(new HostOp(), TensorType.Float32(8));
            executor.Run(TestContext.Current.CancellationToken);
            CudaException error = Assert.Throws<CudaException>(() => executor.Read<float>(outputs[0]));
            Assert.Equal(700, error.Code);
            Assert.Contains("made anew", error.Message);
            Assert.Contains("faulty.cu:2", error.Message);
            Assert.Throws<CudaException>(card.Device.Synchronize);
        }

        A_graph_runs_again_and_again(DataType.Float32, 2, 8);
    }

    [Fact]
    public void Tensors_of_another_device_are_refused()
    {
        using SimulatedCard card = new(), other = new();
        Tensor tensor = other.Device.AllocateTensor(TensorType.Float32(4));
        Assert.Contains("another CudaDevice", Assert.Throws<ArgumentException>(() => card.Device.Clear(tensor)).Message);
        tensor.Memory.Dispose();
        using var cpu = new Skylight.Cpu.CpuDevice();
        Assert.Contains("CpuMemory",
            Assert.Throws<ArgumentException>(() => card.Device.Clear(cpu.AllocateTensor(TensorType.Float32(4)))).Message);
    }

    [Fact]
    public void A_run_allocates_no_managed_memory()
    {
        using var card = new SimulatedCard();
        (Executor executor, Value[] inputs, _) = card.Prepare(new Scale(2), TensorType.Float32(64));
        executor.Write<float>(inputs[0], new float[64]);
        Kernel kernel = executor.Plan.Steps[0].Kernel;
        Tensor x = card.Device.AllocateTensor(TensorType.Float32(64)),
            y = card.Device.AllocateTensor(TensorType.Float32(64));
        var arguments = new KernelArguments([x], [y], null);
        kernel.Run(arguments);
        long before = GC.GetAllocatedBytesForCurrentThread();
        kernel.Run(arguments);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        card.Device.Synchronize();
        x.Memory.Dispose();
        y.Memory.Dispose();
    }

    [Fact]
    public void Libraries_that_are_not_there_are_named_with_what_was_tried()
    {
        CudaException error = Assert.Throws<CudaException>(() => CudaLibraries.Load(driver: "/nowhere/libcuda.so.1"));
        Assert.Contains("SKYLIGHT_CUDA_DRIVER", error.Message);
        Assert.Contains("/nowhere/libcuda.so.1: ", error.Message);
        Assert.Contains("SKYLIGHT_SIMT",
            Assert.Throws<CudaException>(() => CudaLibraries.LoadSimulated("/nowhere/simt.so")).Message);
    }

    private static float[] Values(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
    }

    private static float Rounded(float value, DataType dataType) => dataType == DataType.BFloat16 ? (BFloat16)value : value;

    private static void Write(Executor executor, Value input, float[] values)
    {
        if (input.Type.DataType == DataType.BFloat16)
            executor.Write<BFloat16>(input, Array.ConvertAll(values, value => (BFloat16)value));
        else
            executor.Write<float>(input, values);
    }
}
