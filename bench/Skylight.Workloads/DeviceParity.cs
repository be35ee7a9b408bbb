using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Workloads;

/// <summary>One comparison between a device and the CPU.</summary>
/// <param name="Workload">The workload's name.</param>
/// <param name="Quantity">What was compared: an output, a changed input, or the gradient of an input.</param>
/// <param name="Error">‖device − CPU‖ / ‖CPU‖ over all elements; for integers, the number that differ. Not a number where the device's is not.</param>
/// <param name="Tolerance">What is allowed.</param>
public readonly record struct ParityRow(string Workload, string Quantity, double Error, double Tolerance)
{
    /// <summary>Whether the error is allowed; never where it is not a number.</summary>
    public bool Passed => Error <= Tolerance;
}

/// <summary>
/// Compares a device with the CPU, workload by workload: the same numbers go in (rounded to the device's activation type first), and outputs,
/// changed inputs and gradients come out.
/// </summary>
public static class DeviceParity
{
    // Of bfloat16: 8 bits, rounded at every op. Of float32: the order of sums.
    private const double ForwardTolerance = 2e-2, GradientTolerance = 5e-2, ForwardFloat32 = 1e-5, GradientFloat32 = 1e-4;

    /// <summary>Whether a workload's op has gradients that can be compared.</summary>
    public static bool HasGradient(Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        return workload.Op is not PatchGather && workload.Inputs.Any(input => input.Differentiable) && Differentiates(workload);
    }

    /// <summary>Runs a workload forward on both devices.</summary>
    /// <exception cref="NotSupportedException">The device has no kernel for it.</exception>
    public static IReadOnlyList<ParityRow> CheckForward(Workload workload, Device device) => Check(workload, device, gradients: false);

    /// <summary>Compares the gradients of a workload, of its first output and its other activations weighted with random numbers.</summary>
    /// <exception cref="NotSupportedException">The device has no kernel for one of the ops.</exception>
    public static IReadOnlyList<ParityRow> CheckGradients(Workload workload, Device device) => Check(workload, device, gradients: true);

    private static List<ParityRow> Check(Workload workload, Device device, bool gradients)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(device);
        Workload own = workload.ForActivations(device.ActivationType), reference = own.ForActivations(DataType.Float32);
        TensorType[] inputs = [.. own.Inputs.Select(input => input.Type)];
        IReadOnlyList<TensorType> outputs = own.Op.Infer(inputs);
        bool rounds = inputs.Concat(outputs).Any(type => type.DataType == DataType.BFloat16);
        double tolerance = (gradients, rounds) switch
        {
            (false, true) => ForwardTolerance,
            (true, true) => GradientTolerance,
            (false, false) => ForwardFloat32,
            _ => GradientFloat32,
        };
        int[]? chosen = gradients ? [.. Enumerable.Range(0, outputs.Count).Where(index => index == 0 || outputs[index].DataType == DataType.BFloat16)] : null;
        using var cpu = new CpuDevice();
        List<(string Name, Array Elements)> expected = Run(reference, cpu, chosen), actual = Run(own, device, chosen);
        return [.. expected.Zip(actual, (left, right) => new ParityRow(workload.Name, left.Name, Distance(right.Elements, left.Elements), left.Elements is int[] ? 0 : tolerance))];
    }

    /// <summary>Runs a workload: its outputs and what it changes, or the gradients through chosen outputs.</summary>
    private static List<(string Name, Array Elements)> Run(Workload workload, Device device, int[]? chosen)
    {
        var graph = new Graph();
        bool onCpu = device is CpuDevice;
        Operand[] operands = [.. workload.Inputs.Select(input => input with { Persistent = input.Persistent || (input.Type.DataType == DataType.BFloat16 && onCpu) })];
        var memory = new List<PersistentTensor>();
        try
        {
            Value[] inputs = [.. operands.Select((operand, index) => Declare(graph, operand, index, device, memory))];
            IReadOnlyList<Value> outputs = graph.AddNode(workload.Op, inputs);
            var wanted = new List<(string Name, Value Value)>();
            var weights = new List<Value>();
            if (chosen is null)
            {
                wanted.AddRange(outputs.Select((output, index) => ($"output {index}", output)));
            }
            else
            {
                weights.AddRange(chosen.Select(index => graph.Input($"weight{index}", outputs[index].Type)));
                Value loss = chosen.Select((output, index) => graph.Add(new Sum(), graph.Add(new Multiply(), outputs[output], weights[index]))).Aggregate((left, right) => graph.Add(new Add(), left, right));
                int[] differentiable = [.. Enumerable.Range(0, operands.Length).Where(index => workload.Inputs[index].Differentiable)];
                IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, [.. differentiable.Select(index => inputs[index])], graph.Add(new One()), new Add());
                wanted.AddRange(differentiable.Select(index => ($"gradient of input {index}", gradients[inputs[index]])));
            }

            for (int index = 0; index < wanted.Count; index++)
                graph.Output($"result{index}", wanted[index].Value);
            using var workspace = new Workspace(device);
            var executor = new Executor(Planner.Plan(graph, device), workspace);
            for (int index = 0; index < inputs.Length; index++)
                Write(executor, inputs[index], operands[index].Fill(100 + index));
            foreach (Value weight in weights)
                Write(executor, weight, Array.ConvertAll((float[])Operand.Normal((int)weight.Shape.ElementCount).Fill(7), value => (float)(BFloat16)value));
            executor.Run();
            List<(string, Array)> results = [.. wanted.Select(result => (result.Name, Read(executor, result.Value)))];
            if (chosen is null)
                results.AddRange(workload.Op.MutatedInputs.Select(index => ($"changed input {index}", (Array)ParameterSet.Read(device, inputs[index].Persistent!))));
            return results;
        }
        finally
        {
            foreach (PersistentTensor tensor in memory)
                tensor.Tensor.Memory.Dispose();
        }
    }

    private static bool Differentiates(Workload workload)
    {
        // Asked of the op itself rather than by reflection, which trimming would break.
        var graph = new Graph();
        Value[] inputs = [.. workload.Inputs.Select((operand, index) => operand.Persistent
            ? graph.Persistent(new PersistentTensor($"parameter{index}", operand.Type))
            : graph.Input($"input{index}", operand.Type))];
        IReadOnlyList<Value> outputs = graph.AddNode(workload.Op, inputs);
        if (outputs.Count == 0 || !outputs[0].Type.DataType.IsFloatingPoint())
            return false;
        try
        {
            Value[] wanted = [.. inputs.Where((_, index) => workload.Inputs[index].Differentiable)];
            Value loss = graph.Add(new Sum(), outputs[0]);
            return graph.Differentiate(loss, wanted, graph.Add(new One()), new Add()).Count == wanted.Length;
        }
        catch (GraphException)
        {
            return false;
        }
    }

    private static Value Declare(Graph graph, Operand operand, int index, Device device, List<PersistentTensor> memory)
    {
        if (!operand.Persistent)
            return graph.Input($"input{index}", operand.Type);
        var tensor = new PersistentTensor($"parameter{index}", operand.Type);
        device.Bind(tensor);
        memory.Add(tensor);
        return graph.Persistent(tensor);
    }

    /// <summary>Writes elements in the type of the value.</summary>
    private static void Write(Executor executor, Value value, Array data)
    {
        if (value.Persistent is { } persistent)
            ParameterSet.Write(executor.Plan.Device, persistent, (float[])data);
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
