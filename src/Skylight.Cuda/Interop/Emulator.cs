using System.Runtime.InteropServices;

namespace Skylight.Cuda.Interop;

/// <summary>What the emulator offers besides the functions of CUDA.</summary>
internal sealed unsafe class Emulator
{
    private readonly delegate* unmanaged<byte*> _lastReport;
    private readonly delegate* unmanaged<byte*> _fingerprint;
    private readonly delegate* unmanaged<int> _reset;

    /// <summary>Looks up the functions of the library.</summary>
    public Emulator(LibraryFunctions library)
    {
        _lastReport = (delegate* unmanaged<byte*>)library.Function("simtLastReport");
        _fingerprint = (delegate* unmanaged<byte*>)library.Function("simtFingerprint");
        _reset = (delegate* unmanaged<int>)library.Function("simtReset");
    }

    /// <summary>What it found wrong last, with kernel and line; empty when nothing was.</summary>
    public string LastReport => Text(_lastReport());

    /// <summary>Names this build of the emulator; modules of another one do not load.</summary>
    public string Fingerprint => Text(_fingerprint());

    /// <summary>Makes the context usable again after a failed kernel.</summary>
    public void Reset() => _ = _reset();

    private static string Text(byte* text) => Marshal.PtrToStringUTF8((nint)text) ?? "";
}
