using System.Numerics.Tensors;
using System.Runtime.Intrinsics;
using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

// The gradient: scores are computed again, page by page; nothing of the size of rows × keys is ever stored.
internal static unsafe partial class AttentionCore
{
    /// <summary>The gradient of one sequence and one key-value head, all query heads of its group included.</summary>
    internal struct Gradient
    {
        /// <summary>Queries, outputs and log-sum-exp, which are only read; as in the forward pass.</summary>
        public Queries Forward;

        /// <summary>The gradient of the output, laid out like it.</summary>
        public float* OutputGradient;

        /// <summary>The gradient of the queries, laid out like them; overwritten.</summary>
        public float* QueryGradient;

        /// <summary>Position 0's key of this head.</summary>
        public float* Keys;

        /// <summary>Position 0's value of this head.</summary>
        public float* Values;

        /// <summary>The gradient of the keys; overwritten.</summary>
        public float* KeyGradient;

        /// <summary>The gradient of the values; overwritten.</summary>
        public float* ValueGradient;

        /// <summary>Floats from a position to the next, in keys, values and their gradients.</summary>
        public nint Stride;

        /// <summary>Positions.</summary>
        public int Count;

        /// <summary>
        /// Whether all operands of products are rounded to bfloat16: scores are then those of the forward pass, and P, dS and
        /// dO are rounded too.
        /// </summary>
        public bool Rounds;
    }

    /// <summary>Computes the gradient on the calling thread, in an order that depends on nothing but the sequence.</summary>
    internal static void Backward(in Gradient gradient) =>
        Backward(gradient, gradient.Rounds && BFloat16Kernels.AreAvailable ? BFloat16Kernels.Fastest : null);

    /// <inheritdoc cref="Backward(in Gradient)"/>
    /// <param name="gradient">What to compute.</param>
    /// <param name="instruction">What computes rounded products; null for managed loops.</param>
    internal static void Backward(in Gradient gradient, BFloat16Instruction? instruction)
    {
        if (Vector512.IsHardwareAccelerated)
            Backward<Simd512, Vector512<float>>(gradient, instruction);
        else if (Vector256.IsHardwareAccelerated)
            Backward<Simd256, Vector256<float>>(gradient, instruction);
        else
            Backward<Simd128, Vector128<float>>(gradient, instruction);
    }

    /// <remarks>
    /// With P = exp(S − logSumExp) and δ = Σ dO·O per row: dV = Pᵀ·dO, dS = P ∘ (dO·Vᵀ − δ), dQ = dS·K / √D,
    /// dK = dSᵀ·Q / √D (Dao et al., 2022, algorithm 4). Rows of operands are padded to whole register tiles of 32; sums
    /// lie in blocks of 32 columns.
    /// </remarks>
    private static void Backward<TSimd, TVector>(in Gradient gradient, BFloat16Instruction? instruction)
        where TSimd : struct, ISimd<TVector>
    {
        int dimension = gradient.Forward.HeadDimension, width = PageCount(dimension) * PageSize;
        int pageCount = PageCount(gradient.Count);
        bool isAssembled = instruction is not null;
        nint paddedFloats = (nint)PageSize * width;
        float* keySums = AttentionScratch.Sequence(
            pageCount * (2 * paddedFloats + GradientPages.Floats(dimension, width, isAssembled)));
        float* valueSums = keySums + pageCount * paddedFloats;
        var pages = new GradientPages(gradient, width, valueSums + pageCount * paddedFloats, isAssembled);
        Clear(keySums, 2 * pageCount * paddedFloats);

        float* scratch = AttentionScratch.Tile(TileRows * (3 * (nint)width + 2 * PageSize + 2)
            + (isAssembled ? RoundedGradientTile.Floats(width) : 0));
        float* query = scratch, outputGradient = query + TileRows * (nint)width,
            queryGradient = outputGradient + TileRows * (nint)width;
        float* weights = queryGradient + TileRows * (nint)width, scoreGradients = weights + TileRows * PageSize;
        float* logSumExp = scoreGradients + TileRows * PageSize, delta = logSumExp + TileRows;
        int* visible = stackalloc int[TileRows];
        int pairs = gradient.Forward.Rows * gradient.Forward.Group;
        byte* kept = stackalloc byte[MatrixTileScope.Bytes];
        using var tiles = new MatrixTileScope(instruction, kept);
        tiles.Use(PageSize);
        for (int first = 0; first < pairs; first += TileRows)
        {
            int rows = Math.Min(TileRows, pairs - first);
            int most = GatherRows(gradient, first, rows, width, query, outputGradient, logSumExp, delta, visible);
            RoundedGradientTile tile = default;
            if (isAssembled)
            {
                tile = new RoundedGradientTile(delta + TileRows, query, outputGradient, rows, dimension, width,
                    instruction!.Value);
                // Rows that do not exist are steps of products with the others.
                Clear(weights, 2 * TileRows * PageSize);
            }
            else if (gradient.Rounds)
            {
                BFloat16Pages.Round(query, rows * width);
            }

            Clear(queryGradient, TileRows * (nint)width);
            for (int start = 0, page = 0; start < most; start += PageSize, page++)
            {
                int keys = Math.Min(PageSize, most - start);
                float* keySum = keySums + page * paddedFloats, valueSum = valueSums + page * paddedFloats;
                if (isAssembled)
                {
                    tile.Scores(pages.Keys(page), pages.Values(page), weights, scoreGradients);
                    SoftmaxGradient<TSimd, TVector, WeightExponential>(weights, scoreGradients, rows, logSumExp, delta,
                        visible, start);
                    tile.AddGradients(weights, scoreGradients, pages.KeyRows(page), keys, valueSum, keySum, queryGradient);
                    continue;
                }

                Multiply(query, width, 1, (float*)pages.Keys(page), PageSize, weights, PageSize, rows, dimension,
                    accumulate: false);
                Multiply(outputGradient, width, 1, (float*)pages.Values(page), PageSize, scoreGradients, PageSize,
                    rows, dimension, accumulate: false);
                if (!gradient.Rounds)
                {
                    SoftmaxGradient<TSimd, TVector, FullExponential>(weights, scoreGradients, rows, logSumExp, delta,
                        visible, start);
                }
                else
                {
                    SoftmaxGradient<TSimd, TVector, WeightExponential>(weights, scoreGradients, rows, logSumExp, delta,
                        visible, start);
                    BFloat16Pages.Round(weights, rows * PageSize);
                    BFloat16Pages.Round(scoreGradients, rows * PageSize);
                }

                for (int d = 0; d < width; d += PageSize)
                {
                    Multiply(weights, 1, PageSize, outputGradient + d, width, valueSum + d * PageSize, PageSize, keys,
                        rows, accumulate: true);
                    Multiply(scoreGradients, 1, PageSize, query + d, width, keySum + d * PageSize, PageSize, keys, rows,
                        accumulate: true);
                    Multiply(scoreGradients, PageSize, 1, (float*)pages.KeyRows(page) + d, width,
                        queryGradient + d * TileRows, PageSize, rows, keys, accumulate: true);
                }
            }

            WriteQueryGradients<TSimd, TVector>(gradient, first, rows, queryGradient);
        }

        for (int key = 0; key < gradient.Count; key++)
        {
            nint sums = key / PageSize * paddedFloats + key % PageSize * PageSize, target = key * gradient.Stride;
            RescaleBlocks<TSimd, TVector>(keySums + sums, PageSize, 1, gradient.KeyGradient + target, dimension);
            RescaleBlocks<TSimd, TVector>(valueSums + sums, PageSize, 1, gradient.ValueGradient + target, dimension);
        }
    }

    /// <summary>
    /// Copies scaled queries and output gradients side by side, with each row's log-sum-exp, δ and number of keys.
    /// </summary>
    /// <returns>The most keys that a row sees.</returns>
    private static int GatherRows(in Gradient gradient, int first, int rows, int width, float* query,
        float* outputGradient, float* logSumExp, float* delta, int* visible)
    {
        Queries forward = gradient.Forward;
        int dimension = forward.HeadDimension, row = first / forward.Group, head = first % forward.Group;
        float scale = Scale(dimension);
        for (int index = 0; index < rows; index++)
        {
            nint offset = row * forward.RowStride + (nint)head * dimension;
            var queryRow = new Span<float>(query + index * (nint)width, width);
            var gradientRow = new Span<float>(outputGradient + index * (nint)width, width);
            TensorPrimitives.Multiply(new ReadOnlySpan<float>(forward.Query + offset, dimension), scale, queryRow);
            new ReadOnlySpan<float>(gradient.OutputGradient + offset, dimension).CopyTo(gradientRow);
            // δ is what P·dP adds up to, so both see the same dO.
            if (gradient.Rounds)
                BFloat16Pages.Round(outputGradient + index * (nint)width, dimension);
            queryRow[dimension..].Clear();
            gradientRow[dimension..].Clear();
            delta[index] = TensorPrimitives.Dot<float>(gradientRow[..dimension],
                new ReadOnlySpan<float>(forward.Output + offset, dimension));
            logSumExp[index] = forward.LogSumExp[row * forward.LogSumExpStride + head];
            visible[index] = forward.VisibleTo(row);
            if (++head == forward.Group)
            {
                head = 0;
                row++;
            }
        }

        return visible[rows - 1];
    }

    /// <summary>
    /// Scores become P, and gradients of P become gradients of the scores; both are 0 where a key is not seen.
    /// </summary>
    private static void SoftmaxGradient<TSimd, TVector, TExponential>(float* weights, float* gradients, int rows,
        float* logSumExp, float* delta, int* visible, int pageStart)
        where TSimd : struct, ISimd<TVector>
        where TExponential : struct, IUnaryFunction
    {
        for (int row = 0; row < rows; row++)
        {
            float* weight = weights + row * PageSize;
            float* gradient = gradients + row * PageSize;
            TVector total = TSimd.Broadcast(logSumExp[row]), rowDelta = TSimd.Broadcast(delta[row]);
            if (visible[row] - pageStart < PageSize)
                ExponentialsOfVisible<TSimd, TVector, TExponential>(weight, total, visible[row] - pageStart);
            else
                Exponentials<TSimd, TVector, TExponential>(weight, total);
            for (int lane = 0; lane < PageSize; lane += TSimd.Count)
                TSimd.Store(gradient + lane,
                    TSimd.Multiply(TSimd.Load(weight + lane), TSimd.Subtract(TSimd.Load(gradient + lane), rowDelta)));
        }
    }

    private static void WriteQueryGradients<TSimd, TVector>(in Gradient gradient, int first, int rows,
        float* queryGradient)
        where TSimd : struct, ISimd<TVector>
    {
        Queries forward = gradient.Forward;
        int dimension = forward.HeadDimension, row = first / forward.Group, head = first % forward.Group;
        float scale = Scale(dimension);
        for (int index = 0; index < rows; index++)
        {
            RescaleBlocks<TSimd, TVector>(queryGradient + index * PageSize, TileRows, scale,
                gradient.QueryGradient + row * forward.RowStride + (nint)head * dimension, dimension);
            if (++head == forward.Group)
            {
                head = 0;
                row++;
            }
        }
    }

    private static void PadRows(float* source, nint stride, int rows, int columns, float* target, int width)
    {
        for (int row = 0; row < rows; row++)
        {
            var targetRow = new Span<float>(target + row * (nint)width, width);
            new ReadOnlySpan<float>(source + row * stride, columns).CopyTo(targetRow);
            targetRow[columns..].Clear();
        }
    }

    private static void Clear(float* target, nint floats) =>
        System.Runtime.InteropServices.NativeMemory.Clear(target, (nuint)floats * sizeof(float));
}
