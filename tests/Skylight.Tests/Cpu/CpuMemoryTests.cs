using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Tests.Cpu;

public sealed unsafe class CpuMemoryTests
{
    /// <summary>Sizes below, at and beside that of a large page: zeros to the last byte, and writable there.</summary>
    [Theory]
    [InlineData(4)]
    [InlineData((1 << 20) - 4)]
    [InlineData(1 << 20)]
    [InlineData((2 << 20) - 4)]
    [InlineData(2 << 20)]
    [InlineData((5 << 20) + 12)]
    public void Memory_is_zero_aligned_and_whole(int bytes)
    {
        using var device = new CpuDevice();
        using var memory = (CpuMemory)device.Allocate(bytes);
        var tensor = new Tensor(memory, 0, new TensorType(DataType.Int32, new Shape(bytes / 4)));
        Assert.Equal(0, (long)CpuMemory.Pointer(tensor) % 64);
        if (OperatingSystem.IsLinux() && bytes >= 2 << 20)
            Assert.Equal(0, (long)CpuMemory.Pointer(tensor) % (2 << 20));
        Span<sbyte> elements = CpuMemory.Span<sbyte>(tensor);
        Assert.Equal(bytes / 4 * 4, elements.Length);
        Assert.True(elements.IndexOfAnyExcept((sbyte)0) < 0);
        elements.Fill(-1);
        Assert.True(elements.IndexOfAnyExcept((sbyte)-1) < 0);
    }

    [Fact]
    public void More_than_there_is_is_refused()
    {
        using var device = new CpuDevice();
        Assert.Contains("cannot be reserved",
            Assert.Throws<OutOfDeviceMemoryException>(() => device.Allocate(long.MaxValue)).Message,
            StringComparison.Ordinal);
        Assert.Contains("cannot be reserved", Assert.Throws<OutOfDeviceMemoryException>(() => device.Allocate(1L << 50))
            .Message, StringComparison.Ordinal);
    }
}
