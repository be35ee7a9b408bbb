namespace Skylight.Cli.Demo.Digits;

/// <summary>A picture of two handwritten digits side by side, [28, 84] gray levels, 0 = paper and 255 = ink.</summary>
internal sealed record DigitPicture(byte[] Pixels)
{
    /// <summary>Height in pixels.</summary>
    public const int Height = DigitSet.Side;

    /// <summary>Width in pixels: each digit has half of it to move in.</summary>
    public const int Width = 3 * DigitSet.Side;

    /// <summary>Draws two digits.</summary>
    /// <param name="left">Pixels of the left digit, [28, 28].</param>
    /// <param name="leftAt">Where its left top corner goes: x in [0, 14]; what y pushes out of the picture is lost.</param>
    /// <param name="right">Pixels of the right digit, [28, 28].</param>
    /// <param name="rightAt">Where its left top corner goes: x in [42, 56].</param>
    public static DigitPicture Draw(
        ReadOnlySpan<byte> left, (int X, int Y) leftAt, ReadOnlySpan<byte> right, (int X, int Y) rightAt)
    {
        if (leftAt.X < 0 || leftAt.X + DigitSet.Side > rightAt.X || rightAt.X + DigitSet.Side > Width)
            throw new ArgumentException($"The digits at x = {leftAt.X} and {rightAt.X} overlap or leave the picture of {Width} pixels.");

        var pixels = new byte[Height * Width];
        DrawDigit(pixels, left, leftAt);
        DrawDigit(pixels, right, rightAt);
        return new DigitPicture(pixels);
    }

    private static void DrawDigit(byte[] pixels, ReadOnlySpan<byte> digit, (int X, int Y) at)
    {
        for (int row = Math.Max(0, -at.Y); row < DigitSet.Side && row + at.Y < Height; row++)
            digit.Slice(row * DigitSet.Side, DigitSet.Side).CopyTo(pixels.AsSpan((row + at.Y) * Width + at.X));
    }
}
