using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using SharpFuzz.Common;

namespace Skylight.Fuzz;

/// <summary>
/// Which branches inputs take, and how often, where SharpFuzz has instrumented the assemblies; elsewhere nothing is
/// ever new.
/// </summary>
internal sealed unsafe class Coverage
{
    private const int Places = 1 << 16;

    // Never freed: instrumented code writes to it for as long as the program runs.
    private static readonly byte* s_counts = (byte*)NativeMemory.AllocZeroed(Places);

    private readonly byte[] _seen = new byte[Places];

    /// <summary>How many branches have been taken.</summary>
    public int Branches => _seen.Count(bits => bits != 0);

    /// <summary>
    /// Whether the last input took a branch that none took before, or took one in another order of times; then forgets
    /// it.
    /// </summary>
    public bool IsNew()
    {
        bool isNew = false;
        var words = new Span<ulong>(s_counts, Places / sizeof(ulong));
        for (int word = 0; word < words.Length; word++)
        {
            if (words[word] == 0)
                continue;
            for (int place = word * sizeof(ulong); place < (word + 1) * sizeof(ulong); place++)
            {
                byte bits = Class(s_counts[place]);
                if ((bits & ~_seen[place]) != 0)
                {
                    _seen[place] |= bits;
                    isNew = true;
                }
            }

            words[word] = 0;
        }

        Trace.PrevLocation = 0;
        return isNew;
    }

    /// <summary>Before anything instrumented runs: without a place to count it would write to nowhere.</summary>
    [ModuleInitializer]
    internal static void Begin() => Trace.SharedMem = s_counts;

    /// <summary>Counts that differ little are alike.</summary>
    private static byte Class(byte count) => count switch
    {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        < 8 => 8,
        < 16 => 16,
        < 32 => 32,
        < 128 => 64,
        _ => 128,
    };
}
