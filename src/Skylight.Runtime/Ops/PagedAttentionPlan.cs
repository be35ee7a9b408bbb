using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Deals the pairs (row, query head of a group) of a step out to the blocks of a device that compute
/// <see cref="PagedAttention"/>, once for all layers: <c>(pageTable int32 [B, maxPages], starts int32 [B+1], lengths int32
/// [B]) → plan int32 [n]</c>. Pair p of a sequence is row p / Group, head p % Group. Sequences of few pairs decode, all
/// others are prefill (<see cref="PagedAttentionTiles"/> says which). The plan is, in this order,
/// <list type="bullet">
/// <item>prefill tiles of 4 integers: the sequence's first row in the batch, its rows (0: no tile), the first of up to 128
/// pairs, the sequence; sequences ascend, and the tiles of one descend, because the last ones see most;</item>
/// <item>for each span of 512 keys as many decode tiles of 8 integers: first row, rows, first pair and sequence likewise,
/// and 1 for up to 64 pairs of several neighbouring sequences, from that one on, that all see the whole span in the same
/// pages, 0 for up to 16 pairs of one, of which some see keys of the span; the rest are 0;</item>
/// <item>for each row how many keys it sees, 0 where it belongs to no sequence that decodes; nothing if none can;</item>
/// <item>for each row its place among <see cref="PagedAttentionTiles.PartRows"/>, likewise;</item>
/// <item>where there are several spans a zero for each place and key-value head: a device that computes spans side by side may
/// count there which are done, and leaves zeros again.</item>
/// </list>
/// </summary>
/// <remarks>
/// A plan changes no bit of what a row computes. It holds for every <see cref="PagedAttention"/> on the same table, starts and
/// lengths. There is no gradient.
/// </remarks>
/// <param name="Rows">The query rows of the step, T.</param>
/// <param name="Group">Query heads of a key-value head, Hq / Hkv.</param>
/// <param name="KeyValueHeadCount">Key-value heads, Hkv.</param>
public sealed record PagedAttentionPlan(int Rows, int Group, int KeyValueHeadCount) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(3)
            .That(Rows >= 0 && Group >= 1 && KeyValueHeadCount >= 1,
                "there must be 0 rows or more, 1 head of a group or more, and 1 key-value head or more")
            .Is(0, "pageTable", DataType.Int32).Rank(0, "pageTable", 2);
        int sequences = inputs[0].Shape[0];
        check.Is(1, "starts", DataType.Int32).Shape(1, "starts", sequences + 1).Is(2, "lengths", DataType.Int32)
            .Shape(2, "lengths", sequences);
        return [TensorType.Int32(Tiles(sequences, inputs[0].Shape[1]).Words)];
    }

    /// <summary>No arithmetic; the table is read and the plan written.</summary>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(0, inputs[0].Bytes + inputs[1].Bytes + inputs[2].Bytes + outputs[0].Bytes);

    /// <inheritdoc/>
    public void Run(in CpuArguments arguments)
    {
        ReadOnlySpan<int> table = arguments.InputInt32(0), starts = arguments.InputInt32(1), lengths = arguments.InputInt32(2);
        int width = arguments.Input(0).Shape[1];
        PackedSequences.CheckStarts(Name, starts, Rows);
        PagedAttention.CheckLengths(Name, starts, lengths, width);
        Span<int> plan = CpuMemory.Span<int>(arguments.Output(0));
        plan.Clear();
        PagedAttentionTiles tiles = Tiles(lengths.Length, width);
        Prefill(plan, starts, tiles);
        for (int span = 0; span < tiles.Spans; span++)
        {
            Decode(plan.Slice(tiles.FirstDecodeWord + span * tiles.DecodeTiles * PagedAttentionTiles.DecodeWords,
                tiles.DecodeTiles * PagedAttentionTiles.DecodeWords), table, starts, lengths, span, tiles);
        }

        for (int sequence = 0; tiles.DecodeTiles > 0 && sequence < lengths.Length; sequence++)
        {
            int rows = starts[sequence + 1] - starts[sequence];
            for (int row = 0; row < rows && tiles.Decodes(rows); row++)
            {
                plan[tiles.FirstVisibleWord + starts[sequence] + row] = lengths[sequence] - rows + 1 + row;
                plan[tiles.FirstPlaceWord + starts[sequence] + row] = tiles.RowsOfSequence > 0
                    ? sequence * tiles.RowsOfSequence + row : starts[sequence] + row;
            }
        }
    }

    private PagedAttentionTiles Tiles(int sequences, int tableWidth) =>
        new(Rows, Group, KeyValueHeadCount, sequences, tableWidth);

    private static int Divided(int pairs, int tilePairs) => (pairs + tilePairs - 1) / tilePairs;

    private void Prefill(Span<int> plan, ReadOnlySpan<int> starts, PagedAttentionTiles tiles)
    {
        int next = 0;
        for (int sequence = 0; sequence < starts.Length - 1; sequence++)
        {
            int rows = starts[sequence + 1] - starts[sequence];
            if (tiles.Decodes(rows))
                continue;
            for (int tile = Divided(rows * Group, PagedAttentionTiles.PrefillPairs); tile-- > 0; next++)
            {
                ReadOnlySpan<int> words = [starts[sequence], rows, tile * PagedAttentionTiles.PrefillPairs, sequence];
                words.CopyTo(plan[(next * PagedAttentionTiles.PrefillWords)..]);
            }
        }
    }

    private void Decode(Span<int> plan, ReadOnlySpan<int> table, ReadOnlySpan<int> starts, ReadOnlySpan<int> lengths,
        int span, PagedAttentionTiles tiles)
    {
        int width = table.Length / Math.Max(lengths.Length, 1), next = 0, firstKey = span * PagedAttentionTiles.SpanKeys,
            pages = PagedAttentionTiles.SpanKeys / PagedAttention.PageSize;
        for (int sequence = 0, last; sequence < lengths.Length; sequence = last + 1)
        {
            last = sequence;
            while (last + 1 < lengths.Length && SeesAll(last, starts, lengths) && SeesAll(last + 1, starts, lengths)
                && table.Slice(last * width + span * pages, pages)
                    .SequenceEqual(table.Slice((last + 1) * width + span * pages, pages)))
                last++;
            int rows = starts[last + 1] - starts[sequence], unseeing = Math.Max(firstKey - (lengths[sequence] - rows), 0);
            bool together = last > sequence;
            if (!together && (!tiles.Decodes(rows) || unseeing >= rows))
                continue;
            int pairs = together ? PagedAttentionTiles.SharedPairs : PagedAttentionTiles.DecodePairs,
                first = together ? 0 : unseeing * Group / pairs;
            for (int tile = first; tile < Divided(rows * Group, pairs); tile++, next++)
            {
                ReadOnlySpan<int> words = [starts[sequence], rows, tile * pairs, sequence, together ? 1 : 0];
                words.CopyTo(plan[(next * PagedAttentionTiles.DecodeWords)..]);
            }
        }

        bool SeesAll(int sequence, ReadOnlySpan<int> starts, ReadOnlySpan<int> lengths)
        {
            int rows = starts[sequence + 1] - starts[sequence];
            return rows > 0 && tiles.Decodes(rows)
                && lengths[sequence] - rows + 1 >= firstKey + PagedAttentionTiles.SpanKeys;
        }
    }
}

/// <summary>
/// How many tiles a <see cref="PagedAttentionPlan"/> has room for, at least one, which follows from the shapes of a step
/// alone, and which sequences decode: those of up to 32 pairs; or all, or none, where sequences of both kinds cannot be, or
/// are not worth their own launch.
/// </summary>
public readonly record struct PagedAttentionTiles
{
    /// <summary>The pairs of a prefill tile.</summary>
    public const int PrefillPairs = 128;

    /// <summary>The integers of a prefill tile.</summary>
    public const int PrefillWords = 4;

    /// <summary>The pairs of a decode tile of one sequence.</summary>
    public const int DecodePairs = 16;

    /// <summary>The pairs of a decode tile of several sequences.</summary>
    public const int SharedPairs = 64;

    /// <summary>The integers of a decode tile.</summary>
    public const int DecodeWords = 8;

    /// <summary>The keys of a span.</summary>
    public const int SpanKeys = 512;

    private const int FewPairs = 2 * DecodePairs;

    /// <summary>Counts the tiles of a step.</summary>
    /// <param name="rows">Query rows.</param>
    /// <param name="group">Query heads of a key-value head.</param>
    /// <param name="keyValueHeads">Key-value heads.</param>
    /// <param name="sequences">The sequences, B.</param>
    /// <param name="tableWidth">The most pages of a sequence.</param>
    public PagedAttentionTiles(int rows, int group, int keyValueHeads, int sequences, int tableWidth)
    {
        long pairs = (long)rows * group, all = (long)FewPairs * Math.Max(sequences, 1);
        int present = Math.Min(sequences, rows);
        Group = group;
        // Few rows in a sequence share the warps of a block; many fill them. With the latter on average, or with as many
        // as fill a prefill tile in the one sequence that can have them, there may be both.
        if (pairs <= all && (rows - sequences + 1L) * group <= PrefillPairs)
        {
            MostDecodePairs = int.MaxValue;
            DecodeTiles = checked((int)Math.Max(1, pairs / DecodePairs + present));
        }
        else if (sequences <= 1 || group > FewPairs)
        {
            PrefillTiles = checked((int)Math.Max(1, pairs / PrefillPairs + present));
        }
        else
        {
            MostDecodePairs = FewPairs;
            PrefillTiles = checked((int)(pairs / PrefillPairs + Math.Min(present, pairs / (FewPairs + 1))));
            DecodeTiles = checked((int)Math.Min(2L * present, pairs / DecodePairs + present));
        }

        long keys = (long)tableWidth * PagedAttention.PageSize;
        Spans = DecodeTiles == 0 ? 0 : Math.Max(1, checked((int)((keys + SpanKeys - 1) / SpanKeys)));
        VisibleWords = DecodeTiles == 0 ? 0 : rows;
        int most = PrefillTiles == 0 ? 0 : FewPairs / group;
        RowsOfSequence = DecodeTiles > 0 && (long)sequences * most < rows ? most : 0;
        PartRows = RowsOfSequence > 0 ? sequences * RowsOfSequence : VisibleWords;
        ArrivalWords = Spans > 1 ? checked(PartRows * keyValueHeads) : 0;
    }

    /// <summary>A sequence of more pairs than these is prefill.</summary>
    public int MostDecodePairs { get; }

    /// <summary>The prefill tiles.</summary>
    public int PrefillTiles { get; }

    /// <summary>The decode tiles of each span.</summary>
    public int DecodeTiles { get; }

    /// <summary>The spans; 0 where no sequence decodes.</summary>
    public int Spans { get; }

    /// <summary>Where the decode tiles begin in the plan.</summary>
    public int FirstDecodeWord => PrefillWords * PrefillTiles;

    /// <summary>Where the numbers of keys that rows see begin in the plan.</summary>
    public int FirstVisibleWord => checked(FirstDecodeWord + DecodeWords * DecodeTiles * Spans);

    /// <summary>Where the rows' places begin in the plan.</summary>
    public int FirstPlaceWord => FirstVisibleWord + VisibleWords;

    /// <summary>
    /// Rows for which there must be room for what their spans give: all of the step, or no more than can decode.
    /// </summary>
    public int PartRows { get; }

    /// <summary>
    /// The places that each sequence has among <see cref="PartRows"/>; 0 where a row's place is its own number.
    /// </summary>
    public int RowsOfSequence { get; }

    /// <summary>The zeros at the end of the plan, with which a device may count the spans of a row that are done.</summary>
    public int ArrivalWords { get; }

    /// <summary>The integers of the plan.</summary>
    public int Words => checked(FirstPlaceWord + VisibleWords + ArrivalWords);

    private int Group { get; }

    private int VisibleWords { get; }

    /// <summary>Whether a sequence of so many rows decodes.</summary>
    public bool Decodes(int rows) => (long)rows * Group <= MostDecodePairs;
}
