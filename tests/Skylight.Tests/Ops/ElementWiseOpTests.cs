using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

public class ElementWiseOpTests
{
    private static readonly float[] X = Numbers.Random(1, 4 * 37);
    private static readonly float[] Y = Numbers.Random(2, 4 * 37);

    [Fact]
    public void Multiply_and_scale()
    {
        Assert.Equal(X.Zip(Y, (x, y) => x * y), Run(new Multiply(), OpRun.Given(X, 4, 37), OpRun.Given(Y, 4, 37)));
        Assert.Equal(X.Select(x => -2.5f * x), Run(new Scale(-2.5f), OpRun.Given(X, 4, 37)));
    }

    [Fact]
    public void Multiply_takes_weights_in_their_own_order()
    {
        Operand weight = new(new TensorType(DataType.Float32, new Shape(4, 37), Storage.Weight), _ => X);
        Assert.Equal(X.Select(x => x * x), Run(new Multiply(), weight, weight));
    }

    [Fact]
    public void Silu_is_x_times_sigmoid() =>
        Numbers.AssertClose([.. X.Select(x => x / (1 + Math.Exp(-x)))], Run(new Silu(), OpRun.Given(X, 4, 37)), 1e-6);

    [Fact]
    public void Activations_hold_at_extremes()
    {
        float[] extremes = [-1e30f, -200f, -90f, -0f, 0f, 90f, 200f, 1e30f];
        float[] silu = Run(new Silu(), OpRun.Given(extremes, 8)), gelu = Run(new Gelu(), OpRun.Given(extremes, 8));
        Numbers.AssertClose([0, 0, 0, 0, 0], silu[..5], 1e-30);
        Assert.Equal(extremes[5..], silu[5..]);
        Numbers.AssertClose([0, 0, 0, 0, 0], gelu[..5], 1e-30);
        Assert.Equal(extremes[5..], gelu[5..]);
        float[] ones = [.. extremes.Select(_ => 1f)];
        Assert.All(Run(new SiluBackward(), OpRun.Given(extremes, 8), OpRun.Given(ones, 8)),
            value => Assert.True(float.IsFinite(value)));
        Assert.All(Run(new GeluBackward(), OpRun.Given(extremes, 8), OpRun.Given(ones, 8)),
            value => Assert.True(float.IsFinite(value)));
    }

    [Theory]
    // 50-digit values of x·Φ(x), rounded.
    [InlineData(0.5f, 0.34573123063700656)]
    [InlineData(1f, 0.84134474606854293)]
    [InlineData(-1f, -0.15865525393145707)]
    [InlineData(2f, 1.9544997361036416)]
    [InlineData(-3f, -0.0040496940955743)]
    public void Gelu_is_exact(float x, double expected) =>
        Numbers.AssertClose([expected], Run(new Gelu(), OpRun.Given([x], 1)), 2e-7);

    [Fact]
    public void SwiGlu_gates_the_second_half_by_the_first()
    {
        float[] gateUp = Numbers.Random(3, 3 * 38);
        var expected = new List<double>();
        for (int row = 0; row < 3; row++)
        {
            for (int column = 0; column < 19; column++)
            {
                double gate = gateUp[row * 38 + column];
                expected.Add(gate / (1 + Math.Exp(-gate)) * gateUp[row * 38 + 19 + column]);
            }
        }

        Numbers.AssertClose(expected, Run(new SwiGlu(), OpRun.Given(gateUp, 3, 38)), 1e-6);
    }

    [Fact]
    public void Odd_columns_cannot_be_gated()
    {
        GraphException exception = Assert.Throws<GraphException>(() => new SwiGlu().Infer([TensorType.Float32(2, 5)]));
        Assert.Contains("SwiGlu", exception.Message, StringComparison.Ordinal);
        Assert.Contains("even", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Split_pieces_join_to_the_whole()
    {
        float[][] pieces = OpRun.Floats(new SplitColumns(7, 20, 10), OpRun.Given(X, 4, 37));
        Assert.Equal(X[7..27], pieces[1][..20]);
        Assert.Equal(X[(37 + 27)..(37 + 37)], pieces[2][10..20]);
        Assert.Equal(X, Run(new ConcatenateColumns(), OpRun.Given(pieces[0], 4, 7), OpRun.Given(pieces[1], 4, 20),
            OpRun.Given(pieces[2], 4, 10)));
        Assert.Equal(new SplitColumns(7, 20), new SplitColumns([7, 20]));
        Assert.NotEqual(new SplitColumns(7, 20), new SplitColumns(20, 7));
    }

    [Fact]
    public void Columns_are_put_into_another_order()
    {
        int[] order = [.. Enumerable.Range(0, 37).Select(column => column * 5 % 37)];
        Assert.Equal(Enumerable.Range(0, 4 * 37).Select(index => X[index / 37 * 37 + order[index % 37]]),
            Run(new PermuteColumns(), OpRun.Given(X, 4, 37), Operand.Integers(order)));
        order[3] = 37;
        Assert.Contains("PermuteColumns: order[3] is 37", Assert.Throws<ArgumentOutOfRangeException>(() =>
            Run(new PermuteColumns(), OpRun.Given(X, 4, 37), Operand.Integers(order))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sum_adds_everything()
    {
        float[] many = Numbers.Random(4, 100_000);
        Numbers.AssertClose([many.Sum(x => (double)x)], Run(new Sum(), OpRun.Given(many, 1000, 100)), 0.05);
        Assert.Equal([0f], Run(new Sum(), OpRun.Given([], 0, 3)));
    }

    private static float[] Run(Op op, params Operand[] operands) => OpRun.Floats(op, operands)[0];
}
