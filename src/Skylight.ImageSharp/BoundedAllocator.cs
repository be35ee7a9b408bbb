using System.Buffers;
using System.Runtime.CompilerServices;
using SixLabors.ImageSharp.Memory;

namespace Skylight.ImageSharp;

/// <summary>
/// The memory of one picture: at most so many bytes at a time in all, where ImageSharp's own option limits each
/// allocation by itself. Always zeroed and never pooled, so that nothing of one picture can appear in another.
/// </summary>
/// <param name="mostBytes">The limit.</param>
internal sealed class BoundedAllocator(long mostBytes) : MemoryAllocator
{
    private long _bytes;

    /// <inheritdoc/>
    public override IMemoryOwner<T> Allocate<T>(int length, AllocationOptions options = AllocationOptions.None)
    {
        long bytes = (long)Unsafe.SizeOf<T>() * length;
        if (length < 0 || _bytes + bytes > mostBytes)
            throw new InvalidMemoryOperationException(
                $"{bytes:N0} more bytes would exceed the {mostBytes:N0} that a picture of its size may take.");
        _bytes += bytes;
        return new Owner<T>(this, new T[length], bytes);
    }

    /// <inheritdoc/>
    protected override int GetBufferCapacityInBytes() => Array.MaxLength;

    private sealed class Owner<T>(BoundedAllocator allocator, T[] array, long bytes) : IMemoryOwner<T>
    {
        private bool _disposed;

        public Memory<T> Memory => array;

        public void Dispose()
        {
            if (_disposed)
                return;
            _disposed = true;
            allocator._bytes -= bytes;
        }
    }
}
