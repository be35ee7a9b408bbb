using System.Text;

namespace Skylight.Fuzz;

/// <summary>
/// Spoils inputs: bits, bytes, pieces, numbers, values of JSON, words of the format, pieces of other inputs.
/// </summary>
/// <param name="words">Words of the format.</param>
internal sealed class Mutator(IReadOnlyList<byte[]> words)
{
    private static readonly int[] s_numbers = [0, 1, -1, 2, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536,
        int.MaxValue, int.MinValue];

    private static readonly byte[][] s_values =
    [
        .. new[]
        {
            "0", "-1", "1", "2", "0.5", "1e999", "-1e-999", "1E+2", "2147483647", "2147483648", "-2147483649",
            "9223372036854775807", "9223372036854775808", "1.0", "null", "true",
            "false", "\"\"", "\"a\"", "\"\\ud800\"", "\"\\udc00x\"", "\"\\u0000\"", "\"\\\\\"", "\"NaN\"", "NaN", "[]",
            "{}", "[null]", "[[1],[2]]", "{\"a\":1}", "{\"\\ud800\":1}", "[1,2,3]",
            "\"data:image/png;base64,AA==\"", "1e3", "00", "-", "\"\ufffd\"", "\"🙂\"",
        }.Select(Encoding.UTF8.GetBytes),
        [(byte)'"', 0xFF, 0xFE, (byte)'"'],
        [(byte)'"', 0xED, 0xA0, 0x80, (byte)'"'],
        [.. Enumerable.Repeat((byte)'[', 70), .. Enumerable.Repeat((byte)']', 70)],
        [.. Enumerable.Repeat((byte)'9', 400)],
    ];

    /// <summary>Spoils an input.</summary>
    /// <param name="input">The input; stays as it is.</param>
    /// <param name="other">Another one, to take pieces from.</param>
    /// <param name="mostBytes">The most bytes of the result.</param>
    /// <param name="random">Says how.</param>
    public byte[] Mutate(byte[] input, byte[] other, int mostBytes, Random random)
    {
        byte[] data = [.. input];
        // Of texts with values half stay JSON: what reads the values is behind what reads the text.
        if (words.Count > 0 && random.Next(2) == 0)
        {
            for (int times = random.Next(1, 4); times > 0 && data.Length > 0; times--)
                data = ReplaceValue(data, random.Next(data.Length), other, random);
            return data.Length <= mostBytes ? data : input;
        }

        for (int times = 1 << random.Next(4); times > 0; times--)
            data = Change(data, other, random);
        return data.Length <= mostBytes ? data : data[..mostBytes];
    }

    private byte[] Change(byte[] data, byte[] other, Random random)
    {
        if (data.Length == 0)
            return [.. other];
        // Half of the damage goes to the beginning, where every bit means something.
        int at = random.Next(2) == 0 ? random.Next(data.Length) : random.Next(Math.Min(data.Length, 700));
        int length = random.Next(1, 1 + Math.Min(data.Length - at, random.Next(2) == 0 ? 4 : 200));
        switch (random.Next(13))
        {
            case 0:
                data[at] ^= (byte)(1 << random.Next(8));
                return data;
            case 1:
                data[at] = (byte)random.Next(256);
                return data;
            case 2:
                random.NextBytes(data.AsSpan(at, length));
                return data;
            case 3:
                data.AsSpan(at, length).Fill((byte)(random.Next(2) * 255));
                return data;
            case 4:
                return [.. data[..at], .. data[(at + length)..]];
            case 5:
                return [.. data[..at], .. data.AsSpan(at, length), .. data[at..]];
            case 6:
                int from = random.Next(other.Length);
                return [.. data[..at], .. other.AsSpan(from, Math.Min(length, other.Length - from)),
                    .. data[Math.Min(data.Length, at + random.Next(length))..]];
            case 7:
                WriteNumber(data.AsSpan(at), random);
                return data;
            case 8 when words.Count > 0:
                byte[] word = words[random.Next(words.Count)];
                return [.. data[..at], .. word,
                    .. data[(random.Next(2) == 0 ? at : Math.Min(data.Length, at + word.Length))..]];
            case 9 when random.Next(4) == 0:
                return data[..at];
            case 10 or 11 or 12:
                return ReplaceValue(data, at, other, random);
            default:
                data[at] += (byte)random.Next(-4, 5);
                return data;
        }
    }

    private static void WriteNumber(Span<byte> data, Random random)
    {
        int number = s_numbers[random.Next(s_numbers.Length)], bytes = Math.Min(data.Length, 1 << random.Next(4));
        bool ascending = random.Next(2) == 0;
        for (int index = 0; index < bytes; index++)
            data[ascending ? index : bytes - 1 - index] = (byte)((long)number >> (8 * index));
    }

    /// <summary>Puts another value behind the next colon, comma or bracket.</summary>
    private static byte[] ReplaceValue(byte[] data, int at, byte[] other, Random random)
    {
        int start = data.AsSpan(at).IndexOfAny(":,["u8);
        if (start < 0)
            return data;
        start += at + 1;
        int end = Value(data, start);
        byte[] value = s_values[random.Next(s_values.Length)];
        int from = random.Next(other.Length);
        if (random.Next(4) == 0 && other.AsSpan(from).IndexOfAny(":,["u8) is >= 0 and var found)
            value = other[(from + found + 1)..Value(other, from + found + 1)];
        return random.Next(8) == 0 ? [.. data[..start], .. value, (byte)',', .. data[start..]]
            : [.. data[..start], .. value, .. data[end..]];
    }

    /// <summary>Where a value ends that begins here.</summary>
    private static int Value(byte[] data, int start)
    {
        int depth = 0;
        bool quoted = false;
        for (int index = start; index < data.Length; index++)
        {
            byte mark = data[index];
            if (quoted)
            {
                if (mark == '\\')
                    index++;
                else if (mark == '"')
                    quoted = false;
                continue;
            }

            if (mark == '"')
                quoted = true;
            else if (mark is (byte)'{' or (byte)'[')
                depth++;
            else if (mark is (byte)'}' or (byte)']' && --depth < 0)
                return index;
            else if (mark == ',' && depth == 0)
                return index;
        }

        return data.Length;
    }
}
