using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>The parameters of a model by name, in a fixed order.</summary>
public sealed class ParameterSet
{
    private readonly Dictionary<string, PersistentTensor> _byName = [];
    private readonly List<PersistentTensor> _all = [];

    /// <summary>All parameters, in the order in which the model declared them.</summary>
    public IReadOnlyList<PersistentTensor> All => _all;

    /// <summary>The number of weights in all parameters together.</summary>
    public long ElementCount => _all.Sum(parameter => parameter.Type.Shape.ElementCount);

    /// <summary>
    /// When a weight was changed last (<see cref="PersistentTensor.Version"/>): what was computed from the weights is
    /// stale once this is another number.
    /// </summary>
    public long Version => _all.Max(parameter => parameter.Version);

    /// <summary>A parameter by name.</summary>
    /// <exception cref="KeyNotFoundException">There is none of that name.</exception>
    public PersistentTensor this[string name] => _byName.TryGetValue(name, out PersistentTensor? parameter)
        ? parameter
        : throw new KeyNotFoundException($"The model has no parameter '{name}'.");

    /// <summary>A parameter by name, if there is one.</summary>
    public bool TryGet(string name, out PersistentTensor? parameter) => _byName.TryGetValue(name, out parameter);

    /// <summary>Declares a matrix that is the right-hand operand of products.</summary>
    internal void AddWeight(string name, DataType dataType, int outputs, int inputs) =>
        Add(name, new TensorType(dataType, new Shape(outputs, inputs), Storage.Weight));

    /// <summary>Declares any other parameter.</summary>
    internal void Add(string name, DataType dataType, params ReadOnlySpan<int> dimensions) =>
        Add(name, new TensorType(dataType, new Shape(dimensions)));

    /// <summary>Puts other parameters into a parameter's place; its memory is freed.</summary>
    internal void Replace(PersistentTensor old, params ReadOnlySpan<PersistentTensor> parameters)
    {
        int place = _all.IndexOf(old);
        _all.RemoveAt(place);
        _byName.Remove(old.Name);
        foreach (PersistentTensor parameter in parameters)
        {
            _all.Insert(place++, parameter);
            _byName.Add(parameter.Name, parameter);
        }

        old.Tensor.Memory.Dispose();
    }

    private void Add(string name, TensorType type)
    {
        var parameter = new PersistentTensor(name, type);
        _byName.Add(name, parameter);
        _all.Add(parameter);
    }
}
