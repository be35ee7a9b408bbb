using Skylight.Cpu;

namespace Skylight.Tests.Cpu;

public unsafe class RowMathTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(201)]
    [InlineData(1000)]
    public void Sums_do_not_depend_on_the_address(int count)
    {
        float[] values = [.. Enumerable.Range(0, count).Select(index => MathF.Sin(index * 1.7f) + 0.3f)];
        var results = new HashSet<(float, float, float)>();
        float[] memory = GC.AllocateUninitializedArray<float>(count + 64, pinned: true);
        for (int offset = 0; offset < 32; offset++)
        {
            values.CopyTo(memory, offset);
            fixed (float* x = &memory[offset])
                results.Add((RowMath.Sum(x, count), RowMath.SumOfSquares(x, count), RowMath.Dot(x, x, count)));
        }

        (float sum, float squares, float dot) = Assert.Single(results);
        Assert.Equal(values.Sum(value => (double)value), sum, 1e-3);
        Assert.Equal(values.Sum(value => (double)value * value), squares, 1e-3);
        Assert.Equal(squares, dot);
    }
}
