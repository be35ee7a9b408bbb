using Skylight.Chat;

namespace Skylight.Server;

/// <summary>What was said at one go: what a request brought, and what was answered.</summary>
/// <param name="messages">The messages, oldest first.</param>
/// <param name="bytes">What they take, pictures included.</param>
internal sealed class StoredTurn(IReadOnlyList<Message> messages, long bytes)
{
    public IReadOnlyList<Message> Messages => messages;

    public long Bytes => bytes;

    /// <summary>What the request brought, item by item.</summary>
    public IReadOnlyList<KeptItem> Input { get; init; } = [];

    /// <summary>What was answered, item by item.</summary>
    public IReadOnlyList<KeptItem> Output { get; init; } = [];

    /// <summary>How many stored responses go on behind it; the store's own count.</summary>
    public int Uses { get; set; }
}

/// <summary>A response that can be got, and gone on from.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Json">As it was sent.</param>
/// <param name="Turns">The conversation up to and with it.</param>
internal sealed record StoredResponse(string Id, byte[] Json, IReadOnlyList<StoredTurn> Turns)
{
    // A reference and what .NET needs beside an object, roughly.
    private const int PerTurn = 8, PerResponse = 512;

    /// <summary>The items that it answers: those of the conversation before it, and its own input.</summary>
    public IEnumerable<KeptItem> InputItems =>
        Turns.SelectMany((turn, index) => index < Turns.Count - 1 ? [.. turn.Input, .. turn.Output] : turn.Input);

    /// <summary>What it takes beside its turns, which it shares with what went before.</summary>
    public long OwnBytes => Json.Length + (long)PerTurn * Turns.Count + PerResponse;
}

/// <summary>
/// Responses in memory, up to a number of them and of bytes: the oldest go first. Any number of threads may use it.
/// </summary>
/// <param name="mostResponses">The most responses.</param>
/// <param name="mostBytes">The most bytes of them and of the conversations behind them.</param>
internal sealed class ResponseStore(int mostResponses, long mostBytes)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, LinkedListNode<StoredResponse>> _byId = new(StringComparer.Ordinal);
    private readonly LinkedList<StoredResponse> _oldestFirst = [];

    /// <summary>Whether anything is kept at all.</summary>
    public bool IsOn => mostResponses > 0 && mostBytes > 0;

    /// <summary>What is kept now.</summary>
    public (int Responses, long Bytes) Held
    {
        get
        {
            lock (_gate)
                return (_byId.Count, _bytes);
        }
    }

    private long _bytes;

    /// <summary>Keeps a response.</summary>
    /// <returns>False where it alone, with the conversation behind it, is more than may be kept.</returns>
    public bool TryAdd(StoredResponse response)
    {
        if (!IsOn || response.OwnBytes + response.Turns.Sum(turn => turn.Bytes) > mostBytes)
            return false;
        lock (_gate)
        {
            _byId.Add(response.Id, _oldestFirst.AddLast(response));
            _bytes += response.OwnBytes;
            foreach (StoredTurn turn in response.Turns)
                _bytes += turn.Uses++ == 0 ? turn.Bytes : 0;
            while (_byId.Count > mostResponses || _bytes > mostBytes)
                Remove(_oldestFirst.First!);
        }

        return true;
    }

    /// <summary>A response, or null where it is not kept.</summary>
    public StoredResponse? Find(string id)
    {
        lock (_gate)
            return _byId.GetValueOrDefault(id)?.Value;
    }

    /// <summary>Forgets a response; those that go on from it keep what they need.</summary>
    /// <returns>Whether it was kept.</returns>
    public bool Remove(string id)
    {
        lock (_gate)
        {
            if (!_byId.TryGetValue(id, out LinkedListNode<StoredResponse>? node))
                return false;
            Remove(node);
            return true;
        }
    }

    private void Remove(LinkedListNode<StoredResponse> node)
    {
        _oldestFirst.Remove(node);
        _byId.Remove(node.Value.Id);
        _bytes -= node.Value.OwnBytes;
        foreach (StoredTurn turn in node.Value.Turns)
            _bytes -= --turn.Uses == 0 ? turn.Bytes : 0;
    }
}
