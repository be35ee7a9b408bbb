using System.Numerics;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cpu;

namespace Skylight.Tests.Ops;

/// <summary>Packed attention and its gradient against the formula in double.</summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class AttentionTests : IDisposable
{
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    public static TheoryData<int, int, int, bool, int[], int> Shapes()
    {
        var data = new TheoryData<int, int, int, bool, int[], int>();
        foreach (bool causal in new[] { true, false })
        {
            foreach (int dimension in new[] { 1, 5, 16, 20, 32, 64, 100, 128 })
                data.Add(2, 1, dimension, causal, [0, 3, 3, 70, 71], 75);
            data.Add(1, 1, 8, causal, [0, 0], 3);
            data.Add(1, 1, 8, causal, [0, 1], 1);
            data.Add(7, 1, 16, causal, [2, 35, 67, 164], 164);
            data.Add(6, 3, 32, causal, [0, 32, 64, 65], 70);
            data.Add(4, 4, 24, causal, [0, 1100], 1100);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Matches_the_formula_and_leaves_other_rows_zero(int heads, int keyValueHeads, int dimension, bool causal,
        int[] starts, int rows)
    {
        var batch = new Batch(heads, keyValueHeads, dimension, causal, starts, rows, seed: dimension);
        (double[] expected, double[] expectedLogSumExp) = batch.Reference();
        using AttentionHarness harness = batch.Forward();
        // Every row belongs to a sequence first, so that what is zero later was made zero.
        harness.Run(batch.Q, batch.K, batch.V, Spread(starts.Length, rows));
        float[][] outputs = harness.Run(batch.Q, batch.K, batch.V, starts);
        AttentionHarness.AssertClose(expected, outputs[0], 3e-6, "out");
        AttentionHarness.AssertClose(expectedLogSumExp, outputs[1], 1e-6, "logSumExp");
        for (int row = 0; row < rows; row++)
        {
            if (row >= starts[0] && row < starts[^1])
                continue;
            Assert.All(outputs[0].AsSpan(row * heads * dimension, heads * dimension).ToArray(),
                value => Assert.Equal(0f, value));
            Assert.All(outputs[1].AsSpan(row * heads, heads).ToArray(), value => Assert.Equal(0f, value));
        }
    }

    [Theory]
    [InlineData(2, 1, 1, true)]
    [InlineData(4, 2, 5, true)]
    [InlineData(4, 2, 5, false)]
    [InlineData(1, 1, 36, true)]
    [InlineData(3, 3, 16, false)]
    public void Gradient_matches_finite_differences(int heads, int keyValueHeads, int dimension, bool causal)
    {
        var batch = new Batch(heads, keyValueHeads, dimension, causal, [1, 6, 6, 42, 43], 45, seed: 3);
        (float[] outputGradient, float[][] gradients) = batch.Gradients();
        var random = new Random(5);
        double Loss()
        {
            double[] output = batch.Reference().Output;
            return output.Zip(outputGradient, (a, b) => a * b).Sum();
        }

        foreach ((float[] operand, float[] gradient, string name) in new[]
        {
            (batch.Q, gradients[0], "dq"), (batch.K, gradients[1], "dk"), (batch.V, gradients[2], "dv"),
        })
        {
            // One of each piece of a few elements: every row and every head has some.
            const int Most = 360;
            int[] moved = [.. Enumerable.Range(0, Math.Min(Most, operand.Length)).Select(piece =>
                random.Next(operand.Length * piece / Math.Min(Most, operand.Length),
                    operand.Length * (piece + 1) / Math.Min(Most, operand.Length)))];
            var expected = new double[moved.Length];
            for (int at = 0; at < moved.Length; at++)
            {
                int index = moved[at];
                float old = operand[index];
                const float Step = 1f / 1024;
                operand[index] = old + Step;
                float above = operand[index];
                double plus = Loss();
                operand[index] = old - Step;
                expected[at] = (plus - Loss()) / ((double)above - operand[index]);
                operand[index] = old;
            }

            AttentionHarness.AssertClose(expected, [.. moved.Select(index => gradient[index])], 2e-6, name);
        }
    }

    [Theory]
    [InlineData(4, 4, 32, true, false)]
    [InlineData(6, 2, 20, true, false)]
    [InlineData(2, 2, 64, false, false)]
    [InlineData(4, 4, 32, true, true)]
    [InlineData(6, 2, 20, true, true)]
    [InlineData(7, 1, 5, true, true)]
    [InlineData(2, 2, 64, false, true)]
    public void Bits_do_not_depend_on_threads_or_the_rest_of_the_batch(int heads, int keyValueHeads, int dimension,
        bool causal, bool rounds)
    {
        int[] starts = [0, 90, 91, 400, 400, 577];
        var batch = new Batch(heads, keyValueHeads, dimension, causal, starts, 600, seed: 1) { Rounds = rounds };
        CpuParallel.ThreadCount = 1;
        (float[] outputGradient, float[][] expected) = batch.Gradients();
        using (AttentionHarness harness = batch.Forward())
            expected = [.. expected, .. harness.Run(batch.Q, batch.K, batch.V, starts)];
        CpuParallel.ThreadCount = 2;
        (_, float[][] actual) = batch.Gradients();
        using (AttentionHarness harness = batch.Forward())
            actual = [.. actual, .. harness.Run(batch.Q, batch.K, batch.V, starts)];
        for (int index = 0; index < expected.Length; index++)
            AttentionHarness.AssertSameBits(expected[index], actual[index], $"tensor {index}, two threads");

        for (int sequence = 0; sequence < starts.Length - 1; sequence++)
        {
            (int first, int length) = (starts[sequence], starts[sequence + 1] - starts[sequence]);
            Batch alone = batch.Slice(first, length);
            (_, float[][] single) = alone.Gradients(Batch.Rows(outputGradient, heads * dimension, first, length));
            using AttentionHarness harness = alone.Forward();
            single = [.. single, .. harness.Run(alone.Q, alone.K, alone.V, alone.Starts)];
            int[] columns = [heads * dimension, keyValueHeads * dimension, keyValueHeads * dimension, heads * dimension,
                heads];
            for (int index = 0; index < single.Length; index++)
                AttentionHarness.AssertSameBits(Batch.Rows(expected[index], columns[index], first, length),
                    single[index], $"tensor {index} of sequence {sequence} alone");
        }
    }

    /// <summary>
    /// Rounding moves each result by the precision of bfloat16 (2⁻⁹) and no more, there and back; and it moves it.
    /// </summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Rounded_operands_give_the_formula_in_their_precision(int heads, int keyValueHeads, int dimension, bool causal,
        int[] starts, int rows)
    {
        var exact = new Batch(heads, keyValueHeads, dimension, causal, starts, rows, seed: dimension);
        Batch rounded = exact with { Rounds = true };
        (double[] expected, double[] expectedLogSumExp) = exact.Reference();
        using AttentionHarness harness = rounded.Forward();
        float[][] outputs = harness.Run(rounded.Q, rounded.K, rounded.V, starts);
        AttentionHarness.AssertClose(expected, outputs[0], 0.02, "out");
        AttentionHarness.AssertClose(expectedLogSumExp, outputs[1], 0.02, "logSumExp");
        if (starts[0] == starts[^1])
            return;
        Assert.NotEqual(expected.Select(value => (float)value), outputs[0]);
        // Numbers that are bfloat16 already are not moved again (the factor 1/√D must be a power of two for that).
        if (BitOperations.IsPow2(dimension) && BitOperations.Log2((uint)dimension) % 2 == 0)
        {
            Batch before = rounded with
            {
                Q = GemmReference.RoundToBFloat16(rounded.Q),
                K = GemmReference.RoundToBFloat16(rounded.K),
                V = GemmReference.RoundToBFloat16(rounded.V),
            };
            AttentionHarness.AssertSameBits(harness.Run(before.Q, before.K, before.V, starts)[0], outputs[0], "out");
        }

        (float[] outputGradient, float[][] gradients) = exact.Gradients();
        (_, float[][] roundedGradients) = rounded.Gradients(outputGradient);
        for (int index = 0; index < 3; index++)
        {
            double norm = Math.Sqrt(gradients[index].Sum(value => (double)value * value));
            double distance = Math.Sqrt(
                gradients[index].Zip(roundedGradients[index], (a, b) => Math.Pow((double)a - b, 2)).Sum());
            Assert.True(distance <= 0.04 * norm + 1e-6, $"gradient {index}: {distance} of {norm}");
        }
    }

    [Fact]
    public void Large_scores_do_not_overflow()
    {
        var batch = new Batch(1, 1, 16, true, [0, 100], 100, seed: 5);
        for (int index = 0; index < batch.Q.Length; index++)
            batch.Q[index] *= 300;
        using AttentionHarness harness = batch.Forward();
        AttentionHarness.AssertClose(batch.Reference().Output, harness.Run(batch.Q, batch.K, batch.V, batch.Starts)[0],
            1e-3, "out");
    }

    [Theory]
    [InlineData(new[] { 0, 5, 3 }, "starts[2] is 3, but starts must ascend, and the one before is 5")]
    [InlineData(new[] { 0, 5, 9 }, "starts[2] is 9, but there are only 8 rows")]
    [InlineData(new[] { -1, 5, 8 }, "starts[0] is -1, but the first start must not be negative")]
    public void Bad_starts_are_named(int[] starts, string message)
    {
        var batch = new Batch(1, 1, 4, true, starts, 8, seed: 1);
        using AttentionHarness forward = batch.Forward();
        var exception = Assert.Throws<ArgumentOutOfRangeException>(() => forward.Run(batch.Q, batch.K, batch.V, starts));
        Assert.Contains("Attention: " + message, exception.Message, StringComparison.Ordinal);
        using AttentionHarness backward = batch.Backward();
        exception = Assert.Throws<ArgumentOutOfRangeException>(
            () => backward.Run(batch.Q, batch.K, batch.V, batch.Q, new float[8], batch.Q, starts));
        Assert.Contains("AttentionBackward: " + message, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Wrong_shapes_are_named()
    {
        TensorType q = TensorType.Float32(8, 12), k = TensorType.Float32(8, 6), starts = TensorType.Int32(2);
        var op = new Attention(4, 2, 3, true);
        Assert.Equal([q, TensorType.Float32(8, 4)], op.Infer([q, k, k, starts]));
        Assert.Throws<GraphException>(() => op.Infer([q, k, k]));
        Assert.Throws<GraphException>(() => op.Infer([TensorType.Float32(8, 13), k, k, starts]));
        Assert.Throws<GraphException>(() => op.Infer([q, q, k, starts]));
        Assert.Throws<GraphException>(() => op.Infer([q, k, TensorType.Float32(7, 6), starts]));
        Assert.Throws<GraphException>(() => op.Infer([q, k, k, TensorType.Float32(2)]));
        Assert.Throws<GraphException>(() => op.Infer([q, k, k, TensorType.Int32(0)]));
        Assert.Contains("one must divide the other",
            Assert.Throws<GraphException>(() => new Attention(4, 3, 3, true).Infer([q, k, k, starts])).Message,
            StringComparison.Ordinal);
        Assert.Throws<GraphException>(() => new Attention(0, 1, 3, true).Infer([q, k, k, starts]));
    }

    [Fact]
    public void Only_the_output_is_differentiable()
    {
        var graph = new Graph();
        Value q = graph.Input("q", TensorType.Float32(1, 4)), starts = graph.Input("starts", TensorType.Int32(2)),
            one = graph.Input("one", TensorType.Float32(1, 1));
        IReadOnlyList<Value> outputs = graph.AddNode(new Attention(1, 1, 4, true), q, q, q, starts);
        var exception = Assert.Throws<GraphException>(() => graph.Differentiate(outputs[1], [q], one, new Add()));
        Assert.Contains("logSumExp", exception.Message, StringComparison.Ordinal);
    }

    private static int[] Spread(int count, int rows) =>
        [.. Enumerable.Range(0, count).Select(index => (int)((long)rows * index / (count - 1)))];

    /// <summary>Operands of one batch, and what they should give.</summary>
    private sealed record Batch(int Heads, int KeyValueHeads, int Dimension, bool Causal, int[] Starts, int RowCount)
    {
        public Batch(int heads, int keyValueHeads, int dimension, bool causal, int[] starts, int rows, int seed)
            : this(heads, keyValueHeads, dimension, causal, starts, rows)
        {
            var random = new Random(seed);
            Q = AttentionHarness.Random(random, rows * heads * dimension);
            K = AttentionHarness.Random(random, rows * keyValueHeads * dimension);
            V = AttentionHarness.Random(random, rows * keyValueHeads * dimension);
        }

        public float[] Q { get; init; } = [];

        public float[] K { get; init; } = [];

        public float[] V { get; init; } = [];

        public bool Rounds { get; init; }

        private TensorType QueryType => TensorType.Float32(RowCount, Heads * Dimension);

        private TensorType KeyType => TensorType.Float32(RowCount, KeyValueHeads * Dimension);

        public Batch Slice(int first, int length) => this with
        {
            Starts = [0, length],
            RowCount = length,
            Q = Rows(Q, Heads * Dimension, first, length),
            K = Rows(K, KeyValueHeads * Dimension, first, length),
            V = Rows(V, KeyValueHeads * Dimension, first, length),
        };

        public static float[] Rows(float[] values, int columns, int first, int count) =>
            values.AsSpan(first * columns, count * columns).ToArray();

        public AttentionHarness Forward() =>
            new(new Attention(Heads, KeyValueHeads, Dimension, Causal) { RoundsOperands = Rounds },
                [QueryType, KeyType, KeyType, TensorType.Int32(Starts.Length)]);

        public AttentionHarness Backward() => new(
            new AttentionBackward(Heads, KeyValueHeads, Dimension, Causal) { RoundsOperands = Rounds },
            [QueryType, KeyType, KeyType, QueryType, TensorType.Float32(RowCount, Heads), QueryType,
                TensorType.Int32(Starts.Length)]);

        public (float[] OutputGradient, float[][] Gradients) Gradients(float[]? outputGradient = null)
        {
            using AttentionHarness forward = Forward(), backward = Backward();
            float[][] outputs = forward.Run(Q, K, V, Starts);
            outputGradient ??= AttentionHarness.Random(new Random(77), Q.Length);
            // A first run with other sequences: gradients of rows outside must be made zero, not be so by chance.
            backward.Run(Q, K, V, outputs[0], outputs[1], outputGradient, Spread(Starts.Length, RowCount));
            return (outputGradient, backward.Run(Q, K, V, outputs[0], outputs[1], outputGradient, Starts));
        }

        public (double[] Output, double[] LogSumExp) Reference()
        {
            var output = new double[Q.Length];
            var logSumExp = new double[RowCount * Heads];
            int group = Heads / KeyValueHeads;
            for (int sequence = 0; sequence < Starts.Length - 1; sequence++)
            {
                for (int row = Starts[sequence]; row < Starts[sequence + 1]; row++)
                {
                    int end = Causal ? row + 1 : Starts[sequence + 1];
                    for (int head = 0; head < Heads; head++)
                        ReferenceRow(row, head, head / group, Starts[sequence], end, output, logSumExp);
                }
            }

            return (output, logSumExp);
        }

        private void ReferenceRow(int row, int head, int keyValueHead, int first, int end, double[] output,
            double[] logSumExp)
        {
            var scores = new double[end - first];
            for (int key = first; key < end; key++)
            {
                for (int d = 0; d < Dimension; d++)
                    scores[key - first] += (double)Q[(row * Heads + head) * Dimension + d]
                        * K[(key * KeyValueHeads + keyValueHead) * Dimension + d] / Math.Sqrt(Dimension);
            }

            double maximum = scores.Max(), total = scores.Sum(score => Math.Exp(score - maximum));
            logSumExp[row * Heads + head] = maximum + Math.Log(total);
            for (int key = first; key < end; key++)
            {
                double p = Math.Exp(scores[key - first] - maximum) / total;
                for (int d = 0; d < Dimension; d++)
                    output[(row * Heads + head) * Dimension + d] += p
                        * V[(key * KeyValueHeads + keyValueHead) * Dimension + d];
            }
        }
    }
}
