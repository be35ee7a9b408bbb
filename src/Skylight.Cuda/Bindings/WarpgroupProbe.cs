using System.Runtime.InteropServices;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Whether a card's <c>wgmma</c> gives an element of a product the same bits whatever the width of the instruction and
/// whatever stands in the rows beside it, which deterministic mode rests on. What is found here can only take the kernels
/// away: no finite number of products proves that it is always so.
/// </summary>
internal static class WarpgroupProbe
{
    /// <summary>Says whether kernels by warpgroups are wanted: <c>on</c> or <c>off</c>.</summary>
    public const string Variable = "SKYLIGHT_WARPGROUPS";

    private const int Rows = 136, Columns = 264, Inner = 1032;

    /// <summary>What <see cref="Variable"/> says; null where it is not set.</summary>
    /// <exception cref="ArgumentException">It says something else.</exception>
    public static bool? Wanted() => CudaDevice.Switch(Variable);

    /// <summary>Multiplies the same numbers in every tile, and once in another order of rows.</summary>
    /// <param name="device">A card with <c>wgmma</c>.</param>
    /// <param name="sourceOf">The kernel that a tile is made of; null for Skylight's own.</param>
    /// <returns>What differs; null where nothing does.</returns>
    /// <exception cref="CudaException">A kernel cannot be compiled or does not run; the error says how to do without.
    /// </exception>
    public static string? Run(CudaDevice device, Func<WarpgroupTile, KernelSource?>? sourceOf = null)
    {
        try
        {
            return Compare(device, sourceOf ?? (_ => null));
        }
        catch (Exception exception) when (exception is CudaException or OutOfDeviceMemoryException)
        {
            throw new CudaException(
                $"The kernels by wgmma do not run on {device.CardName}: {exception.Message} With {Variable}=off they are not " +
                $"used.", exception);
        }
    }

    private static string? Compare(CudaDevice device, Func<WarpgroupTile, KernelSource?> sourceOf)
    {
        var tensors = new List<Tensor>();
        try
        {
            Tensor left = Allocate(Half(Rows, Inner)), right = Allocate(Half(Columns, Inner)),
                result = Allocate(TensorType.Float32(Rows, Columns));
            BFloat16[] rows = Random(1, Rows * Inner);
            device.Upload(MemoryMarshal.AsBytes(rows.AsSpan()), left);
            device.Upload(MemoryMarshal.AsBytes(Random(2, Columns * Inner).AsSpan()), right);
            WarpgroupTile most = WarpgroupTile.Largest;
            int[] expected = Product(device, most, sourceOf(most), left, right, result);
            IEnumerable<WarpgroupTile> tiles = WarpgroupTile.All;
            if (device.Target.UsesClusters)
                tiles = tiles.Append(most with { Cluster = 2 });
            foreach (WarpgroupTile tile in tiles)
            {
                int[] found = tile == most ? expected : Product(device, tile, sourceOf(tile), left, right, result);
                if (Differing(expected, found) is > 0 and var count)
                    return $"of {found.Length} elements, {count} have other bits in tiles of {tile.Columns} columns and " +
                        $"{tile.LeftRows} rows{(tile.Cluster > 1 ? ", in clusters," : "")} than in those of {most.Columns} and " +
                        $"{most.LeftRows}";
            }

            for (int row = 0; row < Rows / 2; row++)
            {
                Span<BFloat16> one = rows.AsSpan(row * Inner, Inner), other = rows.AsSpan((Rows - 1 - row) * Inner, Inner);
                BFloat16[] kept = one.ToArray();
                other.CopyTo(one);
                kept.CopyTo(other);
            }

            device.Upload(MemoryMarshal.AsBytes(rows.AsSpan()), left);
            int[] reversed = Product(device, most, sourceOf(most), left, right, result);
            int[] back = [.. reversed.Chunk(Columns).Reverse().SelectMany(row => row)];
            return Differing(expected, back) is > 0 and var moved
                ? $"of {Rows * Columns} elements, {moved} have other bits where other rows stand beside theirs" : null;
        }
        finally
        {
            foreach (Tensor tensor in tensors)
                tensor.Memory.Dispose();
        }

        Tensor Allocate(TensorType type)
        {
            tensors.Add(device.AllocateTensor(type));
            return tensors[^1];
        }
    }

    /// <summary>As many rows of the product as the tile can have.</summary>
    private static int[] Product(CudaDevice device, WarpgroupTile tile, KernelSource? source, Tensor left, Tensor right,
        Tensor result)
    {
        var kernel = new CudaKernelBuilder(new BatchedMatMul(TransposeA: false, TransposeB: true), [left.Type, right.Type],
            [result.Type], device.Target);
        var product = new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), Rows, Columns, Inner)
        {
            TransposeRight = true,
        };
        if (!tile.Makes(product))
            product = product with { Rows = tile.LeftRows };
        MatMulBindings.QueueWarpgroups(kernel, product, DataType.Float32, tile, source);
        new CudaKernel(device, kernel.Build()).Run(new KernelArguments([left, right], [result], null));
        int[] bits = new int[Rows * Columns];
        device.Download(result, MemoryMarshal.AsBytes(bits.AsSpan()));
        return bits[..(product.Rows * Columns)];
    }

    private static int Differing(int[] expected, int[] found) => expected.Zip(found).Count(pair => pair.First != pair.Second);

    /// <summary>Numbers of sizes far apart, so that sums are rounded in many places.</summary>
    private static BFloat16[] Random(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(
            _ => (BFloat16)(float)((random.NextDouble() - 0.5) * Math.Pow(2, (random.NextDouble() * 12) - 6)))];
    }

    private static TensorType Half(params int[] shape) => new(DataType.BFloat16, new Shape(shape));
}
