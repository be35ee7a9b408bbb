using System.Runtime.InteropServices;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// The words of one weight at a time, for the forms that pack codes across rows: a part of the rows lies in pieces all over
/// the weight, so it is read whole, once, into a buffer that the next weight takes over. Not through the memory map: that
/// would leave the checkpoint's pages with the process, and end it if the file became shorter.
/// </summary>
internal sealed class PackedWords
{
    private readonly Lock _lock = new();
    private byte[] _bytes = [];
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
                    if (_bytes.Length < tensor.Entry.ByteCount)
                        _bytes = GC.AllocateUninitializedArray<byte>((int)tensor.Entry.ByteCount);
                    Read(tensor, _bytes);
                    _held = tensor;
                }

                _users++;
                return new Lease(this, _bytes, tensor);
            }
        }

        // Somebody else reads another weight at the same time.
        byte[] own = GC.AllocateUninitializedArray<byte>((int)tensor.Entry.ByteCount);
        Read(tensor, own);
        return new Lease(null, own, tensor);
    }

    private static void Read(PlainTensor tensor, byte[] bytes) =>
        tensor.Source.ReadBytes(tensor.Entry, 0, bytes.AsSpan(0, (int)tensor.Entry.ByteCount));

    /// <summary>The words, as long as they are held.</summary>
    public readonly ref struct Lease(PackedWords? owner, byte[] bytes, PlainTensor tensor)
    {
        /// <summary>All words of the tensor.</summary>
        public ReadOnlySpan<uint> Words { get; } =
            MemoryMarshal.Cast<byte, uint>(bytes.AsSpan(0, (int)tensor.Entry.ByteCount));

        /// <summary>Lets another tensor have the buffer.</summary>
        public void Dispose()
        {
            if (owner is null)
                return;
            lock (owner._lock)
                owner._users--;
        }
    }
}
