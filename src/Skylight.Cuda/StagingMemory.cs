namespace Skylight.Cuda;

/// <summary>
/// Pinned memory through which bytes go to the card and back. Uploads return when their bytes have been copied here;
/// two halves take turns, so that the host fills one while the card reads the other.
/// </summary>
internal sealed unsafe class StagingMemory : IDisposable
{
    private const int HalfBytes = 4 << 20;
    private const int Alignment = 64;

    private readonly CudaStreamHandle _stream;
    private readonly PinnedMemory[] _halves;
    private readonly CudaEventHandle[] _read;
    private readonly PinnedMemory _download;
    private int _half;
    private int _used;

    public StagingMemory(CudaStreamHandle stream)
    {
        _stream = stream;
        _halves = [new PinnedMemory(stream.Context, HalfBytes), new PinnedMemory(stream.Context, HalfBytes)];
        _read = [new CudaEventHandle(stream.Context), new CudaEventHandle(stream.Context)];
        _download = new PinnedMemory(stream.Context, HalfBytes);
    }

    /// <summary>How many copies to the card were queued.</summary>
    public long Uploads { get; private set; }

    /// <summary>Queues copies of bytes to the card; the bytes may be changed afterwards.</summary>
    public void Upload(ReadOnlySpan<byte> bytes, ulong destination)
    {
        while (!bytes.IsEmpty)
        {
            if (_used == HalfBytes)
                NextHalf();
            int count = Math.Min(bytes.Length, HalfBytes - _used);
            byte* staged = _halves[_half].Pointer + _used;
            bytes[..count].CopyTo(new Span<byte>(staged, count));
            _stream.Driver.Check(_stream.Driver.MemcpyHtoDAsync(destination, staged, (nuint)count, _stream.Value),
                "cuMemcpyHtoDAsync");
            Uploads++;
            _used = Math.Min((_used + count + Alignment - 1) / Alignment * Alignment, HalfBytes);
            bytes = bytes[count..];
            destination += (ulong)count;
        }
    }

    /// <summary>
    /// Copies bytes from the card, one part after the other, after all work queued before. Waits once for every half
    /// that they fill.
    /// </summary>
    public void Download(ReadOnlySpan<(ulong Address, int Bytes)> parts, Span<byte> bytes)
    {
        int filled = 0;
        foreach ((ulong address, int count) in parts)
        {
            for (int done = 0; done < count;)
            {
                int piece = Math.Min(count - done, HalfBytes - filled);
                _stream.Driver.Check(_stream.Driver.MemcpyDtoHAsync(_download.Pointer + filled, address + (ulong)done,
                    (nuint)piece, _stream.Value), "cuMemcpyDtoHAsync");
                filled += piece;
                done += piece;
                if (filled == HalfBytes)
                    Empty(ref bytes);
            }
        }

        Empty(ref bytes);

        void Empty(ref Span<byte> rest)
        {
            if (filled == 0)
                return;
            _stream.Synchronize();
            new ReadOnlySpan<byte>(_download.Pointer, filled).CopyTo(rest);
            rest = rest[filled..];
            filled = 0;
        }
    }

    public void Dispose()
    {
        foreach (CudaHandle handle in (CudaHandle[])[.. _halves, .. _read, _download])
            handle.Dispose();
    }

    private void NextHalf()
    {
        _read[_half].Record(_stream);
        _half = 1 - _half;
        _read[_half].Synchronize();
        _used = 0;
    }
}
