using Skylight.Graphs;

namespace Skylight.Cpu;

/// <summary>Checks index data at run time, before anything is read or written through it.</summary>
internal static class IndexCheck
{
    /// <summary>Requires every index to be in [minimum, limit).</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is not; the message has the op, the position, the value and
    /// the limits.</exception>
    public static void Range(Op op, string name, ReadOnlySpan<int> indices, int minimum, int limit)
    {
        for (int position = 0; position < indices.Length; position++)
        {
            int index = indices[position];
            if (index < minimum || index >= limit)
                throw new ArgumentOutOfRangeException(name, index,
                    $"{op.Name}: {name}[{position}] is {index}, but must be at least {minimum} and less than {limit}.");
        }
    }
}
