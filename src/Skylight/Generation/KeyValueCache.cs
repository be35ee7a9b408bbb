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
/// alike finds it again. The data type is what the device has for the model (<see cref="Device.KeyValueType"/>), or one that
/// was asked for.
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
    /// <param name="model">Whose keys and values they are.</param>
    /// <param name="pageCount">The pages.</param>
    /// <param name="type">The data type; what the device has for the model if null.</param>
    /// <exception cref="NotSupportedException">The device keeps no such caches, or the model's heads do not fit.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The device has too little memory.</exception>
    public KeyValueCache(VisionLanguageModel model, int pageCount, DataType? type = null)
        : this(model, pageCount, reserve: true, type)
    {
    }

    /// <summary>The same without memory, if need be: for planning.</summary>
    internal KeyValueCache(VisionLanguageModel model, int pageCount, bool reserve, DataType? type = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(pageCount, 1);
        LanguageConfiguration configuration = model.Configuration.Language;
        _device = model.Device;
        PageCount = pageCount;
        Type = TypeOf(model, type);
        var pages = new TensorType(Type, new Shape(pageCount, configuration.KeyValueHeadCount,
            KeyValuePages.ElementCount(Type, configuration.HeadDimension)));
        Keys = Enumerable.Range(0, configuration.LayerCount)
            .Select(layer => new PersistentTensor($"cache.{layer}.keys", pages)).ToArray();
        Values = Enumerable.Range(0, configuration.LayerCount)
            .Select(layer => new PersistentTensor($"cache.{layer}.values", pages)).ToArray();
        if (reserve)
            Reserve();
        _users = new int[pageCount];
        for (int page = pageCount - 1; page >= 0; page--)
            _free.Push(page);
    }

    /// <summary>The data type of keys and values.</summary>
    public DataType Type { get; }

    /// <summary>
    /// The keys of each layer: [pages, key-value heads, page size · head dimension], of <see cref="DataType.Int8"/> with the
    /// scales among them (<see cref="KeyValuePages.ElementCount"/>).
    /// </summary>
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

    /// <summary>The data type of a cache of a model, whether it has memory or not.</summary>
    /// <param name="model">The model.</param>
    /// <param name="type">What is asked for; null for what the device has for the model.</param>
    /// <exception cref="NotSupportedException">The device keeps no such caches, or the model's heads do not fit.</exception>
    internal static DataType TypeOf(VisionLanguageModel model, DataType? type) =>
        type is { } wanted ? Check(model.Device, model.Configuration, wanted) : model.Device.KeyValueType(model.ParameterType);

    /// <inheritdoc cref="TypeOf"/>
    internal static DataType Check(Device device, ModelConfiguration configuration, DataType type)
    {
        const string Otherwise = "leave the type out (--kv-cache-dtype auto)";
        if (!device.CanCache(type))
            throw new NotSupportedException(
                $"{device.Name} keeps no keys and values in {type}: {Otherwise}, or run the model on the CPU, which has " +
                $"{DataType.Float32}, {DataType.BFloat16} and {DataType.Int8}.");
        int dimension = configuration.Language.HeadDimension,
            multiple = type switch { DataType.Int8 => KeyValuePages.BlockSize, DataType.BFloat16 => 2, _ => 1 };
        return dimension % multiple == 0 ? type : throw new NotSupportedException(
            $"A key-value cache of {type} takes heads whose width is a multiple of {multiple}; those of this model are " +
            $"{dimension} wide: {Otherwise}.");
    }

    /// <summary>The bytes that a token takes in a cache of a model: keys and values of all layers.</summary>
    /// <param name="model">The model; its parameters need no memory.</param>
    /// <param name="type">The data type of the cache; what the device has for the model if null.</param>
    /// <exception cref="NotSupportedException">The device keeps no such caches, or the model's heads do not fit.</exception>
    public static long BytesPerToken(VisionLanguageModel model, DataType? type = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        LanguageConfiguration language = model.Configuration.Language;
        DataType used = TypeOf(model, type);
        return 2L * language.LayerCount * language.KeyValueHeadCount * used.Size()
            * KeyValuePages.ElementCount(used, language.HeadDimension) / KeyValuePages.Size;
    }

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
