using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Tests.Cpu;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

/// <summary>What holds for every op, checked on every workload of the catalog.</summary>
[Collection(CpuThreadsCollection.Name)]
public class WorkloadTests
{
    private const double LargestRun = 3e8;

    /// <summary>Clears memory of any type.</summary>
    private static readonly string[] TakesAnyDataType = ["Clear"];

    /// <summary>Takes a list of tensors that have nothing to do with each other.</summary>
    private static readonly string[] TakesAnyShapes = ["GradientNorm"];

    public static TheoryData<string> All => [.. Catalog.All.Select(workload => workload.Name)];

    public static TheoryData<string> Tiny =>
        [.. Catalog.All.Where(workload => workload.Tiny).Select(workload => workload.Name)];

    public static TheoryData<string> Differentiable => [.. Catalog.All
        .Where(workload => workload.Tiny && workload.Inputs.Any(input => input.Differentiable) && HasGradient(workload.Op))
        .Select(workload => workload.Name)];

    /// <summary>The workloads that run in a moment; tiny ones are not split over threads.</summary>
    public static TheoryData<string> Quick =>
        [.. Catalog.All.Where(workload => workload.Tiny || Size(workload) < LargestRun).Select(workload => workload.Name)];

    [Fact]
    public void Names_are_unique() =>
        Assert.Equal(Catalog.All.Count, Catalog.All.Select(workload => workload.Name).Distinct().Count());

    [Fact]
    public void Every_op_with_a_gradient_has_a_tiny_workload()
    {
        IEnumerable<string> ops = typeof(Op).Assembly.GetTypes()
            .Where(type => type.IsSubclassOf(typeof(Op)) && HasGradient(type)).Select(type => type.Name);
        IEnumerable<string> tested = Catalog.All.Where(workload => workload.Tiny)
            .Select(workload => workload.Op.GetType().Name);
        Assert.Empty(ops.Except(tested));
    }

    [Theory]
    [MemberData(nameof(Differentiable))]
    public void Gradient_is_that_of_finite_differences(string name)
    {
        Workload workload = Find(name);
        IReadOnlyList<TensorType> types = workload.Op.Infer([.. workload.Inputs.Select(input => input.Type)]);
        int[] floats = [.. Enumerable.Range(0, types.Count).Where(index => types[index].DataType == DataType.Float32)];
        var differentiable = new List<int>();
        foreach (int output in floats)
        {
            try
            {
                GradientCheck.Check(workload.Op, workload.Inputs, [output]);
                differentiable.Add(output);
            }
            catch (GraphException) when (output > 0)
            {
                // A by-product that says it has no gradient. The first output is what the op is for.
            }
        }

        if (differentiable.Count > 1)
            GradientCheck.Check(workload.Op, workload.Inputs, differentiable);
    }

    [Theory]
    [MemberData(nameof(Tiny))]
    public void Missing_input_is_an_error_that_names_the_op(string name)
    {
        Workload workload = Find(name);
        TensorType[] types = [.. workload.Inputs.Select(input => input.Type)];
        if (types.Length == 0)
        {
            AssertRefused(workload.Op, [TensorType.Float32(1)]);
            return;
        }

        AssertRefused(workload.Op, []);
        for (int input = 0; input < types.Length; input++)
            RefusedOrFine(workload.Op, [.. types.Where((_, index) => index != input)]);
    }

    [Theory]
    [MemberData(nameof(Tiny))]
    public void Wrong_data_type_is_an_error_that_names_the_op(string name)
    {
        Workload workload = Find(name);
        for (int input = 0; input < workload.Inputs.Count; input++)
        {
            TensorType[] types = [.. workload.Inputs.Select(operand => operand.Type)];
            types[input] = types[input] with
            {
                DataType = types[input].DataType == DataType.Int32 ? DataType.Float32 : DataType.Int32,
            };
            if (TakesAnyDataType.Contains(workload.Op.Name))
                RefusedOrFine(workload.Op, types);
            else
                AssertRefused(workload.Op, types);
        }
    }

    [Theory]
    [MemberData(nameof(Tiny))]
    public void Wrong_shape_is_an_error_that_names_the_op(string name)
    {
        Workload workload = Find(name);
        for (int input = 0; input < workload.Inputs.Count; input++)
        {
            TensorType type = workload.Inputs[input].Type;
            int[] shape = [.. type.Shape.Dimensions];
            int[][] wrongShapes = [[.. shape[..^1], shape[^1] + 1], [shape[0] + 1, .. shape[1..]], [1, .. shape],
                [.. shape, 1], [0]];
            int refused = wrongShapes.Count(wrong =>
            {
                TensorType[] types = [.. workload.Inputs.Select(operand => operand.Type)];
                types[input] = type with { Shape = new Shape(wrong) };
                return RefusedOrFine(workload.Op, types);
            });
            // An op of one input may take any shape; several inputs must fit together.
            Assert.True(refused > 0 || workload.Inputs.Count < 2 || TakesAnyShapes.Contains(workload.Op.Name),
                $"{name}: no wrong shape of input {input} is refused.");
        }
    }

    [Theory]
    [MemberData(nameof(Quick))]
    public void Bits_depend_neither_on_threads_nor_on_what_memory_held(string name)
    {
        Workload workload = Find(name);
        using var run = new OpRun(workload.Op, workload.Inputs);
        int threads = CpuParallel.ThreadCount;
        try
        {
            byte[][] one = Bits(1, 0xFF), two = Bits(2, 0x3F), three = Bits(3, 0x00);
            Assert.Equal(one.Length, two.Length);
            for (int index = 0; index < one.Length; index++)
            {
                Assert.True(one[index].AsSpan().SequenceEqual(two[index]),
                    $"{name}: tensor {index} differs between 1 and 2 threads or is not written fully.");
                Assert.True(one[index].AsSpan().SequenceEqual(three[index]),
                    $"{name}: tensor {index} differs between 1 and 3 threads or is not written fully.");
            }
        }
        finally
        {
            CpuParallel.ThreadCount = threads;
        }

        byte[][] Bits(int threadCount, byte garbage)
        {
            CpuParallel.ThreadCount = threadCount;
            run.FillArena(garbage);
            run.Run();
            return run.Bits();
        }
    }

    [Theory]
    [MemberData(nameof(Tiny))]
    public void Working_in_place_gives_the_same_bits(string name)
    {
        Workload workload = Find(name);
        using var apart = new OpRun(workload.Op, workload.Inputs);
        using var inPlace = new OpRun(workload.Op, workload.Inputs, copyFirst: true);
        apart.Run();
        inPlace.Run();
        Assert.Equal(apart.Bits(), inPlace.Bits());
        for (int output = 0; output < inPlace.Outputs.Count; output++)
        {
            int input = workload.Op.InPlaceInput(output);
            Assert.InRange(input, -1, workload.Inputs.Count - 1);
            if (input >= 0 && inPlace.Arguments[input].Kind == ValueKind.Computed
                && inPlace.Arguments[input].Type.Bytes == inPlace.Outputs[output].Type.Bytes)
                Assert.Equal(inPlace.Plan.Slots[inPlace.Arguments[input]].Offset,
                    inPlace.Plan.Slots[inPlace.Outputs[output]].Offset);
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Cost_and_shapes_are_consistent(string name)
    {
        Workload workload = Find(name);
        TensorType[] types = [.. workload.Inputs.Select(input => input.Type)];
        IReadOnlyList<TensorType> outputs = workload.Op.Infer(types);
        Assert.Equal(outputs, workload.Op.Infer(types));
        OpCost cost = workload.Op.Cost(types, outputs);
        Assert.True(double.IsFinite(cost.Flops) && cost.Flops >= 0, $"{name}: {cost}");
        Assert.True(double.IsFinite(cost.Bytes) && cost.Bytes >= outputs.Sum(output => output.Bytes), $"{name}: {cost}");
    }

    private static Workload Find(string name) => Catalog.All.First(workload => workload.Name == name);

    private static bool HasGradient(Op op) => HasGradient(op.GetType());

    /// <summary>
    /// Whether the op overrides <see cref="Op.Gradient"/> and, asked for one, does not refuse: pixels and backward ops
    /// have none.
    /// </summary>
    private static bool HasGradient(Type type) => type != typeof(Skylight.Ops.PatchGather)
        && type.GetMethod(nameof(Op.Gradient))!.DeclaringType != typeof(Op);

    private static double Size(Workload workload)
    {
        TensorType[] types = [.. workload.Inputs.Select(input => input.Type)];
        IReadOnlyList<TensorType> outputs = workload.Op.Infer(types);
        return Math.Max(workload.Op.Cost(types, outputs).Flops,
            8.0 * (types.Sum(type => type.Bytes) + outputs.Sum(type => type.Bytes)));
    }

    private static void AssertRefused(Op op, TensorType[] types) =>
        Assert.Contains(op.Name, Assert.Throws<GraphException>(() => op.Infer(types)).Message, StringComparison.Ordinal);

    /// <summary>Whether the op refuses such inputs; if so, it must do so properly.</summary>
    private static bool RefusedOrFine(Op op, TensorType[] types)
    {
        try
        {
            op.Infer(types);
            return false;
        }
        catch (GraphException exception)
        {
            Assert.Contains(op.Name, exception.Message, StringComparison.Ordinal);
            return true;
        }
    }
}
