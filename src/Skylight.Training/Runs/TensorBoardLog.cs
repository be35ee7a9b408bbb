using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace Skylight.Training.Runs;

/// <summary>
/// Scalars in TensorBoard's event files: records of TensorFlow's <c>TFRecord</c> form (length, masked CRC-32C of it, an
/// <c>Event</c> message, masked CRC-32C of it), the messages as tensorflow/core/util/event.proto and
/// framework/summary.proto have them.
/// </summary>
internal static class TensorBoardLog
{
    private const uint MaskDelta = 0xa282ead8;

    /// <summary>The first record of a file.</summary>
    public static byte[] Header(double wallTime)
    {
        var message = new MessageWriter();
        message.Double(1, wallTime);
        message.Bytes(3, "brain.Event:2"u8);
        return Record(message.ToArray());
    }

    /// <summary>One record with the scalars of a step.</summary>
    /// <param name="wallTime">Seconds since 1970.</param>
    /// <param name="step">The step.</param>
    /// <param name="scalars">Tags and values.</param>
    public static byte[] Scalars(double wallTime, long step, IEnumerable<(string Tag, double Value)> scalars)
    {
        var summary = new MessageWriter();
        foreach ((string tag, double number) in scalars)
        {
            var value = new MessageWriter();
            value.Bytes(1, Encoding.UTF8.GetBytes(tag));
            value.Float(2, (float)number);
            summary.Bytes(1, value.ToArray());
        }

        var message = new MessageWriter();
        message.Double(1, wallTime);
        message.Varint(2, (ulong)step);
        message.Bytes(5, summary.ToArray());
        return Record(message.ToArray());
    }

    private static byte[] Record(byte[] message)
    {
        byte[] record = new byte[sizeof(ulong) + sizeof(uint) + message.Length + sizeof(uint)];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)message.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedChecksum(record.AsSpan(0, 8)));
        message.CopyTo(record, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + message.Length), MaskedChecksum(message));
        return record;
    }

    /// <summary>CRC-32C, turned and shifted so that a checksum of bytes that hold a checksum is none.</summary>
    internal static uint MaskedChecksum(ReadOnlySpan<byte> bytes)
    {
        uint checksum = uint.MaxValue;
        foreach (byte value in bytes)
            checksum = BitOperations.Crc32C(checksum, value);
        return BitOperations.RotateRight(~checksum, 15) + MaskDelta;
    }

    /// <summary>A message of protocol buffers, field by field.</summary>
    private sealed class MessageWriter
    {
        private readonly List<byte> _bytes = [];

        public byte[] ToArray() => [.. _bytes];

        public void Varint(int field, ulong value)
        {
            Plain((uint)field << 3);
            Plain(value);
        }

        public void Double(int field, double value)
        {
            Plain(((uint)field << 3) | 1);
            Span<byte> bytes = stackalloc byte[sizeof(double)];
            BinaryPrimitives.WriteDoubleLittleEndian(bytes, value);
            _bytes.AddRange(bytes);
        }

        public void Bytes(int field, ReadOnlySpan<byte> value)
        {
            Plain(((uint)field << 3) | 2);
            Plain((ulong)value.Length);
            _bytes.AddRange(value);
        }

        public void Float(int field, float value)
        {
            Plain(((uint)field << 3) | 5);
            Span<byte> bytes = stackalloc byte[sizeof(float)];
            BinaryPrimitives.WriteSingleLittleEndian(bytes, value);
            _bytes.AddRange(bytes);
        }

        private void Plain(ulong value)
        {
            while (value >= 0x80)
            {
                _bytes.Add((byte)(value | 0x80));
                value >>= 7;
            }

            _bytes.Add((byte)value);
        }
    }
}
