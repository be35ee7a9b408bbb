using Skylight.Tensors;

namespace Skylight.Graphs;

/// <summary>
/// A named tensor that outlives a run: a parameter, optimizer state or a cache. A graph refers to it before it has memory,
/// so that a model can be planned (and refused) without allocating anything.
/// </summary>
public sealed class PersistentTensor
{
    private static long s_changes;

    private Tensor? _tensor;

    /// <summary>Describes a tensor; it has no memory yet.</summary>
    /// <param name="name">The name in listings, errors and checkpoints.</param>
    /// <param name="type">Element type, shape and storage.</param>
    public PersistentTensor(string name, TensorType type)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        Name = name;
        Type = type;
    }

    /// <summary>The name in listings, errors and checkpoints.</summary>
    public string Name { get; }

    /// <summary>Element type, shape and storage.</summary>
    public TensorType Type { get; }

    /// <summary>Whether memory was bound.</summary>
    public bool IsBound => _tensor is not null;

    /// <summary>The tensor on its device.</summary>
    /// <exception cref="InvalidOperationException">No memory was bound yet.</exception>
    public Tensor Tensor =>
        _tensor ?? throw new InvalidOperationException($"'{Name}' ({Type}) has no memory on a device yet.");

    /// <summary>Gives the tensor its memory.</summary>
    public void Bind(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.Type != Type)
            throw new ArgumentException($"'{Name}' is {Type}, but the memory holds {tensor.Type}.", nameof(tensor));
        _tensor = tensor;
        MarkChanged();
    }

    /// <summary>
    /// When the elements were changed last: a number that grows with every change of any persistent tensor, so that
    /// what was computed from the elements (kept keys, image features, rounded copies) can tell whether it is stale.
    /// </summary>
    public long Version { get; private set; }

    /// <summary>
    /// Says that the elements were changed. Plans that change a tensor, <c>PersistentTensors.Write</c> and the reading
    /// of checkpoints say so themselves; to be called by who uploads or copies into the tensor's memory directly.
    /// </summary>
    public void MarkChanged() => Version = Interlocked.Increment(ref s_changes);

    /// <inheritdoc/>
    public override string ToString() => $"{Name}: {Type}";
}
