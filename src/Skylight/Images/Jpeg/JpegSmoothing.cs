namespace Skylight.Images.Jpeg;

/// <summary>
/// Block smoothing as libjpeg-turbo 2.1 and later do it: where a progressive picture does not send its low frequencies
/// to full precision, coefficients that are still zero are estimated from the mean levels of the 5 × 5 blocks around.
/// </summary>
internal static class JpegSmoothing
{
    /// <summary>The coefficients, in coding order, that are estimated or decide about it.</summary>
    public const int Coefficients = 10;

    private static ReadOnlySpan<sbyte> Nothing => [-1, -1, -1, -1, -1, -1, -1, -1, -1, -1];

    /// <summary>
    /// Weights of the 5 × 5 levels for each coefficient where nothing but levels is known; the first replaces the
    /// level.
    /// </summary>
    private static readonly int[][] FromLevelsAlone =
    [
        [-2, -6, -8, -6, -2, -6, 6, 42, 6, -6, -8, 42, 152, 42, -8, -6, 6, 42, 6, -6, -2, -6, -8, -6, -2],
        [-1, -1, 0, 1, 1, -3, 13, 0, -13, 3, -3, 38, 0, -38, 3, -3, 13, 0, -13, 3, -1, -1, 0, 1, 1],
        [-1, -3, -3, -3, -1, -1, 13, 38, 13, -1, 0, 0, 0, 0, 0, 1, -13, -38, -13, 1, 1, 3, 3, 3, 1],
        [0, 0, 1, 0, 0, 0, 2, 7, 2, 0, 0, -5, -14, -5, 0, 0, 2, 7, 2, 0, 0, 0, 1, 0, 0],
        [-1, 0, 0, 0, 1, 0, 9, 0, -9, 0, 0, 0, 0, 0, 0, 0, -9, 0, 9, 0, 1, 0, 0, 0, -1],
        [0, 0, 0, 0, 0, 0, 2, -5, 2, 0, 1, 7, -14, 7, 1, 0, 2, -5, 2, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 0, -1, 0, 0, 2, 0, -2, 0, 0, 1, 0, -1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, -3, 1, 0, 0, 0, 0, 0, 0, 0, -1, 3, -1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 0, -1, 0, 0, -3, 0, 3, 0, 0, 1, 0, -1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, -1, -2, -1, 0, 0, 0, 0, 0, 0],
    ];

    /// <summary>
    /// The same where some coefficients have come: the level stays, and only the first five are estimated.
    /// </summary>
    private static readonly int[][] BesideCoefficients =
    [
        [],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -7, 50, 0, -50, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, -7, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, -50, 0, 0, 0, 0, 7, 0, 0],
        [0, 0, -1, 0, 0, 0, 0, 13, 0, 0, 0, 0, -24, 0, 0, 0, 0, 13, 0, 0, 0, 0, -1, 0, 0],
        [0, -1, 0, 1, 0, -1, 10, 0, -10, 1, 0, 0, 0, 0, 0, 1, -10, 0, 10, -1, 0, 1, 0, -1, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 13, -24, 13, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];

    /// <summary>
    /// Whether libjpeg smooths this picture: every component has its levels, and some low frequency is not known to the
    /// last bit.
    /// </summary>
    public static bool IsUseful(JpegFrame frame)
    {
        bool useful = false;
        foreach (JpegComponent component in frame.Components)
        {
            if (component.Table is not { } table || component.CodedTo[0] < 0)
                return false;
            for (int i = 0; i < Coefficients; i++)
            {
                if (table[JpegReader.NaturalOrder[i]] == 0)
                    return false;
                useful |= i > 0 && component.CodedTo[i] != 0;
            }
        }

        return useful;
    }

    /// <summary>Estimates what is missing of a block.</summary>
    /// <param name="frame">The picture.</param>
    /// <param name="component">The component of the block, with all its coefficients.</param>
    /// <param name="row">The block's row.</param>
    /// <param name="column">The block's column.</param>
    /// <param name="block">Its 64 coefficients in natural order, not dequantised; changed.</param>
    public static void Estimate(JpegFrame frame, JpegComponent component, int row, int column, Span<int> block)
    {
        // Below the row in which the last scan's data ended, that scan has refined nothing.
        ReadOnlySpan<sbyte> known = row / component.Vertical <= frame.LastRowWithData ? component.CodedTo
            : frame.Scans > 1 ? component.CodedBefore : Nothing;
        bool levelsAlone = !known[1..Coefficients].ContainsAnyExcept((sbyte)-1);
        int[][] kernels = levelsAlone ? FromLevelsAlone : BesideCoefficients;
        Span<int> levels = stackalloc int[25];
        ReadLevels(frame, component, row, column, levels);
        ushort[] table = component.Table!;
        for (int i = 1; i < kernels.Length; i++)
        {
            ref int coefficient = ref block[JpegReader.NaturalOrder[i]];
            if (known[i] != 0 && coefficient == 0)
                coefficient = Predict(kernels[i], levels, table[0], table[JpegReader.NaturalOrder[i]], known[i]);
        }

        if (levelsAlone)
            block[0] = Predict(kernels[0], levels, table[0], table[0], known: -1);
    }

    private static int Predict(int[] kernel, ReadOnlySpan<int> levels, int levelStep, int step, int known)
    {
        long sum = 0;
        for (int i = 0; i < levels.Length; i++)
            sum += kernel[i] * levels[i];
        sum *= levelStep;
        int size = (int)((((long)step << 7) + Math.Abs(sum)) / ((long)step << 8));
        // Bits that have come are zero, so that the value is smaller than the lowest of them.
        if (known > 0)
            size = Math.Min(size, (1 << known) - 1);
        return (short)(sum >= 0 ? size : -size);
    }

    /// <summary>The levels of the blocks around; beyond the picture's edge those at the edge.</summary>
    private static void ReadLevels(JpegFrame frame, JpegComponent component, int row, int column, Span<int> levels)
    {
        // libjpeg-turbo 2.1 looks two rows of blocks away only within a row of units or from the second on (before the
        // last but one).
        int vertical = component.Vertical;
        int unit = row / vertical;
        int within = row % vertical;
        int last = frame.UnitsDown - 1;
        int rows = unit == last && component.BlocksDown % vertical != 0 ? component.BlocksDown % vertical : vertical;
        int before = within > 1 || unit > 1 ? 2 : within > 0 || unit > 0 ? 1 : 0;
        int after = within < rows - 2 || unit + 1 < last ? 2 : within < rows - 1 || unit < last ? 1 : 0;
        // It slides the levels along a row, and of two columns never takes up the second for what lies beyond.
        int edge = component.BlocksAcross - 1;
        int beyond = edge == 1 ? 0 : edge;
        for (int y = 0; y < 5; y++)
        {
            int from = row + Math.Clamp(y - 2, -before, after);
            for (int x = 0; x < 5; x++)
            {
                int at = Math.Max(column + x - 2, 0);
                if (at > edge)
                    at = beyond;
                levels[(5 * y) + x] = component.Coefficients[64 * ((from * component.BlockStride) + at)];
            }
        }
    }
}
