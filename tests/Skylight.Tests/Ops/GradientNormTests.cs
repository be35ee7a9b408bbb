using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tests.Cpu;

namespace Skylight.Tests.Ops;

[Collection(CpuThreadsCollection.Name)]
public sealed class GradientNormTests : IDisposable
{
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    [Theory]
    [InlineData(0.5f)]
    [InlineData(1e6f)]
    [InlineData(0f)]
    public void Is_the_norm_of_all_gradients_together(float maximum)
    {
        float[] a = HeadReference.Normal(33 * 7, 1), b = HeadReference.Normal(300 * 701, 2, 3),
            c = HeadReference.Normal(5, 3, 100);
        double norm = Math.Sqrt(a.Concat(b).Concat(c).Sum(value => (double)value * value));
        foreach (int threads in new[] { 1, 2 })
        {
            CpuParallel.ThreadCount = threads;
            Array[] actual = HeadHarness.Run(new GradientNorm(maximum), Given.Weight(a, 33, 7), Given.Rows(b, 300, 701),
                Given.Rows(c));
            Assert.Equal((float)norm, ((float[])actual[0])[0]);
            Assert.Equal(maximum <= 0 ? 1f : (float)Math.Min(1, maximum / (norm + 1e-6)), ((float[])actual[1])[0]);
            Assert.Equal([1], (int[])actual[2]);
        }
    }

    [Fact]
    public void Squares_beyond_float32_are_no_problem_but_infinities_are_told()
    {
        Assert.Equal(5e30f, HeadHarness.Floats(new GradientNorm(1), Given.Rows([3e30f, 4e30f]))[0][0]);
        foreach (float bad in new[] { float.NaN, float.PositiveInfinity })
        {
            var gradient = new float[100_000];
            gradient[77_777] = bad;
            Array[] actual = HeadHarness.Run(new GradientNorm(1), Given.Rows([1, 2]), Given.Rows(gradient));
            Assert.Equal([0], (int[])actual[2]);
            Assert.True(float.IsNaN(((float[])actual[1])[0]));
        }

        Assert.Equal([0f, 1f],
            HeadHarness.Floats(new GradientNorm(1), Given.Rows(new float[9])).Select(output => output[0]));
        Assert.Throws<GraphException>(() => HeadHarness.Run(new GradientNorm(1)));
        Assert.Throws<GraphException>(() => HeadHarness.Run(new GradientNorm(1), Given.Ids(1)));
    }
}
