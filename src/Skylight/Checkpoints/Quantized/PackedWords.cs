using System.Runtime.InteropServices;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// The codes, zeros and scales of one weight at a time, for the forms that have them across rows: a part of the rows lies in
/// pieces all over the weight, so it is read whole, once, into a buffer that the next weight takes over. Not through the
/// memory map: that would leave the checkpoint's pages with the process, and end it if the file became shorter. And not
/// into managed memory, which would stay with the process when the model is loaded.
/// </summary>
internal sealed unsafe class PackedWords : IDisposable
{
    // A buffer as large as that (of an embedding) is not kept for weights that need less than half of it.
    private const long LargeBytes = 128 << 20;

    // Read by one thread at one time.
    private const int PartBytes = 1 << 21;

    private readonly Lock _lock = new();
    private readonly Buffer _buffer = new();
    private PackedParts? _held;
    private int _users;

    /// <summary>What belongs to a weight; reads it unless the last one asked for was the same.</summary>
    /// <exception cref="CheckpointException">The file cannot be read.</exception>
    public Lease Rent(PackedParts parts)
    {
        lock (_lock)
        {
            if (_held == parts || _users == 0)
            {
                if (_held != parts)
                {
                    // Until it was read there is nothing.
                    _held = null;
                    _buffer.Read(parts);
                    _held = parts;
                }

                _users++;
                return new Lease(this, _buffer, parts);
            }
        }

        // Somebody else reads another weight at the same time.
        var own = new Buffer();
        own.Read(parts);
        return new Lease(null, own, parts);
    }

    /// <summary>Frees the buffer.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _held = null;
            _buffer.Free();
        }
    }

    /// <summary>What was read, as long as it is held.</summary>
    public readonly ref struct Lease
    {
        private readonly PackedWords? _owner;
        private readonly Buffer _buffer;

        internal Lease(PackedWords? owner, Buffer buffer, PackedParts parts)
        {
            (_owner, _buffer) = (owner, buffer);
            Codes = MemoryMarshal.Cast<byte, uint>(buffer.Bytes(0, parts.Codes));
            Zeros = parts.Zeros is null ? [] : MemoryMarshal.Cast<byte, uint>(buffer.Bytes(parts.ZerosAt, parts.Zeros));
            Scales = buffer.Bytes(parts.ScalesAt, parts.Scales);
        }

        /// <summary>All words of codes.</summary>
        public ReadOnlySpan<uint> Codes { get; }

        /// <summary>All words of zeros; empty where there are none.</summary>
        public ReadOnlySpan<uint> Zeros { get; }

        /// <summary>All scales, as stored.</summary>
        public ReadOnlySpan<byte> Scales { get; }

        /// <summary>Lets another weight have the buffer.</summary>
        public void Dispose()
        {
            if (_owner is null)
            {
                _buffer.Free();
                return;
            }

            lock (_owner._lock)
                _owner._users--;
        }
    }

    /// <summary>Memory of the system's.</summary>
    internal sealed class Buffer
    {
        private byte* _start;
        private long _bytes;

        // Of a reader that nobody disposed.
        ~Buffer() => Free();

        /// <summary>The bytes of a tensor that was read to a place.</summary>
        public ReadOnlySpan<byte> Bytes(long at, PlainTensor tensor) => new(_start + at, (int)tensor.Entry.ByteCount);

        /// <summary>Reads what belongs to a weight on all cores.</summary>
        public void Read(PackedParts parts)
        {
            long bytes = parts.ScalesAt + parts.Scales.Entry.ByteCount;
            if (_bytes < bytes || (_bytes > LargeBytes && _bytes / 2 > bytes))
            {
                Free();
                _start = (byte*)NativeMemory.Alloc((nuint)bytes);
                _bytes = bytes;
            }

            Read(parts.Codes, 0);
            if (parts.Zeros is { } zeros)
                Read(zeros, parts.ZerosAt);
            Read(parts.Scales, parts.ScalesAt);
        }

        /// <summary>Gives the memory back.</summary>
        public void Free()
        {
            NativeMemory.Free(_start);
            _start = null;
            _bytes = 0;
        }

        private void Read(PlainTensor tensor, long at)
        {
            int count = (int)tensor.Entry.ByteCount;
            ParallelParts.Run((count + PartBytes - 1) / PartBytes, part =>
            {
                int first = part * PartBytes;
                tensor.Source.ReadBytes(tensor.Entry, first,
                    new Span<byte>(_start + at + first, Math.Min(PartBytes, count - first)));
            });
        }
    }
}

/// <summary>The tensors of a weight whose codes are packed across rows.</summary>
/// <param name="Codes">Words of 32 bits.</param>
/// <param name="Zeros">Such words too, or null.</param>
/// <param name="Scales">Floating-point.</param>
internal sealed record PackedParts(PlainTensor Codes, PlainTensor? Zeros, PlainTensor Scales)
{
    /// <summary>Where the zeros lie in a buffer, behind the codes.</summary>
    public long ZerosAt => Codes.Entry.ByteCount;

    /// <summary>Where the scales lie in a buffer, behind the zeros.</summary>
    public long ScalesAt => ZerosAt + (Zeros?.Entry.ByteCount ?? 0);
}
