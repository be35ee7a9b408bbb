using Iced.Intel;
using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Tests.Cpu;

/// <summary>
/// Products leave a thread's tiles configured as another library of the process has configured them: ggml does so once, and its
/// next instruction was illegal after a product of ours.
/// </summary>
public sealed unsafe class TileConfigurationTests
{
    private const int Bytes = TileConfiguration.Bytes;

    [Theory]
    [InlineData(5, false)]
    [InlineData(5, true)]
    [InlineData(70, false)]
    [InlineData(70, true)]
    public void A_product_puts_back_what_it_found(int rows, bool isQuantized)
    {
        Assert.SkipUnless(ProcessorFeatures.HasMatrices && ProcessorFeatures.HasByteMatrices, "There is no AMX here.");
        // One tile of 3 rows of 12 bytes, of the only palette there is; then none.
        byte* theirs = stackalloc byte[Bytes], none = stackalloc byte[Bytes];
        new Span<byte>(theirs, Bytes).Clear();
        new Span<byte>(none, Bytes).Clear();
        (theirs[0], theirs[16], theirs[48]) = (1, 12, 3);
        foreach (nint expected in (nint[])[(nint)theirs, (nint)none])
        {
            Configure((byte*)expected);
            Assert.Equal(Read((byte*)expected), Product(rows, isQuantized));
            Configure(none);
        }
    }

    /// <summary>The thread's configuration after a product.</summary>
    private static byte[] Product(int rows, bool isQuantized)
    {
        const int N = 64, K = 96;
        float[] x = GemmReference.Random(rows * K, 1), y = new float[rows * N];
        ushort[] panels = GemmReference.ToBits(GemmReference.ToPanels(GemmReference.Random(N * K, 2), N, K));
        using var device = new CpuDevice();
        Tensor quantized = device.AllocateTensor(TensorType.Quantized(QuantizedFormat.Q4, new Shape(N, K)));
        byte[] after = new byte[Bytes];
        fixed (float* px = x, py = y)
        fixed (ushort* pw = panels)
        fixed (byte* pa = after)
        {
            if (isQuantized)
                QuantizedGemm.Run(new QuantizedProduct
                {
                    X = px,
                    XRow = K,
                    Panels = (byte*)CpuMemory.Pointer(quantized),
                    Layout = QuantizedLayout.Of(quantized.Type),
                    Y = py,
                    YRow = N,
                    Rows = rows,
                    Columns = N,
                    Steps = K,
                }, 1, QuantizedInstruction.Matrices);
            else
                Gemm.MultiplyWeight(px, K, pw, DataType.BFloat16, null, py, N, rows, N, K, DataType.BFloat16);
            s_store(pa);
        }

        quantized.Memory.Dispose();
        return after;
    }

    private static byte[] Read(byte* configuration) => new Span<byte>(configuration, Bytes).ToArray();

    private static void Configure(byte* configuration) => s_load(configuration);

    private static readonly delegate* unmanaged<byte*, void> s_load = Function(code => code.ldtilecfg(__[rdi])),
        s_store = Function(code => code.sttilecfg(__[rdi]));

    private static delegate* unmanaged<byte*, void> Function(Action<Assembler> body)
    {
        if (!ProcessorFeatures.HasMatrices)
            return null;
        var kernel = new KernelAssembler();
        body(kernel.Code);
        return (delegate* unmanaged<byte*, void>)kernel.Finish();
    }
}
