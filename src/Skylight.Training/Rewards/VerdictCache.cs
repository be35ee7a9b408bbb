using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Skylight.Training.Rewards;

/// <summary>Verdicts by what was judged; those used longest ago go first. A key is a hash, so that long responses take no room.</summary>
internal sealed class VerdictCache(int capacity)
{
    private readonly Dictionary<Int256, LinkedListNode<(Int256 Key, bool IsCorrect)>> _nodes = [];
    private readonly LinkedList<(Int256 Key, bool IsCorrect)> _order = [];
    private readonly Lock _lock = new();

    internal readonly record struct Int256(ulong First, ulong Second, ulong Third, ulong Fourth);

    public int Count => _nodes.Count;

    public static Int256 KeyOf(string question, IReadOnlyList<string> answers, string response)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string text in (string[])[question, .. answers, response])
        {
            // Each with its length: "ab", "c" is not "a", "bc".
            hash.AppendData(BitConverter.GetBytes(text.Length));
            hash.AppendData(MemoryMarshal.AsBytes(text.AsSpan()));
        }

        return MemoryMarshal.Read<Int256>(hash.GetHashAndReset());
    }

    public bool TryGet(Int256 key, out bool isCorrect)
    {
        lock (_lock)
        {
            isCorrect = false;
            if (!_nodes.TryGetValue(key, out LinkedListNode<(Int256 Key, bool IsCorrect)>? node))
                return false;
            _order.Remove(node);
            _order.AddLast(node);
            isCorrect = node.Value.IsCorrect;
            return true;
        }
    }

    public void Add(Int256 key, bool isCorrect)
    {
        lock (_lock)
        {
            if (capacity == 0 || _nodes.ContainsKey(key))
                return;
            _nodes[key] = _order.AddLast((key, isCorrect));
            if (_nodes.Count <= capacity)
                return;
            _nodes.Remove(_order.First!.Value.Key);
            _order.RemoveFirst();
        }
    }
}
