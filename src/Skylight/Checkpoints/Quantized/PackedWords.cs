using System.Runtime.InteropServices;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// The words of one weight at a time, for the forms that pack codes across rows: a part of the rows lies in pieces all over
/// the weight, so it is read whole, once, into a buffer that the next weight takes over. Not through the memory map: that
/// would leave the checkpoint's pages with the process, and end it if the file became shorter. And not into managed memory,
/// which would stay with the process when the model is loaded.
/// </summary>
internal sealed unsafe class PackedWords : IDisposable
{
    // A buffer as large as that (of an embedding) is not kept for weights that need less than half of it.
    private const long LargeBytes = 128 << 20;

    // Read by one thread at one time.
    private const int PartBytes = 1 << 21;

    private readonly Lock _lock = new();
    private readonly Buffer _buffer = new();
    private PlainTensor? _held;
    private int _users;

    /// <summary>The words of a tensor; reads it unless the last one asked for was the same.</summary>
    /// <exception cref="CheckpointException">The file cannot be read.</exception>
    public Lease Rent(PlainTensor tensor)
    {
        lock (_lock)
        {
            if (_held == tensor || _users == 0)
            {
                if (_held != tensor)
                {
                    // Until it was read there is nothing.
                    _held = null;
                    _buffer.Read(tensor);
                    _held = tensor;
                }

                _users++;
                return new Lease(this, _buffer, tensor);
            }
        }

        // Somebody else reads another weight at the same time.
        var own = new Buffer();
        own.Read(tensor);
        return new Lease(null, own, tensor);
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

    /// <summary>The words, as long as they are held.</summary>
    public readonly ref struct Lease
    {
        private readonly PackedWords? _owner;
        private readonly Buffer _buffer;

        internal Lease(PackedWords? owner, Buffer buffer, PlainTensor tensor)
        {
            (_owner, _buffer) = (owner, buffer);
            Words = buffer.Words(tensor);
        }

        /// <summary>All words of the tensor.</summary>
        public ReadOnlySpan<uint> Words { get; }

        /// <summary>Lets another tensor have the buffer.</summary>
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

        /// <summary>The words that were read.</summary>
        public ReadOnlySpan<uint> Words(PlainTensor tensor) => new(_start, (int)(tensor.Entry.ByteCount / sizeof(uint)));

        /// <summary>Reads a tensor on all cores.</summary>
        public void Read(PlainTensor tensor)
        {
            int count = (int)tensor.Entry.ByteCount;
            if (_bytes < count || (_bytes > LargeBytes && _bytes / 2 > count))
            {
                Free();
                _start = (byte*)NativeMemory.Alloc((nuint)count);
                _bytes = count;
            }

            byte* start = _start;
            ParallelParts.Run((count + PartBytes - 1) / PartBytes, part =>
            {
                int first = part * PartBytes;
                tensor.Source.ReadBytes(tensor.Entry, first, new Span<byte>(start + first, Math.Min(PartBytes, count - first)));
            });
        }

        /// <summary>Gives the memory back.</summary>
        public void Free()
        {
            NativeMemory.Free(_start);
            _start = null;
            _bytes = 0;
        }
    }
}
