using System.Text.Json;
using Skylight.Checkpoints.Gguf;
using Skylight.Checkpoints.Quantized;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// A checkpoint: a folder with <c>model.safetensors</c>, or shards with <c>model.safetensors.index.json</c>; or a GGUF
/// file with a vision encoder from elsewhere. Nothing is read until asked for; any number of threads may read at once.
/// </summary>
public sealed class CheckpointReader : IDisposable
{
    internal const string SingleName = "model.safetensors";
    internal const string IndexName = "model.safetensors.index.json";

    private readonly Dictionary<string, CheckpointTensor> _byName = new(StringComparer.Ordinal);
    private readonly IReadOnlyList<IDisposable> _owned;
    private CheckpointNaming? _naming, _visionNaming;

    /// <summary>Makes a reader of tensors that may come from several files, of whatever form.</summary>
    /// <param name="directory">What the checkpoint is called in errors.</param>
    /// <param name="files">The files, as they are told to users.</param>
    /// <param name="tensors">The tensors, in the naming of one key map.</param>
    /// <param name="owned">What is disposed with the reader; if this fails, the caller still has to.</param>
    /// <exception cref="CheckpointException">Two tensors have the same name.</exception>
    internal CheckpointReader(string directory, IReadOnlyList<string> files, IEnumerable<CheckpointTensor> tensors,
        IReadOnlyList<IDisposable> owned)
    {
        Directory = directory;
        Files = files;
        Tensors = [.. tensors];
        _owned = owned;
        foreach (CheckpointTensor tensor in Tensors)
        {
            if (!_byName.TryAdd(tensor.Name, tensor))
                throw new CheckpointException(tensor.File,
                    $"is also in {Path.GetFileName(_byName[tensor.Name].File)}.", tensor.Name);
        }
    }

    /// <summary>The folder, or the file that was opened.</summary>
    public string Directory { get; }

    /// <summary>The files that hold the tensors, in the order of their names.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>The tensors of all files; a quantised weight, whatever it is stored as, is one.</summary>
    public IReadOnlyList<CheckpointTensor> Tensors { get; }

    /// <summary>Whether weights are quantised.</summary>
    public bool IsQuantized => Tensors.Any(tensor => tensor.ElementType is null);

    /// <summary>Whether the language model is of a GGUF file.</summary>
    internal bool IsGguf => _naming == CheckpointNaming.Gguf;

    /// <summary>Opens a folder or a GGUF file and checks the headers of all files and the index.</summary>
    /// <param name="directory">The folder, or a GGUF file, or a folder with one of a language model.</param>
    /// <param name="vision">For GGUF: the <c>mmproj-*.gguf</c>, or a folder of safetensors whose encoder and connector are
    /// taken; where null, the one <c>mmproj-*.gguf</c> that lies beside.</param>
    /// <exception cref="CheckpointException">There is no checkpoint, a shard is missing or corrupt, or index and shards
    /// contradict each other.</exception>
    /// <exception cref="ArgumentException">A vision encoder is given for a model that is not GGUF.</exception>
    public static CheckpointReader Open(string directory, string? vision = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        if (GgufSource.Find(directory, vision) is { } source)
            return OpenGguf(source);
        if (!System.IO.Directory.Exists(directory))
            throw new CheckpointException(directory, File.Exists(directory)
                ? "is a file; give the folder that holds config.json and *.safetensors." : "there is no such folder.");

        List<SafetensorsFile> files = [];
        try
        {
            string single = Path.Combine(directory, SingleName);
            string index = Path.Combine(directory, IndexName);
            if (File.Exists(single))
                files.Add(SafetensorsFile.Open(single));
            else if (File.Exists(index))
                OpenShards(directory, index, files);
            else
                throw NothingToOpen(directory);
            var words = new PackedWords();
            PlainTensor[] stored = [.. files.SelectMany(file => file.Entries.Select(entry => new PlainTensor(file, entry)))];
            return new CheckpointReader(directory, [.. files.Select(file => file.Path)],
                QuantizedForm.Load(directory)?.Assemble(directory, stored, words) ?? stored, [.. files, words]);
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <summary>The naming of the tensors.</summary>
    /// <exception cref="CheckpointException">No naming of this family has such tensors.</exception>
    public CheckpointNaming DetectNaming() =>
        _naming ?? KeyMap.DetectNaming(Directory, Tensors.Select(tensor => tensor.Name));

    /// <summary>The map of a model in the naming of the tensors.</summary>
    /// <param name="configuration">The model.</param>
    /// <exception cref="CheckpointException">No naming of this family has such tensors, or the configuration contradicts
    /// itself.</exception>
    public KeyMap MapOf(ModelConfiguration configuration)
    {
        CheckpointNaming naming = DetectNaming();
        return KeyMap.For(configuration, naming, _visionNaming ?? naming);
    }

    /// <summary>Whether there is a tensor of this name.</summary>
    public bool Contains(string tensorName) => _byName.ContainsKey(tensorName);

    /// <summary>A tensor by its name.</summary>
    /// <exception cref="CheckpointException">There is none.</exception>
    public CheckpointTensor this[string tensorName] => _byName.TryGetValue(tensorName, out CheckpointTensor? tensor)
        ? tensor
        : throw new CheckpointException(Directory, "is in none of the checkpoint's files.", tensorName);

    /// <summary>
    /// Compares the tensors with what a model needs. Reports all that is missing, left over, of another shape or not
    /// floating-point in one error.
    /// </summary>
    /// <param name="keyMap">The model in this checkpoint's naming.</param>
    /// <exception cref="CheckpointException">The checkpoint is not this model's.</exception>
    public void Verify(KeyMap keyMap)
    {
        ArgumentNullException.ThrowIfNull(keyMap);
        List<string> missing = [], misshapen = [], unreadable = [];
        foreach (KeyMapPiece piece in keyMap.Entries.SelectMany(entry => entry.Pieces))
        {
            if (!_byName.TryGetValue(piece.TensorName, out CheckpointTensor? tensor))
                missing.Add($"{piece.TensorName} {piece.OnDiskShape}");
            else if (tensor.Shape != piece.OnDiskShape)
                misshapen.Add(
                    $"{piece.TensorName} is {tensor.Shape} in {Path.GetFileName(tensor.File)}, the " +
                    $"configuration makes it {piece.OnDiskShape}");
            else if (!tensor.IsFloatingPoint)
                unreadable.Add(
                    $"{piece.TensorName} holds {tensor.TypeName} in {Path.GetFileName(tensor.File)}");
        }

        List<string> extra = [.. Tensors.Where(tensor => !keyMap.TryFindTensor(tensor.Name, out _, out _)
            && !keyMap.IsHarmless(tensor.Name) && !IsNoBias(tensor))
            .Select(tensor => $"{tensor.Name} {tensor.Shape} in {Path.GetFileName(tensor.File)}")];
        string report = Report("missing", missing) + Report("of another shape", misshapen)
            + Report("not floating-point", unreadable) + Report("not part of the model", extra);
        if (report.Length > 0)
            throw new CheckpointException(Directory, $"does not fit its configuration ({keyMap.Naming} naming).{Hint()}{report}");
        VerifyTiedHead(keyMap);
    }

    /// <summary>Reads a parameter as float32, row-major.</summary>
    /// <param name="entry">The parameter, from this checkpoint's key map.</param>
    /// <param name="destination">As many elements as the parameter has.</param>
    /// <exception cref="CheckpointException">A tensor is missing, of another size, or not floating-point.</exception>
    /// <exception cref="ArgumentException">The destination has another length.</exception>
    public void ReadParameter(KeyMapEntry entry, Span<float> destination)
    {
        CheckLength(entry, destination.Length);
        foreach (KeyMapPiece piece in entry.Pieces)
            TensorOf(piece).ReadFloat32(0, piece.Of(destination));
    }

    /// <summary>
    /// Reads a parameter as bfloat16, row-major: the stored bits where they are bfloat16, else rounded to nearest even.
    /// </summary>
    /// <inheritdoc cref="ReadParameter"/>
    public void ReadParameterBits(KeyMapEntry entry, Span<BFloat16> destination)
    {
        CheckLength(entry, destination.Length);
        foreach (KeyMapPiece piece in entry.Pieces)
            TensorOf(piece).ReadBFloat16(0, piece.Of(destination));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owned in _owned)
            owned.Dispose();
    }

    /// <summary>A language model's GGUF, with the vision encoder's or the encoder and connector of a folder.</summary>
    private static CheckpointReader OpenGguf(GgufSource source)
    {
        List<IDisposable> owned = [];
        try
        {
            GgufFiles language = Opened(GgufFiles.Open(source.Language));
            List<string> files = [.. language.Parts.Select(part => part.Path)];
            List<CheckpointTensor> tensors = [.. language.Tensors.Select(tensor => GgufTensor.Of(tensor.File, tensor.Entry))];
            CheckpointNaming naming = CheckpointNaming.Gguf;
            if (source.HasBase)
            {
                CheckpointReader folder = Opened(Open(source.Vision));
                naming = folder.DetectNaming();
                files.AddRange(folder.Files);
                tensors.AddRange(folder.Tensors.Where(tensor => KeyTable.IsVision(tensor.Name, naming)));
            }
            else
            {
                GgufFiles vision = Opened(GgufFiles.Open(source.Vision));
                files.AddRange(vision.Parts.Select(part => part.Path));
                tensors.AddRange(vision.Tensors.Select(tensor => GgufTensor.Of(tensor.File, tensor.Entry)));
            }

            return new CheckpointReader(source.Language, files, tensors, owned)
            {
                _naming = CheckpointNaming.Gguf,
                _visionNaming = naming,
            };
        }
        catch
        {
            owned.ForEach(file => file.Dispose());
            throw;
        }

        T Opened<T>(T file)
            where T : IDisposable
        {
            owned.Add(file);
            return file;
        }
    }

    private static void OpenShards(string directory, string index, List<SafetensorsFile> files)
    {
        JsonSource weightMap = JsonSource.Load(index).RequiredObject("weight_map");
        var shardOf = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonProperty property in weightMap.Element.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String)
                throw new CheckpointException(index, "its entry in 'weight_map' is not a file name.", property.Name);
            string shard = property.Value.GetString()!;
            // An index must not make us open files elsewhere.
            if (shard.Length == 0 || shard is "." or ".." || shard.AsSpan().ContainsAny('/', '\\', '\0'))
                throw new CheckpointException(index,
                    $"its entry in 'weight_map' is '{shard}'; supported: the name of a file in the same folder.",
                    property.Name);
            shardOf.Add(property.Name, shard);
        }

        if (shardOf.Count == 0)
            throw new CheckpointException(index, "'weight_map' is empty.");
        string[] shards = [.. shardOf.Values.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
        string[] missing = [.. shards.Where(shard => !File.Exists(Path.Combine(directory, shard)))];
        if (missing.Length > 0)
            throw new CheckpointException(index,
                $"names {missing.Length} of {shards.Length} files that are not in the " +
                $"folder.{FileFaults.DescribeUnfinished(directory)}{Report("missing", missing)}");
        foreach (string shard in shards)
            files.Add(SafetensorsFile.Open(Path.Combine(directory, shard)));

        var fileOf = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        foreach (SafetensorsFile file in files)
        {
            foreach (SafetensorsEntry entry in file.Entries)
            {
                if (!fileOf.TryAdd(entry.Name, file))
                    throw new CheckpointException(file.Path, $"is also in {Path.GetFileName(fileOf[entry.Name].Path)}.",
                        entry.Name);
            }
        }

        foreach ((string tensor, string shard) in shardOf)
        {
            if (!fileOf.TryGetValue(tensor, out SafetensorsFile? file))
                throw new CheckpointException(index,
                    $"should be in {shard} but is not there. Index and shards come from different saves, or a shard " +
                    $"is damaged.", tensor);
            if (Path.GetFileName(file.Path) != shard)
                throw new CheckpointException(index, $"should be in {shard} but is in {Path.GetFileName(file.Path)}.",
                    tensor);
        }

        if (fileOf.Keys.FirstOrDefault(tensor => !shardOf.ContainsKey(tensor)) is { } unlisted)
            throw new CheckpointException(index,
                $"is in {Path.GetFileName(fileOf[unlisted].Path)} but not in 'weight_map'. Index and shards " +
                $"come from different saves.", unlisted);
    }

    /// <summary>
    /// A tied head may be repeated on disk; another one there means that the configuration is wrong about the tying.
    /// </summary>
    private void VerifyTiedHead(KeyMap keyMap)
    {
        if (keyMap.TiedHead is not { } head || !Contains(head))
            return;
        string embedding = keyMap["language.embedding.weight"].Pieces[0].TensorName;
        CheckpointTensor stored = this[head];
        if (!stored.IsSameAs(this[embedding]))
            throw new CheckpointException(stored.File,
                $"differs from '{embedding}', but the configuration ties them. Set tie_word_embeddings to false if " +
                $"the head is its own.", head);
    }

    /// <summary>Programs that make GPTQ give every weight a bias; where the model has none, all of it is 0.</summary>
    private bool IsNoBias(CheckpointTensor tensor)
    {
        const string Bias = ".bias";
        if (!tensor.Name.EndsWith(Bias, StringComparison.Ordinal) || !tensor.IsFloatingPoint || tensor.Shape.Rank != 1
            || !_byName.TryGetValue(tensor.Name[..^Bias.Length] + ".weight", out CheckpointTensor? weight)
            || weight.ElementType is not null)
            return false;
        float[] values = new float[tensor.Shape.ElementCount];
        tensor.ReadFloat32(0, values);
        return !values.AsSpan().ContainsAnyExcept(0f);
    }

    private string Hint() => !IsQuantized && Tensors.Any(tensor => tensor.ElementType == StoredType.Float8E4M3
        || tensor.Name.EndsWith(".qweight", StringComparison.Ordinal) || tensor.Name.EndsWith(".quant_map", StringComparison.Ordinal))
        ? " Its weights are quantised, but config.json has no quantization_config that says how: get the whole checkpoint again."
        : "";

    private CheckpointTensor TensorOf(KeyMapPiece piece)
    {
        CheckpointTensor tensor = this[piece.TensorName];
        if (tensor.Shape != piece.OnDiskShape)
            throw new CheckpointException(tensor.File,
                $"is {tensor.Shape}; the configuration makes it {piece.OnDiskShape}.", piece.TensorName);
        return tensor;
    }

    private static void CheckLength(KeyMapEntry entry, int length)
    {
        ArgumentNullException.ThrowIfNull(entry);
        if (length != entry.Shape.ElementCount)
            throw new ArgumentException(
                $"Parameter '{entry.ParameterName}' {entry.Shape} has {entry.Shape.ElementCount} elements, the " +
                $"destination {length}.");
    }

    private static CheckpointException NothingToOpen(string directory)
    {
        string[] present = [.. System.IO.Directory.EnumerateFiles(directory).Select(file => Path.GetFileName(file))
            .Order(StringComparer.Ordinal)];
        string hint = Array.Exists(present, name => name.EndsWith(".bin", StringComparison.Ordinal)
            || name.EndsWith(".pth", StringComparison.Ordinal))
            ? " It holds weights in PyTorch's own format (.bin, .pth), which can run code when loaded and is not " +
                "supported: get the model's safetensors files, or convert them to safetensors."
            : "";
        return new CheckpointException(directory,
            $"holds neither {SingleName} nor {IndexName}.{hint}{FileFaults.DescribeUnfinished(directory)} Files " +
            $"there: {(present.Length == 0 ? "none" : string.Join(", ", present.Take(10)))}.");
    }

    private static string Report(string title, IReadOnlyList<string> names)
    {
        const int Most = 20;
        if (names.Count == 0)
            return "";
        string rest = names.Count > Most ? $"{Environment.NewLine}    … and {names.Count - Most} more" : "";
        return $"{Environment.NewLine}  {title} ({names.Count}):{Environment.NewLine}    " +
            $"{string.Join($"{Environment.NewLine}    ", names.Take(Most))}{rest}";
    }
}
