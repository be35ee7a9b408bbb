using Skylight.Cpu;

namespace Skylight.Tests.Cpu;

public sealed unsafe class WeightPanelsTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(31, 5)]
    [InlineData(32, 8)]
    [InlineData(33, 9)]
    [InlineData(100, 67)]
    [InlineData(128, 256)]
    public void Packing_follows_IndexOf_and_unpacking_restores(int N, int K)
    {
        float[] weight = GemmReference.Random(N * K, 1);
        ushort[] bits = GemmReference.ToBits(weight);
        var panels = new float[WeightPanels.ElementCount(N, K)];
        var bitPanels = new ushort[panels.Length];
        Array.Fill(panels, float.NaN);
        Array.Fill(bitPanels, ushort.MaxValue);
        var restored = new float[N * K];
        var restoredBits = new ushort[N * K];
        fixed (float* pw = weight, pp = panels, pr = restored)
        fixed (ushort* bw = bits, bp = bitPanels, br = restoredBits)
        {
            WeightPanels.Pack(pw, pp, N, K);
            WeightPanels.Pack(bw, bp, N, K);
            WeightPanels.Unpack(pp, pr, N, K);
            WeightPanels.Unpack(bp, br, N, K);
        }
        float[] expected = GemmReference.ToPanels(weight, N, K);
        Assert.Equal(expected, panels);
        Assert.Equal(GemmReference.ToBits(expected), bitPanels);
        Assert.Equal(weight, restored);
        Assert.Equal(bits, restoredBits);
    }

    [Fact]
    public void Large_weights_are_addressed_in_64_bits() =>
        Assert.Equal(8192L * 152_064 + 0, WeightPanels.ElementCount(152_064, 8192));
}
