using Skylight.Cuda;
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
        CudaKernelDescription description = CudaBindings.Standard.Describe(new Add(), [Type(dataType), Type(dataType)], CudaTarget.For(architecture));
        CompiledKernels compiled = Compiler().Compile(Assert.Single(description.Launches).Variant);
        Assert.False(compiled.Cubin.IsEmpty);
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
        KernelResources spill = Assert.Single(Compiler().Compile(new KernelVariant(source, "sm_80", [])).Resources);
        Assert.Equal(32, spill.Registers);
        Assert.Equal(256, spill.StaticSharedBytes);
        Assert.True(spill.StackBytes > 0, $"{spill}");
    }

    [Fact]
    public void An_error_in_a_source_is_reported_with_file_and_line()
    {
        var source = new KernelSource("mine.cu", "#include \"common/status.cuh\"\nextern \"C\" __global__ void mine(float* x) {\n    x[0] = nothing;\n}\n");
        var error = Assert.Throws<KernelCompilationException>(() => Compiler().Compile(new KernelVariant(source, "sm_80", [])));
        Assert.Contains("mine.cu(3)", error.Log);
        Assert.Contains("nothing", error.Message);
    }

    [Fact]
    public void A_library_that_is_not_there_is_named()
    {
        var error = Assert.Throws<CudaException>(() => new CudaCompiler("/nowhere/libnvrtc.so.12"));
        Assert.Contains("/nowhere/libnvrtc.so.12", error.Message);
        Assert.Contains("SKYLIGHT_NVRTC", error.Message);
    }

    private static TensorType Type(DataType dataType) => new(dataType, new Shape(100));

    private static CudaCompiler Compiler()
    {
        try
        {
            return new CudaCompiler();
        }
        catch (CudaException exception) when (Environment.GetEnvironmentVariable("CI") != "true")
        {
            Assert.Skip(exception.Message);
            throw;
        }
    }
}
