namespace Skylight.Tests.Ops;

/// <summary>Comparison of float results with reference values in double.</summary>
internal static class Numbers
{
    /// <summary>Normal-looking numbers that are the same in every run.</summary>
    public static float[] Random(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 4f * random.NextSingle() - 2f)];
    }

    /// <summary>Requires every element to be within an absolute tolerance.</summary>
    public static void AssertClose(IReadOnlyList<double> expected, IReadOnlyList<float> actual, double tolerance)
    {
        Assert.Equal(expected.Count, actual.Count);
        for (int index = 0; index < expected.Count; index++)
            Assert.True(Math.Abs(expected[index] - actual[index]) <= tolerance,
                $"Element {index} is {actual[index]:R}, not {expected[index]:R}.");
    }
}
