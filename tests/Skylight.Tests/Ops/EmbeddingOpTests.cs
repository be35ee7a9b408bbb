using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

public class EmbeddingOpTests
{
    private const int Vocabulary = 70;
    private const int Columns = 9;
    private static readonly float[] Table = Numbers.Random(1, Vocabulary * Columns);
    private static readonly int[] Ids = [69, 0, 31, 32, 33, 31, 64, 31];

    [Theory]
    [InlineData(DataType.Float32, Storage.RowMajor)]
    [InlineData(DataType.Float32, Storage.Weight)]
    [InlineData(DataType.BFloat16, Storage.RowMajor)]
    [InlineData(DataType.BFloat16, Storage.Weight)]
    public void Look_up_reads_rows_in_any_storage(DataType dataType, Storage storage)
    {
        Operand table = new(new TensorType(dataType, new Shape(Vocabulary, Columns), storage), _ => Table);
        float[] y = OpRun.Floats(new EmbeddingLookup(), table, Operand.Integers(Ids))[0];
        float[] expected = [.. Ids.SelectMany(id => Table[(id * Columns)..((id + 1) * Columns)])];
        Assert.Equal(dataType == DataType.Float32 ? expected : [.. expected.Select(value => (float)(BFloat16)value)], y);
    }

    [Theory]
    [InlineData(Storage.RowMajor)]
    [InlineData(Storage.Weight)]
    public void Gradient_adds_tokens_in_order_and_is_zero_elsewhere(Storage storage)
    {
        var type = new TensorType(DataType.BFloat16, new Shape(Vocabulary, Columns), storage);
        float[] dy = Numbers.Random(2, Ids.Length * Columns);
        using var run = new OpRun(new EmbeddingGradient(type),
            [Operand.Integers(Ids), OpRun.Given(dy, Ids.Length, Columns)]);
        Assert.Equal(new TensorType(DataType.Float32, type.Shape, storage), run.Outputs[0].Type);
        var expected = new float[Vocabulary * Columns];
        for (int token = 0; token < Ids.Length; token++)
        {
            for (int column = 0; column < Columns; column++)
                expected[Ids[token] * Columns + column] += dy[token * Columns + column];
        }

        Assert.Equal(expected, run.Floats()[0]);
    }

    [Fact]
    public void Image_features_replace_rows_and_get_the_sum_of_their_gradients()
    {
        int[] index = [-1, 1, 1, -1, 0];
        float[] embeddings = Numbers.Random(3, 5 * 2), features = Numbers.Random(4, 3 * 2), dy = Numbers.Random(5, 5 * 2);
        float[] y = OpRun.Floats(new ScatterImageFeatures(), OpRun.Given(embeddings, 5, 2), OpRun.Given(features, 3, 2),
            Operand.Integers(index))[0];
        Assert.Equal([embeddings[0], embeddings[1], features[2], features[3], features[2], features[3], embeddings[6],
            embeddings[7], features[0], features[1]], y);
        float[] embeddingGradient = OpRun.Floats(new ScatterImageFeaturesEmbeddingGradient(), Operand.Integers(index),
            OpRun.Given(dy, 5, 2))[0];
        Assert.Equal([dy[0], dy[1], 0, 0, 0, 0, dy[6], dy[7], 0, 0], embeddingGradient);
        float[] featureGradient = OpRun.Floats(new ScatterImageFeaturesGradient(3), Operand.Integers(index),
            OpRun.Given(dy, 5, 2))[0];
        Assert.Equal([dy[8], dy[9], dy[2] + dy[4], dy[3] + dy[5], 0, 0], featureGradient);
    }

    [Fact]
    public void Gather_takes_rows_again_and_again()
    {
        float[] x = Numbers.Random(6, 4 * 3);
        Assert.Equal([.. x[9..12], .. x[0..3], .. x[9..12]],
            OpRun.Floats(new GatherRows(), OpRun.Given(x, 4, 3), Operand.Integers([3, 0, 3]))[0]);
    }

    [Fact]
    public void Indices_out_of_range_are_named()
    {
        AssertOutOfRange("EmbeddingLookup: ids[1] is 70", new EmbeddingLookup(),
            OpRun.Given(Table, Vocabulary, Columns), Operand.Integers([3, 70]));
        AssertOutOfRange("EmbeddingLookup: ids[0] is -1", new EmbeddingLookup(),
            OpRun.Given(Table, Vocabulary, Columns), Operand.Integers([-1, 3]));
        AssertOutOfRange("GatherRows: rows[0] is 70", new GatherRows(), OpRun.Given(Table, Vocabulary, Columns),
            Operand.Integers([70]));
        AssertOutOfRange("ScatterImageFeatures: featureIndex[0] is 1", new ScatterImageFeatures(),
            OpRun.Given([1, 2], 1, 2), OpRun.Given([3, 4], 1, 2), Operand.Integers([1]));
        AssertOutOfRange("ScatterImageFeatures: featureIndex[0] is -2", new ScatterImageFeatures(),
            OpRun.Given([1, 2], 1, 2), OpRun.Given([3, 4], 1, 2), Operand.Integers([-2]));
        AssertOutOfRange("RotaryTable: positions[0] is -1", new RotaryTable(4, 10000f), Operand.Integers([-1]));
    }

    private static void AssertOutOfRange(string message, Op op, params Operand[] operands) =>
        Assert.Contains(message, Assert.Throws<ArgumentOutOfRangeException>(() => OpRun.Floats(op, operands)).Message,
            StringComparison.Ordinal);
}
