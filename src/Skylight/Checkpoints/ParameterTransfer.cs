using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// Moves parameters between files and a device in blocks of rows, through one small buffer: whatever the size of a
/// parameter, no second copy of it is in host memory. Blocks are read and converted on all cores.
/// </summary>
internal sealed class ParameterTransfer
{
    // Large enough that a block's upload uses all cores, small enough to count for nothing beside a model.
    private const int BlockBytes = 1 << 24;

    // What one thread reads at a time.
    private const int PartBytes = 1 << 20;

    // Forms that pack some outputs into one word are read in whole words.
    private const int RowsOfPart = 8;

    private readonly Device _device;
    private byte[] _buffer = [];

    public ParameterTransfer(Device device) => _device = device;

    /// <summary>Fills a parameter from a checkpoint.</summary>
    /// <param name="reader">The checkpoint; verified.</param>
    /// <param name="entry">Which parameter.</param>
    /// <param name="destination">Its memory.</param>
    /// <param name="progress">Told of the bytes of each block that has arrived.</param>
    /// <param name="cancellationToken">Checked before each block.</param>
    public void Load(CheckpointReader reader, KeyMapEntry entry, Tensor destination, Action<long> progress,
        CancellationToken cancellationToken)
    {
        if (destination.Type.Format is not null)
        {
            QuantizedParameters.Load(_device, reader, entry, destination, progress, cancellationToken);
            return;
        }

        DataType type = destination.Type.DataType;
        if (type == DataType.Int32)
        {
            QuantizedParameters.LoadInputOrder(_device, reader, entry, destination);
            progress(destination.Type.Bytes);
            return;
        }

        int width = entry.Pieces[0].RowWidth, rows = entry.Pieces.Sum(piece => piece.RowCount);
        int block = RowsPerBlock(width, type.Size());
        for (int first = 0; first < rows; first += block)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int count = Math.Min(block, rows - first);
            int bytes = checked(count * width * type.Size());
            if (_buffer.Length < bytes)
                _buffer = GC.AllocateUninitializedArray<byte>(bytes);
            foreach (KeyMapPiece piece in entry.Pieces)
            {
                int start = Math.Max(first, piece.RowOffset),
                    end = Math.Min(first + count, piece.RowOffset + piece.RowCount);
                if (start < end)
                    Read(reader, piece, start, end, type,
                        _buffer.AsMemory((start - first) * width * type.Size(), (end - start) * width * type.Size()));
            }

            _device.Upload(_buffer.AsSpan(0, bytes), _device.Part(destination, first, count));
            progress(bytes);
        }
    }

    /// <summary>Reads some elements of a parameter, rounded to float32 if need be.</summary>
    /// <param name="source">The parameter's memory.</param>
    /// <param name="firstElement">Where to start, row-major.</param>
    /// <param name="destination">As many elements as are wanted.</param>
    public void Save(Tensor source, long firstElement, Span<float> destination)
    {
        int width = source.Shape.Rank == 1 ? 1 : source.Shape.Columns, rows = source.Shape.Rank == 1 ? source.Shape[0]
            : source.Shape.Rows;
        int size = source.Type.DataType.Size();
        int block = RowsPerBlock(width, size);
        for (long done = 0; done < destination.Length;)
        {
            long element = firstElement + done;
            int first = (int)(element / width) / Device.RowBlock * Device.RowBlock, count = Math.Min(block, rows - first);
            int bytes = checked(count * width * size);
            if (_buffer.Length < bytes)
                _buffer = GC.AllocateUninitializedArray<byte>(bytes);
            _device.Download(_device.Part(source, first, count), _buffer.AsSpan(0, bytes));
            int skip = (int)(element - (long)first * width),
                take = (int)Math.Min(bytes / size - skip, destination.Length - done);
            StoredElements.ToFloat32(source.Type.DataType.ToStored(), _buffer.AsSpan(skip * size, take * size),
                destination.Slice((int)done, take));
            done += take;
        }
    }

    private static int RowsPerBlock(int width, int size) =>
        Math.Max(BlockBytes / checked(width * size) / Device.RowBlock, 1) * Device.RowBlock;

    private static void Read(CheckpointReader reader, KeyMapPiece piece, int start, int end, DataType type,
        Memory<byte> destination)
    {
        CheckpointTensor tensor = reader[piece.TensorName];
        // Whole rows, some packs of them: of a quantised weight nothing else can be read.
        int rowBytes = checked(piece.RowWidth * type.Size()), rows = end - start;
        int rowsOfPart = Math.Max(RowsOfPart, PartBytes / rowBytes / RowsOfPart * RowsOfPart);
        int parts = (rows + rowsOfPart - 1) / rowsOfPart;
        ParallelParts.Run(parts, Read);

        void Read(int part)
        {
            int first = part * rowsOfPart, count = Math.Min(rowsOfPart, rows - first);
            tensor.ReadAs((long)(start - piece.RowOffset + first) * piece.RowWidth, type,
                destination.Span.Slice(first * rowBytes, count * rowBytes));
        }
    }
}
