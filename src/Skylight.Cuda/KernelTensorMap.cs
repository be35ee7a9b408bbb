using Skylight.Cuda.Interop;
using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>
/// How the bulk copy engine of Hopper and newer cards reads bfloat16 matrices that lie without gaps: in boxes of 64 columns,
/// which come into shared memory with a swizzle of 128 bytes; what lies outside is zeros. A kernel takes it as
/// <c>const __grid_constant__ TensorMap</c> (<c>kernels/ptx/tma.cuh</c>), with the coordinates column, row and matrix. The
/// encoded map holds an address, so it is made anew where an operand's memory is another.
/// </summary>
/// <param name="Columns">Columns of a matrix, a multiple of 8.</param>
/// <param name="Rows">Rows of a matrix.</param>
/// <param name="Matrices">The number of matrices.</param>
/// <param name="BoxRows">Rows of a box, at most 256.</param>
internal sealed record KernelTensorMap(int Columns, int Rows, int Matrices, int BoxRows)
{
    /// <summary>What an encoded map takes, as a kernel's argument too.</summary>
    public const int EncodedBytes = 128;

    /// <summary>What an encoded map's address is a multiple of.</summary>
    public const int EncodedAlignment = 64;

    /// <summary>Columns of a box: 128 bytes.</summary>
    public const int BoxColumns = 64;

    /// <summary>The bytes of a box in shared memory.</summary>
    public int BoxBytes => BoxColumns * BoxRows * DataTypes.Size(DataType.BFloat16);

    /// <summary>Whether the engine can read rows of as many elements: they begin at multiples of 16 bytes.</summary>
    public static bool Reads(int columns) => columns % 8 == 0;

    /// <summary>Encodes the map for an address, a multiple of 16.</summary>
    /// <param name="driver">Whose engine will read it.</param>
    /// <param name="address">Of the first matrix.</param>
    /// <param name="target">Where the map is written.</param>
    public unsafe void Encode(Driver driver, ulong address, byte* target)
    {
        ulong rowBytes = (ulong)Columns * (ulong)DataTypes.Size(DataType.BFloat16);
        ulong* extents = stackalloc ulong[] { (ulong)Columns, (ulong)Rows, (ulong)Matrices };
        ulong* strides = stackalloc ulong[] { rowBytes, rowBytes * (ulong)Rows };
        uint* box = stackalloc uint[] { BoxColumns, (uint)BoxRows, 1 };
        uint* elementStrides = stackalloc uint[] { 1, 1, 1 };
        int result = driver.TensorMapEncodeTiled(target, CudaNumbers.TensorMapBFloat16, 3, address, extents, strides, box,
            elementStrides, CudaNumbers.TensorMapInterleaveNone, CudaNumbers.TensorMapSwizzle128,
            CudaNumbers.TensorMapPromotion128, CudaNumbers.TensorMapFillZeros);
        if (result != 0)
            throw driver.Error(result, $"cuTensorMapEncodeTiled for {this} at 0x{address:X}");
    }
}
