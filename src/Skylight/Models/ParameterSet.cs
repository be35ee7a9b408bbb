using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>The parameters of a model by name, in a fixed order.</summary>
public sealed class ParameterSet
{
    private readonly Dictionary<string, PersistentTensor> _byName = [];
    private readonly Dictionary<string, PersistentTensor> _inputOrders = [];
    private readonly List<PersistentTensor> _all = [];

    /// <summary>
    /// All parameters, in the order in which the model declared them; behind a quantised weight the order of its inputs, int32
    /// [inputs], where that is not their own (<see cref="QuantizedFormat.HasInputOrder"/>).
    /// </summary>
    public IReadOnlyList<PersistentTensor> All => _all;

    /// <summary>The number of weights in all parameters together; an order of inputs has none.</summary>
    public long ElementCount => _all.Where(parameter => parameter.Type.DataType != DataType.Int32)
        .Sum(parameter => parameter.Type.Shape.ElementCount);

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

    /// <summary>
    /// The name of some rows of a parameter that is kept in parts, because they are quantised in different ways.
    /// </summary>
    internal static string PartName(string name, int part) => $"{name}.part{part}";

    /// <summary>The order in which a weight has its inputs, int32 [inputs]; null where it is their own.</summary>
    internal PersistentTensor? InputOrderOf(string weight) => _inputOrders.GetValueOrDefault(weight);

    /// <summary>Gives a weight an order of inputs; a new one becomes a parameter, behind the weight.</summary>
    internal void SetInputOrder(string weight, PersistentTensor order)
    {
        if (_byName.TryAdd(order.Name, order))
            _all.Insert(_all.IndexOf(_byName[weight]) + 1, order);
        _inputOrders.Add(weight, order);
    }

    /// <summary>
    /// Writes the product of activations with a weight, of which parts that lie apart are joined: <c>x · weightᵀ (+
    /// bias)</c>.
    /// </summary>
    /// <param name="graph">Where to write.</param>
    /// <param name="x">[.., inputs].</param>
    /// <param name="weight">The weight's name.</param>
    /// <param name="bias">The bias's name; null for none.</param>
    /// <param name="outputType">As in <see cref="MatMul"/>.</param>
    internal Value Product(Graph graph, Value x, string weight, string? bias = null, DataType? outputType = null)
    {
        // Activations in each order that a part has.
        var ordered = new Dictionary<PersistentTensor, Value>();
        if (_byName.ContainsKey(weight))
            return ProductOf(weight, bias);
        var products = new List<Value>();
        for (int part = 0; _byName.ContainsKey(PartName(weight, part)); part++)
            products.Add(ProductOf(PartName(weight, part), bias is null ? null : PartName(bias, part)));
        return products.Count > 0 ? graph.Add(new ConcatenateColumns(), [.. products])
            : throw new KeyNotFoundException($"The model has no parameter '{weight}'.");

        Value ProductOf(string name, string? biasName)
        {
            Value input = InputOrderOf(name) is { } order ? Ordered(order) : x, rows = graph.Persistent(_byName[name]);
            return graph.Add(new MatMul(outputType),
                biasName is null ? [input, rows] : [input, rows, graph.Persistent(this[biasName])]);
        }

        Value Ordered(PersistentTensor order)
        {
            if (!ordered.TryGetValue(order, out Value? permuted))
                ordered.Add(order, permuted = graph.Add(new PermuteColumns(), x, graph.Persistent(order)));
            return permuted;
        }
    }

    /// <summary>Puts other parameters into a parameter's place; its memory, if it has some, is freed.</summary>
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

        if (old.IsBound)
            old.Tensor.Memory.Dispose();
    }

    private void Add(string name, TensorType type)
    {
        var parameter = new PersistentTensor(name, type);
        _byName.Add(name, parameter);
        _all.Add(parameter);
    }
}
