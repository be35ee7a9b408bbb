namespace Skylight.Images.Jpeg;

/// <summary>
/// The codes of annex K of the standard. Frames of motion JPEG leave them out; libjpeg then takes them for sequential
/// pictures.
/// </summary>
internal static class JpegStandardCodes
{
    private static readonly (byte[] Counts, byte[] Symbols)[] Codes =
    [
        (Convert.FromHexString("00010501010101010100000000000000"),
            Convert.FromHexString("000102030405060708090a0b")),
        (Convert.FromHexString("00030101010101010101010000000000"),
            Convert.FromHexString("000102030405060708090a0b")),
        (Convert.FromHexString("0002010303020403050504040000017d"),
            Convert.FromHexString(
                "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728" +
            "292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a83848586878889" +
            "8a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2" +
            "e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa")),
        (Convert.FromHexString("00020102040403040705040400010277"),
            Convert.FromHexString(
                "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a26" +
            "2728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a828384858687" +
            "88898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9da" +
            "e2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa")),
    ];

    /// <summary>
    /// Counts and symbols of a table: number 0 for luma, 1 for chroma; null for others, which have no standard.
    /// </summary>
    public static (byte[] Counts, byte[] Symbols)? Of(int number, bool direct) => number > 1 ? null
        : Codes[(direct ? 0 : 2) + number];
}
