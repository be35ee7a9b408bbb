using System.Globalization;
using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Models;

namespace Skylight.Cli.Verify;

/// <summary>One sequence of a reference dump.</summary>
/// <param name="Name">Its prefix, such as <c>s0</c>.</param>
/// <param name="Sequence">Tokens and pictures.</param>
/// <param name="CompletionStart">The index of the first completion token.</param>
internal sealed record GoldenSequence(string Name, TokenSequence Sequence, int CompletionStart)
{
    /// <summary>The number of completion tokens.</summary>
    public int CompletionLength => Sequence.Tokens.Length - CompletionStart;
}

/// <summary>A dump of reference results: a safetensors file, and the JSON of the same name beside it.</summary>
internal sealed class GoldenDump : IDisposable
{
    private const int MostJsonBytes = 64 << 20;
    private const string Inputs = ".input_ids", Logits = ".logits";

    private readonly SafetensorsFile _file;

    private GoldenDump(SafetensorsFile file) => _file = file;

    /// <summary>Whether the dump has a tensor.</summary>
    public bool Has(string name) => _file.Contains(name);

    /// <summary>The names that start with a prefix, without it.</summary>
    public IReadOnlyList<string> Below(string prefix) =>
        [.. _file.Entries.Select(entry => entry.Name).Where(name => name.StartsWith(prefix, StringComparison.Ordinal))
            .Select(name => name[prefix.Length..])];

    /// <summary>Opens a dump.</summary>
    /// <exception cref="CheckpointException">The file is missing or corrupt.</exception>
    public static GoldenDump Open(string path) => new(SafetensorsFile.Open(path));

    /// <summary>The elements of a float tensor.</summary>
    public float[] Floats(string name) => _file.ReadFloat32(name);

    /// <summary>The elements of a float tensor that must have so many.</summary>
    /// <exception cref="CheckpointException">It has more or fewer.</exception>
    public float[] Floats(string name, int count) => Counted(name, Floats(name), count);

    /// <summary>The elements of an integer tensor.</summary>
    public int[] Integers(string name) => _file.ReadInt32(name);

    /// <summary>The elements of a float or integer tensor, as floats.</summary>
    public float[] Elements(string name) => _file[name].Type is StoredType.Int32 or StoredType.Int64
        ? [.. Integers(name).Select(element => (float)element)] : Floats(name);

    /// <summary>The one element of a float or integer tensor.</summary>
    /// <exception cref="CheckpointException">It has none, or several.</exception>
    public float Number(string name) => Counted(name, Elements(name), 1)[0];

    /// <summary>The sequences, as many as there are.</summary>
    public IReadOnlyList<GoldenSequence> Sequences()
    {
        var sequences = new List<GoldenSequence>();
        for (int index = 0; Has($"s{index}.input_ids"); index++)
        {
            string name = $"s{index}";
            int[] tokens = Integers(name + ".input_ids");
            sequences.Add(new GoldenSequence(name, new TokenSequence(tokens, Images(name)),
                CompletionStart(name, tokens.Length)));
        }

        return sequences.Count > 0 ? sequences
            : throw new CheckpointException(_file.Path,
                Forms() is { Length: > 0 } forms
                    ? $"is a dump of quantised forms: give --form with the one that the checkpoint is ({string.Join(", ", forms)})."
                    : "holds no sequences: s0.input_ids is missing. It is no reference dump.");
    }

    /// <summary>
    /// The inputs of a dump of quantised forms, such as <c>text</c> and <c>image</c>: those whose logits it has.
    /// </summary>
    /// <param name="form">The form, such as <c>awq</c> or <c>gguf.Q4_K_M</c>.</param>
    /// <exception cref="CheckpointException">It has no logits of the form; names those that it has.</exception>
    public IReadOnlyList<GoldenSequence> SequencesOf(string form)
    {
        GoldenSequence[] sequences = [.. _file.Entries.Select(entry => entry.Name)
            .Where(name => name.EndsWith(Inputs, StringComparison.Ordinal)).Select(name => name[..^Inputs.Length])
            .Where(name => Has($"{form}.{name}{Logits}")).Order(StringComparer.Ordinal)
            .Select(name => new GoldenSequence(name, new TokenSequence(Integers(name + Inputs), Images(name)), 1))];
        if (sequences.Length > 0)
            return sequences;
        throw new CheckpointException(_file.Path, $"has no logits of the form '{form}'. "
            + (Forms() is { Length: > 0 } forms ? $"It has those of {string.Join(", ", forms)}."
                : "It is no dump of quantised forms."));
    }

    private string[] Forms() =>
        [.. _file.Entries.Select(entry => entry.Name)
            .Where(name => name.EndsWith(Logits, StringComparison.Ordinal)).Select(name => name[..^Logits.Length])
            .Where(name => name.Contains('.', StringComparison.Ordinal) && Has(name[(name.LastIndexOf('.') + 1)..] + Inputs))
            .Select(name => name[..name.LastIndexOf('.')]).Distinct().Order(StringComparer.Ordinal)];

    /// <summary>
    /// The token that stands for image features, which original configurations do not state: from the JSON beside the
    /// dump, else the one that appears as often as there are features.
    /// </summary>
    /// <param name="configuration">The model's.</param>
    /// <param name="sequences">The dump's.</param>
    public int ImageTokenId(ModelConfiguration configuration, IReadOnlyList<GoldenSequence> sequences)
    {
        if (configuration.ImageTokenId is { } known)
            return known;
        string json = Path.ChangeExtension(_file.Path, ".json");
        if (File.Exists(json) && ReadImageTokenId(json) is { } stated)
            return stated;

        foreach (GoldenSequence sequence in sequences)
        {
            int features = sequence.Sequence.Images.Sum(image => configuration.TokensPerImage(image.Height, image.Width));
            int[] candidates = [.. sequence.Sequence.Tokens.GroupBy(token => token)
                .Where(group => features > 0 && group.Count() == features).Select(group => group.Key)];
            if (candidates.Length == 1)
                return candidates[0];
        }

        throw new CheckpointException(_file.Path,
            "the token that stands for image features is not known: neither config.json nor the dump's JSON has " +
            "image_token_id.");
    }

    private static int? ReadImageTokenId(string file)
    {
        try
        {
            using JsonDocument document = JsonText.Parse(BoundedFile.Read(file, MostJsonBytes));
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException(file, "must hold a JSON object.");
            if (!document.RootElement.TryGetProperty("image_token_id", out JsonElement value)
                || value.ValueKind == JsonValueKind.Null)
                return null;
            return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int token) && token >= 0
                ? token
                : throw new CheckpointException(file, "'image_token_id' is not a token: a whole number of 0 or more.");
        }
        catch (JsonException exception)
        {
            throw new CheckpointException(file, $"is not valid JSON: {exception.Message}", innerException: exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(file, $"cannot be read: {exception.Message}", innerException: exception);
        }
    }

    /// <summary>The number at the end of the first name that starts so: <c>s0.greedy_24</c> → 24.</summary>
    public int? TrailingNumber(string prefix) =>
        Below(prefix) is [{ } first, ..]
            && int.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private int CompletionStart(string name, int tokens)
    {
        int[] found = Integers(name + ".completion_start");
        if (found is not [{ } start])
            throw new CheckpointException(_file.Path, $"has {found.Length} elements; supported: one number.",
                name + ".completion_start");
        return start >= 1 && start < tokens
            ? start
            : throw new CheckpointException(_file.Path,
                $"is {start}, and {name}.input_ids has {tokens} tokens; supported: a place after the first and before the last.", name + ".completion_start");
    }

    private float[] Counted(string name, float[] elements, int count) => elements.Length == count
        ? elements
        : throw new CheckpointException(_file.Path,
            $"has {elements.Length} elements; supported here: {count}. The dump is damaged, or belongs to another model.", name);

    private List<ImageTile> Images(string name)
    {
        if (!Has(name + ".pixel_values"))
            return [];
        Tensors.Shape shape = _file[name + ".pixel_values"].Shape;
        float[] pixels = Floats(name + ".pixel_values");
        if (shape.Rank != 4 || pixels.Length == 0)
            throw new CheckpointException(_file.Path,
                $"has the shape {shape}; supported: [tiles, channels, height, width], none of them 0.",
                name + ".pixel_values");
        int size = pixels.Length / Math.Max(1, shape[0]);
        return [.. Enumerable.Range(0, shape[0])
            .Select(tile => new ImageTile(pixels[(tile * size)..((tile + 1) * size)], shape[2], shape[3]))];
    }
}
