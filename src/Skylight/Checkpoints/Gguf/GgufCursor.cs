using System.Buffers.Binary;

namespace Skylight.Checkpoints.Gguf;

/// <summary>
/// Reads a header from its beginning on; what was read stays, so that values can be looked at later. Nothing is
/// believed of how long something is before the file is known to be that long.
/// </summary>
internal sealed class GgufCursor(string file, Stream stream, long fileLength)
{
    // Far above any vocabulary with its merges.
    private const int MostBytes = 1 << 29, FirstBytes = 64 << 10;

    private byte[] _bytes = new byte[(int)Math.Min(fileLength, FirstBytes)];
    private int _filled;

    /// <summary>Where the next thing begins.</summary>
    public int Position { get; private set; }

    /// <summary>The bytes of the file that follow.</summary>
    public long Remaining => fileLength - Position;

    /// <summary>All that was read.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes.AsMemory(0, Position);

    /// <summary>Reads some bytes; they move when more is read.</summary>
    /// <param name="count">How many.</param>
    /// <param name="what">What they are, for the error.</param>
    public ReadOnlySpan<byte> Take(ulong count, string what)
    {
        if (count > (ulong)Remaining)
            throw new CheckpointException(file,
                $"truncated or corrupt: {what} at byte {Position} takes {count} bytes, but the file has only " +
                $"{Remaining} from there. Copy or download it again.");
        if (count > (ulong)(MostBytes - Position))
            throw new CheckpointException(file,
                $"{what} at byte {Position} makes the header longer than {MostBytes} bytes, which no model needs. The " +
                $"file is corrupt.");
        int end = Position + (int)count;
        if (end > _filled)
            Fill(end);
        ReadOnlySpan<byte> taken = _bytes.AsSpan(Position, (int)count);
        Position = end;
        return taken;
    }

    public uint UInt32(string what) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, what));

    public ulong UInt64(string what) => BinaryPrimitives.ReadUInt64LittleEndian(Take(8, what));

    /// <summary>A name: a length, and text in UTF-8.</summary>
    public string Name(int most, string what)
    {
        ulong length = UInt64(what);
        if (length == 0 || length > (ulong)most)
            throw new CheckpointException(file,
                $"{what} at byte {Position - 8} has {length} bytes; supported: 1 to {most}. The file is corrupt.");
        ReadOnlySpan<byte> bytes = Take(length, what);
        return System.Text.Unicode.Utf8.IsValid(bytes) ? System.Text.Encoding.UTF8.GetString(bytes)
            : throw new CheckpointException(file,
                $"{what} at byte {Position - (int)length} is not UTF-8. The file is corrupt.");
    }

    private void Fill(int end)
    {
        if (end > _bytes.Length)
            Array.Resize(ref _bytes, (int)Math.Min(Math.Min(fileLength, MostBytes), Math.Max(end, 2L * _bytes.Length)));
        while (_filled < end)
        {
            int read = stream.Read(_bytes.AsSpan(_filled));
            if (read == 0)
                throw new CheckpointException(file,
                    "the file became shorter while it was read. Copy or download it again.");
            _filled += read;
        }
    }
}
