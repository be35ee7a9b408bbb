using System.Runtime.CompilerServices;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Cpu;

// Keys and values of a sequence in the order of cache pages.
internal static unsafe partial class AttentionCore
{
    /// <summary>Pages that hold so many tokens.</summary>
    internal static int PageCount(int tokens) => (tokens + PageSize - 1) / PageSize;

    /// <summary>
    /// Packs the keys and values of one sequence and one key-value head into this thread's buffer; valid until the next
    /// call on this thread.
    /// </summary>
    /// <param name="keys">Position 0's key of this head.</param>
    /// <param name="values">Position 0's value of this head.</param>
    /// <param name="stride">Floats from a position to the next, in both.</param>
    /// <param name="count">Positions.</param>
    /// <param name="dimension">The width of a head.</param>
    /// <param name="rounds">Whether they are rounded to bfloat16.</param>
    internal static Pages Pack(float* keys, float* values, nint stride, int count, int dimension, bool rounds)
    {
        nint pageBytes = rounds ? BFloat16Pages.Bytes(dimension) : (nint)PageSize * dimension * sizeof(float);
        byte* buffer = (byte*)AttentionScratch.Sequence(2 * PageCount(count) * pageBytes / sizeof(float));
        var pages = new Pages
        {
            Keys = buffer,
            Values = buffer + PageCount(count) * pageBytes,
            Stride = pageBytes,
            Type = rounds ? DataType.BFloat16 : DataType.Float32,
        };
        if (!rounds)
        {
            PackTransposed(keys, stride, count, dimension, (float*)pages.Keys);
            CopyRows(values, stride, (float*)pages.Values, dimension, count, dimension);
            return pages;
        }

        for (int first = 0, page = 0; first < count; first += PageSize, page++)
        {
            int tokens = Math.Min(PageSize, count - first);
            BFloat16Pages.PackKeys(keys + first * stride, stride, tokens, dimension, pages.Keys + page * pageBytes);
            BFloat16Pages.PackValues(values + first * stride, stride, tokens, dimension, pages.Values + page * pageBytes);
        }

        return pages;
    }

    /// <summary>Rows to pages of [D][32]; the last page is filled up with zeros.</summary>
    private static void PackTransposed(float* source, nint stride, int count, int dimension, float* pages)
    {
        for (int first = 0; first < count; first += PageSize)
            WeightPanels.PackTransposed(source + first * stride, stride, Math.Min(PageSize, count - first), dimension,
                pages + (nint)first * dimension);
    }

    private static void CopyRows(float* source, nint sourceStride, float* target, nint targetStride, int rows, int columns)
    {
        for (int row = 0; row < rows; row++)
            Unsafe.CopyBlockUnaligned(target + row * targetStride, source + row * sourceStride,
                (uint)columns * sizeof(float));
    }

    /// <summary>Writes the keys and values of consecutive tokens into the cache pages of all heads.</summary>
    /// <param name="keys">[count][heads·D].</param>
    /// <param name="values">[count][heads·D].</param>
    /// <param name="slots">Where each token goes: page·32 + offset, or negative to skip it; in range.</param>
    /// <param name="count">Tokens.</param>
    /// <param name="keyCache">[pages][heads][D][32], or <see cref="BFloat16Pages"/> or <see cref="Int8Pages"/>.</param>
    /// <param name="valueCache">[pages][heads][32][D], or likewise.</param>
    /// <param name="heads">Key-value heads.</param>
    /// <param name="dimension">The width of a head.</param>
    /// <param name="type">Of the caches.</param>
    internal static void Write(float* keys, float* values, int* slots, int count, byte* keyCache, byte* valueCache,
        int heads, int dimension, DataType type)
    {
        nint rowFloats = (nint)heads * dimension, pageBytes = (nint)KeyValuePages.ElementCount(type, dimension) * type.Size();
        for (int token = 0; token < count;)
        {
            int slot = slots[token];
            if (slot < 0)
            {
                token++;
                continue;
            }

            int offset = slot % PageSize, run = 1;
            while (token + run < count && offset + run < PageSize && slots[token + run] == slot + run)
                run++;
            nint page = slot / PageSize * heads * pageBytes;
            for (int head = 0; head < heads; head++)
            {
                float* key = keys + token * rowFloats + (nint)head * dimension,
                    value = values + token * rowFloats + (nint)head * dimension;
                byte* keyPage = keyCache + page + head * pageBytes, valuePage = valueCache + page + head * pageBytes;
                if (type == DataType.Int8)
                {
                    Int8Pages.WriteKeys(key, rowFloats, offset, run, dimension, keyPage);
                    Int8Pages.WriteValues(value, rowFloats, offset, run, dimension, valuePage);
                }
                else if (type == DataType.Float32)
                {
                    WriteHead(key, value, rowFloats, (float*)keyPage, (float*)valuePage, offset, run, dimension);
                }
                else if (run == PageSize)
                {
                    BFloat16Pages.PackKeys(key, rowFloats, run, dimension, keyPage);
                    BFloat16Pages.PackValues(value, rowFloats, run, dimension, valuePage);
                }
                else
                {
                    BFloat16Pages.WriteKeys(key, rowFloats, offset, run, dimension, keyPage);
                    BFloat16Pages.WriteValues(value, rowFloats, offset, run, dimension, valuePage);
                }
            }

            token += run;
        }
    }

    private static void WriteHead(float* key, float* value, nint rowFloats, float* keyPage, float* valuePage, int offset,
        int run, int dimension)
    {
        CopyRows(value, rowFloats, valuePage + (nint)offset * dimension, dimension, run, dimension);
        if (run == PageSize)
        {
            WeightPanels.PackTransposed(key, rowFloats, PageSize, dimension, keyPage);
            return;
        }

        for (int d = 0; d < dimension; d++)
        {
            for (int index = 0; index < run; index++)
                keyPage[(nint)d * PageSize + offset + index] = key[index * rowFloats + d];
        }
    }
}
