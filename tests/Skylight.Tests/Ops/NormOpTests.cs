using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

public class NormOpTests
{
    private const int Rows = 5;
    // Neither a multiple of a vector nor of a cache line: rows start at all sorts of addresses.
    private const int Columns = 201;
    private static readonly float[] X = Numbers.Random(1, Rows * Columns);
    private static readonly float[] Residual = Numbers.Random(2, Rows * Columns);
    private static readonly float[] Weight = Numbers.Random(3, Columns);
    private static readonly float[] Bias = Numbers.Random(4, Columns);

    [Fact]
    public void Rms_norm() => Numbers.AssertClose(RmsNormOf([.. X.Select(x => (double)x)], 1e-3),
        Run(new RmsNorm(1e-3f), Wide(X), Narrow(Weight))[0], 1e-5);

    [Fact]
    public void Layer_norm() =>
        Numbers.AssertClose(LayerNormOf([.. X.Select(x => (double)x)], 1e-3),
            Run(new LayerNorm(1e-3f), Wide(X), Narrow(Weight), Narrow(Bias))[0], 1e-5);

    [Fact]
    public void Layer_norm_keeps_its_precision_far_from_zero()
    {
        float[] far = [.. X.Select(x => 1000f + x)];
        Numbers.AssertClose(LayerNormOf([.. far.Select(x => (double)x)], 1e-3),
            Run(new LayerNorm(1e-3f), Wide(far), Narrow(Weight), Narrow(Bias))[0], 2e-3);
    }

    [Fact]
    public void Add_norms_give_the_sum_and_its_norm()
    {
        double[] sum = [.. X.Zip(Residual, (x, r) => (double)(x + r))];
        float[][] rms = Run(new AddRmsNorm(1e-3f), Wide(Residual), Wide(X), Narrow(Weight));
        float[][] layer = Run(new AddLayerNorm(1e-3f), Wide(Residual), Wide(X), Narrow(Weight), Narrow(Bias));
        Numbers.AssertClose(sum, rms[0], 0);
        Numbers.AssertClose(sum, layer[0], 0);
        Numbers.AssertClose(RmsNormOf(sum, 1e-3), rms[1], 1e-5);
        Numbers.AssertClose(LayerNormOf(sum, 1e-3), layer[1], 1e-5);
    }

    [Fact]
    public void Layer_scale_multiplies_columns() =>
        Assert.Equal(X.Select((x, index) => x * Weight[index % Columns]), Run(new LayerScale(), Wide(X), Narrow(Weight))[0]);

    [Fact]
    public void Bfloat16_parameters_are_widened()
    {
        Operand narrow = new(new TensorType(DataType.BFloat16, new Shape(Columns)), _ => Weight);
        float[] rounded = [.. Weight.Select(weight => (float)(BFloat16)weight)];
        Assert.Equal(Run(new RmsNorm(1e-6f), Wide(X), Narrow(rounded))[0], Run(new RmsNorm(1e-6f), Wide(X), narrow)[0]);
    }

    /// <summary>
    /// A row's bits must not depend on its place in the batch: decoding one token equals scoring a whole sequence.
    /// </summary>
    [Fact]
    public void Rows_do_not_depend_on_their_place()
    {
        Op[] norms = [new RmsNorm(1e-6f), new LayerNorm(1e-6f)];
        foreach (Op norm in norms)
        {
            Operand[] parameters = norm is RmsNorm ? [Narrow(Weight)] : [Narrow(Weight), Narrow(Bias)];
            float[] together = Run(norm, [Wide(X), .. parameters])[0];
            for (int row = 0; row < Rows; row++)
            {
                float[] alone = Run(norm,
                    [OpRun.Given(X[(row * Columns)..((row + 1) * Columns)], 1, Columns), .. parameters])[0];
                Assert.Equal(together[(row * Columns)..((row + 1) * Columns)], alone);
            }
        }
    }

    private static float[][] Run(Op op, params Operand[] operands) => OpRun.Floats(op, operands);

    private static Operand Wide(float[] values) => OpRun.Given(values, Rows, Columns);

    private static Operand Narrow(float[] values) => OpRun.Given(values, Columns);

    private static double[] RmsNormOf(double[] x, double epsilon) =>
        [.. x.Chunk(Columns)
            .SelectMany(row =>
                row.Select((value, column) => value / Math.Sqrt(row.Average(v => v * v) + epsilon) * Weight[column]))];

    private static double[] LayerNormOf(double[] x, double epsilon) => [.. x.Chunk(Columns).SelectMany(row =>
    {
        double mean = row.Average(), variance = row.Average(value => (value - mean) * (value - mean));
        return row.Select((value, column) => (value - mean) / Math.Sqrt(variance + epsilon) * Weight[column] + Bias[column]);
    })];
}
