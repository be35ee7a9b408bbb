using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Workloads;

/// <summary>One comparison between a device and the CPU.</summary>
/// <param name="Workload">The workload's name.</param>
/// <param name="Quantity">What was compared: an output, a changed input, or the gradient of an input.</param>
/// <param name="Error">‖device − CPU‖ / ‖CPU‖ over all elements; for integers, the number that differ. Not a number
/// where the device's is not.</param>
/// <param name="Tolerance">What is allowed.</param>
public readonly record struct ParityRow(string Workload, string Quantity, double Error, double Tolerance)
{
    /// <summary>Whether the error is allowed; never where it is not a number.</summary>
    public bool Passed => Error <= Tolerance;
}

/// <summary>
/// Compares a device with the CPU, workload by workload: the same numbers go in (rounded to the device's activation
/// type first), and outputs, changed inputs and gradients come out.
/// </summary>
public static class DeviceParity
{
    // Of bfloat16: 8 bits, rounded at every op. Of float32: the order of sums.
    private const double ForwardTolerance = 2e-2, GradientTolerance = 5e-2, ForwardFloat32 = 1e-5, GradientFloat32 = 1e-4;

    /// <summary>Runs a workload forward on both devices.</summary>
    /// <exception cref="NotSupportedException">The device has no kernel for it.</exception>
    public static IReadOnlyList<ParityRow> CheckForward(Workload workload, Device device)
    {
        (WorkloadGraph own, WorkloadGraph reference) = Pair(workload, device, WorkloadGraph.Forward);
        return Check(own, reference, device, ForwardTolerance, ForwardFloat32);
    }

    /// <summary>Compares the gradients of a workload; none where its op has no gradient.</summary>
    /// <exception cref="NotSupportedException">The device has no kernel for one of the ops.</exception>
    public static IReadOnlyList<ParityRow> CheckGradients(Workload workload, Device device)
    {
        (WorkloadGraph? own, WorkloadGraph? reference) = Pair(workload, device, WorkloadGraph.Gradients);
        return own is null || reference is null ? [] : Check(own, reference, device, GradientTolerance, GradientFloat32);
    }

    private static (T Own, T Reference) Pair<T>(Workload workload, Device device, Func<Workload, T> build)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(device);
        Workload own = workload.ForActivations(device.ActivationType);
        // bfloat16 is for parameters alone on the CPU, and quantised weights are compared with what they stand for.
        Workload reference = own.ForActivations(DataType.Float32);
        reference = reference with
        {
            Inputs = [.. reference.Inputs.Select(input => input.Dequantized()).Select(
                input => input with { Persistent = input.Persistent || input.Type.DataType == DataType.BFloat16 })],
        };
        return (build(own), build(reference));
    }

    private static ParityRow[] Check(WorkloadGraph own, WorkloadGraph reference, Device device, double rounded, double exact)
    {
        bool rounds = own.Graph.Nodes.SelectMany(node => node.Inputs.Concat(node.Outputs))
            .Any(value => value.Type.DataType == DataType.BFloat16);
        using var cpu = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        List<(string Name, Array Elements)> expected = Run(reference, cpu), actual = Run(own, device);
        return [.. expected.Zip(actual,
            (left, right) => new ParityRow(own.Workload.Name, left.Name, Distance(right.Elements, left.Elements),
                left.Elements is int[]? 0 : rounds ? rounded : exact))];
    }

    private static List<(string Name, Array Elements)> Run(WorkloadGraph graph, Device device)
    {
        List<PersistentTensor> memory = [.. graph.Inputs.Select(input => input.Persistent).OfType<PersistentTensor>()];
        try
        {
            memory.ForEach(device.Bind);
            using var workspace = new Workspace(device);
            var executor = new Executor(Planner.Plan(graph.Graph, device), workspace);
            for (int index = 0; index < graph.Inputs.Count; index++)
            {
                if (graph.Workload.Inputs[index].Codes is { } codes)
                {
                    codes(100 + index).Upload(device, graph.Inputs[index].Persistent!.Tensor);
                    continue;
                }

                Write(executor, graph.Inputs[index],
                    InOrderOf(device, graph.Workload.Op, index, graph.Workload.Inputs[index].Fill(100 + index),
                        written: true));
            }

            foreach (Value weight in graph.Weights)
                Write(executor, weight,
                    Array.ConvertAll((float[])Operand.Normal((int)weight.Shape.ElementCount).Fill(7),
                        value => (float)(BFloat16)value));
            executor.Run();
            List<(string, Array)> results = [.. graph.Results.Select(result => (result.Name, Read(executor, result.Value)))];
            if (graph.Weights.Count == 0)
                results.AddRange(graph.Workload.Op.MutatedInputs.Select(index =>
                    ($"changed input {index}",
                        InOrderOf(device, graph.Workload.Op, index,
                            PersistentTensors.Read(device, graph.Inputs[index].Persistent!), written: false))));
            return results;
        }
        finally
        {
            foreach (PersistentTensor tensor in memory.Where(tensor => tensor.IsBound))
                tensor.Tensor.Memory.Dispose();
        }
    }

    /// <summary>
    /// Elements of an input as the device keeps them, or back. The order within a page of a key cache is the device's
    /// own; workloads have keys as rows.
    /// </summary>
    private static Array InOrderOf(Device device, Op op, int input, Array data, bool written)
    {
        int dimension = (op, input) switch
        {
            (PagedAttention paged, 1) => paged.HeadDimension,
            (QkvPagedAttention layer, 1) => layer.HeadDimension,
            (KeyValueWrite write, 2) => write.HeadDimension,
            _ => 0,
        };
        if (dimension == 0 || !device.HasKeysAsColumns)
            return data;
        var from = (float[])data;
        float[] result = new float[from.Length];
        int rows = written ? KeyValuePages.Size : dimension, columns = written ? dimension : KeyValuePages.Size;
        for (int index = 0; index < from.Length; index++)
        {
            int page = index / (rows * columns), row = index / columns % rows, column = index % columns;
            result[page * rows * columns + column * rows + row] = from[index];
        }

        return result;
    }

    private static void Write(Executor executor, Value value, Array data)
    {
        if (value.Persistent is { } persistent)
            PersistentTensors.Write(executor.Plan.Device, persistent, (float[])data);
        else if (data is int[] integers)
            executor.Write<int>(value, integers);
        else if (value.Type.DataType == DataType.Float32)
            executor.Write<float>(value, (float[])data);
        else
            executor.Write<BFloat16>(value, Array.ConvertAll((float[])data, number => (BFloat16)number));
    }

    private static Array Read(Executor executor, Value value) =>
        value.Type.DataType == DataType.Int32 ? executor.Read<int>(value) : executor.ReadFloats(value);

    private static double Distance(Array actual, Array expected)
    {
        if (actual.Length != expected.Length)
            return double.PositiveInfinity;
        if (expected is int[] integers)
            return integers.Zip((int[])actual).Count(pair => pair.First != pair.Second);
        double norm = 0, difference = 0;
        foreach ((float left, float right) in ((float[])actual).Zip((float[])expected))
        {
            norm += (double)right * right;
            difference += left.Equals(right) ? 0 : Math.Pow((double)left - right, 2);
        }

        return difference == 0 ? 0 : Math.Sqrt(difference / norm);
    }
}
