using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Splits the attention projection and rotates queries and keys in one pass: <c>(qkv [T, (Hq + 2·Hkv)·D], table [T, D]) →
/// (q [T, Hq·D], k [T, Hkv·D], v [T, Hkv·D])</c>; see <see cref="RotaryEmbedding"/>.
/// </summary>
/// <param name="HeadCount">Hq, the query heads.</param>
/// <param name="KeyValueHeadCount">Hkv, the key and value heads.</param>
/// <param name="HeadDimension">D.</param>
public sealed record QkvSplitRotary(int HeadCount, int KeyValueHeadCount, int HeadDimension) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs) =>
        Infer(new TypeCheck(this, inputs).Count(2), inputs, HeadCount, KeyValueHeadCount, HeadDimension);

    /// <summary>Checks projection and table, and says what queries, keys and values are.</summary>
    internal static IReadOnlyList<TensorType> Infer(TypeCheck check, IReadOnlyList<TensorType> inputs, int heads,
        int keyHeads, int dimension)
    {
        check.Activation(0, "qkv").Rank(0, "qkv", 2)
            .That(heads > 0 && keyHeads > 0, $"there must be heads, not {heads} and {keyHeads}")
            .That(dimension > 0 && dimension % 2 == 0, $"the head dimension must be even, not {dimension}");
        int tokens = inputs[0].Shape[0];
        check.Shape(0, "qkv", tokens, checked((heads + 2 * keyHeads) * dimension)).Float32(1, "table")
            .Shape(1, "table", tokens, dimension);
        TensorType query = inputs[0] with { Shape = new Shape(tokens, heads * dimension) };
        TensorType key = inputs[0] with { Shape = new Shape(tokens, keyHeads * dimension) };
        return [query, key, key];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        if (!context.Needs(0))
            return [null, null];
        var merge = new QkvMergeRotary(HeadCount, KeyValueHeadCount, HeadDimension, context.OutputGradients[0]
            is not null, context.OutputGradients[1] is not null, context.OutputGradients[2] is not null);
        Value[] present = [.. context.OutputGradients.OfType<Value>()];
        return [context.Graph.Add(merge, [context.Inputs[1], .. present]), null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(3.0 * (outputs[0].Shape.ElementCount + outputs[1].Shape.ElementCount), Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int dimension = HeadDimension, heads = HeadCount, keyHeads = KeyValueHeadCount;
        int queryColumns = heads * dimension, keyColumns = keyHeads * dimension, columns = queryColumns + 2 * keyColumns;
        float* qkv = arguments.InputPointer(0), table = arguments.InputPointer(1);
        float* query = arguments.OutputPointer(0), key = arguments.OutputPointer(1), value = arguments.OutputPointer(2);
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, 2 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* source = qkv + (long)row * columns, rotation = table + (long)row * dimension;
                RotaryEmbedding.RotateHeads(source, rotation, query + (long)row * queryColumns, heads, dimension,
                    inverse: false);
                RotaryEmbedding.RotateHeads(source + queryColumns, rotation, key + (long)row * keyColumns, keyHeads,
                    dimension, inverse: false);
                new ReadOnlySpan<float>(source + queryColumns + keyColumns, keyColumns)
                    .CopyTo(new Span<float>(value + (long)row * keyColumns, keyColumns));
            }
        });
    }
}

/// <summary>
/// The gradient of <see cref="QkvSplitRotary"/>: <c>(table [T, D], then those of dq, dk, dv that there are) → dqkv [T,
/// (Hq + 2·Hkv)·D]</c>, zero where there is none.
/// </summary>
/// <param name="HeadCount">Hq, the query heads.</param>
/// <param name="KeyValueHeadCount">Hkv, the key and value heads.</param>
/// <param name="HeadDimension">D.</param>
/// <param name="HasQuery">Whether dq is an input.</param>
/// <param name="HasKey">Whether dk is an input.</param>
/// <param name="HasValue">Whether dv is an input.</param>
public sealed record QkvMergeRotary(int HeadCount, int KeyValueHeadCount, int HeadDimension, bool HasQuery, bool HasKey,
    bool HasValue) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        int count = 1 + (HasQuery ? 1 : 0) + (HasKey ? 1 : 0) + (HasValue ? 1 : 0);
        TypeCheck check = new TypeCheck(this, inputs).Count(count).Float32(0, "table").Rank(0, "table", 2);
        int tokens = inputs[0].Shape[0], input = 1;
        check.Shape(0, "table", tokens, HeadDimension);
        if (HasQuery)
            check.Activation(input, "dq").Shape(input++, "dq", tokens, HeadCount * HeadDimension);
        if (HasKey)
            check.Activation(input, "dk", 1, "the first gradient")
                .Shape(input++, "dk", tokens, KeyValueHeadCount * HeadDimension);
        if (HasValue)
            check.Activation(input, "dv", 1, "the first gradient")
                .Shape(input, "dv", tokens, KeyValueHeadCount * HeadDimension);
        return [(count > 1 ? inputs[1]
            : inputs[0]) with { Shape = new Shape(tokens, (HeadCount + 2 * KeyValueHeadCount) * HeadDimension) }];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(3.0 * outputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int dimension = HeadDimension, heads = HeadCount, keyHeads = KeyValueHeadCount, input = 1;
        int queryColumns = heads * dimension, keyColumns = keyHeads * dimension, columns = queryColumns + 2 * keyColumns;
        float* table = arguments.InputPointer(0), result = arguments.OutputPointer(0);
        float* query = HasQuery ? arguments.InputPointer(input++) : null, key = HasKey ? arguments.InputPointer(input++)
            : null;
        float* value = HasValue ? arguments.InputPointer(input) : null;
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, 2 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* target = result + (long)row * columns, rotation = table + (long)row * dimension;
                if (query is null)
                    new Span<float>(target, queryColumns).Clear();
                else
                    RotaryEmbedding.RotateHeads(query + (long)row * queryColumns, rotation, target, heads, dimension,
                        inverse: true);
                if (key is null)
                    new Span<float>(target + queryColumns, keyColumns).Clear();
                else
                    RotaryEmbedding.RotateHeads(key + (long)row * keyColumns, rotation, target + queryColumns, keyHeads,
                        dimension, inverse: true);
                var valueTarget = new Span<float>(target + queryColumns + keyColumns, keyColumns);
                if (value is null)
                    valueTarget.Clear();
                else
                    new ReadOnlySpan<float>(value + (long)row * keyColumns, keyColumns).CopyTo(valueTarget);
            }
        });
    }
}

/// <summary>
/// <see cref="SplitColumns"/> into queries, keys and values, <see cref="RotaryEmbedding"/> of the first two with one table →
/// <see cref="QkvSplitRotary"/>.
/// </summary>
public sealed class QkvSplitRotaryFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => nameof(QkvSplitRotary);

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        if (node.Op is not RotaryEmbedding { Inverse: false } rotary
            || node.Inputs[0].Producer is not { Op: SplitColumns } split)
            return null;
        if (split.Outputs.Count != 3 || split.Outputs[1].Type != split.Outputs[2].Type)
            return null;
        Node? queryNode = Rotation(split.Outputs[0], rotary, node.Inputs[1], uses),
            keyNode = Rotation(split.Outputs[1], rotary, node.Inputs[1], uses);
        if (queryNode is null || keyNode is null || Math.Max(queryNode.Index, keyNode.Index) != node.Index)
            return null;
        Value query = queryNode.Outputs[0], key = keyNode.Outputs[0], value = split.Outputs[2];
        // The fused node stands where the later rotation stood: whoever reads its outputs must come after it.
        if (new[] { query, key, value }.Any(output => uses.Readers(output).Any(reader => reader.Index < node.Index)))
            return null;
        int dimension = rotary.HeadDimension;
        var fused = new QkvSplitRotary(query.Shape.Columns / dimension, key.Shape.Columns / dimension, dimension);
        return new FusionMatch([split, queryNode, keyNode], fused, [split.Inputs[0], node.Inputs[1]], [query, key, value]);
    }

    /// <summary>The rotation that alone reads a value, if it is as required.</summary>
    internal static Node? Rotation(Value value, RotaryEmbedding rotary, Value table, ValueUses uses) =>
        uses.Readers(value) is [{ } reader] && uses.OnlyReadBy(value, reader) && reader.Op == rotary
            && reader.Inputs[0] == value && reader.Inputs[1] == table
            ? reader
            : null;
}
