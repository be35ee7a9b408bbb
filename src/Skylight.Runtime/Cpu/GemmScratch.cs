using System.Runtime.InteropServices;

namespace Skylight.Cpu;

/// <summary>Native buffers that each thread keeps and reuses: no garbage, no page faults after the first call.</summary>
internal static unsafe class GemmScratch
{
    private const nuint Alignment = 64;

    [ThreadStatic]
    private static Buffer? _panelBlock;

    [ThreadStatic]
    private static Buffer? _tile;

    [ThreadStatic]
    private static Buffer? _leftOperand;

    [ThreadStatic]
    private static Buffer? _sums;

    [ThreadStatic]
    private static Buffer? _fewRows;

    /// <summary>Room for a packed left operand.</summary>
    public static float* LeftOperand(nint floats) => (_leftOperand ??= new Buffer()).Get(floats);

    /// <summary>Room for sums between blocks of steps.</summary>
    public static float* Sums(nint floats) => (_sums ??= new Buffer()).Get(floats);

    /// <summary>Room for a block of the right operand.</summary>
    public static float* PanelBlock(nint floats) => (_panelBlock ??= new Buffer()).Get(floats);

    /// <summary>Room for the padded right operand of one tile.</summary>
    public static float* Tile(nint floats) => (_tile ??= new Buffer()).Get(floats);

    /// <summary>Room for a few rows of the left operand.</summary>
    public static float* FewRows(nint floats) => (_fewRows ??= new Buffer()).Get(floats);

    private sealed class Buffer
    {
        private void* _memory;
        private long _bytes;

        // A thread that ends leaves its buffers to the garbage collector.
        ~Buffer() => Free();

        public float* Get(nint floats)
        {
            long bytes = Math.Max(floats, 1024) * sizeof(float);
            if (bytes > _bytes)
            {
                Free();
                // What the C library is given back, it may keep.
                _memory = MappedMemory.IsFor(bytes) ? MappedMemory.Map(bytes)
                    : NativeMemory.AlignedAlloc((nuint)bytes, Alignment);
                _bytes = bytes;
            }

            return (float*)_memory;
        }

        private void Free()
        {
            if (_memory is null)
                return;
            if (MappedMemory.IsFor(_bytes))
                MappedMemory.Unmap((byte*)_memory, _bytes);
            else
                NativeMemory.AlignedFree(_memory);
            _memory = null;
            _bytes = 0;
        }
    }
}
