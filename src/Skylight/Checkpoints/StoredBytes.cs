using System.Buffers;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>Reads parts of files that hold tensors.</summary>
internal static class StoredBytes
{
    // Of elements that are converted on their way; stays within a core's cache.
    private const int ScratchElements = 1 << 16;

    /// <summary>Fills a buffer with consecutive elements.</summary>
    /// <param name="handle">The file, open.</param>
    /// <param name="file">Its name, for errors.</param>
    /// <param name="tensor">What is read, for errors.</param>
    /// <param name="stored">The type of the elements in the file; floating-point.</param>
    /// <param name="offset">The first byte.</param>
    /// <param name="type">Float32, or BFloat16 (rounded to nearest even).</param>
    /// <param name="destination">A whole number of elements of that type.</param>
    /// <exception cref="CheckpointException">The file cannot be read, or became shorter.</exception>
    public static void ReadElements(SafeFileHandle handle, string file, string tensor, StoredType stored, long offset,
        DataType type, Span<byte> destination)
    {
        if (stored == type.ToStored())
        {
            Read(handle, file, tensor, offset, destination);
            return;
        }

        int size = stored.Size(), count = destination.Length / type.Size();
        byte[] scratch = ArrayPool<byte>.Shared.Rent(Math.Min(count, ScratchElements) * size);
        try
        {
            for (int done = 0; done < count; done += ScratchElements)
            {
                int part = Math.Min(ScratchElements, count - done);
                Span<byte> bytes = scratch.AsSpan(0, part * size);
                Read(handle, file, tensor, offset + ((long)done * size), bytes);
                Span<byte> target = destination.Slice(done * type.Size(), part * type.Size());
                if (type == DataType.Float32)
                    StoredElements.ToFloat32(stored, bytes, MemoryMarshal.Cast<byte, float>(target));
                else
                    StoredElements.ToBFloat16(stored, bytes, MemoryMarshal.Cast<byte, BFloat16>(target));
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
        }
    }

    /// <summary>Fills a buffer.</summary>
    /// <param name="handle">The file, open.</param>
    /// <param name="file">Its name, for errors.</param>
    /// <param name="tensor">What is read, for errors.</param>
    /// <param name="offset">The first byte.</param>
    /// <param name="destination">Its length says how many.</param>
    /// <exception cref="CheckpointException">The file cannot be read, or became shorter.</exception>
    public static void Read(SafeFileHandle handle, string file, string tensor, long offset, Span<byte> destination)
    {
        try
        {
            for (int done = 0; done < destination.Length;)
            {
                int read = RandomAccess.Read(handle, destination[done..], offset + done);
                if (read == 0)
                    throw new CheckpointException(file,
                        "the file became shorter while it was read. Copy or download it again.", tensor);
                done += read;
            }
        }
        catch (IOException exception)
        {
            throw new CheckpointException(file, $"cannot be read: {exception.Message}", tensor, exception);
        }
    }
}
