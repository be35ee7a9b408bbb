using Microsoft.Win32.SafeHandles;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// A mapped file of which tensors are cut: each large one keeps its own pages of the mapping, small ones are copied.
/// </summary>
internal sealed unsafe class CpuTensorFile : TensorFile
{
    private readonly CpuDevice _device;
    private readonly List<(long Start, long End)> _taken = [];
    private byte* _start;

    public CpuTensorFile(CpuDevice device, SafeFileHandle file)
    {
        _device = device;
        Length = RandomAccess.GetLength(file);
        if (Length == 0)
            throw new IOException("An empty file cannot be mapped.");
        _start = MappedMemory.MapFile(file, Length);
    }

    ~CpuTensorFile() => Dispose(disposing: false);

    public override long Length { get; }

    public override ReadOnlySpan<byte> Bytes(long offset, int count)
    {
        Check(offset, count);
        return new ReadOnlySpan<byte>(_start + offset, count);
    }

    public override Tensor Take(long offset, TensorType type)
    {
        long bytes = CpuDevice.BytesOf(type);
        Check(offset, bytes);
        if (offset % (bytes >= Alignment ? Alignment : 64) != 0)
            throw new ArgumentException($"{type} cannot begin at byte {offset} of a file.", nameof(offset));
        if (!MappedMemory.IsFor(bytes))
        {
            Tensor copy = _device.AllocateTensor(type);
            Buffer.MemoryCopy(_start + offset, CpuMemory.Pointer(copy), bytes, bytes);
            return copy;
        }

        long page = Environment.SystemPageSize, end = Math.Min((offset + bytes + page - 1) / page * page, Length);
        _taken.Add((offset, end));
        return new Tensor(_device.Counted(new CpuMemory(_start + offset, bytes)), 0, type);
    }

    protected override void Dispose(bool disposing)
    {
        if (_start is null)
            return;
        long next = 0;
        _taken.Sort();
        foreach ((long start, long end) in _taken)
        {
            GiveBack(next, start);
            next = end;
        }

        GiveBack(next, Length);
        _start = null;
    }

    private void GiveBack(long start, long end)
    {
        if (end > start)
            MappedMemory.Unmap(_start + start, end - start);
    }

    private void Check(long offset, long bytes)
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length - bytes);
    }
}
