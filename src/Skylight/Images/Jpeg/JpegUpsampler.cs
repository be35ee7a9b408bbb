namespace Skylight.Images.Jpeg;

/// <summary>
/// Stretches the rows of a component to the width and height of the picture. Where it has half as many samples in a
/// direction, a new sample is ¾ of the nearest and ¼ of the next one ("fancy upsampling"), with libjpeg's alternating
/// rounding; other ratios repeat samples.
/// </summary>
internal sealed class JpegUpsampler
{
    private readonly JpegFrame _frame;
    private readonly JpegComponent _component;
    private readonly bool _smoothAcross;
    private readonly bool _smoothDown;
    private readonly byte[] _row;
    private readonly int[] _sums;

    public JpegUpsampler(JpegFrame frame, JpegComponent component)
    {
        _frame = frame;
        _component = component;
        bool full = component.Horizontal == frame.MostHorizontal;
        bool half = 2 * component.Horizontal == frame.MostHorizontal;
        bool fullDown = component.Vertical == frame.MostVertical;
        bool halfDown = 2 * component.Vertical == frame.MostVertical;
        // libjpeg smooths only these three cases, and rows only if they are wide enough.
        _smoothAcross = half && (fullDown || halfDown) && component.Width > 2;
        _smoothDown = halfDown && (full || _smoothAcross);
        _row = full && fullDown ? [] : new byte[Math.Max(frame.Width, 2 * component.Width)];
        _sums = _smoothAcross && _smoothDown ? new int[component.Width] : [];
    }

    /// <summary>A row of the picture.</summary>
    public ReadOnlySpan<byte> Row(int y)
    {
        if (_row.Length == 0)
            return _component.Row(y);
        ReadOnlySpan<byte> near = _component.Row(y * _component.Vertical / _frame.MostVertical);
        if (_smoothDown)
        {
            int neighbor = Math.Clamp((y >> 1) + ((y & 1) == 0 ? -1 : 1), 0, _component.Height - 1);
            ReadOnlySpan<byte> far = _component.Row(neighbor);
            if (_smoothAcross)
                Both(near, far);
            else
                Down(near, far, (y & 1) == 0 ? 1 : 2);
        }
        else if (_smoothAcross)
        {
            Across(near);
        }
        else
        {
            for (int x = 0; x < _frame.Width; x++)
                _row[x] = near[x * _component.Horizontal / _frame.MostHorizontal];
        }

        return _row.AsSpan(0, _frame.Width);
    }

    private void Across(ReadOnlySpan<byte> near)
    {
        Span<byte> row = _row.AsSpan(0, 2 * near.Length);
        int last = near.Length - 1;
        row[0] = near[0];
        row[1] = (byte)(((near[0] * 3) + near[1] + 2) >> 2);
        for (int x = 1; x < last; x++)
        {
            int three = near[x] * 3;
            row[2 * x] = (byte)((three + near[x - 1] + 1) >> 2);
            row[(2 * x) + 1] = (byte)((three + near[x + 1] + 2) >> 2);
        }

        row[2 * last] = (byte)(((near[last] * 3) + near[last - 1] + 1) >> 2);
        row[(2 * last) + 1] = near[last];
    }

    private void Down(ReadOnlySpan<byte> near, ReadOnlySpan<byte> far, int rounding)
    {
        for (int x = 0; x < near.Length; x++)
            _row[x] = (byte)(((near[x] * 3) + far[x] + rounding) >> 2);
    }

    private void Both(ReadOnlySpan<byte> near, ReadOnlySpan<byte> far)
    {
        Span<int> sums = _sums;
        for (int x = 0; x < sums.Length; x++)
            sums[x] = (near[x] * 3) + far[x];
        Span<byte> row = _row.AsSpan(0, 2 * sums.Length);
        int last = sums.Length - 1;
        row[0] = (byte)(((sums[0] * 4) + 8) >> 4);
        row[1] = (byte)(((sums[0] * 3) + sums[1] + 7) >> 4);
        for (int x = 1; x < last; x++)
        {
            int three = sums[x] * 3;
            row[2 * x] = (byte)((three + sums[x - 1] + 8) >> 4);
            row[(2 * x) + 1] = (byte)((three + sums[x + 1] + 7) >> 4);
        }

        row[2 * last] = (byte)(((sums[last] * 3) + sums[last - 1] + 8) >> 4);
        row[(2 * last) + 1] = (byte)(((sums[last] * 4) + 7) >> 4);
    }
}
