using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace Skylight.Training.Rewards;

/// <summary>
/// Verdicts by what was judged; those used longest ago go first. A key is a hash, so that long responses take no room.
/// </summary>
internal sealed class VerdictCache(int capacity)
{
    private readonly Dictionary<UInt128, LinkedListNode<(UInt128 Key, bool IsCorrect)>> _nodes = [];
    private readonly LinkedList<(UInt128 Key, bool IsCorrect)> _order = [];
    private readonly Lock _lock = new();

    public int Count => _nodes.Count;

    public static UInt128 KeyOf(string question, IReadOnlyList<string> answers, string response)
    {
        var hash = new XxHash128();
        foreach (string text in (string[])[question, .. answers, response])
        {
            // Each with its length: "ab", "c" is not "a", "bc".
            hash.Append(BitConverter.GetBytes(text.Length));
            hash.Append(MemoryMarshal.AsBytes(text.AsSpan()));
        }

        return hash.GetCurrentHashAsUInt128();
    }

    public bool TryGet(UInt128 key, out bool isCorrect)
    {
        lock (_lock)
        {
            isCorrect = false;
            if (!_nodes.TryGetValue(key, out LinkedListNode<(UInt128 Key, bool IsCorrect)>? node))
                return false;
            _order.Remove(node);
            _order.AddLast(node);
            isCorrect = node.Value.IsCorrect;
            return true;
        }
    }

    public void Add(UInt128 key, bool isCorrect)
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
