using System.Runtime.InteropServices;
using Skylight.Cuda;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Bench.Kernels;

/// <summary>
/// Fills operands without making billions of random numbers: small ones and integers as their workload says; of large
/// ones the first million numbers, which the card then copies over the rest.
/// </summary>
internal static class OperandFill
{
    /// <summary>A prime, so that the repetition falls differently into every row.</summary>
    private const int Block = 999_983;

    private static readonly float[] Random = (float[])Operand.Normal(Block).Fill(1);

    /// <summary>Writes an operand's numbers into memory of the card.</summary>
    public static void Write(CudaDevice device, Workload workload, int index, Tensor destination)
    {
        Operand operand = workload.Inputs[index];
        TensorType type = operand.Type;
        if (type.DataType == DataType.Int32)
        {
            device.Upload(MemoryMarshal.AsBytes<int>((int[])operand.Fill(index + 1)), destination);
            return;
        }

        if (operand.Codes is { } codes)
        {
            codes(index + 1).Upload(device, destination);
            return;
        }

        long count = type.Shape.ElementCount;
        if (count <= Block)
        {
            device.Upload(Bytes((float[])operand.Fill(index + 1), type.DataType), destination);
            return;
        }

        // Of the operands' own distributions only the scale matters to a clock and a power limit: weights are as large
        // as their rows are long.
        float scale = type.Storage == Storage.Weight && type.DataType == DataType.BFloat16
            ? 1f / MathF.Sqrt(type.Shape.Columns) : 1f;
        // A second moment is never negative; its root would be no number.
        bool positive = workload.Op is AdamW;
        float[] numbers = Array.ConvertAll(Random, number => scale * (positive ? MathF.Abs(number) : number));
        device.Upload(Bytes(numbers, type.DataType),
            new Tensor(destination.Memory, destination.ByteOffset, new TensorType(type.DataType, new Shape(Block))));
        device.MakeCurrent();
        ulong address = device.AddressOf(destination);
        for (long written = (long)Block * type.DataType.Size(); written < type.Bytes; written *= 2)
            device.Copy(address, address + (ulong)written, Math.Min(written, type.Bytes - written));
    }

    private static ReadOnlySpan<byte> Bytes(float[] numbers, DataType type) => type == DataType.Float32
        ? MemoryMarshal.AsBytes<float>(numbers)
        : MemoryMarshal.AsBytes<BFloat16>(Array.ConvertAll(numbers, number => (BFloat16)number));
}
