using System.Globalization;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Launches in which every thread has one pack of neighbouring elements of a row; see <c>kernels/common/places.cuh</c>.
/// </summary>
internal static class RowPacks
{
    private const int Threads = 256, AccessBytes = 16;

    /// <summary>How many elements of the largest of some types one access moves.</summary>
    /// <param name="types">The types that a thread touches.</param>
    /// <param name="divisors">What the width has to divide: columns, strides and offsets, in elements.</param>
    /// <returns>A power of two, of 16 bytes at most.</returns>
    public static int Width(ReadOnlySpan<DataType> types, params ReadOnlySpan<int> divisors)
    {
        int bytes = 1;
        foreach (DataType type in types)
            bytes = Math.Max(bytes, type.Size());
        int width = AccessBytes / bytes;
        foreach (int divisor in divisors)
        {
            while (divisor % width != 0)
                width /= 2;
        }

        return width;
    }

    /// <summary>Queues a launch of one thread for each pack, with <c>WIDTH</c> defined.</summary>
    /// <param name="kernel">The op's launches.</param>
    /// <param name="resource">The kernel file.</param>
    /// <param name="entryPoint">The kernel.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="columns">Elements of a row; a multiple of <paramref name="width"/>.</param>
    /// <param name="width">From <see cref="Width"/>.</param>
    /// <exception cref="NotSupportedException">There are 2³¹ packs or more.</exception>
    public static KernelLaunch Launch(CudaKernelBuilder kernel, string resource, string entryPoint, int rows,
        int columns, int width)
    {
        long packs = (long)rows * (columns / width);
        if (packs > int.MaxValue - Threads)
            throw kernel.Unsupported(string.Create(CultureInfo.InvariantCulture,
                $"{entryPoint} counts packs of {width} elements in 32 bits, and there are {packs:N0}"));
        return kernel.Launch(resource, entryPoint, CudaKernelBuilder.Blocks(packs, Threads), Threads).Define("WIDTH", width);
    }

    /// <summary>What a kernel says about an index that is not in [minimum, limit), in the words of the CPU.</summary>
    public static string RangeMessage(string input, int minimum, int limit) =>
        string.Create(CultureInfo.InvariantCulture,
            $"{input}[{{index}}] is {{value}}, but must be at least {minimum} and less than {limit}");
}
