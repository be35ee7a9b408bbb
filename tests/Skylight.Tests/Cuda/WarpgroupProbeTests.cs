using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>What decides whether a card's warpgroups multiply.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class WarpgroupProbeTests(KernelFolder kernels)
{
    [Theory]
    [InlineData("same")]
    [InlineData("own")]
    public void Nothing_is_found_where_an_element_has_its_bits_alone(string rounding)
    {
        using var card = new SimulatedCard(cacheFolder: kernels.Path, rounding: rounding);
        long before = card.Device.ReservedBytes;
        Assert.Null(WarpgroupProbe.Run(card.Device));
        Assert.Equal(before, card.Device.ReservedBytes);
    }

    [Fact]
    public void A_tile_that_sums_in_another_order_is_found()
    {
        using var card = new SimulatedCard(cacheFolder: kernels.Path);
        // Steps of a stage from the last to the first.
        KernelSource backwards = Changed("wgmma_advance(a, step * Left::step), wgmma_advance(b, step * Right::step)",
            "wgmma_advance(a, (3 - step) * Left::step), wgmma_advance(b, (3 - step) * Right::step)");
        Assert.Matches("^of 35904 elements, [0-9]+ have other bits in tiles of 16 columns and 64 rows than in those of 256 and 128$",
            WarpgroupProbe.Run(card.Device, tile => tile == WarpgroupTile.Narrow ? backwards : null));
        Assert.Matches("^of 2112 elements, [0-9]+ have other bits in tiles of 16 columns and 8 rows than in those of 256 and 128$",
            WarpgroupProbe.Run(card.Device, tile => tile == WarpgroupTile.Few ? backwards : null));
    }

    [Fact]
    public void Rows_whose_bits_depend_on_their_place_are_found()
    {
        using var card = new SimulatedCard(cacheFolder: kernels.Path);
        KernelSource placed = Changed("begin(sums, row + own_row, column);",
            "begin(sums, row + own_row, column); for (float& each : sums) each += 0.001f * (row + own_row);");
        Assert.EndsWith("have other bits where other rows stand beside theirs",
            WarpgroupProbe.Run(card.Device, _ => placed), StringComparison.Ordinal);
    }

    [Fact]
    public void A_kernel_that_does_not_compile_says_how_to_do_without()
    {
        using var card = new SimulatedCard(cacheFolder: kernels.Path);
        CudaException error = Assert.Throws<CudaException>(
            () => WarpgroupProbe.Run(card.Device, _ => Changed("sum = 0;", "sum = nothing;")));
        Assert.Contains("With SKYLIGHT_WARPGROUPS=off they are not used.", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_device_without_them_multiplies_by_mma()
    {
        using var card = new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            Warpgroups = false,
            CacheFolder = "",
        });
        Assert.Equal((true, false, "they were not wanted"),
            (card.Target.HasHopperInstructions, card.Target.UsesWarpgroups, card.WarpgroupsOff));
        MatrixProduct product = new(default, default, default, 8, 64, 64) { TransposeRight = true };
        Assert.False(WarpgroupTile.Multiplies(card.Target, product));
        Assert.True(WarpgroupTile.Multiplies(card.Target with { UsesWarpgroups = true }, product));
        using var other = new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            CacheFolder = "",
        });
        Assert.Equal((true, null), (other.Target.UsesWarpgroups, other.WarpgroupsOff));
    }

    private static KernelSource Changed(string from, string to) =>
        WarpgroupProductTests.Mistaken("warpgroup_gemm.cu", from, to);
}
