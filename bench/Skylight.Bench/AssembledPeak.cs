using Iced.Intel;
using Skylight.Cpu;
using Skylight.Cpu.Assembly;

namespace Skylight.Bench;

/// <summary>
/// What the processor's dot products could do: loops over registers alone, on all threads, assembled as the kernels are.
/// </summary>
internal static unsafe class AssembledPeak
{
    private const int Registers = 24;
    private const int Turns = 1 << 20;

    private static readonly nint BFloat16Loop = BFloat16Kernels.AreAvailable ? Make(isInteger: false) : 0,
        BytesLoop = QuantizedKernels.AreAvailable ? Make(isInteger: true) : 0;

    /// <summary>Operations of one run: a multiplication and an addition for each pair of elements.</summary>
    public static double OperationsOf(bool isInteger) =>
        2.0 * (isInteger ? 64 : 32) * Registers * Turns * CpuParallel.ThreadCount;

    /// <summary>Runs the loop on every thread.</summary>
    public static void Run(bool isInteger)
    {
        nint loop = isInteger ? BytesLoop : BFloat16Loop;
        CpuParallel.For(CpuParallel.ThreadCount, _ => ((delegate* unmanaged<nint, void>)loop)(Turns));
    }

    private static nint Make(bool isInteger)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        for (int register = 0; register < Registers + 2; register++)
            code.vpxord(zmm[register], zmm[register], zmm[register]);
        kernel.Loop(AssemblerRegisters.rdi, () =>
        {
            for (int register = 0; register < Registers; register++)
            {
                if (isInteger)
                    code.vpdpbusd(zmm[register], zmm[Registers], zmm[Registers + 1]);
                else
                    code.vdpbf16ps(zmm[register], zmm[Registers], zmm[Registers + 1]);
            }
        });
        return kernel.Finish();
    }
}
