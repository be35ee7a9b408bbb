using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Models;

namespace Skylight.Tests.Generation;

public sealed class KeyValueCacheTests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 1)]
    [InlineData(PagedAttention.PageSize, 1)]
    [InlineData(PagedAttention.PageSize + 1, 2)]
    [InlineData(int.MaxValue, int.MaxValue / PagedAttention.PageSize + 1)]
    public void Pages_are_whole(int tokens, int pages) => Assert.Equal(pages, KeyValueCache.PagesFor(tokens));

    [Fact]
    public void A_cache_that_does_not_fit_says_how_large_it_is()
    {
        using var device = new CpuDevice();
        using var model = new VisionLanguageModel(TinyModel.Configuration, device);
        string message = Assert.Throws<OutOfDeviceMemoryException>(
            () => new KeyValueCache(model, 1 << 30)).Message;
        Assert.Contains($"{(1L << 30) * PagedAttention.PageSize:N0} tokens", message, StringComparison.Ordinal);
        Assert.Contains("fewer tokens", message, StringComparison.Ordinal);
    }

    /// <summary>Weights that are bfloat16 go with keys and values that are: where products are computed in it.</summary>
    [Theory]
    [InlineData(DataType.BFloat16, DataType.BFloat16, DataType.BFloat16)]
    [InlineData(DataType.BFloat16, DataType.Float32, DataType.Float32)]
    [InlineData(DataType.Float32, DataType.BFloat16, DataType.Float32)]
    public void The_data_type_follows_weights_and_arithmetic(DataType weights, DataType compute, DataType expected)
    {
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = compute });
        using var model = new VisionLanguageModel(TinyModel.Configuration, device, weights);
        using var cache = new KeyValueCache(model, 2);
        Assert.All(cache.Keys.Concat(cache.Values), tensor => Assert.Equal(expected, tensor.Type.DataType));
    }
}
