using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>
/// Native buffers of attention that each thread keeps and reuses: no garbage, no page faults after the first call.
/// </summary>
internal static unsafe class AttentionScratch
{
    [ThreadStatic]
    private static Buffer? _tile;

    [ThreadStatic]
    private static Buffer? _sequence;

    /// <summary>Room for a tile of rows.</summary>
    public static float* Tile(nint floats) => (_tile ??= new Buffer()).Get(floats);

    /// <summary>Room for the keys and values of a sequence.</summary>
    public static float* Sequence(nint floats) => (_sequence ??= new Buffer()).Get(floats);

    private sealed class Buffer
    {
        private void* _memory;
        private nint _floats;

        // A thread that ends leaves its buffers to the garbage collector.
        ~Buffer() => NativeMemory.AlignedFree(_memory);

        public float* Get(nint floats)
        {
            if (floats > _floats)
            {
                NativeMemory.AlignedFree(_memory);
                _memory = null;
                _floats = 0;
                // Half as much again, so that slowly growing sequences do not reserve at every call.
                nint size = Math.Max(floats + floats / 2, 1024);
                _memory = NativeMemory.AlignedAlloc((nuint)size * sizeof(float), 64);
                _floats = size;
            }

            return (float*)_memory;
        }
    }
}
