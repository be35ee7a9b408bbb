using System.Globalization;
using System.Runtime.InteropServices;

namespace Skylight.Cuda;

/// <summary>The block of memory in which kernels of a device report what is wrong with their data (<c>common/status.cuh</c>), and what the reports mean.</summary>
internal sealed class KernelStatus(CudaDevice device) : IDisposable
{
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
    public void Check()
    {
        if (_memory is null)
            return;
        var report = default(Report);
        device.Download(_memory.Address, MemoryMarshal.AsBytes(new Span<Report>(ref report)));
        if (report.Tag == 0)
            return;
        device.Clear(_memory.Address, _memory.Bytes);
        (string opName, string message) = _messages[report.Tag - 1];
        string text = message
            .Replace("{value}", report.Value.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{index}", report.Index.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
        throw new ArgumentOutOfRangeException(null, $"{opName}: {text}.");
    }

    public void Dispose() => _memory?.Dispose();

    /// <summary><c>struct Status</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Report
    {
        public int Tag;
        public int Value;
        public long Index;
    }
}
