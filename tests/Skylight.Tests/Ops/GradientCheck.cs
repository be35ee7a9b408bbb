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

    /// <summary>The most elements of an input that are moved one by one, and the directions that move all of them.</summary>
    private const int MostElements = 512, Directions = 8;

    /// <summary>
    /// The loss is Σ c·y over the chosen outputs, c fixed and random. Its gradient in every differentiable input must be
    /// the central difference (fourth order, the loss summed in double) within one percent of the whole vector.
    /// </summary>
    /// <remarks>
    /// Of an input with more than <see cref="MostElements"/>, one of each of so many pieces of equal length is moved alone,
    /// and in some directions all of its elements are moved together, each up or down: what is wrong by more than one percent
    /// of the vector and in none of those elements differs along such a direction by as much, but for chance.
    /// </remarks>
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
            int count = forward.Data[input].Length;
            float[] gradient = gradients.TryGetValue(input, out float[]? found) ? found : new float[count];
            string what = $"{op.Name}: gradient of input {input} through outputs {string.Join(", ", chosenOutputs)}";
            var random = new Random(300 + input);
            int[] moved = Sample(count, random);
            double[] expected = [.. moved.Select(index => Difference(forward, input, [(index, 1)], chosenOutputs, weights))];
            double error = Math.Sqrt(expected.Zip(moved, (e, index) => Math.Pow(e - gradient[index], 2)).Sum());
            double norm = Math.Sqrt(expected.Sum(e => e * e));
            // Differences of float32 results are no better than this, however small the gradient.
            double noise = 1e-4 * Math.Sqrt(expected.Length);
            Assert.True(error <= 1e-2 * norm + noise, $"{what}: difference {error:E2}, norm {norm:E2}.");
            if (moved.Length == count)
                continue;

            double whole = Math.Sqrt(gradient.Sum(element => (double)element * element));
            for (int direction = 0; direction < Directions; direction++)
            {
                (int Index, int Sign)[] all = [.. Enumerable.Range(0, count).Select(index => (index, 2 * random.Next(2) - 1))];
                double along = Difference(forward, input, all, chosenOutputs, weights),
                    own = all.Sum(element => (double)element.Sign * gradient[element.Index]);
                Assert.True(Math.Abs(along - own) <= 1e-2 * whole + 1e-4 * Math.Sqrt(count),
                    $"{what}: {along:E3} in direction {direction}, {own:E3} of the gradient, whose norm is {whole:E2}.");
            }
        }
    }

    private static bool IsChecked(Operand operand) => operand.Differentiable && operand.Type.DataType == DataType.Float32;

    private static float[] RandomWeights(int seed, Value output)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, (int)output.Shape.ElementCount).Select(_ => 2f * random.NextSingle() - 1f)];
    }

    /// <summary>All elements, or one of each of so many pieces.</summary>
    private static int[] Sample(int count, Random random) => count <= MostElements ? [.. Enumerable.Range(0, count)]
        : [.. Enumerable.Range(0, MostElements).Select(piece =>
            random.Next((int)((long)count * piece / MostElements), (int)((long)count * (piece + 1) / MostElements)))];

    /// <summary>The difference of the loss where elements are moved, each in its direction, by a step.</summary>
    private static double Difference(OpRun forward, int input, (int Index, int Sign)[] moved, IReadOnlyList<int> outputs,
        float[][] weights)
    {
        var data = (float[])forward.Data[input];
        float[] values = [.. moved.Select(element => data[element.Index])];
        double near = Loss(Step) - Loss(-Step), far = Loss(2 * Step) - Loss(-2 * Step);
        Move(0);
        return (8 * near - far) / (12 * Step);

        void Move(double step)
        {
            for (int at = 0; at < moved.Length; at++)
                data[moved[at].Index] = (float)(values[at] + moved[at].Sign * step);
        }

        double Loss(double step)
        {
            Move(step);
            float[][] y = forward.Floats();
            double loss = 0;
            foreach (int output in outputs)
            {
                for (int index = 0; index < y[output].Length; index++)
                    loss += (double)y[output][index] * weights[output][index];
            }

            return loss;
        }
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
