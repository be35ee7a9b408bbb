using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Splits the attention projection, normalises every head of queries and keys and rotates them, in one pass: <c>(qkv
/// [T, (Hq + 2·Hkv)·D], table [T, D], query weight [D], key weight [D]) → (q [T, Hq·D], k [T, Hkv·D], v [T,
/// Hkv·D])</c>; see <see cref="RmsNorm"/> and <see cref="RotaryEmbedding"/>.
/// </summary>
/// <param name="HeadCount">Hq, the query heads.</param>
/// <param name="KeyValueHeadCount">Hkv, the key and value heads.</param>
/// <param name="HeadDimension">D.</param>
/// <param name="Epsilon">Added to the mean square of a head.</param>
public sealed record QkvSplitNormRotary(int HeadCount, int KeyValueHeadCount, int HeadDimension, float Epsilon) : Op,
    ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(4);
        IReadOnlyList<TensorType> outputs = QkvSplitRotary.Infer(check, inputs, HeadCount, KeyValueHeadCount, HeadDimension);
        check.Shape(2, "query weight", HeadDimension).Is(2, "query weight", DataType.Float32, DataType.BFloat16)
            .Shape(3, "key weight", HeadDimension).SameDataType(3, "key weight", 2, "query weight");
        return outputs;
    }

    /// <summary>
    /// By the ops that this one replaces: heads are rotated back, and the norms' own gradient reads what they had read.
    /// So the gradients have the bits of the plain graph.
    /// </summary>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Graph graph = context.Graph;
        Value qkv = context.Inputs[0], table = context.Inputs[1];
        int query = HeadCount * HeadDimension, key = KeyValueHeadCount * HeadDimension;
        IReadOnlyList<Value> parts = graph.AddNode(new SplitColumns(query, key, key), qkv);
        (Value? inputGradient, Value? weightGradient) queries = Norm(0, HeadCount), keys = Norm(1, KeyValueHeadCount);
        Value? whole = null;
        if (context.Needs(0))
        {
            Value[] pieces = [Or(queries.inputGradient, 0), Or(keys.inputGradient, 1), Or(context.OutputGradients[2], 2)];
            whole = graph.Add(new ConcatenateColumns(), pieces);
        }

        return [whole, null, context.Needs(2) ? queries.weightGradient : null, context.Needs(3) ? keys.weightGradient
            : null];

        Value Or(Value? gradient, int output) => gradient ?? graph.Add(new Zeros(context.Outputs[output].Type));

        (Value?, Value?) Norm(int output, int heads)
        {
            if (context.OutputGradients[output] is not { } gradient || !context.Needs(0) && !context.Needs(2 + output))
                return (null, null);
            Value rotatedBack = graph.Add(new RotaryEmbedding(HeadDimension, Inverse: true), gradient, table);
            IReadOnlyList<Value> gradients = graph.AddNode(new RmsNormBackward(Epsilon, heads), parts[output],
                context.Inputs[2 + output], rotatedBack);
            return (gradients[0], gradients[1]);
        }
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(7.0 * (outputs[0].Shape.ElementCount + outputs[1].Shape.ElementCount), Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int dimension = HeadDimension, heads = HeadCount, keyHeads = KeyValueHeadCount;
        int queryColumns = heads * dimension, keyColumns = keyHeads * dimension, columns = queryColumns + 2 * keyColumns;
        float* qkv = arguments.InputPointer(0), table = arguments.InputPointer(1);
        float[] queryWeight = arguments.ReadParameter(2), keyWeight = arguments.ReadParameter(3);
        float* query = arguments.OutputPointer(0), key = arguments.OutputPointer(1), value = arguments.OutputPointer(2);
        float epsilon = Epsilon;
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, 4 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* source = qkv + (long)row * columns, rotation = table + (long)row * dimension;
                NormAndRotate(source, query + (long)row * queryColumns, heads, queryWeight, epsilon, rotation);
                NormAndRotate(source + queryColumns, key + (long)row * keyColumns, keyHeads, keyWeight, epsilon, rotation);
                new ReadOnlySpan<float>(source + queryColumns + keyColumns, keyColumns)
                    .CopyTo(new Span<float>(value + (long)row * keyColumns, keyColumns));
            }
        });
    }

    private static unsafe void NormAndRotate(float* source, float* target, int heads, float[] weight, float epsilon,
        float* rotation)
    {
        for (int head = 0; head < heads; head++)
            RmsNorm.NormalizeRow(source + head * weight.Length, target + head * weight.Length, weight, epsilon);
        RotaryEmbedding.RotateHeads(target, rotation, target, heads, weight.Length, inverse: false);
    }
}

/// <summary>
/// <see cref="SplitColumns"/> into queries, keys and values, then <see cref="RmsNorm"/> of every head and
/// <see cref="RotaryEmbedding"/> of the first two, with one epsilon and one table → <see cref="QkvSplitNormRotary"/>.
/// </summary>
public sealed class QkvSplitNormRotaryFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => nameof(QkvSplitNormRotary);

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        if (node.Op is not RotaryEmbedding { Inverse: false } rotary || node.Inputs[0].Producer
            is not { Op: RmsNorm norm } last || last.Inputs[0].Producer is not { Op: SplitColumns } split)
            return null;
        if (split.Outputs.Count != 3 || split.Outputs[1].Type != split.Outputs[2].Type)
            return null;
        Node? queryNorm = NormOf(split.Outputs[0], rotary.HeadDimension, norm.Epsilon, uses),
            keyNorm = NormOf(split.Outputs[1], rotary.HeadDimension, norm.Epsilon, uses);
        if (queryNorm is null || keyNorm is null || queryNorm.Inputs[1].Type.DataType != keyNorm.Inputs[1].Type.DataType)
            return null;
        Node? queryNode = QkvSplitRotaryFusion.Rotation(queryNorm.Outputs[0], rotary, node.Inputs[1], uses),
            keyNode = QkvSplitRotaryFusion.Rotation(keyNorm.Outputs[0], rotary, node.Inputs[1], uses);
        if (queryNode is null || keyNode is null || Math.Max(queryNode.Index, keyNode.Index) != node.Index)
            return null;
        Value query = queryNode.Outputs[0], key = keyNode.Outputs[0], value = split.Outputs[2];
        // The fused node stands where the later rotation stood: whoever reads its outputs must come after it.
        if (new[] { query, key, value }.Any(output => uses.Readers(output).Any(reader => reader.Index < node.Index)))
            return null;
        int dimension = rotary.HeadDimension;
        var fused = new QkvSplitNormRotary(query.Shape.Columns / dimension, key.Shape.Columns / dimension, dimension,
            norm.Epsilon);
        return new FusionMatch(
            [split, queryNorm, keyNorm, queryNode, keyNode], fused,
            [split.Inputs[0], node.Inputs[1], queryNorm.Inputs[1], keyNorm.Inputs[1]], [query, key, value]);
    }

    /// <summary>The norm of heads that alone reads a value, if it is as required.</summary>
    private static Node? NormOf(Value value, int dimension, float epsilon, ValueUses uses) =>
        uses.Readers(value) is [{ } reader] && uses.OnlyReadBy(value, reader) && reader.Op is RmsNorm norm
            && norm.Epsilon == epsilon
        && norm.Groups * dimension == value.Shape.Columns && reader.Inputs[0] == value
            ? reader
            : null;
}
