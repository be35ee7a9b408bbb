using Skylight.Ops;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

public class RotaryOpTests
{
    private const int Dimension = 18;
    private static readonly int[] Positions = [0, 1, 7, 1, 2000];

    [Fact]
    public void Table_holds_cosines_then_sines_of_the_angles()
    {
        float[] table = OpRun.Floats(new RotaryTable(Dimension, 1e6f), Operand.Integers(Positions))[0];
        for (int token = 0; token < Positions.Length; token++)
        {
            for (int index = 0; index < Dimension / 2; index++)
            {
                double angle = Positions[token] / Math.Pow(1e6, 2.0 * index / Dimension);
                // The angle itself is rounded to float32.
                double tolerance = 1e-6 + angle * 2e-7;
                Assert.Equal(Math.Cos(angle), table[token * Dimension + index], tolerance);
                Assert.Equal(Math.Sin(angle), table[token * Dimension + Dimension / 2 + index], tolerance);
            }
        }
    }

    [Fact]
    public void Pairs_are_rotated_as_complex_numbers()
    {
        float[] x = Numbers.Random(1, Positions.Length * 2 * Dimension);
        float[] table = OpRun.Floats(new RotaryTable(Dimension, 100f), Operand.Integers(Positions))[0];
        var expected = new double[x.Length];
        for (int token = 0; token < Positions.Length; token++)
        {
            for (int head = 0; head < 2; head++)
            {
                for (int index = 0; index < Dimension / 2; index++)
                {
                    int at = (token * 2 + head) * Dimension + index;
                    var number = new System.Numerics.Complex(x[at], x[at + Dimension / 2]);
                    System.Numerics.Complex rotated = number * new System.Numerics.Complex(
                        table[token * Dimension + index], table[token * Dimension + Dimension / 2 + index]);
                    expected[at] = rotated.Real;
                    expected[at + Dimension / 2] = rotated.Imaginary;
                }
            }
        }

        float[] y = OpRun.Floats(new RotaryEmbedding(Dimension), OpRun.Given(x, Positions.Length, 2 * Dimension),
            OpRun.Given(table, Positions.Length, Dimension))[0];
        Numbers.AssertClose(expected, y, 1e-6);
        float[] back = OpRun.Floats(new RotaryEmbedding(Dimension, Inverse: true),
            OpRun.Given(y, Positions.Length, 2 * Dimension), OpRun.Given(table, Positions.Length, Dimension))[0];
        Numbers.AssertClose([.. x.Select(value => (double)value)], back, 1e-6);
    }
}
