using System.Buffers;
using System.Runtime.InteropServices;
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
    /// are all quantised in a format that the device multiplies. Where one parameter is several tensors of different formats
    /// or orders of inputs, it is kept in parts; neighbours that have the same are one part.
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
            var parts = new List<StoredPart>();
            foreach (KeyMapPiece piece in entry.Pieces)
            {
                QuantizedFormat? format = FormatOf(reader, piece, parameter, model.Device);
                ReadOnlyMemory<int> order = format is { HasInputOrder: true } ? reader[piece.TensorName].InputOrder : default;
                if (parts.Count > 0 && parts[^1].Format == format && parts[^1].InputOrder.Span.SequenceEqual(order.Span))
                    parts[^1] = parts[^1] with { Rows = parts[^1].Rows + piece.RowCount };
                else
                    parts.Add(new StoredPart(format, order, piece.RowCount));
            }

            if (parts.All(part => part.Format is null))
                continue;
            PersistentTensor[] weights = parts.Count == 1
                ? [new PersistentTensor(parameter.Name, TensorType.Quantized(parts[0].Format!, parameter.Type.Shape))]
                : TakeApart(model.Parameters, parameter, parts);
            model.Parameters.Replace(parameter, weights);
            foreach ((StoredPart part, PersistentTensor weight) in parts.Zip(weights)
                .Where(pair => pair.First.Format is { HasInputOrder: true }))
            {
                // One for all parts that have the same: activations are put into it once.
                int first = parts.FindIndex(other => other.InputOrder.Span.SequenceEqual(part.InputOrder.Span));
                model.Parameters.SetInputOrder(weight.Name, model.Parameters.InputOrderOf(weights[first].Name)
                    ?? new PersistentTensor($"{weight.Name}.input_order", TensorType.Int32(part.InputOrder.Length)));
            }
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

    /// <summary>
    /// The entries of a key map as the model has them: a parameter in parts has one for each, and an order of inputs has the
    /// tensors of all weights that have it.
    /// </summary>
    public static IEnumerable<KeyMapEntry> EntriesOf(KeyMap keyMap, ParameterSet parameters)
    {
        foreach (KeyMapEntry entry in keyMap.Entries)
        {
            KeyMapEntry[] parts = [.. PartsOf(entry, parameters)];
            foreach (KeyMapEntry part in parts)
                yield return part;
            foreach (IGrouping<PersistentTensor?, KeyMapEntry> ordered in
                parts.GroupBy(part => parameters.InputOrderOf(part.ParameterName)))
            {
                if (ordered.Key is { } order)
                    yield return new KeyMapEntry(order.Name, order.Type.Shape, [.. ordered.SelectMany(part => part.Pieces)]);
            }
        }
    }

    /// <summary>Refuses a checkpoint whose weights have their inputs in other orders than a model can have.</summary>
    /// <exception cref="CheckpointException">Some that share an order in the model have different ones.</exception>
    public static void DemandOrders(CheckpointReader reader, KeyMap keyMap, ParameterSet parameters)
    {
        foreach (KeyMapEntry entry in EntriesOf(keyMap, parameters)
            .Where(entry => parameters[entry.ParameterName].Type.DataType == DataType.Int32))
        {
            ReadOnlyMemory<int> order = reader[entry.Pieces[0].TensorName].InputOrder;
            if (entry.Pieces.Select(piece => reader[piece.TensorName]).FirstOrDefault(tensor =>
                order.IsEmpty || !tensor.InputOrder.Span.SequenceEqual(order.Span)) is { } other)
                throw new CheckpointException(other.File,
                    $"has its inputs in an order that {entry.ParameterName} cannot have. Load the model from this checkpoint.",
                    other.Name);
        }
    }

    /// <summary>Fills an order of inputs, which all of the entry's tensors have.</summary>
    public static void LoadInputOrder(Device device, CheckpointReader reader, KeyMapEntry entry, Tensor destination) =>
        device.Upload(MemoryMarshal.AsBytes(reader[entry.Pieces[0].TensorName].InputOrder.Span), destination);

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

    private static IEnumerable<KeyMapEntry> PartsOf(KeyMapEntry entry, ParameterSet parameters)
    {
        if (parameters.TryGet(entry.ParameterName, out _))
        {
            yield return entry;
            yield break;
        }

        int last = entry.Pieces[^1].RowOffset + entry.Pieces[^1].RowCount;
        for (int part = 0, first = 0; first < last; part++)
        {
            string name = ParameterSet.PartName(entry.ParameterName, part);
            Shape shape = parameters[name].Type.Shape;
            int start = first, end = first + shape[0];
            yield return new KeyMapEntry(name, shape, [.. entry.Pieces
                .Where(piece => piece.RowOffset >= start && piece.RowOffset < end)
                .Select(piece => piece with { RowOffset = piece.RowOffset - start })]);
            first = end;
        }
    }

    private static QuantizedFormat? FormatOf(CheckpointReader reader, KeyMapPiece piece, PersistentTensor parameter,
        Device device)
    {
        CheckpointTensor tensor = reader[piece.TensorName];
        // A weight with other axes on disk, such as a convolution's, is read as numbers; rows that are looked up have theirs
        // in the order of the inputs.
        return tensor.Format is { } format && tensor.Shape == new Shape(piece.RowCount, piece.RowWidth)
            && device.Multiplies(format) && !(format.HasInputOrder && parameter.Name == LanguageModel.EmbeddingName)
            ? format : null;
    }

    /// <summary>Makes the parts of a weight, and puts those of its bias into the bias's place.</summary>
    private static PersistentTensor[] TakeApart(ParameterSet parameters, PersistentTensor parameter, List<StoredPart> parts)
    {
        const string Weight = ".weight", Bias = ".bias";
        string biasName = parameter.Name[..^Weight.Length] + Bias;
        if (parameter.Name.EndsWith(Weight, StringComparison.Ordinal)
            && parameters.TryGet(biasName, out PersistentTensor? bias))
            parameters.Replace(bias!, [.. parts.Select((stored, part) => new PersistentTensor(
                ParameterSet.PartName(biasName, part), bias!.Type with { Shape = new Shape(stored.Rows) }))]);
        return [.. parts.Select((stored, part) => new PersistentTensor(ParameterSet.PartName(parameter.Name, part),
            TypeOf(stored)))];

        TensorType TypeOf(StoredPart stored)
        {
            var shape = new Shape(stored.Rows, parameter.Type.Shape.Columns);
            return stored.Format is { } format ? TensorType.Quantized(format, shape) : parameter.Type with { Shape = shape };
        }
    }

    /// <summary>Consecutive rows of a weight that are stored alike.</summary>
    /// <param name="Format">Null for numbers.</param>
    /// <param name="InputOrder">Empty where inputs are in their own order.</param>
    /// <param name="Rows">How many.</param>
    private sealed record StoredPart(QuantizedFormat? Format, ReadOnlyMemory<int> InputOrder, int Rows);
}
