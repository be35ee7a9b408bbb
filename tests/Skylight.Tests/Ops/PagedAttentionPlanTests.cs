using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Ops.PagedAttentionTiles;

namespace Skylight.Tests.Ops;

/// <summary>Every pair of a step, and every span of keys that it sees, is dealt out once.</summary>
public sealed class PagedAttentionPlanTests
{
    private const int Page = PagedAttention.PageSize, HeadCount = 3;

    [Theory]
    [InlineData(1, 8, 1, false)]
    [InlineData(40, 1, 1, false)]
    [InlineData(40, 1, 12, false)]
    [InlineData(7, 4, 12, true)]
    [InlineData(8, 6, 300, true)]
    [InlineData(33, 3, 5, true)]
    public void All_pairs_and_the_spans_they_see_are_dealt_out_once(int group, int sequences, int mostRows, bool shared)
    {
        var random = new Random(group * 1000 + mostRows);
        for (int round = 0; round < 20; round++)
        {
            int[] rows = [.. Enumerable.Range(0, sequences)
                .Select(_ => random.Next(3) == 0 ? random.Next(0, mostRows + 1) : Math.Min(1, mostRows))];
            int[] lengths = [.. rows.Select(count => count + random.Next(3 * SpanKeys))];
            int width = 3 * SpanKeys / Page + (mostRows + Page - 1) / Page, padding = random.Next(4);
            int[] starts = [.. Enumerable.Range(0, sequences + 1).Select(sequence => rows[..sequence].Sum())];
            int[] table = [.. Enumerable.Range(0, sequences * width)
                .Select(place => shared && place % width < 20 ? place % width : place)];
            int allRows = rows.Sum() + padding;
            AssertDealtOutOnce(Plan(group, starts, lengths, table, allRows), group, rows, lengths, starts, table, allRows);
        }
    }

    [Fact]
    public void Sequences_of_both_kinds_are_told_apart_only_where_a_step_can_have_both()
    {
        // Rows, heads of a group, sequences; what decodes.
        Assert.Equal((int.MaxValue, 0), Kinds(64, 8, 64));
        Assert.Equal((int.MaxValue, 0), Kinds(16, 8, 4)); // with guessed tokens
        Assert.Equal((int.MaxValue, 0), Kinds(4, 8, 1));
        Assert.Equal(0, Kinds(5, 8, 1).MostDecodePairs);
        Assert.Equal(0, Kinds(100, 40, 64).MostDecodePairs); // one row is more than two tiles of decoding
        Assert.Equal(32, Kinds(192, 8, 65).MostDecodePairs);
        Assert.Equal(32, Kinds(2112, 8, 65).MostDecodePairs);
        // One tile for a step in which there is nothing to do, so that there is a plan.
        Assert.Equal(1, new PagedAttentionTiles(9, 8, 1, 0, 4).PrefillTiles);

        static (int MostDecodePairs, int PrefillTiles) Kinds(int rows, int group, int sequences)
        {
            var tiles = new PagedAttentionTiles(rows, group, 1, sequences, 32);
            return (tiles.MostDecodePairs, tiles.PrefillTiles);
        }
    }

    [Fact]
    public void A_step_has_room_for_the_sums_of_those_rows_that_can_decode()
    {
        // A part of a prompt beside 64 completions: eight rows for each sequence; a small one: all its rows; none decodes.
        Assert.Equal((520, 8), Room(4160, 4, 65));
        Assert.Equal((80, 0), Room(80, 4, 65));
        Assert.Equal((64, 0), Room(64, 8, 64));
        Assert.Equal((0, 0), Room(4160, 4, 1));

        static (int PartRows, int RowsOfSequence) Room(int rows, int group, int sequences)
        {
            var tiles = new PagedAttentionTiles(rows, group, 1, sequences, 1024);
            return (tiles.PartRows, tiles.RowsOfSequence);
        }
    }

    /// <summary>What the tests here would find: each line plants one fault in a plan of both kinds.</summary>
    [Theory]
    [InlineData("none")]
    [InlineData("a sequence for both kernels")]
    [InlineData("a tile twice")]
    [InlineData("a tile missing")]
    [InlineData("the first row of another sequence")]
    [InlineData("a span that nobody computes")]
    [InlineData("a key too many")]
    [InlineData("one sequence as if several")]
    [InlineData("two rows in one place")]
    [InlineData("a place that is not there")]
    [InlineData("a span that has arrived already")]
    public void A_fault_in_a_plan_is_found(string fault)
    {
        const int Group = 8, AllRows = 92;
        int[] rows = [1, 90, 1], lengths = [600, 90, 30], starts = [0, 1, 91, 92];
        int width = 2 * SpanKeys / Page;
        int[] table = [.. Enumerable.Range(0, rows.Length * width)], plan = Plan(Group, starts, lengths, table, AllRows);
        var tiles = new PagedAttentionTiles(AllRows, Group, HeadCount, rows.Length, width);
        Span<int> decode = plan.AsSpan(tiles.FirstDecodeWord), nextSpan = decode[(tiles.DecodeTiles * DecodeWords)..];
        switch (fault)
        {
            case "a sequence for both kernels":
                // Behind the six tiles of the prompt.
                decode[..PrefillWords].CopyTo(plan.AsSpan(6 * PrefillWords));
                break;
            case "a tile twice":
                plan.AsSpan(0, PrefillWords).CopyTo(plan.AsSpan(6 * PrefillWords));
                break;
            case "a tile missing":
                plan.AsSpan(0, PrefillWords).Clear();
                break;
            case "the first row of another sequence":
                decode[DecodeWords] = starts[1];
                break;
            case "a span that nobody computes":
                nextSpan[..DecodeWords].Clear();
                break;
            case "one sequence as if several":
                decode[4] = 1;
                break;
            case "two rows in one place":
                plan[tiles.FirstPlaceWord + 91] = plan[tiles.FirstPlaceWord];
                break;
            case "a place that is not there":
                plan[tiles.FirstPlaceWord + 91] = tiles.PartRows;
                break;
            case "a span that has arrived already":
                plan[^1] = 1;
                break;
            case "a key too many":
                plan[tiles.FirstVisibleWord]++;
                break;
        }

        if (fault == "none")
            AssertDealtOutOnce(plan, Group, rows, lengths, starts, table, AllRows);
        else
            Assert.ThrowsAny<Xunit.Sdk.XunitException>(
                () => AssertDealtOutOnce(plan, Group, rows, lengths, starts, table, AllRows));
    }

    [Fact]
    public void Wrong_starts_and_lengths_are_named()
    {
        foreach ((int[] starts, int[] lengths, string message) in new (int[], int[], string)[]
        {
            ([0, 4, 3], [9, 9], "PagedAttentionPlan: starts[2] is 3"),
            ([0, 2, 4], [9, 1], "PagedAttentionPlan: lengths[1] is 1"),
            ([0, 2, 4], [65, 9], "PagedAttentionPlan: lengths[0] is 65"),
        })
        {
            Assert.Contains(message, Assert.Throws<ArgumentOutOfRangeException>(
                () => Plan(2, starts, lengths, new int[4], 4)).Message, StringComparison.Ordinal);
        }
    }

    private static void AssertDealtOutOnce(int[] plan, int group, int[] rows, int[] lengths, int[] starts, int[] table,
        int allRows)
    {
        int width = table.Length / rows.Length;
        var tiles = new PagedAttentionTiles(allRows, group, HeadCount, rows.Length, width);
        // How often a pair of a sequence is computed: whole, and in each span.
        int[][] whole = [.. rows.Select(count => new int[count * group])];
        int[][][] inSpan = [.. Enumerable.Range(0, tiles.Spans)
            .Select(_ => rows.Select(count => new int[count * group]).ToArray())];
        for (int tile = 0; tile < tiles.PrefillTiles; tile++)
        {
            int[] words = plan[(tile * PrefillWords)..((tile + 1) * PrefillWords)];
            if (words[1] > 0)
                Count(whole, words, PrefillPairs);
        }

        for (int span = 0; span < tiles.Spans; span++)
        {
            for (int tile = 0; tile < tiles.DecodeTiles; tile++)
            {
                int first = tiles.FirstDecodeWord + (span * tiles.DecodeTiles + tile) * DecodeWords;
                int[] words = plan[first..(first + DecodeWords)];
                if (words[1] > 0)
                    Count(inSpan[span], words, words[4] == 1 ? SharedPairs : DecodePairs);
                if (words[4] == 1)
                    AssertShared(span, words[3], words[1]);
            }
        }

        for (int sequence = 0; sequence < rows.Length; sequence++)
        {
            bool decodes = rows[sequence] * group <= tiles.MostDecodePairs;
            Assert.All(whole[sequence], count => Assert.Equal(decodes ? 0 : 1, count));
            for (int pair = 0; pair < rows[sequence] * group; pair++)
            {
                int seen = lengths[sequence] - rows[sequence] + 1 + pair / group;
                for (int span = 0; span < tiles.Spans; span++)
                    Assert.InRange(inSpan[span][sequence][pair], decodes && seen > span * SpanKeys ? 1 : 0, decodes ? 1 : 0);
                if (tiles.Spans > 0)
                    Assert.Equal(decodes ? seen : 0, plan[tiles.FirstVisibleWord + starts[sequence] + pair / group]);
            }
        }

        if (tiles.Spans > 0)
        {
            int[] places = [.. Enumerable.Range(0, rows.Length)
                .Where(sequence => rows[sequence] * group <= tiles.MostDecodePairs)
                .SelectMany(sequence => plan.AsSpan(tiles.FirstPlaceWord + starts[sequence], rows[sequence]).ToArray())];
            Assert.Equal(places.Length, places.Distinct().Count());
            Assert.All(places, place => Assert.InRange(place, 0, tiles.PartRows - 1));
            Assert.Equal(tiles.Spans > 1 ? tiles.PartRows * HeadCount : 0, tiles.ArrivalWords);
            Assert.All(plan[^tiles.ArrivalWords..], arrivals => Assert.Equal(0, arrivals));
        }

        // Several sequences, of which every row sees the whole span, in the same pages.
        void AssertShared(int span, int first, int count)
        {
            int last = first;
            for (int left = count; left > 0; left -= rows[last++])
            {
                Assert.True(lengths[last] - rows[last] + 1 >= (span + 1) * SpanKeys);
                Assert.Equal(Pages(first), Pages(last));
            }

            Assert.True(last > first + 1);
            int[] Pages(int sequence) => table.AsSpan(sequence * width + span * (SpanKeys / Page), SpanKeys / Page).ToArray();
        }

        void Count(int[][] counts, int[] words, int pairs)
        {
            Assert.Equal(starts[words[3]], words[0]);
            int sequence = words[3], skipped = 0;
            for (int pair = words[2]; pair < Math.Min(words[2] + pairs, words[1] * group); pair++)
            {
                while (pair - skipped >= rows[sequence] * group)
                    skipped += rows[sequence++] * group;
                counts[sequence][pair - skipped]++;
            }
        }
    }

    private static int[] Plan(int group, int[] starts, int[] lengths, int[] table, int rows)
    {
        using var workspace = new Workspace(new CpuDevice());
        var graph = new Graph();
        Value[] inputs = [graph.Input("table", TensorType.Int32(lengths.Length, table.Length / lengths.Length)),
            graph.Input("starts", TensorType.Int32(starts.Length)), graph.Input("lengths", TensorType.Int32(lengths.Length))];
        Value plan = graph.Add(new PagedAttentionPlan(rows, group, HeadCount), inputs);
        graph.Output("plan", plan);
        var executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
        executor.Write<int>(inputs[0], table);
        executor.Write<int>(inputs[1], starts);
        executor.Write<int>(inputs[2], lengths);
        executor.Run(TestContext.Current.CancellationToken);
        return executor.Read<int>(plan);
    }
}
