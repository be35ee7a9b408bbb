using Skylight.Cli.Kernels;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cuda;
using Skylight.Tests.Models;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cli.Kernels;

/// <summary>What <c>skylight kernels bits</c> compares.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class BitEqualityTests(KernelFolder kernels)
{
    private const int Completions = 9;

    [Fact]
    public void A_processor_computes_a_token_alike_in_every_way()
    {
        using var device = new CpuDevice();
        using VisionLanguageModel model = TinyModel.Create(device: device, maxPositions: 1024);
        Assert.Equal(
            [
                new EqualityRow("beside others, prompts in parts", Completions * 5, 0, 0),
                new EqualityRow("scored", Completions * 5, 0, 0),
                new EqualityRow("trained on", Completions * 5, 0, 0),
            ],
            new BitEquality(model, tokens: 5, seed: 1).Compare(TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_card_whose_instructions_round_differently_does_so_only_where_rows_do_not_choose(bool chooseByRows)
    {
        CudaBindings mixed = CudaBindings.Standard.With<MatMul>((op, kernel) => Multiply(kernel, chooseByRows));
        using var card = new SimulatedCard(mixed, cacheFolder: kernels.Path, rounding: "own");
        using VisionLanguageModel model = TinyModel.Create(device: card.Device, maxPositions: 1024);
        EqualityRow[] rows =
            [.. new BitEquality(model, tokens: 3, seed: 1).Compare(TestContext.Current.CancellationToken)];
        Assert.Equal(3, rows.Length);
        if (chooseByRows)
            Assert.Contains(rows, row => row is { Different: > 0, LargestDifference: > 0 });
        else
            Assert.All(rows, row => Assert.Equal((Completions * 3, 0), (row.Tokens, row.Different)));
    }

    [Fact]
    public void A_card_computes_a_token_alike_in_every_way_where_warpgroups_attend()
    {
        using var card = new SimulatedCard(cacheFolder: kernels.Path, rounding: "own");
        using VisionLanguageModel model = TinyModel.Create(device: card.Device, maxPositions: 1024,
            kind: LanguageModelKind.Qwen3, headDimension: 64);
        EqualityRow[] rows =
            [.. new BitEquality(model, tokens: 3, seed: 1).Compare(TestContext.Current.CancellationToken)];
        Assert.Equal(3, rows.Length);
        Assert.All(rows, row => Assert.Equal((Completions * 3, 0), (row.Tokens, row.Different)));
    }

    [Fact]
    public void A_model_without_room_is_refused()
    {
        using var device = new CpuDevice();
        using VisionLanguageModel model = TinyModel.Create(device: device, maxPositions: 64);
        ArgumentException error = Assert.Throws<ArgumentException>(() => new BitEquality(model, tokens: 40, seed: 1));
        Assert.Contains("leave 20 of the model's 64 positions for a prompt; at least 33", error.Message, StringComparison.Ordinal);
    }

    /// <summary>
    /// By warpgroups, but for few rows by <c>mma.sync</c> where that is asked for: what the rule of bits forbids.
    /// </summary>
    private static void Multiply(CudaKernelBuilder kernel, bool chooseByRows)
    {
        TensorType x = kernel.Inputs[0], weight = kernel.Inputs[1];
        var product = new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), x.Shape.Rows, weight.Shape.Rows,
            weight.Shape.Columns)
        {
            TransposeRight = true,
            Bias = kernel.Inputs.Count > 2 ? kernel.Input(2) : null,
        };
        if ((chooseByRows && x.Shape.Rows <= 16) || !WarpgroupTile.Multiplies(kernel.Target, product))
            MatMulBindings.Queue(kernel, product, MatrixTile.Medium);
        else
            MatMulBindings.QueueWarpgroups(kernel, product, kernel.Outputs[0].DataType);
    }
}
