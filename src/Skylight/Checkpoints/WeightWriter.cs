using System.Threading.Channels;
using Microsoft.Win32.SafeHandles;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// Writes packed weights while those behind them are read, on another thread and through one buffer, into a file of another
/// name; <see cref="Finish"/> gives it its own. Whatever goes wrong with the file, the model is read all the same.
/// </summary>
/// <remarks>
/// Nothing waits for the disk: whoever reads the file compares every byte with its checksum, so what a crash has left costs
/// a start some time, and waiting would cost it to everybody.
/// </remarks>
internal sealed class WeightWriter : IDisposable
{
    private readonly Device _device;
    private readonly WeightLayout _layout;
    private readonly string _path;
    private readonly string _temporary;
    private readonly SafeFileHandle _file;
    private readonly Channel<int> _ready = Channel.CreateUnbounded<int>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Task _writing;
    private int _next;
    private volatile bool _isStopped;

    /// <summary>Begins a file.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be made.</exception>
    public WeightWriter(Device device, WeightLayout layout, string path)
    {
        (_device, _layout, _path) = (device, layout, path);
        string folder = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(folder);
        _temporary = Path.Combine(folder,
            $".{Path.GetFileName(path)}.{Environment.ProcessId}.{Guid.NewGuid():N}{WeightCache.Unfinished}");
        try
        {
            // Reserved at once, so that a disk that is too full says so before the work.
            _file = File.OpenHandle(_temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None,
                preallocationSize: layout.Length);
        }
        catch
        {
            Remove();
            throw;
        }

        _writing = Task.Run(WriteAsync);
    }

    /// <summary>Says that the next parameter of the layout is in memory.</summary>
    public void Add(PersistentTensor parameter)
    {
        if (_layout.Parameters[_next] != parameter)
            throw new InvalidOperationException($"'{parameter.Name}' is not next.");
        _ready.Writer.TryWrite(_next++);
    }

    /// <summary>Waits for the rest and gives the file its name.</summary>
    /// <exception cref="IOException">It could not be written.</exception>
    public void Finish()
    {
        _ready.Writer.Complete();
        _writing.GetAwaiter().GetResult();
        _file.Dispose();
        File.Move(_temporary, _path, overwrite: true);
    }

    /// <summary>Stops; what is not finished is removed.</summary>
    public void Dispose()
    {
        _isStopped = true;
        _ready.Writer.TryComplete();
        ((IAsyncResult)_writing).AsyncWaitHandle.WaitOne();
        // Looked at, so that it is not reported as one that nobody saw.
        _ = _writing.Exception;
        _file.Dispose();
        Remove();
    }

    private async Task WriteAsync()
    {
        byte[] buffer = new byte[WeightLayout.PieceBytes];
        ulong[] checksums = new ulong[_layout.PieceCount];
        long position = 0;
        await foreach (int index in _ready.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            Tensor tensor = _layout.Parameters[index].Tensor;
            Fill(_layout.Offsets[index] - position, null);
            long size = _layout.Sizes[index];
            Fill(size, tensor);
        }

        Fill(_layout.DataBytes - position, null);
        RandomAccess.Write(_file, _layout.Head(checksums), 0);

        // The bytes of a tensor, or zeros.
        void Fill(long count, Tensor? tensor)
        {
            for (long done = 0; done < count && !_isStopped;)
            {
                int piece = (int)(position / WeightLayout.PieceBytes), at = (int)(position % WeightLayout.PieceBytes),
                    length = (int)Math.Min(count - done, _layout.BytesOf(piece) - at);
                Span<byte> target = buffer.AsSpan(at, length);
                if (tensor is null)
                    target.Clear();
                else
                    _device.StoredBytes(tensor, done, length).CopyTo(target);
                position += length;
                done += length;
                if (at + length < _layout.BytesOf(piece))
                    continue;
                ReadOnlySpan<byte> whole = buffer.AsSpan(0, at + length);
                checksums[piece] = WeightLayout.Checksum(whole);
                RandomAccess.Write(_file, whole, _layout.DataStart + (long)piece * WeightLayout.PieceBytes);
            }
        }
    }

    private void Remove()
    {
        try
        {
            File.Delete(_temporary);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report; what is left is removed by a later start.
        }
    }
}
