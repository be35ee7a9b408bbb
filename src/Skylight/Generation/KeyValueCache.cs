using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>
/// Keys and values of all layers in pages of <see cref="PagedAttention.PageSize"/> tokens. Sequences that begin alike
/// share their full pages; a page goes back when its last user lets go. A full page that was given a name keeps what it
/// holds until a page is needed and no other is free, the one used longest ago first: a later sequence that begins
/// alike finds it again. The data type is what the device has for the model (<see cref="Device.KeyValueType"/>).
/// </summary>
public sealed class KeyValueCache : IDisposable
{
    private readonly Device _device;
    private readonly int[] _users;
    private readonly Stack<int> _free = [];
    private readonly Dictionary<int, PrefixKey> _names = [];
    private readonly Dictionary<PrefixKey, int> _pages = [];
    private readonly Dictionary<int, LinkedListNode<int>> _kept = [];
    private readonly LinkedList<int> _leastRecentFirst = [];
    private long _epoch;

    /// <summary>Reserves the memory of all pages.</summary>
    public KeyValueCache(VisionLanguageModel model, int pageCount)
        : this(model, pageCount, reserve: true)
    {
    }

    /// <summary>The same without memory, if need be: for planning.</summary>
    internal KeyValueCache(VisionLanguageModel model, int pageCount, bool reserve)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(pageCount, 1);
        LanguageConfiguration configuration = model.Configuration.Language;
        _device = model.Device;
        PageCount = pageCount;
        var type = new TensorType(_device.KeyValueType(model.ParameterType),
            new Shape(pageCount, configuration.KeyValueHeadCount, PagedAttention.PageSize * configuration.HeadDimension));
        Keys = Enumerable.Range(0, configuration.LayerCount)
            .Select(layer => new PersistentTensor($"cache.{layer}.keys", type)).ToArray();
        Values = Enumerable.Range(0, configuration.LayerCount)
            .Select(layer => new PersistentTensor($"cache.{layer}.values", type)).ToArray();
        if (reserve)
            Reserve();
        _users = new int[pageCount];
        for (int page = pageCount - 1; page >= 0; page--)
            _free.Push(page);
    }

    /// <summary>The keys of each layer: [pages, key-value heads, page size · head dimension].</summary>
    public IReadOnlyList<PersistentTensor> Keys { get; }

    /// <summary>The values of each layer, likewise.</summary>
    public IReadOnlyList<PersistentTensor> Values { get; }

    /// <summary>The number of pages.</summary>
    public int PageCount { get; }

    /// <summary>The pages nobody uses, those that are kept included.</summary>
    public int FreePages => _free.Count + _kept.Count;

    /// <summary>Whether there is a page that nobody uses and that holds nothing for anybody.</summary>
    internal bool HasBlankPage => _free.Count > 0;

    /// <summary>The pages nobody uses that can be found again.</summary>
    internal int KeptPages => _kept.Count;

    /// <summary>The name of what comes before the first page of every sequence that begins now.</summary>
    internal PrefixKey Root => PrefixKey.Root(_epoch);

    /// <summary>The pages that so many tokens take.</summary>
    public static int PagesFor(int tokens) => (int)(((long)tokens + PagedAttention.PageSize - 1) / PagedAttention.PageSize);

    /// <summary>Takes a free page.</summary>
    public int Take()
    {
        if (!_free.TryPop(out int page))
        {
            page = _leastRecentFirst.First?.Value
                ?? throw new InvalidOperationException($"All {PageCount} pages of the key-value cache are in use.");
            Use(page);
            _names.Remove(page, out PrefixKey name);
            _pages.Remove(name);
        }

        _users[page] = 1;
        return page;
    }

    /// <summary>Adds a user to a page.</summary>
    public void Share(int page) => _users[page]++;

    /// <summary>Removes a user from a page; without users it is free.</summary>
    public void Return(int page)
    {
        if (_users[page] == 0)
            throw new InvalidOperationException($"Page {page} of the key-value cache has no user who could return it.");
        if (--_users[page] > 0)
            return;
        if (_names.ContainsKey(page))
            _kept.Add(page, _leastRecentFirst.AddLast(page));
        else
            _free.Push(page);
    }

    /// <summary>
    /// Says what a full page in use holds. If another page already holds the same, that one stays the one that is
    /// found.
    /// </summary>
    internal void Name(int page, PrefixKey name)
    {
        if (_pages.TryAdd(name, page))
            _names.Add(page, name);
    }

    /// <summary>Becomes a user of the page that holds something, if there is one.</summary>
    internal bool TryShare(PrefixKey name, out int page)
    {
        if (!_pages.TryGetValue(name, out page))
            return false;
        if (_users[page]++ == 0)
            Use(page);
        return true;
    }

    /// <summary>
    /// Lets no page be found any more, and none that a sequence fills which has already begun: to be called when
    /// weights have changed.
    /// </summary>
    internal void Forget()
    {
        _epoch++;
        _names.Clear();
        _pages.Clear();
        foreach (int page in _leastRecentFirst)
            _free.Push(page);
        _leastRecentFirst.Clear();
        _kept.Clear();
    }

    /// <summary>Copies a page in all layers.</summary>
    public void Copy(int source, int target)
    {
        foreach (PersistentTensor tensor in Keys.Concat(Values))
            _device.Copy(Page(tensor, source), Page(tensor, target));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PersistentTensor tensor in Keys.Concat(Values).Where(tensor => tensor.IsBound))
            tensor.Tensor.Memory.Dispose();
    }

    /// <summary>A page that was kept is in use again.</summary>
    private void Use(int page)
    {
        _kept.Remove(page, out LinkedListNode<int>? node);
        _leastRecentFirst.Remove(node!);
    }

    private void Reserve()
    {
        try
        {
            foreach (PersistentTensor tensor in Keys.Concat(Values))
                _device.Bind(tensor);
        }
        catch (OutOfDeviceMemoryException exception)
        {
            Dispose();
            long bytes = Keys.Concat(Values).Sum(tensor => _device.StorageBytes(tensor.Type));
            throw new OutOfDeviceMemoryException(
                $"A key-value cache of {(long)PageCount * PagedAttention.PageSize:N0} tokens takes {bytes:N0} bytes, " +
                $"which {_device.Name} does not have: give it fewer tokens. {exception.Message}", exception);
        }
    }

    private static Tensor Page(PersistentTensor tensor, int page)
    {
        Shape shape = tensor.Type.Shape;
        TensorType type = tensor.Type with { Shape = new Shape(1, shape[1], shape[2]) };
        return new Tensor(tensor.Tensor.Memory, tensor.Tensor.ByteOffset + page * type.Bytes, type);
    }
}
