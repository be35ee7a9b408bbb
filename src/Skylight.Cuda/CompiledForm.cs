using System.Globalization;
using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>What NVRTC compiles a card's kernels to.</summary>
/// <param name="ArchitectureName">
/// <c>sm_…</c>: machine code, where NVRTC knows the card. <c>compute_…</c>: PTX of the newest architecture before the
/// card's that NVRTC knows, which the driver translates. Null where neither can run.
/// </param>
/// <param name="Problem">Why neither can run, to be read after the card's name; null when one can.</param>
internal sealed record CompiledForm(string? ArchitectureName, string? Problem)
{
    private const string PtxPrefix = "compute_";

    /// <summary>Whether an architecture's name asks for PTX.</summary>
    public static bool IsPtx(string architectureName) => architectureName.StartsWith(PtxPrefix, StringComparison.Ordinal);

    /// <summary>The form for a card.</summary>
    /// <param name="architecture">The card's compute capability times ten, 80 or more.</param>
    /// <param name="nvrtc">The compiler.</param>
    /// <param name="driver">The newest CUDA that the driver supports; null where there is no driver.</param>
    public static CompiledForm For(int architecture, Nvrtc nvrtc, Version? driver) =>
        For(architecture, nvrtc.SupportedArchitectures, nvrtc.Version, driver);

    /// <summary>The form for a card.</summary>
    /// <param name="architecture">The card's compute capability times ten, 80 or more.</param>
    /// <param name="known">What NVRTC makes machine code for.</param>
    /// <param name="nvrtc">NVRTC's version.</param>
    /// <param name="driver">The newest CUDA that the driver supports; null where there is no driver.</param>
    public static CompiledForm For(int architecture, IReadOnlyList<int> known, Version nvrtc, Version? driver)
    {
        if (known.Contains(architecture))
            return new CompiledForm(CudaTarget.NameOf(architecture), null);
        int newest = known.Where(one => one < architecture && CudaTarget.WhyUnsupported(one) is null).DefaultIfEmpty(0)
            .Max();
        string card = string.Create(CultureInfo.InvariantCulture, $"sm_{architecture}");
        if (newest == 0)
            return new CompiledForm(null,
                $"NVRTC {nvrtc} makes no code that {card} can run: install another one (CUDA 12 or 13), or give its " +
                $"path in SKYLIGHT_NVRTC.");

        // A driver translates the PTX of its own CUDA and of older ones only; see docs/cuda.md.
        if (driver is not null && nvrtc > driver)
        {
            return new CompiledForm(null,
                $"NVRTC {nvrtc} does not know {card}, and the driver, which supports CUDA up to {driver}, cannot " +
                $"translate the PTX of a newer NVRTC: "
                + $"update the driver, or give in SKYLIGHT_NVRTC an NVRTC that knows {card} or is not newer than {driver}.");
        }

        return new CompiledForm(string.Create(CultureInfo.InvariantCulture, $"{PtxPrefix}{newest}"), null);
    }
}
