using System.Collections.Frozen;
using Skylight.Cuda.Bindings;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>
/// Which kernels compute which op on CUDA. A binding looks at the op's attributes, the operands' types and the card,
/// and queues launches; a host adds those of its own ops with <see cref="With{TOp}"/>.
/// </summary>
public sealed class CudaBindings
{
    private readonly FrozenDictionary<Type, Action<Op, CudaKernelBuilder>> _bindings;

    private CudaBindings(IReadOnlyDictionary<Type, Action<Op, CudaKernelBuilder>> bindings) =>
        _bindings = bindings.ToFrozenDictionary();

    /// <summary>Bindings for all ops of Skylight.</summary>
    public static CudaBindings Standard { get; } = MakeStandard();

    /// <summary>The ops that have a binding.</summary>
    public IReadOnlyList<Type> Ops => _bindings.Keys;

    /// <summary>These bindings and one more; a binding that the op had before is replaced.</summary>
    /// <typeparam name="TOp">The op's record.</typeparam>
    /// <param name="binding">Queues what computes the op.</param>
    public CudaBindings With<TOp>(Action<TOp, CudaKernelBuilder> binding)
        where TOp : Op
    {
        ArgumentNullException.ThrowIfNull(binding);
        return new CudaBindings(new Dictionary<Type,
            Action<Op, CudaKernelBuilder>>(_bindings)
        { [typeof(TOp)] = (op, kernel) => binding((TOp)op, kernel) });
    }

    /// <summary>Describes what runs for an op. Needs no card, no driver and no compiler.</summary>
    /// <param name="op">The op.</param>
    /// <param name="inputs">The types of its inputs.</param>
    /// <param name="outputs">The types of its outputs, as <see cref="Op.Infer"/> gives them.</param>
    /// <param name="target">The card.</param>
    /// <exception cref="NotSupportedException">There is no binding, or none for these types; the error names
    /// both.</exception>
    public CudaKernelDescription Describe(Op op, IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs,
        CudaTarget target)
    {
        ArgumentNullException.ThrowIfNull(op);
        ArgumentNullException.ThrowIfNull(inputs);
        ArgumentNullException.ThrowIfNull(outputs);
        ArgumentNullException.ThrowIfNull(target);
        var kernel = new CudaKernelBuilder(op, inputs, outputs, target);
        if (!_bindings.TryGetValue(op.GetType(), out Action<Op, CudaKernelBuilder>? binding))
            throw kernel.Unsupported($"the op has no binding; give it one with {nameof(CudaBindings)}.{nameof(With)}");
        binding(op, kernel);
        return kernel.Build();
    }

    /// <summary>Describes what runs for an op whose outputs are what it infers.</summary>
    /// <inheritdoc cref="Describe(Op, IReadOnlyList{TensorType}, IReadOnlyList{TensorType}, CudaTarget)"/>
    /// <exception cref="GraphException">The op cannot work on such inputs.</exception>
    public CudaKernelDescription Describe(Op op, IReadOnlyList<TensorType> inputs, CudaTarget target)
    {
        ArgumentNullException.ThrowIfNull(op);
        return Describe(op, inputs, op.Infer(inputs), target);
    }

    private static CudaBindings MakeStandard()
    {
        var bindings = new Builder();
        AttentionBindings.Add(bindings);
        ElementWiseBindings.Add(bindings);
        ColumnWiseBindings.Add(bindings);
        NormBindings.Add(bindings);
        OptimizerBindings.Add(bindings);
        ReductionBindings.Add(bindings);
        MatMulBindings.Add(bindings);
        ConnectorBindings.Add(bindings);
        LogitBindings.Add(bindings);
        SamplingBindings.Add(bindings);
        LossBindings.Add(bindings);
        VocabularyHeadBindings.Add(bindings);
        EmbeddingBindings.Add(bindings);
        ColumnsBindings.Add(bindings);
        RotaryBindings.Add(bindings);
        VisionBindings.Add(bindings);
        return new CudaBindings(bindings.Bindings);
    }

    /// <summary>Collects the standard bindings, family by family.</summary>
    internal sealed class Builder
    {
        public Dictionary<Type, Action<Op, CudaKernelBuilder>> Bindings { get; } = [];

        /// <summary>Adds the binding of an op that has none yet.</summary>
        public void Add<TOp>(Action<TOp, CudaKernelBuilder> binding)
            where TOp : Op => Bindings.Add(typeof(TOp), (op, kernel) => binding((TOp)op, kernel));
    }
}
