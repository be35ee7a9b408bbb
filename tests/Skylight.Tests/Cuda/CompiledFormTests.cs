using Skylight.Cuda;
using Skylight.Cuda.Interop;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Cli;
using Skylight.Tests.Simt;
using Emulator = Skylight.Tests.Simt.Emulator;

namespace Skylight.Tests.Cuda;

/// <summary>Cards that NVRTC knows get machine code, newer ones PTX that the driver translates.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class CompiledFormTests
{
    private static readonly int[] KnownTo12_4 = [50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90];
    private static readonly int[] KnownTo12_9 = [50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90, 100, 101, 103,
        120, 121];

    [Theory]
    [InlineData(80, "sm_80")]
    [InlineData(89, "sm_89")]
    [InlineData(90, "sm_90a")]
    [InlineData(88, "compute_87")]
    [InlineData(100, "compute_90")]
    [InlineData(103, "compute_90")]
    [InlineData(121, "compute_90")]
    public void An_older_NVRTC_makes_PTX_of_the_newest_architecture_that_it_knows(int card, string name) =>
        Assert.Equal(new CompiledForm(name, null),
            CompiledForm.For(card, KnownTo12_4, new Version(12, 4), new Version(12, 8)));

    [Theory]
    [InlineData(100, "sm_100")]
    [InlineData(121, "sm_121")]
    [InlineData(130, "compute_121")]
    public void No_kernel_needs_the_instructions_of_one_newer_architecture(int card, string name) =>
        Assert.Equal(new CompiledForm(name, null),
            CompiledForm.For(card, KnownTo12_9, new Version(12, 9), new Version(13, 0)));

    [Fact]
    public void Machine_code_may_come_from_a_newer_NVRTC_than_the_driver_and_PTX_not()
    {
        Version nvrtc = new(12, 4), driver = new(12, 2);
        Assert.Equal(new CompiledForm("sm_90a", null), CompiledForm.For(90, KnownTo12_4, nvrtc, driver));
        CompiledForm form = CompiledForm.For(100, KnownTo12_4, nvrtc, driver);
        Assert.Null(form.ArchitectureName);
        foreach (string part in (string[])["NVRTC 12.4 does not know sm_100", "CUDA up to 12.2", "update the driver",
            "SKYLIGHT_NVRTC"])
            Assert.Contains(part, form.Problem, StringComparison.Ordinal);
        Assert.Equal("compute_90", CompiledForm.For(100, KnownTo12_4, nvrtc, driver: null).ArchitectureName);
        Assert.Equal("compute_90", CompiledForm.For(100, KnownTo12_4, nvrtc, nvrtc).ArchitectureName);
    }

    [Fact]
    public void An_NVRTC_that_knows_nothing_the_card_could_run_is_named()
    {
        CompiledForm form = CompiledForm.For(86, [50, 75, 90], new Version(99, 1), new Version(99, 1));
        Assert.Null(form.ArchitectureName);
        Assert.StartsWith("NVRTC 99.1 makes no code that sm_86 can run", form.Problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("86", "sm_86", "sm_86", ".cubin")]
    [InlineData("90", "sm_90a", "sm_90a", ".cubin")]
    [InlineData("100", "sm_100", "compute_90", ".ptx")]
    [InlineData("121", "sm_121", "compute_90", ".ptx")]
    public void A_card_runs_either_form(string capability, string architecture, string compiledFor, string ending)
    {
        using var folder = new TemporaryFolder();
        Emulator.Require();
        Emulator.Configure("capability", capability);
        using var restored = new DefaultSettings();
        CudaCardInfo found = Assert.Single(CudaDevices.FindSimulated().Cards);
        Assert.Equal((architecture, compiledFor, null), (found.Architecture, found.CompiledFor, found.Problem));
        for (int run = 0; run < 2; run++)
        {
            using var card = new SimulatedCard(cacheFolder: folder["kernels"]);
            Assert.Equal((int.Parse(capability), compiledFor),
                (card.Device.Target.Architecture, card.Device.Target.ArchitectureName));
            (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(new Scale(3),
                TensorType.Float32(4));
            executor.Write<float>(inputs[0], [1, 2, 3, 4]);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal([3, 6, 9, 12], executor.Read<float>(outputs[0]));
            Assert.Equal(run == 0 ? 1 : 0, card.Device.Modules.Cache.Compilations);
        }

        Assert.Equal(ending, Path.GetExtension(Assert.Single(Directory.GetFiles(folder["kernels"]))));
    }

    [Theory]
    [InlineData("90", "sm_90a", "kernels: machine code for sm_90a")]
    [InlineData("120", "sm_120",
        "kernels: PTX of compute_90, which the driver translates, because NVRTC does not know sm_120")]
    public async Task The_list_of_devices_says_which_way_each_card_goes(string capability, string architecture, string line)
    {
        Emulator.Require();
        (int code, string output, string error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["devices", "--verbose"], environment: ("SKYLIGHT_SIMT_CAPABILITY", capability)));
        Assert.True(code == 0, error);
        string[] lines = [.. output.Split('\n').Select(one => one.Trim())];
        int card = Array.FindIndex(lines, one => one.StartsWith("simt ", StringComparison.Ordinal)
            && one.Contains($", {architecture}, ", StringComparison.Ordinal));
        Assert.True(card >= 0, output);
        Assert.Equal(line, lines[card + 1]);
    }

    [Theory]
    [InlineData("90", "sm_80", "machine code for sm_80", 209)]
    [InlineData("100", "sm_90a", "machine code for sm_90a", 209)]
    [InlineData("80", "compute_90", "PTX of compute_90", 218)]
    public void What_the_driver_says_of_a_module_is_in_the_error(string capability, string architecture, string what,
        int code)
    {
        Emulator.Require();
        Emulator.Configure("capability", capability);
        using var restored = new DefaultSettings();
        using var card = new SimulatedCard();
        CompiledKernels compiled = new CudaCompiler(card.Device.Libraries.NvrtcPath).Compile(
            new KernelVariant(new KernelSource("empty.cu", "extern \"C\" __global__ void empty(float* x) {}"),
                architecture, []));
        CudaException error = Assert.Throws<CudaException>(() => new CudaModuleHandle(card.Device.Stream.Context, compiled));
        Assert.StartsWith(
            $"cuModuleLoadDataEx for empty.cu [{architecture}] ({what} does not run on a device of compute " +
            $"capability {capability[..^1]}.0)", error.Message, StringComparison.Ordinal);
        Assert.Equal(code, error.Code);
    }

    [Theory]
    [InlineData(221, "libnvidia-ptxjitcompiler.so.1")]
    [InlineData(222, "give an older NVRTC in SKYLIGHT_NVRTC")]
    [InlineData(223, "CUDA_DISABLE_PTX_JIT")]
    public void What_keeps_a_driver_from_translating_is_said_with_what_helps(int code, string part)
    {
        using var card = new SimulatedCard();
        Assert.Contains(part, card.Device.Libraries.Driver.Error(code, "cuModuleLoadDataEx").Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Kernels_with_instructions_of_Hopper_only_are_not_offered_for_another_card()
    {
        var source = new KernelSource("products.cu",
            "#include \"ptx/wgmma.cuh\"\nextern \"C\" __global__ void products(float* x) {}");
        CudaBindings bindings = CudaBindings.Standard.With<HostOp>(
            (_, kernel) => kernel.Launch(source, "products", 1, 128).Input(0));
        CudaTarget translated = CudaTarget.For("sm_100") with { ArchitectureName = "compute_90" };
        foreach (CudaTarget card in (CudaTarget[])[CudaTarget.Ampere, CudaTarget.For("sm_90"), CudaTarget.For("sm_100"),
            CudaTarget.For("sm_120a"), translated])
        {
            Assert.False(card.HasHopperInstructions);
            NotSupportedException error = Assert.Throws<NotSupportedException>(
                () => bindings.Describe(new HostOp(), [TensorType.Float32(8)], card));
            Assert.Contains("HostOp", error.Message, StringComparison.Ordinal);
            Assert.Contains($"compiled for {card.ArchitectureName}", error.Message, StringComparison.Ordinal);
        }

        Assert.True(CudaTarget.Hopper.HasHopperInstructions);
        Assert.Single(bindings.Describe(new HostOp(), [TensorType.Float32(8)], CudaTarget.Hopper).Launches);
    }

    [Fact]
    public void The_toolkit_s_libraries_of_the_driver_s_CUDA_come_before_newer_ones()
    {
        static IReadOnlyList<string> Candidates(Version? driver) =>
            CudaLibraryPaths.Toolkit(major => $"lib.so.{major}", driver);
        IReadOnlyList<string> old = Candidates(new Version(12, 4)), recent = Candidates(new Version(13, 0)),
            none = Candidates(null);
        Assert.True(old.TakeWhile(path => path.EndsWith(".12", StringComparison.Ordinal)).Count() == old.Count / 2,
            string.Join('\n', old));
        Assert.All(old.Skip(old.Count / 2), path => Assert.EndsWith(".13", path, StringComparison.Ordinal));

        // One place after the other: what a host lays beside its program is taken before what the system has.
        Assert.Equal(["lib.so.13", "lib.so.12", "lib.so.13", "lib.so.12"], recent.Take(4).Select(Path.GetFileName));
        Assert.Equal([AppContext.BaseDirectory, AppContext.BaseDirectory, "", ""],
            recent.Take(4).Select(path => path[..^"lib.so.13".Length]));
        Assert.Equal(recent, none);
        Assert.Equal(old.Order(), recent.Order());
    }

    /// <summary>Gives the emulator its settings back when a test ends.</summary>
    private sealed class DefaultSettings : IDisposable
    {
        public void Dispose() => Emulator.ConfigureDefaults();
    }
}
