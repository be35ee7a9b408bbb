using Skylight.Cli.Kernels;

namespace Skylight.Tests.Cli.Kernels;

/// <summary>Reading nvdisasm's text: functions, loops, what instructions cost, and what a table refuses.</summary>
public sealed class MachineCodeTests
{
    // Two kernels; the first waits on a barrier inside of its main loop, which is the middle one of three.
    private const string Listing = """
        	.section	.text.first,"ax",@progbits
        first:
        .text.first:
                /*0000*/                   LDC R1, c[0x0][0x28] ;
        .L_x_0:
                /*0010*/                   FADD R2, R2, R3 ;
                /*0020*/               @P0 BRA `(.L_x_0) ;
        .L_x_3:
                /*0030*/                   LDSM.16.M88.4 R4, [R8] ;
        .L_x_1:
                /*0040*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0 ;
                /*0050*/              @!P0 BRA `(.L_x_1) ;
                /*0060*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24 ;
                /*0070*/                   HGMMA.64x256x16.F32.BF16 R24, R4, gdesc[UR8], R24, gsb0 ;
                /*0080*/                   MUFU.EX2 R2, R2 ;
                /*0090*/                   IMAD.WIDE.U32 R2, R2, R3, R4 ;
                /*00a0*/              @!P1 BRA `(.L_x_3) ;
                /*00b0*/                   HMMA.16816.F32.BF16 R68, R88, R20, R68 ;
                /*00c0*/                   BRA `(.L_x_9) ;
        .L_x_9:
                /*00d0*/                   EXIT ;
        	.section	.text.second,"ax",@progbits
        second:
                /*0000*/                   STL [R1], R2 ;
                /*0010*/                   EXIT ;
        """;

    private static readonly KernelFigures s_figures = new("a.cu first", "sm_90a", 100, 0, 0, 0, 256);

    private static IReadOnlyList<MachineFunction> Code =>
        MachineFunction.Read(Listing.Replace("\\t", "\t", StringComparison.Ordinal));

    [Fact]
    public void The_main_loop_is_the_one_that_multiplies_not_the_wait_inside_of_it()
    {
        Assert.Equal(["first", "second"], Code.Select(function => function.EntryPoint));
        Assert.Equal(3, Code[0].Loops.Count);
        KernelAnalysis analysis = KernelAnalysis.Of(s_figures, "first", Code);
        Assert.Equal(8, analysis.LoopInstructions);
        Assert.Equal("HGMMA+HMMA", analysis.Products);
        // N/2 cycles for a warpgroup of four warps; the second has its left factor in registers.
        Assert.Equal((64 + 128) / 4.0, analysis.Tensor);
        Assert.Equal(4 + ((4096 + 2048) / 128.0 / 4) + (8192 / 128.0 / 4), analysis.Shared);
        Assert.Equal(2, analysis.Special);
        Assert.Equal(0.5, analysis.Integer);
        Assert.Equal(2, analysis.Issue);
        Assert.Equal("tensor", analysis.Bound);
        Assert.Equal(100, analysis.TensorSharePercent);
        Assert.Equal(0, analysis.LocalAccesses);
    }

    [Fact]
    public void A_rare_piece_at_the_end_that_goes_back_is_no_loop()
    {
        // The second try of a wait, out of the way.
        MachineFunction function = Assert.Single(MachineFunction.Read("""
            	.section	.text.third,"ax",@progbits
            .L_x_0:
                    /*0000*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0 ;
                    /*0010*/              @!P0 BRA `(.L_x_2) ;
            .L_x_1:
                    /*0020*/                   FADD R2, R2, R3 ;
                    /*0030*/               @P1 BRA `(.L_x_0) ;
                    /*0040*/                   EXIT ;
            .L_x_2:
                    /*0050*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0 ;
                    /*0060*/              @!P0 BRA `(.L_x_2) ;
                    /*0070*/                   BRA `(.L_x_1) ;
            """));
        Assert.Equal([new MachineLoop(0, 3), new MachineLoop(5, 6)], function.Loops);
    }

    [Fact]
    public void A_kernel_without_a_loop_is_counted_whole()
    {
        KernelAnalysis analysis = KernelAnalysis.Of(s_figures, "second", Code);
        Assert.Equal((0, 1, ""), (analysis.LoopInstructions, analysis.LocalAccesses, analysis.Products));
        Assert.Contains("1 loads or stores", Assert.Single(KernelAnalysis.Compare([analysis], [analysis])),
            StringComparison.Ordinal);
        Assert.Contains("shows no third",
            Assert.Throws<Skylight.Cuda.CudaException>(() => KernelAnalysis.Of(s_figures, "third", Code)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_worse_is_refused_and_what_differs_is_told()
    {
        KernelAnalysis then = KernelAnalysis.Of(s_figures, "first", Code);
        Assert.Empty(KernelAnalysis.Compare([then], [then]));
        Assert.Empty(KernelAnalysis.Compare([then with { Registers = 99 }], [then]));
        Fault(then with { Registers = 101 }, "101 registers");
        Fault(then with { Products = "HMMA" }, "'HMMA', the table says 'HGMMA+HMMA'");
        Fault(then with { Architecture = "sm_100" }, "not in the table");
        var mix = new SortedDictionary<string, int>(then.Mix, StringComparer.Ordinal) { ["SHFL"] = 200, ["MUFU"] = 0 };
        Fault(then with { Shared = 200, Mix = mix }, "MUFU 1 → 0, SHFL 0 → 200");
        Assert.Contains("tensor share 100 → 24 %",
            Assert.Single(KernelAnalysis.Differences([then with { Shared = 200, Mix = mix }], [then])),
            StringComparison.Ordinal);
        Assert.Empty(KernelAnalysis.Differences([then], [then]));
        Assert.EndsWith("registers 100 → 99",
            Assert.Single(KernelAnalysis.Differences([then with { Registers = 99 }], [then])), StringComparison.Ordinal);
        Assert.Equal(["b.cu first (sm_90a) is new: 100 registers, HGMMA+HMMA, tensor share 100 % (tensor-bound)",
                "a.cu first (sm_90a) is gone"],
            KernelAnalysis.Differences([then with { Kernel = "b.cu first" }], [then]));

        void Fault(KernelAnalysis now, string words) =>
            Assert.Contains(words, Assert.Single(KernelAnalysis.Compare([now], [then])), StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_assembler_refuses_is_found_in_its_log()
    {
        Assert.Equal(
            ["ptxas info : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to ...",
                "ptxas info : setmaxnreg ignored to maintain minimum register requirements."],
            AnalyzeCommand.RefusedPlans("""
                ptxas info : Used 40 registers
                ptxas info : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to ...
                ptxas info : setmaxnreg ignored to maintain minimum register requirements.
                """));
    }

    [Fact]
    public void A_disassembler_that_is_not_there_is_named() => Assert.Contains("/nowhere/nvdisasm",
        Assert.Throws<FileNotFoundException>(() => Disassembler.Find("/nowhere/nvdisasm")).Message, StringComparison.Ordinal);
}
