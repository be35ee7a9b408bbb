using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;

namespace Skylight.Checkpoints;

/// <summary>
/// How packed weights lie in a file. It follows from the model and its source alone, so a file is either exactly what is
/// expected or of no use: a head with the mark, a label for people, the text that says of what the weights follow and where
/// each lies, and checksums of pieces of all that comes behind; then the weights as the device stores them.
/// </summary>
internal sealed class WeightLayout
{
    /// <summary>What a checksum is of. Whole large pages, so that what was written at once can be mapped in such.</summary>
    public const int PieceBytes = 8 << 20;

    /// <summary>Of the label; what is shorter ends with zeros.</summary>
    public const int LabelBytes = 1024;

    private const int LargePage = 2 << 20, HeadBytes = 32;

    private readonly byte[] _text;
    private readonly byte[] _label;

    /// <summary>Places the parameters of a model.</summary>
    /// <param name="device">Which stores them.</param>
    /// <param name="identity">Lines that say what their values follow from.</param>
    /// <param name="label">What the file is of, for people.</param>
    /// <param name="parameters">In the order in which they will be there.</param>
    public WeightLayout(Device device, IEnumerable<string> identity, string label, IReadOnlyList<PersistentTensor> parameters)
    {
        Parameters = parameters;
        Offsets = new long[parameters.Count];
        Sizes = [.. parameters.Select(parameter => device.StorageBytes(parameter.Type))];
        var text = new StringBuilder();
        foreach (string line in identity)
            text.Append(line).Append('\n');
        long end = 0;
        for (int index = 0; index < parameters.Count; index++)
        {
            bool isLarge = Sizes[index] >= TensorFile.Alignment;
            Offsets[index] = RoundUp(end, isLarge ? TensorFile.Alignment : 64);
            end = Offsets[index] + Sizes[index];
            if (isLarge)
                end = RoundUp(end, TensorFile.Alignment);
            text.Append(parameters[index].Name).Append(' ').Append(parameters[index].Type).Append(' ')
                .Append(Offsets[index]).Append(' ').Append(Sizes[index]).Append('\n');
        }

        DataBytes = end;
        _text = Encoding.UTF8.GetBytes(text.ToString());
        _label = new byte[LabelBytes];
        Encoding.UTF8.GetEncoder().Convert(label, _label, flush: true, out _, out _, out _);
        DataStart = RoundUp(ChecksumsAt + PieceCount * sizeof(ulong), LargePage);
        Name = Hash(_text) + WeightCache.Ending;
    }

    /// <summary>The file's name, a hash of all that its content follows from.</summary>
    public string Name { get; }

    /// <summary>What is in the file.</summary>
    public IReadOnlyList<PersistentTensor> Parameters { get; }

    /// <summary>Where each begins, from <see cref="DataStart"/>.</summary>
    public long[] Offsets { get; }

    /// <summary>The bytes of each.</summary>
    public long[] Sizes { get; }

    /// <summary>Where weights begin.</summary>
    public long DataStart { get; }

    /// <summary>Their bytes, with what lies between them.</summary>
    public long DataBytes { get; }

    /// <summary>The bytes of the file.</summary>
    public long Length => DataStart + DataBytes;

    /// <summary>The pieces that have a checksum.</summary>
    public int PieceCount => (int)((DataBytes + PieceBytes - 1) / PieceBytes);

    private static ReadOnlySpan<byte> Mark => "skylight weights"u8;

    // Behind the mark and the checksum of the head.
    private static int CheckedAt => Mark.Length + sizeof(ulong);

    private int ChecksumsAt => HeadBytes + LabelBytes + _text.Length;

    /// <summary>The bytes of a piece.</summary>
    public int BytesOf(int piece) => (int)Math.Min(PieceBytes, DataBytes - (long)piece * PieceBytes);

    /// <summary>A name for content, the same in every process.</summary>
    public static ContentHash Hash(ReadOnlySpan<byte> content) => ContentHash.Of(default, content);

    /// <summary>
    /// The checksum of a piece, about as fast as memory is read: CRC-32C of four quarters side by side, because the
    /// instruction takes three cycles and can begin in each, and what is left over added to the first.
    /// </summary>
    public static ulong Checksum(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        int quarter = words.Length / 4;
        ReadOnlySpan<ulong> first = words[..quarter], second = words.Slice(quarter, quarter),
            third = words.Slice(2 * quarter, quarter), fourth = words.Slice(3 * quarter, quarter);
        uint a = 0, b = 1, c = 2, d = 3;
        // Said twice, because only the instruction itself is compiled beforehand.
        if (Sse42.X64.IsSupported)
        {
            for (int index = 0; index < first.Length; index++)
            {
                a = (uint)Sse42.X64.Crc32(a, first[index]);
                b = (uint)Sse42.X64.Crc32(b, second[index]);
                c = (uint)Sse42.X64.Crc32(c, third[index]);
                d = (uint)Sse42.X64.Crc32(d, fourth[index]);
            }
        }
        else
        {
            for (int index = 0; index < first.Length; index++)
            {
                a = BitOperations.Crc32C(a, first[index]);
                b = BitOperations.Crc32C(b, second[index]);
                c = BitOperations.Crc32C(c, third[index]);
                d = BitOperations.Crc32C(d, fourth[index]);
            }
        }

        foreach (byte rest in bytes[(4 * quarter * sizeof(ulong))..])
            a = BitOperations.Crc32C(a, rest);
        // Whatever one of them becomes changes the sum.
        return ((ulong)a << 32 | b) + ((ulong)d << 32 | c) * 0x9E3779B97F4A7C15;
    }

    /// <summary>All that comes before the weights and is not zero.</summary>
    public byte[] Head(ReadOnlySpan<ulong> checksums)
    {
        byte[] head = new byte[ChecksumsAt + checksums.Length * sizeof(ulong)];
        Mark.CopyTo(head);
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(CheckedAt), _text.Length);
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(CheckedAt + sizeof(int)), checksums.Length);
        _label.CopyTo(head, HeadBytes);
        _text.CopyTo(head, HeadBytes + LabelBytes);
        MemoryMarshal.AsBytes(checksums).CopyTo(head.AsSpan(ChecksumsAt));
        BinaryPrimitives.WriteUInt64LittleEndian(head.AsSpan(Mark.Length), Checksum(head.AsSpan(CheckedAt)));
        return head;
    }

    /// <summary>What is wrong with the head of a file; null if it is the one that is expected.</summary>
    /// <param name="file">Of the length that is expected.</param>
    /// <param name="checksums">Of the pieces.</param>
    public string? Fault(TensorFile file, out ulong[] checksums)
    {
        checksums = new ulong[PieceCount];
        ReadOnlySpan<byte> head = file.Bytes(0, ChecksumsAt + PieceCount * sizeof(ulong));
        if (!head.StartsWith(Mark) || BinaryPrimitives.ReadUInt64LittleEndian(head[Mark.Length..])
            != Checksum(head[CheckedAt..]))
            return "its head is damaged";
        if (!head.Slice(HeadBytes + LabelBytes, _text.Length).SequenceEqual(_text))
            return "its head is of other weights";
        head[ChecksumsAt..].CopyTo(MemoryMarshal.AsBytes(checksums.AsSpan()));
        return null;
    }

    /// <summary>The label in a file's first bytes; null where they are not those of such a file.</summary>
    public static string? LabelOf(ReadOnlySpan<byte> start)
    {
        if (start.Length < HeadBytes + LabelBytes || !start.StartsWith(Mark))
            return null;
        ReadOnlySpan<byte> label = start.Slice(HeadBytes, LabelBytes);
        int end = label.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? label : label[..end]);
    }

    private static long RoundUp(long value, long multiple) => (value + multiple - 1) / multiple * multiple;
}
