using Skylight.Cuda;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Cuda;

public class CudaBindingsTests
{
    private static readonly KernelSource Source = new("triple.cu", "extern \"C\" __global__ void triple(float* x) {}");

    [Fact]
    public void Adding_is_described_without_a_card()
    {
        var type = new TensorType(DataType.BFloat16, new Shape(3, 1000));
        CudaKernelDescription description = CudaBindings.Standard.Describe(new Add(), [type, type], CudaTarget.Hopper);
        KernelLaunch launch = Assert.Single(description.Launches);
        Assert.Equal(("element_wise.cu", "add"), (launch.Source.Name, launch.EntryPoint));
        Assert.Equal("bfloat16", launch.Defines["ELEMENT"]);
        Assert.Equal(2, launch.Grid.X); // 3000 elements, 2048 for a block of 256 threads with 8 each
        Assert.Equal([KernelArgumentKind.Pointer, KernelArgumentKind.Pointer, KernelArgumentKind.Pointer,
            KernelArgumentKind.Int64], launch.Arguments.Select(argument => argument.Kind));
        Assert.Equal(3000, launch.Arguments[3].Bits);
        Assert.Contains("--gpu-architecture=sm_90a", launch.Variant.Options);
        Assert.Contains("-DELEMENT=bfloat16", launch.Variant.Options);
    }

    [Fact]
    public void Nothing_runs_for_no_elements() =>
        Assert.Empty(CudaBindings.Standard.Describe(new Scale(2), [TensorType.Float32(0, 8)], CudaTarget.Ampere).Steps);

    [Fact]
    public void An_op_without_a_binding_is_refused_by_name_and_types()
    {
        NotSupportedException error = Assert.Throws<NotSupportedException>(
            () => CudaBindings.Standard.Describe(new Triple(), [TensorType.Float32(5)], CudaTarget.Ampere));
        Assert.Contains("Triple", error.Message);
        Assert.Contains("f32[5]", error.Message);
        Assert.Contains("sm_80", error.Message);
    }

    [Fact]
    public void A_host_adds_its_own_op_to_a_copy()
    {
        CudaBindings bindings = CudaBindings.Standard.With<Triple>(
            (_, kernel) => kernel.Launch(Source, "triple", 1, 32).Input(0));
        Assert.Equal("triple",
            Assert.Single(bindings.Describe(new Triple(), [TensorType.Float32(5)], CudaTarget.Ampere).Launches).EntryPoint);
        Assert.DoesNotContain(typeof(Triple), CudaBindings.Standard.Ops);
    }

    [Fact]
    public void Temporary_memory_is_aligned_and_summed()
    {
        var regions = new List<CudaScratch>();
        CudaKernelDescription description = Describe(kernel =>
        {
            regions.Add(kernel.Scratch(1));
            regions.Add(kernel.Scratch(300));
            kernel.Clear(regions[1]);
            kernel.Clear(kernel.Output(0).At(4));
        });
        Assert.Equal([0L, 256L], regions.Select(region => region.ByteOffset));
        Assert.Equal(768, description.ScratchBytes);
        Assert.Equal([new CudaClearStep(regions[1], 300),
            new CudaClearStep(new CudaOperand(CudaOperandKind.Output, 0, 4), 16)], description.Steps);
    }

    [Fact]
    public void Launches_that_agree_in_source_and_constants_share_a_variant()
    {
        CudaKernelDescription description = Describe(kernel =>
        {
            kernel.Launch(Source, "a", 1, 32).Define("ALPHA", 1).Define("BETA", true);
            kernel.Launch(Source, "b", 2, 64).Define("BETA", true).Define("ALPHA", 1);
            kernel.Launch(Source, "a", 1, 32).Define("ALPHA", 2).Define("BETA", true);
            kernel.Launch(Source with { Text = "other" }, "a", 1, 32).Define("ALPHA", 1).Define("BETA", true);
        });
        KernelVariant[] variants = [.. description.Launches.Select(launch => launch.Variant)];
        Assert.Equal(variants[0], variants[1]);
        Assert.Equal(3, variants.Distinct().Count());
    }

    [Fact]
    public void A_message_is_kept_once_and_found_by_its_number()
    {
        CudaKernelDescription description = Describe(
            kernel => kernel.Launch(Source, "a", 1, 32).Status("first").Status("second").Status("first"));
        Assert.Equal(["first", "second"], description.StatusMessages);
        Assert.Equal([0L, 1L, 0L], Assert.Single(description.Launches).Arguments.Select(argument => argument.Bits));
    }

    [Fact]
    public void Bad_launches_name_the_op_and_the_kernel()
    {
        AssertError<ArgumentException>("1 to 1024", kernel => kernel.Launch(Source, "a", 1, 2048));
        AssertError<ArgumentException>("65535", kernel => kernel.Launch(Source, "a", new Dim3(1, 70000), 32));
        AssertError<NotSupportedException>("166,912", kernel => kernel.Launch(Source, "a", 1, 32, sharedBytes: 200_000));
        AssertError<NotSupportedException>("clusters", kernel => kernel.Launch(Source, "a", 2, 32).Cluster(2));
        AssertError<ArgumentOutOfRangeException>("no Input 1", kernel => kernel.Launch(Source, "a", 1, 32).Input(1));
        AssertError<ArgumentOutOfRangeException>("byte 24",
            kernel => kernel.Launch(Source, "a", 1, 32).Output(0, byteOffset: 24));
        AssertError<ArgumentException>("defined twice",
            kernel => kernel.Launch(Source, "a", 1, 32).Define("WIDTH", 1).Define("WIDTH", 2));
        AssertError<ArgumentException>("upper-case", kernel => kernel.Launch(Source, "a", 1, 32).Define("WIDTH X", 1));
        AssertError<ArgumentException>("meet no name of a header",
            kernel => kernel.Launch(Source, "a", 1, 32).Type("T", DataType.Float32));
        AssertError<NotSupportedException>("deterministic", kernel => kernel.Product(Square(kernel)));
    }

    [Fact]
    public void A_product_knows_types_and_strides_of_its_operands()
    {
        CudaKernelDescription description = Describe(kernel => kernel.Product(Square(kernel)),
            CudaTarget.Ampere with { Deterministic = false });
        var product = Assert.IsType<CudaProductStep>(Assert.Single(description.Steps));
        Assert.Equal((DataType.Float32, DataType.Float32, 1, 5, 5),
            (product.FactorType, product.ResultType, product.LeftStride, product.RightStride, product.ResultStride));
    }

    [Fact]
    public void Sources_travel_in_the_assembly()
    {
        Assert.Contains("element_wise.cu", KernelSource.ResourceNames);
        Assert.Contains(KernelSource.Headers, header => header.Name == "common/status.cuh");
        ArgumentException error = Assert.Throws<ArgumentException>(() => KernelSource.Resource("nothing.cu"));
        Assert.Contains("element_wise.cu", error.Message);
    }

    [Fact]
    public void Architectures_without_bfloat16_matrix_instructions_are_refused() =>
        Assert.Contains("sm_80", Assert.Throws<ArgumentException>(() => CudaTarget.For("sm_75")).Message);

    /// <summary>An outer product of a column and a row.</summary>
    private static CudaProductStep Square(CudaKernelBuilder kernel) =>
        new()
        {
            Left = kernel.Input(0),
            Right = kernel.Input(0),
            Result = kernel.Output(0),
            Rows = 5,
            Inner = 1,
            Columns = 5
        };

    private static CudaKernelDescription Describe(Action<CudaKernelBuilder> binding, CudaTarget? target = null) =>
        CudaBindings.Standard.With<Triple>((_, kernel) => binding(kernel))
            .Describe(new Triple(), [TensorType.Float32(5)], target ?? CudaTarget.Ampere);

    private static void AssertError<TException>(string part, Action<CudaKernelBuilder> binding)
        where TException : Exception
    {
        string message = Assert.Throws<TException>(() => Describe(binding)).Message;
        Assert.Contains(part, message);
        Assert.Contains("Triple", message);
    }

    private sealed record Triple : Op
    {
        public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs) => [inputs[0]];
    }
}
