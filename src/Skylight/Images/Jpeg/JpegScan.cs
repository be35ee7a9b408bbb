namespace Skylight.Images.Jpeg;

/// <summary>Which coefficients, in coding order, and which of their bits a scan brings.</summary>
/// <param name="First">The first coefficient.</param>
/// <param name="Last">The last coefficient.</param>
/// <param name="High">The lowest bit that earlier scans brought; 0 if this is the first scan of these coefficients.</param>
/// <param name="Low">The lowest bit that this scan brings.</param>
internal readonly record struct JpegBand(int First, int Last, int High, int Low)
{
    public static JpegBand Whole { get; } = new(0, 63, 0, 0);

    /// <summary>Refuses what a progressive scan of so many components cannot bring.</summary>
    public void CheckProgressive(int components)
    {
        bool valid = First == 0 ? Last == 0 : First <= Last && Last <= 63 && components == 1;
        if (!valid || Low > 13 || (High != 0 && Low != High - 1))
            throw new ImageException(
                $"JPEG: a scan of {components} components, coefficients {First} to {Last}, bits {High} to {Low} is " +
                $"not valid: the file is damaged.");
    }
}

/// <summary>A component in a scan, with the codes that the scan needs for it.</summary>
internal sealed record JpegScanPart(JpegComponent Component, JpegHuffmanTable? Direct, JpegHuffmanTable? Alternating);

/// <summary>
/// Decodes one scan: into samples (sequential) or into coefficients (progressive). Damaged data is read as libjpeg
/// reads it: a coefficient beyond the block goes to its last place.
/// </summary>
internal sealed class JpegScan
{
    private readonly JpegFrame _frame;
    private readonly JpegScanPart[] _parts;
    private readonly JpegBand _band;
    private readonly int _restartInterval;
    private readonly int _number;
    private readonly CancellationToken _cancellationToken;
    private readonly int[] _block = new int[64];

    /// <summary>Blocks to come in which the band is zero.</summary>
    private int _emptyBlocks;

    public JpegScan(JpegFrame frame, JpegScanPart[] parts, JpegBand band, int restartInterval, int number,
        CancellationToken cancellationToken)
    {
        (_frame, _parts, _band, _restartInterval, _number, _cancellationToken) = (frame, parts, band, restartInterval,
            number, cancellationToken);
        frame.Scans = number;
        foreach (JpegScanPart part in parts)
            Enter(part.Component);
    }

    /// <summary>Decodes it; returns where its data ends.</summary>
    public int Decode(ReadOnlySpan<byte> data, int position)
    {
        var bits = new JpegBits(data, position);
        bool alone = _parts.Length == 1;
        int across = alone ? _parts[0].Component.BlocksAcross : _frame.UnitsAcross;
        int down = alone ? _parts[0].Component.BlocksDown : _frame.UnitsDown;
        int untilRestart = _restartInterval > 0 ? _restartInterval : int.MaxValue;
        int restarts = 0;
        // As in libjpeg, after the data has ended nothing more is decoded before a restart marker.
        bool exhausted = false;
        for (int row = 0; row < down; row++)
        {
            _cancellationToken.ThrowIfCancellationRequested();
            for (int column = 0; column < across; column++)
            {
                if (!exhausted)
                    _frame.LastRowWithData = alone ? row / _parts[0].Component.Vertical : row;
                else if (_restartInterval == 0)
                    return bits.Position;
                if (untilRestart-- == 0)
                {
                    exhausted &= !bits.Restart(restarts++ & 7);
                    untilRestart = _restartInterval - 1;
                    _emptyBlocks = 0;
                    foreach (JpegScanPart part in _parts)
                        part.Component.Predictor = 0;
                }

                if (exhausted)
                    continue;
                if (alone)
                    DecodeBlock(ref bits, _parts[0], row, column);
                else
                    DecodeUnit(ref bits, row, column);
                exhausted = bits.IsExhausted;
            }
        }

        return bits.Position;
    }

    /// <summary>The last step of a progressive picture: from coefficients to samples.</summary>
    public static void Transform(JpegFrame frame, CancellationToken cancellationToken)
    {
        Span<int> block = stackalloc int[64];
        bool smooth = JpegSmoothing.IsUseful(frame);
        foreach (JpegComponent component in frame.Components)
        {
            // A component without any scan stays gray.
            if (component.Table is not { } table)
                continue;
            for (int row = 0; row < component.BlocksDown; row++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                for (int column = 0; column < component.BlocksAcross; column++)
                {
                    ReadOnlySpan<short> coefficients = component.Coefficients.AsSpan(
                        64 * ((row * component.BlockStride) + column), 64);
                    for (int i = 0; i < 64; i++)
                        block[i] = coefficients[i];
                    if (smooth)
                        JpegSmoothing.Estimate(frame, component, row, column, block);
                    for (int i = 0; i < 64; i++)
                        block[i] = (short)(block[i] * table[i]);
                    JpegTransform.Inverse(block, component.Samples.AsSpan(8 * ((row * component.Stride) + column)),
                        component.Stride);
                }
            }
        }
    }

    /// <summary>
    /// Notes what the scan brings. A progressive picture's scans may come in any order and twice, as in libjpeg; how
    /// many there may be bounds the work that a file can ask for.
    /// </summary>
    private void Enter(JpegComponent component)
    {
        if (!_frame.Progressive && component.CodedTo[0] >= 0)
            throw new ImageException($"JPEG: the scan of component {component.Id} comes twice: the file is damaged.");
        for (int i = Math.Min(_band.First, 1); i < JpegSmoothing.Coefficients; i++)
            component.CodedBefore[i] = _number > 1 ? component.CodedTo[i] : (sbyte)0;
        component.CodedTo.AsSpan(_band.First, _band.Last - _band.First + 1).Fill((sbyte)_band.Low);
    }

    private void DecodeUnit(ref JpegBits bits, int row, int column)
    {
        foreach (JpegScanPart part in _parts)
        {
            int vertical = part.Component.Vertical;
            int horizontal = part.Component.Horizontal;
            for (int y = 0; y < vertical; y++)
            {
                for (int x = 0; x < horizontal; x++)
                    DecodeBlock(ref bits, part, (row * vertical) + y, (column * horizontal) + x);
            }
        }
    }

    private void DecodeBlock(ref JpegBits bits, JpegScanPart part, int row, int column)
    {
        JpegComponent component = part.Component;
        if (!_frame.Progressive)
        {
            Sequential(ref bits, part);
            JpegTransform.Inverse(_block, component.Samples.AsSpan(8 * ((row * component.Stride) + column)),
                component.Stride);
            return;
        }

        Span<short> block = component.Coefficients.AsSpan(64 * ((row * component.BlockStride) + column), 64);
        if (_band.First == 0 && _band.High == 0)
        {
            component.Predictor += Difference(ref bits, part.Direct!);
            block[0] = (short)(component.Predictor << _band.Low);
        }
        else if (_band.First == 0)
        {
            if (bits.Bit())
                block[0] |= (short)(1 << _band.Low);
        }
        else if (_band.High == 0)
        {
            First(ref bits, part.Alternating!, block);
        }
        else
        {
            Refine(ref bits, part.Alternating!, block);
        }
    }

    private static int Difference(ref JpegBits bits, JpegHuffmanTable table)
    {
        int length = bits.Symbol(table);
        return length == 0 ? 0 : bits.Value(length);
    }

    /// <summary>A whole block, dequantised.</summary>
    private void Sequential(ref JpegBits bits, JpegScanPart part)
    {
        Span<int> block = _block;
        ReadOnlySpan<ushort> table = part.Component.Table;
        ReadOnlySpan<byte> order = JpegReader.NaturalOrder;
        JpegHuffmanTable alternating = part.Alternating!;
        block.Clear();
        part.Component.Predictor += Difference(ref bits, part.Direct!);
        block[0] = (short)((short)part.Component.Predictor * table[0]);
        for (int k = 1; k < 64; k++)
        {
            int symbol = bits.Symbol(alternating);
            int length = symbol & 15;
            if (length == 0)
            {
                if (symbol != 0xF0)
                    return;
                k += 15;
                continue;
            }

            k += symbol >> 4;
            int place = order[Math.Min(k, 63)];
            block[place] = (short)(bits.Value(length) * table[place]);
        }
    }

    /// <summary>The first scan of a band of coefficients.</summary>
    private void First(ref JpegBits bits, JpegHuffmanTable table, Span<short> block)
    {
        if (_emptyBlocks > 0)
        {
            _emptyBlocks--;
            return;
        }

        for (int k = _band.First; k <= _band.Last; k++)
        {
            int symbol = bits.Symbol(table);
            int run = symbol >> 4;
            int length = symbol & 15;
            if (length != 0)
            {
                k += run;
                block[JpegReader.NaturalOrder[Math.Min(k, 63)]] = (short)(bits.Value(length) << _band.Low);
            }
            else if (run == 15)
            {
                k += 15;
            }
            else
            {
                _emptyBlocks = (1 << run) - 1 + (run > 0 ? bits.Raw(run) : 0);
                return;
            }
        }
    }

    /// <summary>
    /// One bit more of a band: for coefficients that are not zero a correction, for others a sign where they become ±1.
    /// </summary>
    private void Refine(ref JpegBits bits, JpegHuffmanTable table, Span<short> block)
    {
        short plus = (short)(1 << _band.Low);
        int k = _band.First;
        if (_emptyBlocks == 0)
        {
            for (; k <= _band.Last; k++)
            {
                int symbol = bits.Symbol(table);
                int run = symbol >> 4;
                short value = 0;
                // Any size but 1 is damage, which libjpeg reads as 1.
                if ((symbol & 15) != 0)
                {
                    value = bits.Bit() ? plus : (short)-plus;
                }
                else if (run < 15)
                {
                    _emptyBlocks = (1 << run) + (run > 0 ? bits.Raw(run) : 0);
                    break;
                }

                for (; k <= _band.Last; k++)
                {
                    ref short coefficient = ref block[JpegReader.NaturalOrder[k]];
                    if (coefficient != 0)
                        Correct(ref bits, ref coefficient, plus);
                    else if (run-- == 0)
                        break;
                }

                if (value == 0)
                    continue;
                block[JpegReader.NaturalOrder[Math.Min(k, 63)]] = value;
            }
        }

        if (_emptyBlocks == 0)
            return;
        for (; k <= _band.Last; k++)
        {
            ref short coefficient = ref block[JpegReader.NaturalOrder[k]];
            if (coefficient != 0)
                Correct(ref bits, ref coefficient, plus);
        }

        _emptyBlocks--;
    }

    private static void Correct(ref JpegBits bits, ref short coefficient, short plus)
    {
        if (bits.Bit() && (coefficient & plus) == 0)
            coefficient += coefficient >= 0 ? plus : (short)-plus;
    }
}
