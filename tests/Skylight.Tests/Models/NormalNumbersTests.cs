using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Tests.Models;

public class NormalNumbersTests
{
    [Theory]
    [InlineData(0UL, 0UL)]
    [InlineData(0x1234_5678_9ABC_DEF0UL, 0xFEDC_BA98_7654_3210UL)]
    public void EightAtATimeAreTheNumbersOfTheGenerator(ulong seed, ulong stream)
    {
        var values = new float[1003];
        NormalNumbers.Fill(values, 0.5f, seed, stream, 0);
        var random = new CounterRandom(seed, stream);
        for (int index = 0; index < values.Length; index++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - (double)random.NextSingle()));
            float expected = (float)(0.5f * radius * Math.Cos(2 * Math.PI * random.NextSingle()));
            // The last place of log and cos may differ, and cos loses places near its zeros.
            Assert.Equal(expected, values[index], 1e-6f * Math.Max(0.01f, MathF.Abs(expected)));
        }
    }

    [Fact]
    public void PartsJoin()
    {
        var whole = new float[100];
        NormalNumbers.Fill(whole, 1, 9, 2, 1L << 33);
        for (int start = 0; start < whole.Length; start += 7)
        {
            var part = new float[Math.Min(7, whole.Length - start)];
            NormalNumbers.Fill(part, 1, 9, 2, (1L << 33) + start);
            Assert.Equal(whole[start..(start + part.Length)], part);
        }

        var far = new float[8];
        NormalNumbers.Fill(far, 1, 9, 2, 0);
        Assert.NotEqual(whole[..8], far);
    }

    [Fact]
    public void MeanAndDeviationAreThoseAskedFor()
    {
        var values = new float[1 << 18];
        NormalNumbers.Fill(values, 3, 1, 1, 0);
        Assert.Equal(0, values.Average(value => (double)value), 0.03);
        Assert.Equal(3, Math.Sqrt(values.Average(value => (double)value * value)), 0.03);
        Assert.All(values, value => Assert.True(float.IsFinite(value)));
    }
}
