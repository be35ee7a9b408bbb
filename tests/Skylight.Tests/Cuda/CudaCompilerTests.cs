using System.Text;
using Skylight.Cuda;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Cuda;

/// <summary>The real NVRTC, which needs no GPU.</summary>
public class CudaCompilerTests
{
    [Theory]
    [InlineData("sm_80", DataType.Float32)]
    [InlineData("sm_90a", DataType.BFloat16)]
    public void A_kernel_compiles_and_its_registers_are_known(string architecture, DataType dataType)
    {
        CudaKernelDescription description = CudaBindings.Standard.Describe(new Add(), [Type(dataType), Type(dataType)],
            CudaTarget.For(architecture));
        CompiledKernels compiled = RealNvrtc.Compiler().Compile(Assert.Single(description.Launches).Variant);
        Assert.False(compiled.Image.IsEmpty);
        KernelResources add = Assert.Single(compiled.Resources, resources => resources.EntryPoint == "add");
        Assert.InRange(add.Registers, 4, 64);
        Assert.Equal((0, 0), (add.SpillStoreBytes, add.SpillLoadBytes));
    }

    [Fact]
    public void Spills_and_static_shared_memory_are_seen()
    {
        var source = new KernelSource("spill.cu", """
            extern "C" __global__ void __launch_bounds__(1024, 2) spill(float* x) {
                __shared__ float tile[64];
                float values[96];
                for (int i = 0; i < 96; i++) values[i] = x[i * 1024 + threadIdx.x];
                tile[threadIdx.x % 64] = values[0];
                __syncthreads();
                for (int k = 0; k < 3; k++)
                    for (int i = 0; i < 96; i++) values[i] = values[i] * values[(i * 7 + 5) % 96] + tile[i % 64];
                for (int i = 0; i < 96; i++) x[i * 1024 + threadIdx.x] = values[i];
            }
            """);
        KernelResources spill = Assert.Single(
            RealNvrtc.Compiler().Compile(new KernelVariant(source, "sm_80", [])).Resources);
        Assert.Equal(32, spill.Registers);
        Assert.Equal(256, spill.StaticSharedBytes);
        Assert.True(spill.StackBytes > 0, $"{spill}");
    }

    [Fact]
    public void An_error_in_a_source_is_reported_with_file_and_line()
    {
        var source = new KernelSource("mine.cu",
            "#include \"common/status.cuh\"\nextern \"C\" __global__ void mine(float* x) {\n    x[0] = nothing;\n}\n");
        var error = Assert.Throws<KernelCompilationException>(
            () => RealNvrtc.Compiler().Compile(new KernelVariant(source, "sm_80", [])));
        Assert.Contains("mine.cu(3)", error.Log);
        Assert.Contains("nothing", error.Message);
    }

    [Theory]
    [InlineData("sm_100")]
    [InlineData("sm_103a")]
    [InlineData("sm_120")]
    [InlineData("sm_121")]
    public void Kernels_for_a_card_that_NVRTC_does_not_know_become_PTX(string architecture)
    {
        CudaCompiler compiler = RealNvrtc.Compiler();
        CudaTarget card = CudaTarget.For(architecture), target = compiler.TargetFor(architecture);
        Assert.SkipUnless(compiler.Version < new Version(12, 8), $"NVRTC {compiler.Version} knows this card");
        Assert.Equal(card with { ArchitectureName = "compute_90" }, target);
        TensorType matrix = new(DataType.BFloat16, new Shape(96, 64));
        (Op Op, TensorType[] Inputs)[] nodes = [(new Add(), [matrix, matrix]),
            (new MatMul(), [matrix, new(DataType.BFloat16, new Shape(64, 64), Storage.Weight)]),
            (new RmsNorm(1e-6f), [matrix, TensorType.Float32(64)])];
        foreach ((Op op, TensorType[] inputs) in nodes)
        {
            foreach (KernelLaunch launch in CudaBindings.Standard.Describe(op, inputs, target).Launches)
            {
                CompiledKernels compiled = compiler.Compile(launch.Variant);
                Assert.True(launch.Variant.IsPtx);
                string ptx = Encoding.UTF8.GetString(compiled.Image.Span);
                Assert.EndsWith("\0", ptx, StringComparison.Ordinal);
                Assert.Contains(".target sm_90", ptx, StringComparison.Ordinal);
                Assert.Contains($".visible .entry {launch.EntryPoint}(", ptx, StringComparison.Ordinal);
                Assert.Empty(compiled.Resources);
            }
        }
    }

    [Fact]
    public void Machine_code_is_made_for_a_card_that_NVRTC_knows() =>
        Assert.Equal(["sm_80", "sm_89", "sm_90a"], ((string[])["sm_80", "sm_89", "sm_90a"])
            .Select(name => RealNvrtc.Compiler().TargetFor(name).ArchitectureName));

    [Fact]
    public void A_library_that_is_not_there_is_named()
    {
        var error = Assert.Throws<CudaException>(() => new CudaCompiler("/nowhere/libnvrtc.so.12"));
        Assert.Contains("/nowhere/libnvrtc.so.12", error.Message);
        Assert.Contains("SKYLIGHT_NVRTC", error.Message);
    }

    private static TensorType Type(DataType dataType) => new(dataType, new Shape(100));
}
