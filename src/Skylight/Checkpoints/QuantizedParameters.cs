using System.Buffers;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// Weights that are quantised in memory, because a checkpoint has them so or because they are rounded while they are read:
/// which parameters they are, and how they get there.
/// </summary>
internal static class QuantizedParameters
{
    // Codes that a thread takes at a time, one a byte: they stay in its cache until they are packed.
    private const int PartCodes = 1 << 20;

    // Where outputs are packed side by side, those of a cache line of words.
    private const int MostRowsOfPart = 128;

    /// <summary>
    /// Gives the parameters of a model, which have no memory yet, the formats of a checkpoint: those of weights whose tensors
    /// are all quantised in a format that the device multiplies. Where one parameter is several tensors of different formats,
    /// it is kept in parts.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="reader">The checkpoint; verified.</param>
    /// <param name="keyMap">Of the model in the checkpoint's naming.</param>
    public static void ApplyStored(VisionLanguageModel model, CheckpointReader reader, KeyMap keyMap)
    {
        foreach (KeyMapEntry entry in keyMap.Entries)
        {
            // A bias has gone into parts with its weight.
            if (!model.Parameters.TryGet(entry.ParameterName, out PersistentTensor? parameter)
                || parameter!.Type.Storage != Storage.Weight)
                continue;
            QuantizedFormat?[] formats = [.. entry.Pieces.Select(piece => FormatOf(reader, piece, model.Device))];
            if (formats.All(format => format is null))
                continue;
            if (formats.All(format => format == formats[0]))
                model.Parameters.Replace(parameter,
                    new PersistentTensor(parameter.Name, TensorType.Quantized(formats[0]!, parameter.Type.Shape)));
            else
                TakeApart(model.Parameters, entry, parameter, formats);
        }
    }

    /// <summary>
    /// Gives the matrices of the language model that are numbers still (<see cref="VisionLanguageModel.QuantizableMatrices"/>)
    /// a format that they are rounded to while they are read.
    /// </summary>
    public static void ApplyRounding(VisionLanguageModel model, QuantizedFormat format)
    {
        foreach (PersistentTensor parameter in model.QuantizableMatrices(format))
            model.Parameters.Replace(parameter,
                new PersistentTensor(parameter.Name, TensorType.Quantized(format, parameter.Type.Shape)));
    }

    /// <summary>The entries of a key map as the model has them: a parameter in parts has one for each.</summary>
    public static IEnumerable<KeyMapEntry> EntriesOf(KeyMap keyMap, ParameterSet parameters)
    {
        foreach (KeyMapEntry entry in keyMap.Entries)
        {
            if (parameters.TryGet(entry.ParameterName, out _))
            {
                yield return entry;
                continue;
            }

            for (int part = 0; part < entry.Pieces.Length; part++)
            {
                KeyMapPiece piece = entry.Pieces[part];
                string name = ParameterSet.PartName(entry.ParameterName, part);
                yield return new KeyMapEntry(name, parameters[name].Type.Shape, [piece with { RowOffset = 0 }]);
            }
        }
    }

    /// <summary>Fills a quantised parameter.</summary>
    /// <param name="device">Where it lives.</param>
    /// <param name="reader">The checkpoint.</param>
    /// <param name="entry">Which parameter.</param>
    /// <param name="destination">Its memory.</param>
    /// <param name="progress">Told of the bytes of each part that has arrived.</param>
    /// <param name="cancellationToken">Checked before each part.</param>
    public static void Load(Device device, CheckpointReader reader, KeyMapEntry entry, Tensor destination,
        Action<long> progress, CancellationToken cancellationToken)
    {
        QuantizedFormat format = destination.Type.Format!;
        int rows = destination.Shape.Rows, inputs = destination.Shape.Columns, blocks = format.BlocksOf(inputs),
            supers = format.SuperScalesOf(inputs), minimumCount = format.HasMinimum ? blocks : 0;
        CheckpointTensor[] tensors = [.. entry.Pieces.Select(CodesOf)];
        // Whole panels of the device, and whole words of forms that pack some outputs into one.
        int rowsOfPart = Math.Clamp(PartCodes / inputs / Device.RowBlock, 1, MostRowsOfPart / Device.RowBlock) * Device.RowBlock;
        var gate = new Lock();
        // One tensor after the other: those whose words are read whole have one buffer.
        int next = 0;
        foreach ((KeyMapPiece piece, CheckpointTensor tensor) in entry.Pieces.Zip(tensors))
        {
            cancellationToken.ThrowIfCancellationRequested();
            tensor.Prepare();
            int first = next,
                parts = (Math.Max(piece.RowOffset + piece.RowCount - first, 0) + rowsOfPart - 1) / rowsOfPart;
            next = first + parts * rowsOfPart;
            ParallelParts.Run(parts, part =>
            {
                cancellationToken.ThrowIfCancellationRequested();
                int start = first + part * rowsOfPart;
                LoadPart(start, Math.Min(rowsOfPart, rows - start));
            });
        }

        CheckpointTensor CodesOf(KeyMapPiece piece) => reader[piece.TensorName] is var tensor && tensor.Format == format
            ? tensor : new RoundedTensor(tensor, new Shape(piece.RowCount, inputs), format);

        void LoadPart(int first, int count)
        {
            sbyte[] codes = ArrayPool<sbyte>.Shared.Rent(count * inputs);
            float[] numbers = ArrayPool<float>.Shared.Rent(count * (blocks + minimumCount + supers));
            try
            {
                Span<sbyte> partCodes = codes.AsSpan(0, count * inputs);
                Span<float> scales = numbers.AsSpan(0, count * blocks),
                    minimums = numbers.AsSpan(scales.Length, count * minimumCount),
                    superScales = numbers.AsSpan(scales.Length + minimums.Length, count * supers);
                foreach ((KeyMapPiece piece, CheckpointTensor tensor) in entry.Pieces.Zip(tensors))
                {
                    int start = Math.Max(first, piece.RowOffset),
                        length = Math.Min(first + count, piece.RowOffset + piece.RowCount) - start, to = start - first;
                    if (length > 0)
                        tensor.ReadCodes(start - piece.RowOffset, length, partCodes.Slice(to * inputs, length * inputs),
                            scales.Slice(to * blocks, length * blocks), minimums.Slice(to * minimumCount, length * minimumCount),
                            superScales.Slice(to * supers, length * supers));
                }

                Tensor target = device.Part(destination, first, count);
                if (device.UploadsFromManyThreads)
                    device.UploadCodes(target, partCodes, scales, minimums, superScales);
                lock (gate)
                {
                    if (!device.UploadsFromManyThreads)
                        device.UploadCodes(target, partCodes, scales, minimums, superScales);
                    progress(target.Type.Bytes);
                }
            }
            finally
            {
                ArrayPool<sbyte>.Shared.Return(codes);
                ArrayPool<float>.Shared.Return(numbers);
            }
        }
    }

    private static QuantizedFormat? FormatOf(CheckpointReader reader, KeyMapPiece piece, Device device)
    {
        CheckpointTensor tensor = reader[piece.TensorName];
        // A weight with other axes on disk, such as a convolution's, is read as numbers.
        return tensor.Format is { } format && tensor.Shape == new Shape(piece.RowCount, piece.RowWidth)
            && device.Multiplies(format) ? format : null;
    }

    private static void TakeApart(ParameterSet parameters, KeyMapEntry entry, PersistentTensor parameter,
        QuantizedFormat?[] formats)
    {
        parameters.Replace(parameter, [.. entry.Pieces.Select((piece, part) => new PersistentTensor(
            ParameterSet.PartName(parameter.Name, part), TypeOf(piece, formats[part])))]);
        const string Weight = ".weight", Bias = ".bias";
        string biasName = parameter.Name[..^Weight.Length] + Bias;
        if (parameter.Name.EndsWith(Weight, StringComparison.Ordinal)
            && parameters.TryGet(biasName, out PersistentTensor? bias))
            parameters.Replace(bias!, [.. entry.Pieces.Select((piece, part) => new PersistentTensor(
                ParameterSet.PartName(biasName, part), bias!.Type with { Shape = new Shape(piece.RowCount) }))]);

        TensorType TypeOf(KeyMapPiece piece, QuantizedFormat? format)
        {
            var shape = new Shape(piece.RowCount, piece.RowWidth);
            return format is null ? parameter.Type with { Shape = shape } : TensorType.Quantized(format, shape);
        }
    }
}
