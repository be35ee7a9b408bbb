using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Execution;

public sealed class PersistentTensorsTests
{
    [Theory]
    [InlineData(DataType.Float32, Storage.Weight, 701, 8192)]
    [InlineData(DataType.BFloat16, Storage.Weight, 701, 8192)]
    [InlineData(DataType.Float32, Storage.RowMajor, 701, 8192)]
    [InlineData(DataType.Float32, Storage.RowMajor, 5_000_001, 1)]
    public void Large_tensors_travel_in_parts_and_come_back_as_they_were(DataType type, Storage storage, int rows,
        int columns)
    {
        using var device = new LimitedDevice();
        var tensor = new PersistentTensor("table",
            new TensorType(type, columns == 1 ? new Shape(rows) : new Shape(rows, columns), storage));
        device.Bind(tensor);
        float[] values = new float[rows * columns];
        for (int index = 0; index < values.Length; index++)
            values[index] = (float)(BFloat16)(index % 8191 - 4096);
        PersistentTensors.Write(device, tensor, values);
        Assert.True(values.AsSpan().SequenceEqual(PersistentTensors.Read(device, tensor)));
        Assert.InRange(device.LargestTransfer, 1, PersistentTensors.PartBytes);
        Assert.True(PersistentTensors.AreFinite(device, tensor));
        values[^1] = float.PositiveInfinity;
        PersistentTensors.Write(device, tensor, values);
        Assert.False(PersistentTensors.AreFinite(device, tensor));
        Assert.Contains("'table'",
            Assert.Throws<ArgumentException>(() => PersistentTensors.Write(device, tensor, values.AsSpan(1))).Message,
            StringComparison.Ordinal);
        tensor.Tensor.Memory.Dispose();
    }

    /// <summary>
    /// The embedding of a model of 8 billion parameters has 2.2 GB in float32, more than a span of bytes holds.
    /// </summary>
    [Fact]
    public void A_tensor_of_more_than_two_gibibytes_is_read_measured_and_cleared()
    {
        const int Count = (1 << 29) + 40;
        using var device = new CpuDevice();
        var tensor = new PersistentTensor("table", TensorType.Float32(Count));
        device.Bind(tensor);
        Mark();
        // Pages that were never written cost no memory to read: only the array is there.
        float[]? values = PersistentTensors.Read(device, tensor);
        Assert.Equal((3f, 7f), (values[0], values[^1]));
        values = null;
        GC.Collect();
        using var workspace = new Workspace(device);
        var norm = new Graph();
        norm.Output("norm", norm.AddNode(new GradientNorm(0), norm.Persistent(tensor))[0]);
        var normExecutor = new Executor(Planner.Plan(norm, device), workspace);
        normExecutor.Run();
        Assert.Equal(MathF.Sqrt(58), normExecutor.Read<float>(norm.OutputNamed("norm"))[0], 1e-6f);

        device.Clear(tensor.Tensor);
        Assert.Equal((0f, 0f), Marks());
        Mark();
        var graph = new Graph();
        graph.AddNode(new Clear(), graph.Persistent(tensor));
        new Executor(Planner.Plan(graph, device), workspace).Run();
        Assert.Equal((0f, 0f), Marks());
        tensor.Tensor.Memory.Dispose();

        void Mark()
        {
            device.Upload(MemoryMarshal.AsBytes<float>([3f]), device.Part(tensor.Tensor, 0, 1));
            device.Upload(MemoryMarshal.AsBytes<float>([7f]), device.Part(tensor.Tensor, Count - 1, 1));
        }

        (float First, float Last) Marks()
        {
            float[] first = new float[1], last = new float[1];
            device.Download(device.Part(tensor.Tensor, 0, 1), MemoryMarshal.AsBytes(first.AsSpan()));
            device.Download(device.Part(tensor.Tensor, Count - 1, 1), MemoryMarshal.AsBytes(last.AsSpan()));
            return (first[0], last[0]);
        }
    }

    [Fact]
    public void A_master_keeps_its_digits_where_it_still_rounds_to_the_parameter()
    {
        using var device = new CpuDevice();
        var parameter = new PersistentTensor("weight", new TensorType(DataType.BFloat16, new Shape(40, 3), Storage.Weight));
        var master = new PersistentTensor("weight.master", parameter.Type with { DataType = DataType.Float32 });
        device.Bind(parameter);
        device.Bind(master);
        float[] exact = [.. Enumerable.Range(0, 120).Select(index => 1 + index / 1000f)];
        PersistentTensors.Write(device, master, exact);
        float[] written = [.. exact.Select(value => (float)(BFloat16)value)];
        written[7] = 5;
        PersistentTensors.Write(device, parameter, written);
        PersistentTensors.FollowParameter(device, parameter, master);
        exact[7] = 5;
        Assert.Equal(exact, PersistentTensors.Read(device, master));
        Assert.Throws<ArgumentException>(() => PersistentTensors.FollowParameter(device, master, parameter));
        parameter.Tensor.Memory.Dispose();
        master.Tensor.Memory.Dispose();
    }

    [Fact]
    public void Whatever_changes_a_tensor_gives_it_a_later_version()
    {
        using var device = new CpuDevice();
        PersistentTensor sum = new("sum", TensorType.Float32(4)), term = new("term", TensorType.Float32(4));
        Assert.Equal(0, sum.Version);
        device.Bind(sum);
        device.Bind(term);
        PersistentTensors.Write(device, term, [1, 2, 3, 4]);
        (long before, long read) = (sum.Version, term.Version);
        Assert.True(read > before);
        var graph = new Graph();
        graph.AddNode(new Accumulate(), graph.Persistent(sum), graph.Persistent(term));
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        executor.Run();
        long once = sum.Version;
        executor.Run();
        Assert.True(once > read && sum.Version > once);
        Assert.Equal(read, term.Version);
        Assert.Equal([2f, 4f, 6f, 8f], PersistentTensors.Read(device, sum));
        sum.Tensor.Memory.Dispose();
        term.Tensor.Memory.Dispose();
    }
}
