using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

/// <summary>Compares the gradients that an op appends with differences of its outputs.</summary>
internal static class GradientCheck
{
    private const double Step = 1e-2;

    /// <summary>
    /// The loss is Σ c·y over the chosen outputs, c fixed and random. Its gradient in every differentiable input must be
    /// the central difference (fourth order, the loss summed in double) within one percent of the whole vector.
    /// </summary>
    /// <exception cref="GraphException">The op has no gradient when only these outputs have one.</exception>
    public static void Check(Op op, IReadOnlyList<Operand> operands, IReadOnlyList<int> chosenOutputs)
    {
        using var forward = new OpRun(op, operands, compute: DataType.Float32);
        float[][] weights = [.. forward.Outputs.Select((output, index) => RandomWeights(200 + index, output))];
        Dictionary<int, float[]> gradients = Gradients(op, operands, forward.Data, chosenOutputs, weights);
        for (int input = 0; input < operands.Count; input++)
        {
            if (!IsChecked(operands[input]))
                continue;
            double[] expected = Differences(forward, input, chosenOutputs, weights);
            float[] actual = gradients.TryGetValue(input, out float[]? gradient) ? gradient : new float[expected.Length];
            double error = Math.Sqrt(expected.Zip(actual, (e, a) => (e - a) * (e - a)).Sum());
            double norm = Math.Sqrt(expected.Sum(e => e * e));
            // Differences of float32 results are no better than this, however small the gradient.
            double noise = 1e-4 * Math.Sqrt(expected.Length);
            Assert.True(error <= 1e-2 * norm + noise,
                $"{op.Name}: gradient of input {input} through outputs {string.Join(", ", chosenOutputs)}: " +
                $"difference {error:E2}, norm {norm:E2}.");
        }
    }

    private static bool IsChecked(Operand operand) => operand.Differentiable && operand.Type.DataType == DataType.Float32;

    private static float[] RandomWeights(int seed, Value output)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, (int)output.Shape.ElementCount).Select(_ => 2f * random.NextSingle() - 1f)];
    }

    private static double[] Differences(OpRun forward, int input, IReadOnlyList<int> outputs, float[][] weights)
    {
        var data = (float[])forward.Data[input];
        var differences = new double[data.Length];
        for (int index = 0; index < data.Length; index++)
        {
            float value = data[index];
            double near = Loss(value + Step) - Loss(value - Step), far = Loss(value + 2 * Step) - Loss(value - 2 * Step);
            differences[index] = (8 * near - far) / (12 * Step);
            data[index] = value;

            double Loss(double moved)
            {
                data[index] = (float)moved;
                float[][] y = forward.Floats();
                return outputs.Sum(output => y[output].Zip(weights[output], (a, b) => (double)a * b).Sum());
            }
        }

        return differences;
    }

    private static Dictionary<int, float[]> Gradients(Op op, IReadOnlyList<Operand> operands, Array[] data,
        IReadOnlyList<int> chosenOutputs, float[][] weights)
    {
        var graph = new Graph();
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        Value[] inputs = OpRun.Declare(graph, operands, device);
        IReadOnlyList<Value> outputs = graph.AddNode(op, inputs);
        var weightInputs = new List<(Value Value, float[] Data)>();
        Value? loss = null;
        foreach (int index in chosenOutputs)
        {
            Value weight = graph.Input($"weight{index}", outputs[index].Type);
            weightInputs.Add((weight, weights[index]));
            Value term = graph.Add(new Sum(), graph.Add(new Multiply(), outputs[index], weight));
            loss = loss is null ? term : graph.Add(new Add(), loss, term);
        }

        Value[] wanted = [.. inputs.Where((_, index) => IsChecked(operands[index]))];
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss!, wanted, graph.Add(new One()), new Add());
        foreach ((Value input, Value gradient) in gradients)
        {
            Assert.Equal(input.Type with { DataType = DataType.Float32 }, gradient.Type);
            graph.Output($"gradient of {input.Name}", gradient);
        }

        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        for (int index = 0; index < inputs.Length; index++)
            OpRun.Write(executor, inputs[index], data[index]);
        foreach ((Value value, float[] elements) in weightInputs)
            executor.Write<float>(value, elements);
        executor.Run();
        return gradients.ToDictionary(pair => Array.IndexOf(inputs, pair.Key), pair => executor.Read<float>(pair.Value));
    }
}
