using System.Collections.Immutable;
using System.Text.Json;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// How the weights of a checkpoint are quantised, as its <c>config.json</c> says: which tensors on disk make one weight.
/// </summary>
internal abstract class QuantizedForm
{
    private const string Supported =
        "awq (4 bits, version gemm), gptq (4 or 8 bits), compressed-tensors (float-quantized, 8 bits), fp8 and " +
        "bitsandbytes (nf4)";

    /// <summary>Where a configuration may speak of it; <c>quantization</c> is that of other programs' forms.</summary>
    private static readonly string[] s_fields = ["quantization_config", "compression_config", "quantization"];

    private static readonly string[] s_parts = ["", "llm_config", "text_config", "vision_config"];

    /// <summary>The members of a configuration that speak of it.</summary>
    public static IReadOnlyList<string> Fields => s_fields;

    /// <summary>In words, such as "AWQ 4-bit, group 128".</summary>
    public abstract string Name { get; }

    /// <summary>What the form asks for that is not done, a sentence each.</summary>
    public virtual ImmutableArray<string> Warnings => [];

    /// <summary>How the name of a tensor of codes ends.</summary>
    protected abstract string CodesSuffix { get; }

    /// <summary>Reads what <c>config.json</c> of a folder says; null where there is none or it says nothing.</summary>
    /// <exception cref="CheckpointException">It cannot be read, or names a form that is not supported.</exception>
    public static QuantizedForm? Load(string directory)
    {
        string file = Path.Combine(directory, Models.ModelConfiguration.FileName);
        return File.Exists(file) ? Parse(JsonSource.Load(file)) : null;
    }

    /// <summary>Reads what a configuration says, of the whole or of a part of it; null where it says nothing.</summary>
    /// <exception cref="CheckpointException">It names a form that is not supported, or two forms.</exception>
    public static QuantizedForm? Parse(JsonSource json)
    {
        JsonSource? found = null;
        string where = "";
        foreach (string part in s_parts)
        {
            if ((part.Length == 0 ? json : json.Object(part)) is not { } source)
                continue;
            foreach (string field in s_fields.Where(source.Has))
            {
                JsonSource said = source.RequiredObject(field);
                // A part may repeat what the whole says.
                if (found is { } other && !JsonElement.DeepEquals(other.Element, said.Element))
                    throw new CheckpointException(json.File,
                        $"'{source.Path}{field}' and '{where}' say different things of how weights are quantised; " +
                        $"supported: one of them, or the same in both.");
                found = said;
                where = source.Path + field;
                if (field == "quantization")
                    throw new CheckpointException(json.File,
                        $"'{where}' is there, so the weights are quantised in another program's form; supported: a " +
                        $"'quantization_config' of {Supported}, and weights that are not quantised.");
            }
        }

        if (found is not { } config)
            return null;
        string? method = config.Text("quant_method");
        return method switch
        {
            "awq" => AwqForm.Of(config),
            "gptq" => GptqForm.Of(config),
            "fp8" => Float8Form.Of(config),
            "bitsandbytes" => NormalFloat4Form.Of(config),
            "compressed-tensors" => Float8Form.ParseCompressedTensors(config),
            // Before it had a place of its own, compressed-tensors named itself by what it has.
            null when config.Has("config_groups") => Float8Form.ParseCompressedTensors(config),
            null => throw new CheckpointException(config.File,
                $"'{config.Path}quant_method' is missing; supported: {Supported}."),
            _ => throw new CheckpointException(config.File,
                $"'{config.Path}quant_method' is '{method}'; supported: {Supported}, and weights that are not quantised."),
        };
    }

    /// <summary>Makes one tensor of those that hold codes, scales and the like of a weight; others stay as they are.</summary>
    /// <param name="directory">The checkpoint, named in errors.</param>
    /// <param name="stored">All tensors of its files.</param>
    /// <param name="words">Reads codes that are packed across rows; lives as long as the tensors.</param>
    /// <exception cref="CheckpointException">A part is missing, or parts do not fit each other or the form; or nothing is
    /// quantised.</exception>
    public IEnumerable<CheckpointTensor> Assemble(string directory, IReadOnlyList<PlainTensor> stored, PackedWords words)
    {
        // Of names that are there twice the reader tells.
        var byName = new Dictionary<string, PlainTensor>(StringComparer.Ordinal);
        foreach (PlainTensor tensor in stored)
            byName.TryAdd(tensor.Name, tensor);
        var taken = new HashSet<string>(StringComparer.Ordinal);
        List<CheckpointTensor> made = [];
        foreach (PlainTensor codes in stored.Where(tensor =>
            tensor.Name.EndsWith(CodesSuffix, StringComparison.Ordinal) && IsCodes(tensor, byName)))
        {
            var parts = new QuantizedParts(Name, codes.Name[..^CodesSuffix.Length], byName, taken, words);
            taken.Add(codes.Name);
            made.Add(Make(codes, parts));
        }

        if (made.Count == 0)
            throw new CheckpointException(directory,
                $"config.json says that weights are quantised ({Name}), but no tensor is: none that ends in " +
                $"'{CodesSuffix}' holds {CodesDescription}. Take the quantization out of config.json if the weights " +
                $"are not quantised, or get the checkpoint again.");
        return made.Concat(stored.Where(tensor => !taken.Contains(tensor.Name) && !IsIdle(tensor)));
    }

    /// <summary>What tensors of codes hold, in words.</summary>
    protected abstract string CodesDescription { get; }

    /// <summary>Whether a tensor, by its name one of codes, is one.</summary>
    protected virtual bool IsCodes(PlainTensor tensor, IReadOnlyDictionary<string, PlainTensor> stored) => true;

    /// <summary>Whether a tensor belongs to what is not done, which <see cref="Warnings"/> tell.</summary>
    protected virtual bool IsIdle(PlainTensor tensor) => false;

    /// <summary>Makes a weight.</summary>
    protected abstract CheckpointTensor Make(PlainTensor codes, QuantizedParts parts);
}

/// <summary>The tensors on disk that make one weight.</summary>
/// <param name="form">The form, named in errors.</param>
/// <param name="module">What their names begin with.</param>
/// <param name="stored">All tensors of the checkpoint.</param>
/// <param name="taken">Takes the names of those that were asked for.</param>
/// <param name="words">Reads codes that are packed across rows.</param>
internal sealed class QuantizedParts(string form, string module, IReadOnlyDictionary<string, PlainTensor> stored,
    HashSet<string> taken, PackedWords words)
{
    /// <summary>Far above any weight; whatever is made of two extents' packs and rows stays within 32 bits.</summary>
    public const int MostExtent = 1 << 24;

    /// <summary>Reads codes that are packed across rows; one for all weights of a checkpoint.</summary>
    public PackedWords Words => words;

    /// <summary>The name of the weight.</summary>
    public string WeightName => module + ".weight";

    /// <summary>A part that must be there.</summary>
    public PlainTensor Required(string suffix, params ReadOnlySpan<StoredType> types) => Optional(suffix, types)
        ?? throw new CheckpointException(
            stored.First(pair => pair.Key.StartsWith(module + ".", StringComparison.Ordinal)).Value.File,
            $"is missing, which the quantised weight {WeightName} needs ({form}). Get the checkpoint again.", module + suffix);

    /// <summary>A part, or null.</summary>
    public PlainTensor? Optional(string suffix, params ReadOnlySpan<StoredType> types)
    {
        if (!stored.TryGetValue(module + suffix, out PlainTensor? part))
            return null;
        taken.Add(part.Name);
        DemandType(part, types);
        return part;
    }

    /// <summary>Whether there is such a part.</summary>
    public bool Has(string suffix) => stored.ContainsKey(module + suffix);

    /// <summary>Refuses a part of another type.</summary>
    public void DemandType(PlainTensor part, params ReadOnlySpan<StoredType> types)
    {
        if (!types.Contains(part.Entry.Type))
            throw new CheckpointException(part.File,
                $"holds {part.TypeName}; supported for {form}: " +
                $"{string.Join(", ", types.ToArray().Select(type => type.HeaderName()))}.", part.Name);
    }

    /// <summary>Refuses a part of another shape.</summary>
    public void DemandShape(PlainTensor part, Tensors.Shape shape, string why)
    {
        if (part.Shape != shape)
            throw new CheckpointException(part.File, $"is {part.Shape}; supported: {shape}, {why} ({form}).", part.Name);
    }

    /// <summary>Refuses a tensor that is no matrix, or too large for one span.</summary>
    public void DemandMatrix(PlainTensor part)
    {
        if (part.Shape.Rank != 2 || part.Shape[0] == 0 || part.Shape[1] == 0)
            throw new CheckpointException(part.File, $"is {part.Shape}; supported: a matrix ({form}).", part.Name);
        if (part.Entry.ByteCount > Array.MaxLength || part.Shape[0] > MostExtent || part.Shape[1] > MostExtent)
            throw new CheckpointException(part.File,
                $"is {part.Shape}; supported: extents of at most {MostExtent}, and less than 2 GiB ({form}).", part.Name);
    }
}
