using System.Collections.Immutable;
using System.Globalization;
using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// Weights of 8-bit floating point (E4M3) [outputs, inputs] with a scale for all of them, for each output, for each group of
/// inputs, or for each block of outputs and inputs: compressed-tensors' <c>float-quantized</c> (<c>weight_scale</c>), and the
/// form that calls itself <c>fp8</c> (<c>weight_scale_inv</c> of blocks, which multiplies as well, or <c>weight_scale</c>).
/// Activations stay as they are, whatever the configuration asks for.
/// </summary>
internal sealed class Float8Form : QuantizedForm
{
    private const string Tensor = "tensor", Channel = "channel", Group = "group", Block = "block";

    private readonly string _scaleSuffix;
    private readonly (string Strategy, int Outputs, int Inputs)[] _scalings;
    private readonly ImmutableArray<string> _warnings;
    private readonly bool _hasCacheScales;

    private Float8Form(string scaleSuffix, (string Strategy, int Outputs, int Inputs)[] scalings,
        ImmutableArray<string> warnings, bool hasCacheScales)
    {
        _scaleSuffix = scaleSuffix;
        _scalings = scalings;
        _warnings = warnings;
        _hasCacheScales = hasCacheScales;
    }

    public override string Name => string.Join(" or ", _scalings.Select(NameOf));

    public override ImmutableArray<string> Warnings => _warnings;

    protected override string CodesSuffix => ".weight";

    protected override string CodesDescription => StoredType.Float8E4M3.HeaderName();

    /// <summary>The form that calls itself fp8.</summary>
    public static Float8Form Of(JsonSource config)
    {
        if (config.Text("fmt") is { } format)
            config.Demand("fmt", format, "e4m3", "float8_e4m3fn");
        string activations = config.Text("activation_scheme", "dynamic");
        config.Demand("activation_scheme", activations, "dynamic", "static");
        ImmutableArray<string> warnings = [ActivationWarning($"'{config.Path}activation_scheme'")];
        ImmutableArray<int> block = config.Integers("weight_block_size", 1);
        if (block.IsEmpty)
            return new Float8Form(".weight_scale", [(Tensor, 0, 0), (Channel, 0, 0)], warnings, hasCacheScales: false);
        return block.Length == 2 ? new Float8Form(".weight_scale_inv", [(Block, block[0], block[1])], warnings, false)
            : throw new CheckpointException(config.File,
                $"'{config.Path}weight_block_size' has {block.Length} numbers; supported: two, outputs and inputs.");
    }

    /// <summary>The form of compressed-tensors.</summary>
    public static Float8Form ParseCompressedTensors(JsonSource config)
    {
        string format = config.Text("format", "float-quantized");
        config.Demand("format", format, "float-quantized", "naive-quantized");
        // "dense" says of weights with some zeros that they are stored like any.
        bool isSparse = config.Object("sparsity_config") is { } sparsity && sparsity.Text("format", "dense") != "dense",
            isRotated = config.Object("transform_config") is { } transform && transform.Element.EnumerateObject().Any();
        if (isSparse || isRotated)
            throw new CheckpointException(config.File,
                $"'{config.Path}{(isSparse ? "sparsity_config" : "transform_config")}' is there; supported: weights that are " +
                $"neither sparse nor rotated.");

        List<(string, int, int)> scalings = [];
        List<string> warnings = [];
        JsonSource groups = config.RequiredObject("config_groups");
        foreach (string name in groups.Element.EnumerateObject().Select(member => member.Name))
        {
            JsonSource group = groups.RequiredObject(name);
            if (group.Text("format") is { } own)
                group.Demand("format", own, "float-quantized", "naive-quantized");
            if (group.Object("input_activations") is not null && warnings.Count == 0)
                warnings.Add(ActivationWarning($"'{group.Path}input_activations'"));
            if (group.Object("weights") is { } weights)
                scalings.Add(ParseWeights(weights));
        }

        if (scalings.Count == 0)
            throw new CheckpointException(config.File, $"'{groups.Path.TrimEnd('.')}' has no 'weights'; supported: one group or more.");
        bool hasCacheScales = config.Object("kv_cache_scheme") is not null;
        if (hasCacheScales)
            warnings.Add($"config.json: '{config.Path}kv_cache_scheme' asks for quantised keys and values; they are kept as they are.");
        return new Float8Form(".weight_scale", [.. scalings.Distinct()], [.. warnings], hasCacheScales);
    }

    private static (string, int, int) ParseWeights(JsonSource weights)
    {
        int bits = weights.Integer("num_bits", 8);
        string type = weights.Text("type", "float");
        if (bits != 8 || type != "float")
            throw new CheckpointException(weights.File,
                $"'{weights.Path.TrimEnd('.')}' has {bits} bits of type '{type}'; supported for compressed-tensors: 8 " +
                "bits of type 'float'.");
        weights.Demand("symmetric", weights.Boolean("symmetric", true), true);
        string strategy = weights.Text("strategy", Tensor);
        weights.Demand("strategy", strategy, Tensor, Channel, Group, Block);
        if (strategy == Group)
            return (Group, 1, weights.OptionalInteger("group_size", 1)
                ?? throw new CheckpointException(weights.File,
                    $"'{weights.Path}group_size' is missing, which the strategy 'group' needs."));
        if (strategy != Block)
            return (strategy, 0, 0);
        ImmutableArray<int> block = weights.Integers("block_structure", 1);
        return block.Length == 2 ? (Block, block[0], block[1])
            : throw new CheckpointException(weights.File,
                $"'{weights.Path}block_structure' is no pair of numbers, which the strategy 'block' needs.");
    }

    protected override bool IsCodes(PlainTensor tensor, IReadOnlyDictionary<string, PlainTensor> stored) =>
        tensor.Entry.Type == StoredType.Float8E4M3
        || stored.ContainsKey(tensor.Name[..^CodesSuffix.Length] + _scaleSuffix);

    protected override bool IsIdle(PlainTensor tensor) => _hasCacheScales
        && (tensor.Name.EndsWith(".k_scale", StringComparison.Ordinal) || tensor.Name.EndsWith(".v_scale", StringComparison.Ordinal));

    protected override CheckpointTensor Make(PlainTensor codes, QuantizedParts parts)
    {
        parts.DemandType(codes, StoredType.Float8E4M3);
        parts.DemandMatrix(codes);
        PlainTensor scales = parts.Required(_scaleSuffix, StoredType.Float32, StoredType.BFloat16, StoredType.Float16);
        // Of activations, which are not quantised here.
        PlainTensor? input = parts.Optional(".input_scale", StoredType.Float32, StoredType.BFloat16, StoredType.Float16);
        int outputs = codes.Shape[0], inputs = codes.Shape[1];
        foreach ((string strategy, int rowBlock, int columnBlock) scaling in _scalings)
        {
            (int outputsOfScale, int inputsOfScale, Shape[] shapes) = scaling.strategy switch
            {
                Tensor => (outputs, inputs, (Shape[])[new Shape(), new Shape(1), new Shape(1, 1)]),
                Channel => (1, inputs, [new Shape(outputs, 1), new Shape(outputs)]),
                _ => (scaling.rowBlock, scaling.columnBlock,
                    [new Shape(Parts(outputs, scaling.rowBlock), Parts(inputs, scaling.columnBlock))]),
            };
            if (shapes.Contains(scales.Shape))
                return new Float8Tensor(parts.WeightName, codes, scales, outputsOfScale, inputsOfScale, NameOf(scaling),
                    input?.StoredBytes ?? 0);
        }

        throw new CheckpointException(scales.File,
            $"is {scales.Shape}, which does not fit the weight {codes.Shape}; supported: {Name}, as config.json says.", scales.Name);
    }

    private static int Parts(int extent, int size) => (int)(((long)extent + size - 1) / size);

    private static string ActivationWarning(string field) =>
        $"config.json: {field} asks for quantised activations; only weights are, activations stay as they are.";

    private static string NameOf((string Strategy, int Outputs, int Inputs) scaling) => "FP8 E4M3, " + scaling.Strategy switch
    {
        Tensor => "a scale a tensor",
        Channel => "a scale an output",
        Group => string.Create(CultureInfo.InvariantCulture, $"group {scaling.Inputs}"),
        _ => string.Create(CultureInfo.InvariantCulture, $"blocks of {scaling.Outputs}×{scaling.Inputs}"),
    };

    private sealed class Float8Tensor(string name, PlainTensor codes, PlainTensor scales, int outputsOfScale,
        int inputsOfScale, string typeName, long otherBytes) : QuantizedTensor(name, codes.Shape, codes.File)
    {
        public override long StoredBytes => codes.StoredBytes + scales.StoredBytes + otherBytes;

        public override string TypeName => typeName;

        public override QuantizedFormat? Format { get; } = new(CodeType.Float8E4M3, inputsOfScale, false);

        public override void ReadCodes(int firstRow, int rows, Span<sbyte> destination, Span<float> scaleOf,
            Span<float> minimums, Span<float> superScales = default)
        {
            CheckSpans(firstRow, rows, destination, scaleOf, minimums, superScales);
            codes.Source.ReadBytes(codes.Entry, (long)firstRow * Inputs, MemoryMarshal.AsBytes(destination));
            if (destination.IndexOfAny((sbyte)0x7F, unchecked((sbyte)0xFF)) is >= 0 and var at)
                throw new CheckpointException(File,
                    FormattableString.Invariant($"its code of output {firstRow + at / Inputs}, input {at % Inputs} stands for no number. The file is damaged, or the quantisation went wrong: get the checkpoint again."), Name);
            int blocks = Format!.BlocksOf(Inputs);
            for (int row = 0; row < rows; row++)
            {
                Span<float> own = scaleOf.Slice(row * blocks, blocks);
                // Rows of one block have the same scales.
                if (row > 0 && (firstRow + row) % outputsOfScale != 0)
                    scaleOf.Slice((row - 1) * blocks, blocks).CopyTo(own);
                else
                    scales.ReadFloat32((long)((firstRow + row) / outputsOfScale) * blocks, own);
            }

            DemandFinite(scaleOf, firstRow, blocks, "scale", scales.Name);
        }
    }
}
