using System.Numerics.Tensors;
using Skylight.Checkpoints.Quantized;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Quantization;

/// <summary>A matrix that is quantised, or the rows of one.</summary>
/// <param name="Name">Such as <c>q_proj</c>.</param>
/// <param name="Weight">The rows are in it, row-major.</param>
/// <param name="FirstRow">The first of them.</param>
/// <param name="Rows">How many.</param>
/// <param name="Format">What it becomes; null where it stays as it is.</param>
internal sealed record SearchedMatrix(string Name, float[] Weight, int FirstRow, int Rows, QuantizedFormat? Format);

/// <summary>What a search has found.</summary>
/// <param name="Scales">Of the input channels.</param>
/// <param name="Exponent">That of the means.</param>
/// <param name="Errors">The relative error of each matrix with these scales.</param>
/// <param name="NearestErrors">The same without scales.</param>
internal sealed record SearchResult(float[] Scales, double Exponent, double[] Errors, double[] NearestErrors);

/// <summary>
/// Searches scales of input channels (AWQ, arXiv 2306.00978): <c>s = mean|x|^α</c>, with α of a grid, such that the outputs
/// of matrices whose inputs are multiplied by them before they are rounded, and divided after, differ least.
/// </summary>
internal sealed class ScaleSearch(Device device) : IDisposable
{
    private const int Steps = 20, PartElements = 1 << 22, RowMultiple = 128;
    private const float LeastScale = 1e-4f;

    private readonly Workspace _workspace = new(device);
    private readonly Dictionary<(int Tokens, int Rows, int Inputs), Product> _products = [];

    /// <summary>Searches.</summary>
    /// <param name="matrices">All read the same inputs.</param>
    /// <param name="rows">Inputs: [tokens, inputs].</param>
    /// <param name="means">The mean magnitude of each input channel.</param>
    /// <param name="adjust">Makes scales such as can be folded; changes them in place.</param>
    /// <param name="source">Named in errors.</param>
    /// <param name="cancellationToken">Checked between products.</param>
    public SearchResult Find(IReadOnlyList<SearchedMatrix> matrices, float[] rows, float[] means, Action<float[]> adjust,
        string source, CancellationToken cancellationToken)
    {
        double[] norms = [.. matrices.Select(
            matrix => SquaredOutput(matrix, rows, means.Length, null, source, cancellationToken))];
        float[] scales = [.. Enumerable.Repeat(1f, means.Length)];
        double[] nearest = Errors(scales), best = nearest;
        double exponent = 0, least = Total(nearest);
        for (int step = 1; step < Steps; step++)
        {
            float[] candidate = Scales(means, (float)step / Steps);
            adjust(candidate);
            double[] errors = Errors(candidate);
            // A sum that is no number is no better.
            if (Total(errors) < least)
                (scales, best, exponent, least) = (candidate, errors, (double)step / Steps, Total(errors));
        }

        return new SearchResult(scales, exponent, Relative(best), Relative(nearest));

        double Total(double[] errors) => errors.Sum();

        double[] Errors(float[] candidate) =>
            [.. matrices.Select(
                matrix => SquaredOutput(matrix, rows, means.Length, candidate, source, cancellationToken))];

        double[] Relative(double[] errors) =>
            [.. errors.Select((error, index) => norms[index] > 0 ? Math.Sqrt(error / norms[index]) : 0)];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _workspace.Dispose();
        foreach (Product product in _products.Values)
            product.Dispose();
    }

    private static float[] Scales(float[] means, float exponent)
    {
        var scales = new float[means.Length];
        TensorPrimitives.Pow(means, exponent, scales);
        TensorPrimitives.Max(scales, LeastScale, scales);
        float middle = MathF.Sqrt(TensorPrimitives.Max<float>(scales) * TensorPrimitives.Min<float>(scales));
        TensorPrimitives.Divide(scales, middle, scales);
        return scales;
    }

    /// <summary>The squared outputs of a matrix, or with scales those of what rounding changes in it.</summary>
    private double SquaredOutput(SearchedMatrix matrix, float[] rows, int inputs, float[]? scales, string source,
        CancellationToken cancellationToken)
    {
        if (scales is not null && matrix.Format is null)
            return 0;
        int step = Math.Min(Math.Max(1, PartElements / inputs / RowMultiple) * RowMultiple, matrix.Rows);
        var values = new float[step * inputs];
        RoundedRows? rounded = scales is null ? null : new RoundedRows(matrix.Format!, inputs, step);
        double sum = 0;
        for (int first = 0; first < matrix.Rows; first += step)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int count = Math.Min(step, matrix.Rows - first);
            ReadOnlyMemory<float> weight = matrix.Weight.AsMemory((matrix.FirstRow + first) * inputs, count * inputs);
            Memory<float> part = values.AsMemory(0, count * inputs);
            weight.CopyTo(part);
            if (rounded is not null)
            {
                Parallel.For(0, count, row =>
                {
                    Span<float> own = part.Span.Slice(row * inputs, inputs);
                    TensorPrimitives.Multiply(own, scales, own);
                });
                rounded.Round(part, source, matrix.Name);
                rounded.ToFloat32(part.Span);
                Parallel.For(0, count, row =>
                {
                    Span<float> own = part.Span.Slice(row * inputs, inputs);
                    TensorPrimitives.Divide(own, scales, own);
                    TensorPrimitives.Subtract(own, weight.Span.Slice(row * inputs, inputs), own);
                });
            }

            sum += ProductOf(rows.Length / inputs, count, inputs).SumOfSquares(rows, part.Span, cancellationToken);
        }

        return sum;
    }

    private Product ProductOf(int tokens, int rows, int inputs)
    {
        if (!_products.TryGetValue((tokens, rows, inputs), out Product? product))
            _products.Add((tokens, rows, inputs), product = new Product(device, _workspace, tokens, rows, inputs));
        return product;
    }

    private sealed class Product : IDisposable
    {
        private readonly Device _device;
        private readonly PersistentTensor _weight;
        private readonly Value _rows, _outputs;
        private readonly Executor _executor;

        public Product(Device device, Workspace workspace, int tokens, int rows, int inputs)
        {
            _device = device;
            _weight = new PersistentTensor("weight",
                new TensorType(DataType.Float32, new Shape(rows, inputs), Storage.Weight));
            device.Bind(_weight);
            var graph = new Graph();
            _rows = graph.Input("rows", TensorType.Float32(tokens, inputs));
            _outputs = graph.Add(new MatMul(), _rows, graph.Persistent(_weight));
            graph.Output("outputs", _outputs);
            _executor = new Executor(Planner.Plan(graph, device), workspace);
        }

        public double SumOfSquares(float[] rows, ReadOnlySpan<float> weight, CancellationToken cancellationToken)
        {
            PersistentTensors.Write(_device, _weight, weight);
            _executor.Write<float>(_rows, rows);
            _executor.Run(cancellationToken);
            float[] outputs = _executor.Read<float>(_outputs);
            double sum = 0;
            for (int start = 0; start < outputs.Length; start += 1 << 12)
                sum += TensorPrimitives.SumOfSquares<float>(outputs.AsSpan(start, Math.Min(1 << 12, outputs.Length - start)));
            return sum;
        }

        public void Dispose() => _weight.Tensor.Memory.Dispose();
    }
}
