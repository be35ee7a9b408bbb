using System.Buffers.Binary;
using Skylight.Models;

namespace Skylight.Tests.Models;

public sealed class ContentHashTests
{
    /// <summary>
    /// The vectors of the reference implementation: key 00 01 … 0f, input 00 01 …, as OpenSSL's <c>SIPHASH</c> gives
    /// them too.
    /// </summary>
    [Theory]
    [InlineData(0, "a3817f04ba25a8e66df67214c7550293")]
    [InlineData(1, "da87c1d86b99af44347659119b22fc45")]
    [InlineData(7, "a1f1ebbed8dbc153c0b84aa61ff08239")]
    [InlineData(8, "3b62a9ba6258f5610f83e264f31497b4")]
    [InlineData(9, "264499060ad9baabc47f8b02bb6d71ed")]
    [InlineData(15, "5493e99933b0a8117e08ec0f97cfc3d9")]
    [InlineData(16, "6ee2a4ca67b054bbfd3315bf85230577")]
    [InlineData(63, "5150d1772f50834a503e069a973fbd7c")]
    [InlineData(255, "1c9bb67528165f8e468248e3799b0eab")]
    [InlineData(256, "67a00304d3834c4612eaee7b5f579acb")]
    [InlineData(1000, "24dafa789ae03d86536a4b57372f0ba6")]
    public void It_is_SipHash_of_128_bits(int length, string expected)
    {
        byte[] bytes = [.. Enumerable.Range(0, length).Select(value => (byte)value)];
        (ulong high, ulong low) = ContentHash.Of(new ContentHash(0x0F0E0D0C0B0A0908, 0x0706050403020100), bytes);
        var hash = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(hash, low);
        BinaryPrimitives.WriteUInt64LittleEndian(hash.AsSpan(8), high);
        Assert.Equal(expected, Convert.ToHexStringLower(hash));
    }

    [Fact]
    public void Equal_content_has_one_name_and_any_other_another()
    {
        float[] pixels = [.. Enumerable.Range(0, 48).Select(value => value / 48f)];
        string name = new ImageTile(pixels, 4, 4).ContentKey;
        Assert.Equal(name, new ImageTile([.. pixels], 4, 4).ContentKey);
        Assert.NotEqual(name, new ImageTile(pixels, 2, 8).ContentKey);
        float[] other = [.. pixels];
        other[^1] = MathF.BitIncrement(other[^1]);
        Assert.NotEqual(name, new ImageTile(other, 4, 4).ContentKey);
    }
}
