namespace Skylight.Cuda;

/// <summary>
/// Pinned memory through which bytes go to the card and back. Uploads return when their bytes have been copied here; two halves take turns, so
/// that the host fills one while the card reads the other.
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
            _stream.Driver.Check(_stream.Driver.MemcpyHtoDAsync(destination, staged, (nuint)count, _stream.Value), "cuMemcpyHtoDAsync");
            _used = Math.Min((_used + count + Alignment - 1) / Alignment * Alignment, HalfBytes);
            bytes = bytes[count..];
            destination += (ulong)count;
        }
    }

    /// <summary>Copies bytes from the card, after all work queued before.</summary>
    public void Download(ulong source, Span<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int count = Math.Min(bytes.Length, HalfBytes);
            _stream.Driver.Check(_stream.Driver.MemcpyDtoHAsync(_download.Pointer, source, (nuint)count, _stream.Value), "cuMemcpyDtoHAsync");
            _stream.Synchronize();
            new ReadOnlySpan<byte>(_download.Pointer, count).CopyTo(bytes);
            bytes = bytes[count..];
            source += (ulong)count;
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
