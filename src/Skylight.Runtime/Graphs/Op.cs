using Skylight.Tensors;

namespace Skylight.Graphs;

/// <summary>What an op costs at given shapes; the basis of every roofline.</summary>
/// <param name="Flops">Floating-point operations; a fused multiply-add counts as two.</param>
/// <param name="Bytes">The fewest bytes that must move between memory and the processor: every input read once, every
/// output written once.</param>
public readonly record struct OpCost(double Flops, double Bytes)
{
    /// <summary>The sum of two costs.</summary>
    public static OpCost operator +(OpCost left, OpCost right) => new(left.Flops + right.Flops, left.Bytes + right.Bytes);
}

/// <summary>
/// The unit of extension: one operation on tensors. A record that derives from it holds the attributes, and says what the
/// outputs are, what the gradient is and what it costs. Its kernels are a device's business: on the CPU the same record
/// implements <c>Skylight.Cpu.ICpuKernel</c>; on CUDA a binding names the kernel.
/// </summary>
public abstract record Op
{
    /// <summary>The name in listings and errors.</summary>
    public virtual string Name => GetType().Name;

    /// <summary>The types of the outputs for inputs of these types.</summary>
    /// <param name="inputs">The input types, in order.</param>
    /// <exception cref="GraphException">The op cannot work on such inputs. Use <see cref="TypeCheck"/>.</exception>
    public abstract IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs);

    /// <summary>Appends the nodes that compute the gradients of the inputs, given those of the outputs.</summary>
    /// <param name="context">The inputs and outputs of the node, the gradients of its outputs and the graph to append
    /// to.</param>
    /// <returns>One gradient for each input; null where none is needed or the input is not differentiable.</returns>
    /// <exception cref="GraphException">The op has no gradient.</exception>
    public virtual IReadOnlyList<Value?> Gradient(GradientContext context) =>
        throw new GraphException(
            $"{Name} has no gradient. Freeze what it reads, or give the op one by overriding Op.Gradient.");

    /// <summary>What the op costs. By default no arithmetic and every operand moved once.</summary>
    public virtual OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(0, Traffic(inputs, outputs));

    /// <summary>
    /// The input whose memory an output may take over, if that input is not needed afterwards; −1 for none.
    /// </summary>
    /// <param name="output">The output's index.</param>
    public virtual int InPlaceInput(int output) => -1;

    /// <summary>
    /// The inputs (always persistent tensors) which the op changes. A node with such inputs is never pruned.
    /// </summary>
    public virtual IReadOnlyList<int> MutatedInputs => [];

    /// <summary>The bytes of all operands.</summary>
    protected static double Traffic(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs)
    {
        double bytes = 0;
        foreach (TensorType type in inputs)
            bytes += type.Bytes;
        foreach (TensorType type in outputs)
            bytes += type.Bytes;
        return bytes;
    }
}

/// <summary>
/// Argument checks for <see cref="Op.Infer"/>, with errors that name the op, the operand and what was found.
/// </summary>
public readonly ref struct TypeCheck
{
    private readonly Op _op;
    private readonly IReadOnlyList<TensorType> _inputs;

    /// <summary>Starts checking the inputs of an op.</summary>
    public TypeCheck(Op op, IReadOnlyList<TensorType> inputs)
    {
        _op = op;
        _inputs = inputs;
    }

    /// <summary>Checks the number of inputs.</summary>
    public TypeCheck Count(int count) => Count(count, count);

    /// <summary>Checks the number of inputs.</summary>
    public TypeCheck Count(int minimum, int maximum)
    {
        if (_inputs.Count < minimum || _inputs.Count > maximum)
        {
            string expected = minimum == maximum ? $"{minimum}" : maximum == int.MaxValue ? $"at least {minimum}"
                : $"{minimum} to {maximum}";
            throw Error($"takes {expected} inputs, not {_inputs.Count}");
        }

        return this;
    }

    /// <summary>Checks the data type of an input.</summary>
    public TypeCheck Is(int input, string name, params ReadOnlySpan<DataType> allowed)
    {
        foreach (DataType type in allowed)
        {
            if (_inputs[input].DataType == type)
                return this;
        }

        throw Error($"input {input} ({name}) must be {string.Join(" or ", allowed.ToArray())}, not {_inputs[input]}");
    }

    /// <summary>Checks that an input is activations: row-major, float32 or bfloat16.</summary>
    public TypeCheck Activation(int input, string name)
    {
        if (_inputs[input].Storage != Storage.RowMajor)
            throw Error($"input {input} ({name}) must be row-major, not {_inputs[input]}");
        return Is(input, name, DataType.Float32, DataType.BFloat16);
    }

    /// <summary>
    /// Checks that an input is activations of the data type of another one, as all operands that meet in one sum must
    /// be.
    /// </summary>
    public TypeCheck Activation(int input, string name, int other, string otherName) =>
        Activation(input, name).SameDataType(input, name, other, otherName);

    /// <summary>
    /// Checks that an input is row-major float32: logits, statistics, losses, rotation tables, which keep float32 whatever
    /// the activations are.
    /// </summary>
    public TypeCheck Float32(int input, string name)
    {
        if (_inputs[input].Storage != Storage.RowMajor)
            throw Error($"input {input} ({name}) must be row-major, not {_inputs[input]}");
        return Is(input, name, DataType.Float32);
    }

    /// <summary>
    /// Checks that an input is a matrix in weight storage which can multiply an activation: a float32 activation takes
    /// float32 and bfloat16 weights, a bfloat16 one takes bfloat16 weights only; where the op says so, both take quantised
    /// ones.
    /// </summary>
    public TypeCheck Weight(int input, string name, int activation, string activationName, bool quantized = false)
    {
        if (_inputs[input].DataType == DataType.Quantized && !quantized)
            throw Error(
                $"input {input} ({name}) is quantised, {_inputs[input]}, which serves inference only: train and score with " +
                "bfloat16 or float32 weights");
        if (!quantized || _inputs[input].DataType != DataType.Quantized)
            Is(input, name, DataType.Float32, DataType.BFloat16);
        Rank(input, name, 2);
        if (_inputs[input].Storage != Storage.Weight)
            throw Error($"input {input} ({name}) must have weight storage, not {_inputs[input]}");
        if (_inputs[activation].DataType == DataType.BFloat16 && _inputs[input].DataType == DataType.Float32)
            throw Error(
                $"input {activation} ({activationName}) is bf16, so input {input} ({name}) must be bf16 too, not " +
                $"{_inputs[input]}: give the model bfloat16 parameters");
        return this;
    }

    /// <summary>Checks that an input has the data type of another one.</summary>
    public TypeCheck SameDataType(int input, string name, int other, string otherName)
    {
        if (_inputs[input].DataType != _inputs[other].DataType)
            throw Error(
                $"input {input} ({name}) must have the data type of input {other} ({otherName}), {_inputs[other]}, " +
                $"not {_inputs[input]}: insert a Cast");
        return this;
    }

    /// <summary>Checks the rank of an input.</summary>
    public TypeCheck Rank(int input, string name, int rank)
    {
        if (_inputs[input].Shape.Rank != rank)
            throw Error($"input {input} ({name}) must have rank {rank}, not {_inputs[input]}");
        return this;
    }

    /// <summary>Checks the whole shape of an input.</summary>
    public TypeCheck Shape(int input, string name, params ReadOnlySpan<int> dimensions)
    {
        var expected = new Shape(dimensions);
        if (_inputs[input].Shape != expected)
            throw Error($"input {input} ({name}) must be {expected}, not {_inputs[input].Shape}");
        return this;
    }

    /// <summary>Checks that an input has the same shape as another one.</summary>
    public TypeCheck SameShape(int input, string name, int other, string otherName)
    {
        if (_inputs[input].Shape != _inputs[other].Shape)
            throw Error(
                $"input {input} ({name}) must have the shape of input {other} ({otherName}), {_inputs[other].Shape}, " +
                $"not {_inputs[input].Shape}");
        return this;
    }

    /// <summary>Checks any other condition.</summary>
    public TypeCheck That(bool condition, string message)
    {
        if (!condition)
            throw Error(message);
        return this;
    }

    private GraphException Error(string message) =>
        new($"{_op.Name}: {message}. Inputs: {(_inputs.Count == 0 ? "none" : string.Join(", ", _inputs))}.");
}
