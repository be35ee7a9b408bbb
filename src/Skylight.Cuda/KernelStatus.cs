using System.Globalization;
using System.Runtime.InteropServices;

namespace Skylight.Cuda;

/// <summary>
/// The block of memory in which kernels of a device report what is wrong with their data (<c>common/status.cuh</c>),
/// and what the reports mean.
/// </summary>
internal sealed class KernelStatus(CudaDevice device) : IDisposable
{
    // More than this is downloaded after the look at the reports, into the caller's memory.
    private const int LargestTogether = 64 << 10;

    private readonly List<(string OpName, string Message)> _messages = [];
    private readonly Dictionary<(string OpName, string Message), int> _tags = [];
    private CudaMemory? _memory;

    /// <summary>The address of the block; made when a kernel first needs it.</summary>
    public ulong Address
    {
        get
        {
            if (_memory is null)
            {
                _memory = device.AllocateUninitialized(Marshal.SizeOf<Report>());
                device.Clear(_memory.Address, _memory.Bytes);
            }

            return _memory.Address;
        }
    }

    /// <summary>The tag of a message, never 0.</summary>
    public int Tag(string opName, string message)
    {
        if (_tags.TryGetValue((opName, message), out int tag))
            return tag;
        _messages.Add((opName, message));
        _tags.Add((opName, message), _messages.Count);
        return _messages.Count;
    }

    /// <summary>Waits for all queued work, and throws what it reported. The next report is kept again.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There was a report.</exception>
    public void Check() => CheckAndDownload([], []);

    /// <summary>Downloads the parts in the same wait; they are of no use if there was a report.</summary>
    /// <inheritdoc cref="Check"/>
    public void CheckAndDownload(ReadOnlySpan<(ulong Address, int Bytes)> parts, Span<byte> bytes)
    {
        if (_memory is null)
        {
            device.Download(parts, bytes);
            return;
        }

        int own = Marshal.SizeOf<Report>();
        byte[] all = new byte[own + (bytes.Length <= LargestTogether ? bytes.Length : 0)];
        device.Download(all.Length > own ? [(_memory.Address, own), .. parts] : [(_memory.Address, own)], all);
        Throw(MemoryMarshal.Read<Report>(all));
        if (all.Length > own)
            all.AsSpan(own).CopyTo(bytes);
        else
            device.Download(parts, bytes);
    }

    public void Dispose() => _memory?.Dispose();

    private void Throw(in Report report)
    {
        if (report.Tag == 0)
            return;
        CudaMemory memory = _memory!;
        device.Clear(memory.Address, memory.Bytes);
        (string opName, string message) = _messages[report.Tag - 1];
        string text = message
            .Replace("{value}", report.Value.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{index}", report.Index.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
        throw new ArgumentOutOfRangeException(null, $"{opName}: {text}.");
    }

    /// <summary><c>struct Status</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Report
    {
        public int Tag;
        public int Value;
        public long Index;
    }
}
