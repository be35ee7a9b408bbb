using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>The namings in which checkpoints of this family come.</summary>
public enum CheckpointNaming
{
    /// <summary>
    /// <c>vision_model.*</c>, <c>mlp1.*</c>, <c>language_model.*</c>, query, key and value of the vision encoder in one
    /// tensor.
    /// </summary>
    Original,

    /// <summary>
    /// transformers' names as the published <c>-hf</c> checkpoints have them: <c>vision_tower.*</c>,
    /// <c>language_model.model.*</c>.
    /// </summary>
    HuggingFace,

    /// <summary>
    /// transformers' names as newer versions save them: <c>model.vision_tower.*</c>, <c>model.language_model.*</c>,
    /// <c>lm_head.weight</c>.
    /// </summary>
    HuggingFaceNested,

    /// <summary>
    /// llama.cpp's names, as GGUF files have them: <c>v.*</c> and <c>mm.model.mlp.*</c>, and <c>token_embd</c>,
    /// <c>blk.*</c>, <c>output</c>.
    /// </summary>
    Gguf,
}

/// <summary>A tensor on disk that is some consecutive rows of a parameter.</summary>
/// <param name="TensorName">The name on disk.</param>
/// <param name="RowOffset">The parameter's row where it starts. A vector has one element to a row.</param>
/// <param name="RowCount">Its rows.</param>
/// <param name="RowWidth">The elements of a row of the parameter.</param>
/// <param name="OnDiskShape">The extents on disk, which may have more axes than the parameter: <c>[1, 1, h]</c>, <c>[h,
/// 3, 14, 14]</c>.</param>
public sealed record KeyMapPiece(string TensorName, int RowOffset, int RowCount, int RowWidth, Shape OnDiskShape)
{
    /// <summary>The piece's elements in an array that holds the parameter (or its gradient) row-major.</summary>
    public ReadOnlySpan<T> Of<T>(ReadOnlySpan<T> parameter) =>
        parameter.Slice(checked(RowOffset * RowWidth), checked(RowCount * RowWidth));

    /// <inheritdoc cref="Of{T}(ReadOnlySpan{T})"/>
    public Span<T> Of<T>(Span<T> parameter) => parameter.Slice(checked(RowOffset * RowWidth), checked(RowCount * RowWidth));
}

/// <summary>A parameter of the model and the tensors on disk whose rows, one below the other, it is.</summary>
/// <param name="ParameterName">Our name, such as <c>language.layers.0.attention.qkv.weight</c>.</param>
/// <param name="Shape">The parameter's extents: <c>[outputs, inputs]</c> or <c>[width]</c>.</param>
/// <param name="Pieces">The tensors, in the order of their rows.</param>
public sealed record KeyMapEntry(string ParameterName, Shape Shape, ImmutableArray<KeyMapPiece> Pieces);

/// <summary>
/// Which tensors on disk make up which parameter of a model, for one naming. Both directions go through it: reading a
/// parameter, and taking a parameter-shaped array (weights, gradients) apart into the tensors that others know.
/// </summary>
public sealed class KeyMap
{
    private readonly Dictionary<string, KeyMapEntry> _byParameter;
    private readonly Dictionary<string, (KeyMapEntry Entry, KeyMapPiece Piece)> _byTensor;

    private KeyMap(ModelConfiguration configuration, CheckpointNaming naming, ImmutableArray<KeyMapEntry> entries)
    {
        Configuration = configuration;
        Naming = naming;
        Entries = entries;
        _byParameter = entries.ToDictionary(entry => entry.ParameterName, StringComparer.Ordinal);
        _byTensor = entries.SelectMany(entry => entry.Pieces, (entry, piece) => (entry, piece))
            .ToDictionary(pair => pair.piece.TensorName, StringComparer.Ordinal);
    }

    /// <summary>The model.</summary>
    public ModelConfiguration Configuration { get; }

    /// <summary>The naming on disk.</summary>
    public CheckpointNaming Naming { get; }

    /// <summary>All parameters, in the order in which the model uses them.</summary>
    public ImmutableArray<KeyMapEntry> Entries { get; }

    /// <summary>The entry of a parameter.</summary>
    /// <exception cref="KeyNotFoundException">The model has no such parameter.</exception>
    public KeyMapEntry this[string parameterName] => _byParameter.TryGetValue(parameterName, out KeyMapEntry? entry)
        ? entry
        : throw new KeyNotFoundException($"The model has no parameter '{parameterName}'.");

    /// <summary>Finds the parameter that holds a tensor on disk.</summary>
    /// <param name="tensorName">The name on disk.</param>
    /// <param name="entry">The parameter.</param>
    /// <param name="piece">Which rows of it.</param>
    public bool TryFindTensor(string tensorName, [NotNullWhen(true)] out KeyMapEntry? entry,
        [NotNullWhen(true)] out KeyMapPiece? piece)
    {
        bool found = _byTensor.TryGetValue(tensorName, out (KeyMapEntry Entry, KeyMapPiece Piece) pair);
        (entry, piece) = pair;
        return found;
    }

    /// <summary>Makes the map of a model in a naming.</summary>
    /// <exception cref="CheckpointException">The configuration contradicts itself.</exception>
    public static KeyMap For(ModelConfiguration configuration, CheckpointNaming naming) =>
        For(configuration, naming, naming);

    /// <summary>The same where encoder and connector have a naming of their own.</summary>
    internal static KeyMap For(ModelConfiguration configuration, CheckpointNaming naming, CheckpointNaming visionNaming)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        configuration.Validate();
        return new KeyMap(configuration, naming, KeyTable.Expand(configuration, naming, visionNaming));
    }

    /// <summary>Recognises the naming by the names of a checkpoint's tensors.</summary>
    /// <param name="source">The checkpoint, named in the error.</param>
    /// <param name="tensorNames">All of its tensors.</param>
    /// <exception cref="CheckpointException">No naming of this family has such tensors.</exception>
    public static CheckpointNaming DetectNaming(string source, IEnumerable<string> tensorNames)
    {
        string[] names = [.. tensorNames];
        foreach ((CheckpointNaming naming, string prefix) in KeyTable.TellingPrefixes)
        {
            if (Array.Exists(names, name => name.StartsWith(prefix, StringComparison.Ordinal)))
                return naming;
        }

        throw new CheckpointException(source,
            $"holds no vision encoder that is known: no tensor starts with " +
            $"{string.Join(", ", KeyTable.TellingPrefixes.Select(pair => $"'{pair.Prefix}'"))}. "
            + (names.Length == 0 ? "It holds no tensor at all."
                : $"It holds, for example, '{string.Join("', '", names.Take(3))}'."));
    }

    /// <summary>Whether a tensor that no parameter needs may lie in a checkpoint all the same.</summary>
    internal bool IsHarmless(string tensorName) =>
        tensorName.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal)
        || tensorName.EndsWith(".position_ids", StringComparison.Ordinal)
        || tensorName == TiedHead;

    /// <summary>
    /// The name under which a checkpoint may repeat a tied embedding; null when the head is a parameter of its own.
    /// </summary>
    internal string? TiedHead => Configuration.Language.TieWordEmbeddings ? KeyTable.HeadName(Naming) : null;
}
