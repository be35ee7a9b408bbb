using System.Globalization;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Tests.Cpu;

public sealed unsafe class CpuMemoryTests
{
    /// <summary>Sizes below, at and beside that of a large page: zeros to the last byte, and writable there.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData((1 << 20) - 4)]
    [InlineData(1 << 20)]
    [InlineData((2 << 20) - 4)]
    [InlineData(2 << 20)]
    [InlineData((5 << 20) + 12)]
    public void Memory_is_zero_aligned_and_whole(int bytes)
    {
        using var device = new CpuDevice();
        using var memory = (CpuMemory)device.Allocate(bytes);
        var tensor = new Tensor(memory, 0, new TensorType(DataType.Int8, new Shape(bytes)));
        Assert.Equal(0, (long)CpuMemory.Pointer(tensor) % 64);
        if (OperatingSystem.IsLinux() && bytes >= 2 << 20)
            Assert.Equal(0, (long)CpuMemory.Pointer(tensor) % (2 << 20));
        Span<sbyte> elements = CpuMemory.Span<sbyte>(tensor);
        Assert.Equal(bytes, elements.Length);
        Assert.True(elements.IndexOfAnyExcept((sbyte)0) < 0);
        elements.Fill(-1);
        Assert.True(elements.IndexOfAnyExcept((sbyte)-1) < 0);
    }

    [Fact]
    public void More_than_there_is_is_refused()
    {
        using var device = new CpuDevice();
        Assert.Contains("cannot be reserved", Assert.Throws<OutOfDeviceMemoryException>(() => device.Allocate(long.MaxValue)).Message, StringComparison.Ordinal);
        Assert.Contains("cannot be reserved", Assert.Throws<OutOfDeviceMemoryException>(() => device.Allocate(1L << 50)).Message, StringComparison.Ordinal);
    }

    /// <summary>
    /// Blocks of a model's size that are freed between small ones that stay: what the C library would keep for later is the system's again.
    /// </summary>
    [Fact]
    public void Freed_blocks_are_the_systems_again()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Skip("Elsewhere the C library decides.");
        const int Blocks = 40, Bytes = 8 << 20;
        using var device = new CpuDevice();
        var kept = new List<DeviceMemory>();
        try
        {
            long before = ResidentBytes();
            for (int cycle = 0; cycle < 10; cycle++)
            {
                var blocks = new List<DeviceMemory>();
                for (int block = 0; block < Blocks; block++)
                {
                    blocks.Add(device.Allocate(Bytes));
                    kept.Add(device.Allocate(1000));
                }

                blocks.ForEach(block => block.Dispose());
            }

            Assert.InRange(ResidentBytes() - before, long.MinValue, 100 << 20);
        }
        finally
        {
            kept.ForEach(block => block.Dispose());
        }
    }

    private static long ResidentBytes()
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line["VmRSS:".Length..^"kB".Length], CultureInfo.InvariantCulture) * 1024;
    }
}
