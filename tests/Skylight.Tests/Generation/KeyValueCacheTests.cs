using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Ops;
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
        string message = Assert.Throws<OutOfDeviceMemoryException>(
            () => new KeyValueCache(TinyModel.Configuration.Language, device, 1 << 30)).Message;
        Assert.Contains($"{(1L << 30) * PagedAttention.PageSize:N0} tokens", message, StringComparison.Ordinal);
        Assert.Contains("fewer tokens", message, StringComparison.Ordinal);
    }
}
