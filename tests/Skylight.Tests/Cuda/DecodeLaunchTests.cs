using System.Text.RegularExpressions;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>What a layer of decoding launches, and kernels that start before the one before them has ended.</summary>
[Collection(EmulatorCollection.Name)]
public sealed partial class DecodeLaunchTests
{
    public DecodeLaunchTests() => Emulator.Require();

    [Theory]
    [InlineData(LanguageModelKind.Qwen2, 1, "sm_90a")]
    [InlineData(LanguageModelKind.Qwen2, 8, "sm_90a")]
    [InlineData(LanguageModelKind.Qwen3, 1, "sm_90a")]
    [InlineData(LanguageModelKind.Qwen3, 32, "sm_90a")]
    [InlineData(LanguageModelKind.Qwen2, 8, "sm_80")]
    [InlineData(LanguageModelKind.Qwen3, 8, "sm_80")]
    public void A_layer_of_decoding_is_seven_launches(LanguageModelKind kind, int batch, string architecture)
    {
        // Several spans of keys, which paged_decode joins itself; the gate is the end of its product.
        string[] names = LaunchesOfALayer(kind, new StepShape(batch, batch, batch, 128, false, 0), architecture);
        Assert.True(names.Length == 7, string.Join(", ", names));
        Assert.Single(names, name => name.EndsWith("paged_decode", StringComparison.Ordinal));
        Assert.DoesNotContain(names, name => name.Contains("rotary",
            StringComparison.Ordinal) || name == "key_value_write");
    }

    [Fact]
    public void A_step_that_has_a_part_of_a_prompt_rotates_and_writes_before_both_kinds_of_attention()
    {
        string[] names = LaunchesOfALayer(LanguageModelKind.Qwen3, new StepShape(512, 32, 32, 128, false, 0), "sm_90a");
        Assert.Equal(["qkv_split_norm_rotary", "key_value_write", "warpgroup_paged_prefill", "warpgroup_paged_decode"],
            names.Where(name => name.Contains("rotary", StringComparison.Ordinal)
                || name.Contains("paged", StringComparison.Ordinal) || name == "key_value_write"));
    }

    [Fact]
    public void Kernels_that_start_early_wait_and_are_those_that_a_card_can_start_early()
    {
        HashSet<string> early = [];
        foreach (Node node in Catalog.All.Concat(ModelWorkloads.All)
            .Select(workload => workload.ForActivations(DataType.BFloat16))
            .SelectMany(workload => WorkloadGraph.Forward(workload).Graph.Nodes
                .Concat(WorkloadGraph.Gradients(workload)?.Graph.Nodes ?? [])))
        {
            foreach (CudaTarget target in (CudaTarget[])[CudaTarget.Hopper, CudaTarget.For("sm_120"), CudaTarget.Ampere,
                CudaTarget.For("sm_120") with { ArchitectureName = "compute_89" },
                CudaTarget.Hopper with { UsesProgrammaticLaunch = false }])
            {
                KernelLaunch[] launches;
                try
                {
                    launches = [.. CudaBindings.Standard.Describe(node.Op, node.InputTypes,
                        [.. node.Outputs.Select(output => output.Type)], target).Launches];
                }
                catch (NotSupportedException)
                {
                    continue;
                }

                foreach (KernelLaunch launch in launches.Where(launch => launch.IsProgrammatic))
                {
                    Assert.True(target.UsesProgrammaticLaunch && target.Architecture >= 90 && target.ArchitectureName != "compute_89",
                        launch.EntryPoint);
                    // It waits itself, or in what all products of warpgroups begin with.
                    string text = launch.Source.Text;
                    int body = text.IndexOf($" {launch.EntryPoint}(const ", StringComparison.Ordinal),
                        end = text.IndexOf("extern \"C\"", body, StringComparison.Ordinal);
                    Assert.True(text[body..(end < 0 ? text.Length : end)].Contains("grid_wait();", StringComparison.Ordinal)
                        || launch.EntryPoint is "warpgroup_product" or "warpgroup_connector_inner", launch.EntryPoint);
                    early.Add(launch.EntryPoint);
                }
            }
        }

        string page = File.ReadAllText(Repository.PathOf("docs", "cuda.md"));
        int first = page.IndexOf("| kernels | start early |", StringComparison.Ordinal);
        IEnumerable<string> listed = page[first..page.IndexOf("\n\n", first, StringComparison.Ordinal)].Split('\n')
            .SelectMany(row => Names().Matches(row.Split('|')[2]).Select(name => name.Groups[1].Value)).Distinct();
        Assert.Equal(early.Order(StringComparer.Ordinal), listed.Order(StringComparer.Ordinal));
    }

    [GeneratedRegex("`([a-z_0-9]+)`")]
    private static partial Regex Names();

    public static TheoryData<string, string> EarlyStarts => new()
    {
        { "grid_wait(); grid_launch_dependents(); y[threadIdx.x] = x[threadIdx.x];", "" },
        // A prefetch reads nothing.
        { "prefetch_global(x); grid_wait(); y[threadIdx.x] = x[threadIdx.x];", "" },
        { "y[threadIdx.x] = x[threadIdx.x]; grid_wait();", "read of global memory before grid_wait" },
        { "y[threadIdx.x] = 1.0f; grid_wait();", "write of global memory before grid_wait" },
        { "if (threadIdx.x == 0) grid_wait(); y[threadIdx.x] = x[threadIdx.x];",
            "read of global memory before grid_wait" },
        { "grid_launch_dependents(); grid_wait(); y[threadIdx.x] = x[threadIdx.x];",
            "grid_launch_dependents before grid_wait" },
        { "if (blockIdx.x > 0) return; grid_wait(); y[threadIdx.x] = x[threadIdx.x];",
            "the block ended without grid_wait" },
        { "", "the block ended without grid_wait" },
    };

    [Theory]
    [MemberData(nameof(EarlyStarts))]
    public void A_kernel_that_does_not_wait_is_found(string body, string finding)
    {
        string source = "#include \"ptx/grid.cuh\"\n#include \"ptx/memory.cuh\"\n" +
            "extern \"C\" __global__ void early(const float* x, float* y) { " + body + " }";
        CudaBindings bindings = CudaBindings.Standard.With<HostOp>((_, kernel) =>
            kernel.Launch(new KernelSource("early.cu", source), "early", 2, 32).Input(0).Output(0).Programmatic());
        using var card = new SimulatedCard(bindings: bindings);
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(new HostOp(),
            TensorType.Float32(32));
        float[] numbers = [.. Enumerable.Range(1, 32).Select(number => (float)number)];
        for (int run = 0; run < 3 && finding.Length == 0; run++)
        {
            // Queued, recorded, replayed.
            executor.Write<float>(inputs[0], numbers);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal(numbers, executor.ReadFloats(outputs[0]));
        }

        if (finding.Length == 0)
            return;
        executor.Write<float>(inputs[0], numbers);
        string report = Assert.ThrowsAny<CudaException>(() =>
        {
            executor.Run(TestContext.Current.CancellationToken);
            executor.ReadFloats(outputs[0]);
        }).Message;
        Assert.Contains(finding, report, StringComparison.Ordinal);
    }

    [Fact]
    public void Programmatic_launches_can_be_turned_off()
    {
        using var off = new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            CacheFolder = "",
            ProgrammaticLaunch = false,
        });
        Assert.False(off.Target.UsesProgrammaticLaunch);
        using var on = new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            CacheFolder = "",
            ProgrammaticLaunch = true,
        });
        Assert.True(on.Target.UsesProgrammaticLaunch);
    }

    [Theory]
    [InlineData(null, null, true)]
    [InlineData("on", null, true)]
    [InlineData("off", null, false)]
    [InlineData("off", true, true)]
    [InlineData("on", false, false)]
    public void Programmatic_launches_can_be_turned_off_by_a_variable_which_options_precede(string? variable, bool? option,
        bool isUsed)
    {
        using var set = new EnvironmentVariable("SKYLIGHT_PROGRAMMATIC_LAUNCH", variable);
        using var card = new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            CacheFolder = "",
            ProgrammaticLaunch = option,
        });
        Assert.Equal(isUsed, card.Target.UsesProgrammaticLaunch);
        TensorType[] types = [new(DataType.BFloat16, new Shape(4, 8)), new(DataType.BFloat16, new Shape(8))];
        KernelLaunch launch = Assert.Single(
            CudaBindings.Standard.Describe(new RmsNorm(1e-6f), types, card.Target).Launches);
        Assert.Equal(isUsed, launch.IsProgrammatic);
    }

    private static string[] LaunchesOfALayer(LanguageModelKind kind, StepShape shape, string architecture)
    {
        ModelConfiguration configuration = new ModelConfiguration
        {
            Vision = TinyModel.Configuration.Vision,
            Language = new LanguageConfiguration
            {
                Kind = kind,
                HiddenSize = 3584,
                LayerCount = 2,
                HeadCount = 28,
                KeyValueHeadCount = 4,
                HeadDimension = 128,
                IntermediateSize = 9472,
                VocabularySize = 512,
                MaxPositions = 8192,
            },
            ImageTokenId = TinyModel.ImageToken,
            StopTokenIds = [TinyModel.StopToken],
        }.Validate();
        using var card = new SimulatedCard();
        using var model = new VisionLanguageModel(configuration, card.Device);
        using var cache = new KeyValueCache(model, 4, reserve: false);
        Plan plan = new GenerationStep(model, cache, card.Workspace, shape).Plan;
        var target = CudaTarget.For(architecture);
        CudaStep[] steps = [.. plan.Steps.Select(step => step.Node)
            .Where(node => node.ScopeName.StartsWith("language.layers.1", StringComparison.Ordinal))
            .SelectMany(node => CudaBindings.Standard.Describe(node.Op, [.. node.Inputs.Select(input => input.Type)],
                target).Steps)];
        // Nothing is cleared or copied beside them: that would be a node of the graph too.
        Assert.All(steps, step => Assert.IsType<CudaLaunchStep>(step));
        return [.. steps.Cast<CudaLaunchStep>().Select(step => step.Launch.EntryPoint)];
    }
}
