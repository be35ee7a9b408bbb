using System.Runtime.InteropServices;

namespace Skylight.Tests.Simt;

/// <summary>
/// What the emulator counted for a kernel: the struct of native/simt/source/counters.hpp. A request is one instruction
/// of a warp.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct EmulatorCounters
{
    public ulong Launches { get; init; }

    public ulong Blocks { get; init; }

    public ulong GlobalLoadRequests { get; init; }

    public ulong GlobalLoadSectors { get; init; }

    public ulong GlobalLoadBytes { get; init; }

    public ulong GlobalStoreRequests { get; init; }

    public ulong GlobalStoreSectors { get; init; }

    public ulong GlobalStoreBytes { get; init; }

    public ulong GlobalAtomicRequests { get; init; }

    public ulong SharedLoadRequests { get; init; }

    public ulong SharedLoadTransactions { get; init; }

    public ulong SharedStoreRequests { get; init; }

    public ulong SharedStoreTransactions { get; init; }

    public ulong SharedAtomicRequests { get; init; }

    public ulong SharedBankConflicts { get; init; }

    public ulong MatrixInstructions { get; init; }

    public ulong WarpgroupInstructions { get; init; }

    public ulong Barriers { get; init; }

    public ulong BulkCopies { get; init; }

    public ulong BulkLoadBytes { get; init; }

    public ulong BulkStoreBytes { get; init; }
}
