using System.Text;

namespace Skylight.Constraints;

/// <summary>Sets of characters as the bytes of UTF-8 that spell them, and no others.</summary>
internal static class Utf8Form
{
    private static readonly (int Last, int Length)[] s_lengths = [(0x7F, 1), (0x7FF, 2), (0xFFFF, 3), (0x10FFFF, 4)];

    /// <summary>One character of a set.</summary>
    public static Form Of(CharacterSet set)
    {
        var parts = new List<Form>();
        foreach ((int first, int last) in set.Ranges)
        {
            int next = first;
            foreach ((int end, int length) in s_lengths)
            {
                if (next > end || next > last)
                    continue;
                Split(next, Math.Min(end, last), length, parts);
                next = Math.Min(end, last) + 1;
            }
        }

        return Form.Either(parts);
    }

    /// <summary>Cuts a range of characters of one length into ranges of each byte.</summary>
    private static void Split(int first, int last, int length, List<Form> parts)
    {
        for (int rest = 1; rest < length; rest++)
        {
            int mask = (1 << (6 * rest)) - 1;
            if ((first & ~mask) == (last & ~mask))
                continue;
            if ((first & mask) != 0)
            {
                Split(first, first | mask, length, parts);
                Split((first | mask) + 1, last, length, parts);
                return;
            }

            if ((last & mask) != mask)
            {
                Split(first, (last & ~mask) - 1, length, parts);
                Split(last & ~mask, last, length, parts);
                return;
            }
        }

        Span<byte> low = stackalloc byte[4], high = stackalloc byte[4];
        new Rune(first).EncodeToUtf8(low);
        new Rune(last).EncodeToUtf8(high);
        var bytes = new Form[length];
        for (int index = 0; index < length; index++)
            bytes[index] = new Form.OneByte(low[index], high[index]);
        parts.Add(Form.Of(bytes));
    }
}
