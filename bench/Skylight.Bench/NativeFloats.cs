using System.Runtime.InteropServices;

namespace Skylight.Bench;

/// <summary>Page-aligned native memory filled with small numbers.</summary>
internal sealed unsafe class NativeFloats : IDisposable
{
    /// <summary>Allocates and fills, so that every page exists.</summary>
    public NativeFloats(long count)
    {
        Pointer = (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), 4096);
        uint state = 12345;
        for (long i = 0; i < count; i++)
        {
            state = state * 1664525 + 1013904223;
            Pointer[i] = (int)state * (1f / int.MaxValue);
        }
    }

    /// <summary>The first float.</summary>
    public float* Pointer { get; }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.AlignedFree(Pointer);
}
