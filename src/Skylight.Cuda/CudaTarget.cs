using System.Globalization;

namespace Skylight.Cuda;

/// <summary>
/// What a binding may know of the card that a kernel is chosen for. Describing and compiling kernels needs no more than
/// this.
/// </summary>
/// <param name="Architecture">The compute capability as one number: 80, 86, 89, 90, 100.</param>
/// <param name="ArchitectureName">
/// What NVRTC compiles for: <c>sm_90a</c> is machine code, whose suffix gives the instructions of that architecture
/// only (<c>wgmma</c>);
/// <c>compute_90</c> is PTX that the driver translates, for a card that NVRTC does not know.
/// </param>
/// <param name="MultiprocessorCount">How many blocks can run side by side, at least. In deterministic mode no reduction
/// may depend on it.</param>
/// <param name="SharedBytesPerBlock">The most shared memory that one block may ask for, in bytes.</param>
/// <param name="Deterministic">
/// Whether the same numbers must come out whatever the batch and whatever else runs: no atomic additions, no library
/// products, no split that depends on the load.
/// </param>
public sealed record CudaTarget(int Architecture, string ArchitectureName, int MultiprocessorCount,
    int SharedBytesPerBlock, bool Deterministic = true)
{
    /// <summary>An A100: compute capability 8.0, 108 multiprocessors, 163 KiB of shared memory for a block.</summary>
    public static CudaTarget Ampere { get; } = new(80, "sm_80", 108, 163 * 1024);

    /// <summary>
    /// An H100 or H200: compute capability 9.0, 132 multiprocessors, 227 KiB of shared memory for a block.
    /// </summary>
    public static CudaTarget Hopper { get; } = new(90, "sm_90a", 132, 227 * 1024);

    /// <summary>
    /// Whether kernels are compiled to PTX, which the driver translates; otherwise to the card's machine code.
    /// </summary>
    public bool UsesPtx => CompiledForm.IsPtx(ArchitectureName);

    /// <summary>
    /// Whether kernels may use the instructions that only compute capability 9.0 has (<c>wgmma</c>, <c>setmaxnreg</c>):
    /// neither older nor newer cards run them.
    /// </summary>
    public bool HasHopperInstructions => ArchitectureName == "sm_90a";

    /// <summary>
    /// Whether products may go by <c>wgmma</c>, where the card has it. It need not round as <c>mma.sync</c> does, so this
    /// is the same for everything that runs on a device.
    /// </summary>
    public bool UsesWarpgroups { get; init; } = true;

    /// <summary>
    /// Whether kernels that wait for the one before them themselves may be started before it has ended, where the card can
    /// (Hopper and newer).
    /// </summary>
    public bool UsesProgrammaticLaunch { get; init; } = true;

    /// <summary>
    /// Whether large products by <c>wgmma</c> are made by clusters of two blocks, which read a factor once for both. It
    /// changes no bit.
    /// </summary>
    public bool UsesClusters { get; init; } = true;

    /// <summary>
    /// Whether kernels are started so: they must also be compiled for an architecture that can wait, or they would not.
    /// </summary>
    internal bool StartsEarly => UsesProgrammaticLaunch && Architecture >= 90
        && int.Parse(ArchitectureName.AsSpan(ArchitectureName.IndexOf('_') + 1).TrimEnd('a'), CultureInfo.InvariantCulture) >= 90;

    /// <summary>
    /// A typical card of an architecture, for compiling without a card. Whether NVRTC knows it is another question:
    /// <see cref="CudaCompiler.TargetFor"/>.
    /// </summary>
    /// <param name="architectureName"><c>sm_80</c>, <c>sm_86</c>, <c>sm_87</c>, <c>sm_89</c>, <c>sm_90</c>,
    /// <c>sm_90a</c>, <c>sm_100</c>, <c>sm_103</c>, <c>sm_120</c> or <c>sm_121</c>; the last four also with
    /// <c>a</c>.</param>
    /// <exception cref="ArgumentException">There is no such architecture, or the kernels cannot run on it (they need
    /// 8.0 or newer).</exception>
    public static CudaTarget For(string architectureName) => architectureName switch
    {
        "sm_80" => Ampere,
        "sm_86" => new CudaTarget(86, architectureName, 84, 99 * 1024),
        "sm_87" => new CudaTarget(87, architectureName, 16, 163 * 1024),
        "sm_89" => new CudaTarget(89, architectureName, 128, 99 * 1024),
        "sm_90" or "sm_90a" => Hopper with { ArchitectureName = architectureName },
        "sm_100" or "sm_100a" => new CudaTarget(100, architectureName, 148, 227 * 1024),
        "sm_103" or "sm_103a" => new CudaTarget(103, architectureName, 148, 227 * 1024),
        "sm_120" or "sm_120a" => new CudaTarget(120, architectureName, 170, 99 * 1024),
        "sm_121" or "sm_121a" => new CudaTarget(121, architectureName, 48, 99 * 1024),
        _ => throw new ArgumentException(
            $"'{architectureName}' is not an architecture that the kernels can be compiled for. They need bfloat16 " +
            $"matrix instructions: sm_80, sm_86, sm_87, sm_89, sm_90, sm_90a, sm_100, sm_103, sm_120 or sm_121 " +
            $"(the last four also with 'a').",
            nameof(architectureName)),
    };

    /// <summary>
    /// The name of an architecture for NVRTC. Only for 9.0 are there kernels with instructions of one architecture,
    /// which the suffix gives.
    /// </summary>
    internal static string NameOf(int architecture) =>
        string.Create(CultureInfo.InvariantCulture, $"sm_{architecture}{(architecture == 90 ? "a" : "")}");

    /// <summary>
    /// Why the kernels cannot run on an architecture, to be read after the card's name; null when they can.
    /// </summary>
    internal static string? WhyUnsupported(int architecture) => architecture >= 80
        ? null
        : string.Create(CultureInfo.InvariantCulture,
            $"has compute capability {architecture / 10}.{architecture % 10}; the kernels need bfloat16 matrix " +
            $"instructions, 8.0 or newer (Ampere)");
}
