using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Ops;

public sealed class AdamWTests
{
    private const float Beta1 = 0.9f, Beta2 = 0.999f, Epsilon = 1e-8f;

    [Theory]
    [InlineData(5, 7, false)]
    [InlineData(37, 21, false)]
    [InlineData(37, 21, true)]
    [InlineData(200, 100, true)]
    public void Several_steps_match_double_precision(int outputs, int inputs, bool half)
    {
        int count = outputs * inputs;
        float[] weight = HeadReference.Normal(count, 1);
        if (half)
            weight = Array.ConvertAll(weight, value => (float)(BFloat16)value);
        float[] first = new float[count], second = new float[count], master = weight, rounded = weight;
        double[] w = HeadReference.Widen(weight), m = new double[count], v = new double[count];
        for (int step = 1; step <= 6; step++)
        {
            float[] gradient = HeadReference.Normal(count, 10 + step, 0.1f);
            float rate = 1e-2f / step, decay = 0.1f, scale = step == 3 ? 0.25f : 1f;
            double correction1 = 1 - Math.Pow(0.9, step), correction2 = 1 - Math.Pow(0.999, step);
            for (int i = 0; i < count; i++)
            {
                double g = (double)gradient[i] * scale;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                w[i] = w[i] * (1 - (double)rate * decay)
                    - rate * (m[i] / correction1) / (Math.Sqrt(v[i] / correction2) + 1e-8);
            }

            (rounded, first, second, master) = Step(outputs, inputs, half, rounded, gradient, first, second, master,
                [rate, decay, (float)correction1, (float)correction2], scale);
        }

        HeadReference.AssertClose(w, half ? master : rounded, 1e-6, "weight");
        HeadReference.AssertClose(m, first, 1e-6, "first moment");
        HeadReference.AssertClose(v, second, 1e-6, "second moment");
        if (half)
            Assert.Equal(Array.ConvertAll(master, value => (float)(BFloat16)value), rounded);
    }

    [Fact]
    public void A_scale_that_is_not_finite_changes_nothing()
    {
        float[] weight = HeadReference.Normal(33, 1), gradient = HeadReference.Normal(33, 2),
            first = HeadReference.Normal(33, 3), second = [.. HeadReference.Normal(33, 4).Select(Math.Abs)];
        foreach (float scale in new[] { float.NaN, float.PositiveInfinity })
        {
            var after = Step(11, 3, false, weight, gradient, first, second, weight, [0.1f, 0.1f, 0.1f, 0.1f], scale);
            Assert.Equal(weight, after.Weight);
            Assert.Equal(first, after.First);
            Assert.Equal(second, after.Second);
        }

        Assert.NotEqual(weight,
            Step(11, 3, false, weight, gradient, first, second, weight, [0.1f, 0.1f, 0.1f, 0.1f], 1).Weight);
    }

    [Fact]
    public void Rounding_to_bfloat16_is_to_nearest_even_also_for_odd_values()
    {
        // Learning rate zero: the weight becomes the rounded master.
        float[] master = [0f, -0f, 1.00390625f, 1.01171875f, 3.4e38f, float.PositiveInfinity, float.NegativeInfinity,
            float.NaN, 1e-40f, -1.2345678f, .. HeadReference.Normal(86, 1)];
        float[] zeros = new float[master.Length];
        var after = Step(master.Length, 1, true, zeros, zeros, zeros, zeros, master, [0, 0, 1, 1], 1);
        Assert.Equal(Array.ConvertAll(master, value => (float)(BFloat16)value), after.Weight);
    }

    [Fact]
    public void The_padding_of_a_weight_stays_zero()
    {
        using var device = new Skylight.Cpu.CpuDevice();
        var type = new TensorType(DataType.Float32, new Shape(5, 3), Storage.Weight);
        var graph = new Graph();
        PersistentTensor[] tensors = [.. Enumerable.Range(0, 4).Select(index => new PersistentTensor($"t{index}", type))];
        Value[] values = [.. tensors.Select(graph.Persistent)];
        Value hyper = graph.Input("hyper", TensorType.Float32(4)), scale = graph.Input("scale", TensorType.Float32(1));
        graph.AddNode(new AdamW(Beta1, Beta2, Epsilon), [.. values, hyper, scale]);
        foreach (PersistentTensor tensor in tensors)
        {
            device.Bind(tensor);
            device.Upload(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(
                Enumerable.Repeat(1f, 15).ToArray()), tensor.Tensor);
        }

        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        executor.Write<float>(hyper, [0.1f, 0.1f, 0.1f, 0.001f]);
        executor.Write<float>(scale, [1]);
        executor.Run();
        foreach (PersistentTensor tensor in tensors)
        {
            Span<float> stored = Skylight.Cpu.CpuMemory.Span<float>(tensor.Tensor);
            Assert.Equal(15, stored.ToArray().Count(value => value != 0));
        }
    }

    [Fact]
    public void Misuse_is_refused_when_the_graph_is_built()
    {
        float[] x = new float[6];
        Given weight = Given.Weight(x, 2, 3), half = Given.Weight(x, 2, 3, half: true),
            plain = Given.Rows(x, 2, 3).AsState();
        Given hyper = Given.Rows(new float[4]), scale = Given.Rows([1]);
        var op = new AdamW(Beta1, Beta2, Epsilon);
        Assert.Throws<GraphException>(() => HeadHarness.Run(op, half, weight, weight, weight, hyper, scale));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op, half, weight, weight, weight, hyper, scale, weight));
        Assert.Throws<GraphException>(
            () => HeadHarness.Run(op with { HasMaster = true }, half, weight, weight, weight, hyper, scale));
        Assert.Throws<GraphException>(
            () => HeadHarness.Run(op with { HasMaster = true }, weight, weight, weight, weight, hyper, scale, weight));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op with { HasMaster = true }, half, weight, weight, weight,
            hyper, scale, weight with { IsState = false }));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op, weight, plain, weight, weight, hyper, scale));
        Assert.Throws<GraphException>(
            () => HeadHarness.Run(op, weight, weight, weight with { IsState = false }, weight, hyper, scale));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op, weight, weight, weight, weight, scale, scale));
        Assert.Throws<GraphException>(
            () => HeadHarness.Run(op with { Beta2 = 1 }, weight, weight, weight, weight, hyper, scale));
    }

    private static (float[] Weight, float[] First, float[] Second, float[] Master) Step(
        int outputs, int inputs, bool half, float[] weight, float[] gradient, float[] first, float[] second,
        float[] master, float[] hyper, float scale)
    {
        using var harness = new HeadHarness();
        List<Value> values =
        [
            harness.Add(Given.Weight(weight, outputs, inputs, half)),
            harness.Add(Given.Weight(gradient, outputs, inputs) with { IsState = false }),
            harness.Add(Given.Weight(first, outputs, inputs)), harness.Add(Given.Weight(second, outputs, inputs)),
            harness.Add(Given.Rows(hyper)), harness.Add(Given.Rows([scale])),
        ];
        if (half)
            values.Add(harness.Add(Given.Weight(master, outputs, inputs)));
        harness.Graph.AddNode(new AdamW(Beta1, Beta2, Epsilon, half), [.. values]);
        Array[] after = harness.Run(values[0], values[2], values[3], values[half ? 6 : 0]);
        return ((float[])after[0], (float[])after[1], (float[])after[2], (float[])after[3]);
    }
}
