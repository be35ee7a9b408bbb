using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>The fused connector on the emulator against the CPU.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class ConnectorKernelTests
{
    [Theory]
    [InlineData(2, 4, 2, 3, 6, DataType.BFloat16)]
    [InlineData(2, 2, 1, 8, 16, DataType.Float32)]
    [InlineData(4, 2, 5, 24, 70, DataType.BFloat16)]
    [InlineData(12, 12, 2, 16, 33, DataType.BFloat16)]
    [InlineData(4, 4, 0, 8, 8, DataType.BFloat16)]
    public void Agrees_with_the_cpu(int gridHeight, int gridWidth, int images, int width, int columns,
        DataType parameterType)
    {
        var op = new FusedConnector(gridHeight, gridWidth, 1e-5f);
        int[][] shapes = [[images * (1 + gridHeight * gridWidth), width], [4 * width], [4 * width],
            [columns, 4 * width], [columns], [columns, columns], [columns]];
        float[][] data =
            [.. shapes.Select((shape, index) =>
                Numbers.Random(index + 1, shape.Aggregate(1, (left, right) => left * right))
                    .Select(value => (float)(BFloat16)value).ToArray())];
        // Far from zero, where a variance from one pass would lose its digits.
        for (int index = 0; index < data[0].Length; index++)
            data[0][index] = (float)(BFloat16)(data[0][index] + 6);
        for (int index = 0; index < data[3].Length; index++)
            data[3][index] /= 16;

        TensorType[] types = [.. shapes.Select((shape, index) => new TensorType(
            index is 0 or 3 or 5 ? DataType.BFloat16 : parameterType, new Shape(shape), index is 3 or 5 ? Storage.Weight
                : Storage.RowMajor))];
        Array[] inputs = [.. data.Select((values, index) => types[index].DataType == DataType.BFloat16
            ? (Array)values.Select(value => (BFloat16)value).ToArray() : values)];
        using var kernels = new EmulatedKernels();
        float[] actual = [.. kernels.Run<BFloat16>(op, types, inputs).Select(value => (float)value)];

        float[] expected = OpRun.Floats(op,
            [.. data.Select(
                (values, index) => new Operand(types[index] with { DataType = DataType.Float32 }, _ => values))])[0];
        Assert.Equal(expected.Length, actual.Length);
        double difference = expected.Zip(actual, (left, right) => Math.Pow(left - right, 2)).Sum(),
            norm = expected.Sum(value => (double)value * value);
        Assert.True(Math.Sqrt(difference) <= 1e-2 * Math.Sqrt(norm), $"relative error {Math.Sqrt(difference / norm)}");
    }
}
