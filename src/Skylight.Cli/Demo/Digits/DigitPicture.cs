namespace Skylight.Cli.Demo.Digits;

/// <summary>
/// A picture of two handwritten digits side by side, [28, 56] gray levels, 0 = paper and 255 = ink: each digit has a
/// half of its own.
/// </summary>
internal sealed record DigitPicture(byte[] Pixels)
{
    /// <summary>Height in pixels.</summary>
    public const int Height = DigitSet.Side;

    /// <summary>Width in pixels.</summary>
    public const int Width = 2 * DigitSet.Side;

    /// <summary>Draws two digits.</summary>
    /// <param name="left">Pixels of the left digit, [28, 28].</param>
    /// <param name="leftBy">How many pixels it is moved to the right and down.</param>
    /// <param name="right">Pixels of the right digit, [28, 28].</param>
    /// <param name="rightBy">How many pixels it is moved to the right and down.</param>
    /// <exception cref="ArgumentException">Ink would leave the half of its digit.</exception>
    public static DigitPicture Draw(ReadOnlySpan<byte> left, (int X, int Y) leftBy, ReadOnlySpan<byte> right,
        (int X, int Y) rightBy)
    {
        var pixels = new byte[Height * Width];
        DrawDigit(pixels, left, leftBy, firstColumn: 0);
        DrawDigit(pixels, right, rightBy, firstColumn: DigitSet.Side);
        return new DigitPicture(pixels);
    }

    private static void DrawDigit(byte[] pixels, ReadOnlySpan<byte> digit, (int X, int Y) by, int firstColumn)
    {
        for (int index = 0; index < digit.Length; index++)
        {
            if (digit[index] == 0)
                continue;
            int x = (index % DigitSet.Side) + by.X, y = (index / DigitSet.Side) + by.Y;
            if (x is < 0 or >= DigitSet.Side || y is < 0 or >= DigitSet.Side)
                throw new ArgumentException(
                    $"A digit that is moved by ({by.X}, {by.Y}) has ink at ({x}, {y}), outside of its half of {DigitSet.Side}×{DigitSet.Side} pixels.");
            pixels[(y * Width) + firstColumn + x] = digit[index];
        }
    }
}
