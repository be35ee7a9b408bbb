using Iced.Intel;
using Skylight.Cpu;
using Skylight.Cpu.Assembly;

namespace Skylight.Bench;

/// <summary>
/// What the processor's dot products, or its products of matrices, could do: loops over registers alone, on all threads, assembled as the kernels are.
/// </summary>
internal static unsafe class AssembledPeak
{
    private const int Registers = 24;
    private const int Tiles = 4;
    private const int Turns = 1 << 20;

    private static readonly bool HasMatrices = BFloat16Kernels.Has(BFloat16Instruction.Matrices);

    private static readonly nint BFloat16Loop = HasMatrices ? MakeMatrices()
            : BFloat16Kernels.AreAvailable ? Make(isInteger: false) : 0,
        BytesLoop = QuantizedKernels.AreAvailable ? Make(isInteger: true) : 0;

    /// <summary>Operations of one run: a multiplication and an addition for each pair of elements.</summary>
    public static double OperationsOf(bool isInteger) => 2.0 * Turns * CpuParallel.ThreadCount
        * (isInteger ? 64 * Registers : HasMatrices ? 16 * 16 * 32 * Tiles : 32 * Registers);

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

    private static nint MakeMatrices()
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        var configuration = new byte[64];
        configuration[0] = 1;
        for (int tile = 0; tile < 8; tile++)
            (configuration[16 + 2 * tile], configuration[48 + tile]) = (64, 16);
        code.ldtilecfg(AssemblerRegisters.__[kernel.Constant<byte>(configuration)]);
        kernel.Loop(AssemblerRegisters.rdi, () =>
        {
            code.tdpbf16ps(AssemblerRegisters.tmm0, AssemblerRegisters.tmm4, AssemblerRegisters.tmm6);
            code.tdpbf16ps(AssemblerRegisters.tmm1, AssemblerRegisters.tmm4, AssemblerRegisters.tmm7);
            code.tdpbf16ps(AssemblerRegisters.tmm2, AssemblerRegisters.tmm5, AssemblerRegisters.tmm6);
            code.tdpbf16ps(AssemblerRegisters.tmm3, AssemblerRegisters.tmm5, AssemblerRegisters.tmm7);
        });
        code.tilerelease();
        return kernel.Finish();
    }
}
