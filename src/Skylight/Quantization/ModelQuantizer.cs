using System.Globalization;
using System.Runtime.InteropServices;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Checkpoints.Quantized;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Quantization;

/// <summary>
/// Makes a quantised checkpoint of one that is not. In memory is at most one layer in float32 (some copies of it with
/// calibration), beside its activations. What is done stays in a hidden folder beside the result until all of it is there.
/// </summary>
/// <example>
/// <code>
/// QuantizationReport report = ModelQuantizer.Run("InternVL3-1B", "InternVL3-1B-q4", new QuantizerOptions());
/// Console.WriteLine(report.ToTable());
/// </code>
/// </example>
public static class ModelQuantizer
{
    private const string LayersPrefix = "language.layers.";

    /// <summary>Quantises a model.</summary>
    /// <param name="directory">The folder of a checkpoint of float32, bfloat16 or float16.</param>
    /// <param name="output">The folder to make; must be empty or not exist.</param>
    /// <param name="options">What is made, and how.</param>
    /// <param name="progress">Told of each unit.</param>
    /// <param name="cancellationToken">Checked every few megabytes; layers that are done stay for who goes on.</param>
    /// <returns>What became of it; it lies beside the weights, too.</returns>
    /// <exception cref="ArgumentException">The options contradict themselves, or a calibration sequence does not fit the
    /// model.</exception>
    /// <exception cref="CheckpointException">The checkpoint cannot be read or is quantised, the format cannot hold it, or the
    /// result cannot be written.</exception>
    /// <exception cref="TokenizerException">GGUF: the tokenizer cannot be read, or such a file cannot have it.</exception>
    /// <exception cref="ArithmeticException">Activations are not finite.</exception>
    public static QuantizationReport Run(string directory, string output, QuantizerOptions options,
        IProgress<QuantizationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentException.ThrowIfNullOrEmpty(output);
        ArgumentNullException.ThrowIfNull(options);
        if (options is { Format: QuantizationFormat.Awq, Type: not QuantizationType.Q4 })
            throw new ArgumentException("AWQ's packing has 4 bits. Take q4, or the format gguf.", nameof(options));
        if (options.Format == QuantizationFormat.Awq && (options.Embeddings, options.Vision) is not (null, null))
            throw new ArgumentException(
                "Types of embeddings and encoder are of the format gguf; in awq all but the layers is bfloat16.", nameof(options));
        if (options is { Type: not (QuantizationType.Q4 or QuantizationType.Q8), Calibration.Count: > 0 })
            throw new ArgumentException(
                $"The type {NameOf(options.Type)} rounds no layer to codes, so there is nothing to calibrate. Take q4 or q8, " +
                $"or leave the calibration out.", nameof(options));
        CheckpointNaming naming = CheckpointCompanions.NamingOf(directory);
        using CheckpointReader reader = CheckpointReader.Open(directory);
        if (reader.IsQuantized)
            throw new CheckpointException(directory,
                $"is quantised already ({reader.Tensors.First(tensor => tensor.ElementType is null).TypeName}). Give the " +
                $"checkpoint that it was made of.");
        ModelConfiguration configuration = ModelConfiguration.Load(directory);
        if (configuration.ImageTokenId is null && options.Calibration.Any(sequence => sequence.Images.Count > 0))
            configuration = configuration with
            {
                ImageTokenId = BytePairTokenizer.Load(directory, cancellationToken).RequiredTokenId(SpecialTokens.ImageContext),
            };
        LayerActivations.Check(options.Calibration, configuration);
        KeyMap keyMap = reader.MapOf(configuration);
        reader.Verify(keyMap);
        QuantizedTarget target = options.Format == QuantizationFormat.Awq
            ? new AwqTarget(KeyMap.For(configuration, naming), IsLayerMatrix, isSymmetric: false,
                options.MaximumShardBytes, directory)
            : new GgufTarget(configuration, TypesOf(options), NameOf(directory, options),
                builder => GgufTokenizer.Write(directory, configuration, builder, cancellationToken), directory);
        using StagedFiles staged = StagedFiles.Open(output, Identity(reader, options), target.Files, options.Resume,
            options.FreeBytes);
        var run = new Pass(reader, keyMap, target, staged, options, progress, directory);
        IReadOnlyList<LayerReport> layers = run.Quantize(cancellationToken);
        QuantizationReport report = new(
            NameOf(options.Type), options.Format == QuantizationFormat.Awq ? "awq" : "gguf",
            target is AwqTarget { GroupSize: var group } ? group : 32, options.Calibration.Count,
            options.Calibration.Sum(sequence => (long)sequence.Tokens.Length),
            reader.Tensors.Sum(tensor => tensor.StoredBytes), target.Bytes, [.. target.Files.Select(file => file.Name)], layers,
            Warnings(configuration, target, options));
        Complete(directory, staged, target, report);
        staged.Publish();
        return report;
    }

    private static bool IsLayerMatrix(string parameter) =>
        parameter.StartsWith(LayersPrefix, StringComparison.Ordinal) && LayerQuantizer.Names(parameter).Count > 0;

    private static GgufTypesToWrite TypesOf(QuantizerOptions options)
    {
        bool isRounded = options.Type is QuantizationType.Q4 or QuantizationType.Q8;
        GgufType layers = options.Type switch
        {
            QuantizationType.Q4 => GgufType.Q4_0,
            QuantizationType.Q8 => GgufType.Q8_0,
            QuantizationType.F16 => GgufType.F16,
            QuantizationType.BF16 => GgufType.BF16,
            QuantizationType.F32 => GgufType.F32,
            _ => throw new ArgumentOutOfRangeException(nameof(options), options.Type, "Unknown type."),
        };
        return new GgufTypesToWrite(layers, TypeOf(options.Embeddings) ?? (isRounded ? GgufType.Q8_0 : layers),
            TypeOf(options.Vision) ?? (isRounded ? GgufType.F16 : layers));

        static GgufType? TypeOf(SideType? type) => type switch
        {
            null => null,
            SideType.F16 => GgufType.F16,
            SideType.Q8 => GgufType.Q8_0,
            SideType.Q4 => GgufType.Q4_0,
            SideType.BF16 => GgufType.BF16,
            SideType.F32 => GgufType.F32,
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Unknown type."),
        };
    }

    private static string NameOf(QuantizationType type) => type.ToString().ToLowerInvariant();

    private static string NameOf(string directory, QuantizerOptions options)
    {
        string name = options.Name ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory)));
        return name.Length > 0 && name.IndexOfAny(Path.GetInvalidFileNameChars()) < 0 ? name
            : throw new ArgumentException($"'{name}' cannot be a part of a file's name. Give another name.", nameof(options));
    }

    private static Dictionary<string, string> Identity(CheckpointReader reader, QuantizerOptions options)
    {
        // Each part is hashed under the hash of what was before it.
        var hash = new ContentHash(0, (ulong)options.Calibration.Count);
        foreach (TokenSequence sequence in options.Calibration)
        {
            hash = ContentHash.Of(hash, MemoryMarshal.AsBytes<int>(sequence.Tokens));
            foreach (ImageTile tile in sequence.Images)
                hash = ContentHash.Of(hash, MemoryMarshal.AsBytes<float>(tile.Pixels));
        }

        return new(StringComparer.Ordinal)
        {
            ["checkpoint"] = Path.GetFullPath(reader.Directory),
            ["weights"] = string.Join(", ", reader.Files.Select(file =>
            {
                var info = new FileInfo(File.Exists(file) ? file : Path.Combine(reader.Directory, file));
                return string.Create(CultureInfo.InvariantCulture,
                    $"{info.Name} {info.Length} {info.LastWriteTimeUtc:yyyy-MM-ddTHH:mm:ss.fffffffZ}");
            })),
            ["type"] = $"{options.Type}",
            ["format"] = $"{options.Format}",
            ["embeddings"] = $"{TypesOf(options).Embeddings}",
            ["vision"] = $"{TypesOf(options).Vision}",
            ["calibration"] = options.Calibration.Count == 0 ? "none" : hash.ToString(),
        };
    }

    private static List<string> Warnings(ModelConfiguration configuration, QuantizedTarget target, QuantizerOptions options)
    {
        var warnings = new List<string>();
        if (options.Format != QuantizationFormat.Gguf)
            return warnings;
        if (target is GgufTarget { WithoutBlocks: { Count: > 0 } odd })
            warnings.Add($"{odd.Count} matrices have rows that are no blocks of 32 and are F16, such as {odd[0]}.");
        if (configuration.Language.RopeScaling is { Kind: RopeScalingKind.Dynamic } scaling)
            warnings.Add(string.Create(CultureInfo.InvariantCulture,
                $"GGUF has no dynamic RoPE scaling: the context is the {scaling.TrainedPositions} positions that the model was trained on."));
        if (configuration.StopTokenIds.Length > 2)
            warnings.Add(
                $"GGUF names two tokens that end a text; of {string.Join(", ", configuration.StopTokenIds)} those are the first.");
        if (configuration.ChatTemplate is null)
            warnings.Add("The checkpoint brings no chat template, and so the files have none.");
        return warnings;
    }

    /// <summary>Writes what lies beside the weights; what an earlier try has left of it is replaced.</summary>
    private static void Complete(string directory, StagedFiles staged, QuantizedTarget target, QuantizationReport report)
    {
        foreach (string file in Directory.EnumerateFiles(staged.Folder).Where(file => !Path.GetFileName(file).StartsWith('.')
            && !target.Files.Any(planned => planned.Name == Path.GetFileName(file))).ToArray())
            File.Delete(file);
        if (target is AwqTarget awq)
        {
            CheckpointCompanions.Copy(directory, staged.Folder);
            awq.WriteIndex(staged.Folder);
            CheckpointWriter.WriteText(staged.Folder, ModelConfiguration.FileName,
                CheckpointCompanions.Configuration(directory, StoredType.BFloat16, awq.Configuration()), null);
        }

        CheckpointWriter.WriteText(staged.Folder, QuantizationReport.FileName, report.ToJson(), null);
    }

    /// <summary>One run over a checkpoint.</summary>
    private sealed class Pass(CheckpointReader reader, KeyMap keyMap, QuantizedTarget target, StagedFiles staged,
        QuantizerOptions options, IProgress<QuantizationProgress>? progress, string directory)
    {
        private readonly int _layers = keyMap.Configuration.Language.LayerCount;
        private int _done;

        public IReadOnlyList<LayerReport> Quantize(CancellationToken cancellationToken)
        {
            // The encoder, the connector, and what is not of a layer: units of their own.
            (string Name, TargetTensor[] Tensors)[] others = [.. target.Tensors
                .Where(tensor => !tensor.Entry.ParameterName.StartsWith(LayersPrefix, StringComparison.Ordinal))
                .GroupBy(tensor => tensor.Entry.ParameterName.Split('.')[0]).Select(group => (group.Key, group.ToArray()))];
            int total = others.Length + _layers;
            var reports = new LayerReport[_layers];
            foreach ((string name, TargetTensor[] tensors) in others)
            {
                if (staged.Done(name) is null)
                {
                    foreach (TargetTensor tensor in tensors)
                        target.Write(staged.Files, tensor, directory, Read, cancellationToken);
                    staged.Finish(name, "");
                }

                progress?.Report(new QuantizationProgress(name, ++_done, total, null));
            }

            int last = Enumerable.Range(0, _layers).LastOrDefault(layer => staged.Done(UnitOf(layer)) is null, -1);
            using CpuDevice? device = options.Calibration.Count > 0 && last >= 0 ? new CpuDevice() : null;
            using LayerActivations? activations = device is null ? null
                : LayerActivations.Begin(reader, keyMap, options.Calibration, device, cancellationToken);
            using LayerQuantizer? quantizer = device is null ? null
                : new LayerQuantizer(keyMap.Configuration.Language, device, directory);
            for (int layer = 0; layer < _layers; layer++)
            {
                string? noted = staged.Done(UnitOf(layer));
                LayerReport? report = noted is null ? null : QuantizationReport.LayerOf(noted);
                if (activations is not null && layer <= last)
                    report = Calibrated(layer, report, activations, quantizer!, cancellationToken);
                else
                    report ??= Nearest(layer, cancellationToken);
                if (noted is null)
                    staged.Finish(UnitOf(layer), QuantizationReport.ToJson(report));
                reports[layer] = report;
                progress?.Report(new QuantizationProgress(UnitOf(layer), ++_done, total, report));
            }

            return reports;
        }

        private static string UnitOf(int layer) => FormattableString.Invariant($"layer {layer}");

        private LayerReport Calibrated(int layer, LayerReport? done, LayerActivations activations, LayerQuantizer quantizer,
            CancellationToken cancellationToken)
        {
            LayerWeights weights = LayerWeights.Read(reader, keyMap, layer, cancellationToken);
            // Of a layer that is done only what comes out of it is wanted.
            InputStatistics[] statistics = activations.Advance(weights, done is null, cancellationToken);
            if (done is not null)
                return done;
            LayerReport report = quantizer.Fold(layer, weights, statistics, target, cancellationToken);
            foreach (TargetTensor tensor in TensorsOf(layer))
                target.Write(staged.Files, tensor, directory, weights.Copy, cancellationToken);
            return report;
        }

        private LayerReport Nearest(int layer, CancellationToken cancellationToken)
        {
            var projections = new List<ProjectionReport>();
            foreach (TargetTensor tensor in TensorsOf(layer))
            {
                double error = target.Write(staged.Files, tensor, directory, Read, cancellationToken, measure: true);
                foreach (string name in LayerQuantizer.Names(tensor.Entry.ParameterName)
                    .Skip(tensor.Entry.Pieces.IndexOf(tensor.Piece)).Take(1))
                    projections.Add(new ProjectionReport(name, tensor.TypeName, error, null, null));
            }

            return new LayerReport(layer, projections);
        }

        private IEnumerable<TargetTensor> TensorsOf(int layer) => target.Tensors.Where(tensor =>
            tensor.Entry.ParameterName.StartsWith(LayerWeights.Prefix(layer), StringComparison.Ordinal));

        /// <summary>Reads some elements of a parameter from wherever they lie.</summary>
        private void Read(KeyMapEntry entry, long firstElement, Span<float> destination)
        {
            foreach (KeyMapPiece piece in keyMap[entry.ParameterName].Pieces)
            {
                long start = (long)piece.RowOffset * piece.RowWidth, end = start + (long)piece.RowCount * piece.RowWidth,
                    from = Math.Max(start, firstElement), to = Math.Min(end, firstElement + destination.Length);
                if (from < to)
                    reader[piece.TensorName].ReadFloat32(from - start,
                        destination.Slice((int)(from - firstElement), (int)(to - from)));
            }
        }
    }
}
