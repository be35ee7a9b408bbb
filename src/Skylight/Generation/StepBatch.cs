using Skylight.Models;
using Skylight.Ops;

namespace Skylight.Generation;

/// <summary>
/// New tokens of one sequence in a pass: the next token of a completion with those that are guessed behind it, or the next
/// part of a prompt.
/// </summary>
/// <param name="Run">The request.</param>
/// <param name="Sequence">The completion; null for a prompt.</param>
/// <param name="Start">The position of the first new token.</param>
/// <param name="Count">The new tokens.</param>
internal readonly record struct StepRow(RequestRun Run, SequenceRun? Sequence, int Start, int Count)
{
    public List<int> Pages => Sequence?.Pages ?? Run.Pages;

    /// <summary>Whether a token is drawn after it, or one for each completion that begins.</summary>
    public bool IsLast => Sequence is not null || Start + Count == Run.PromptLength;

    /// <summary>
    /// What is drawn after it: of a completion a token behind each of its own, of a prompt that is read one for each
    /// completion. Where a prompt goes on one token is drawn for nobody: it sees all that the pass has written of the
    /// sequence, so it shows whether that is finite before anybody else can find it.
    /// </summary>
    public IReadOnlyList<Draw> Drawing
    {
        get
        {
            (SequenceRun? sequence, int last) = (Sequence, Count - 1);
            if (sequence is not null)
                return [.. Enumerable.Range(0, Count).Select(ahead => new Draw(sequence, ahead, ahead))];
            return IsLast ? [.. Run.Sequences.Select(each => new Draw(each, 0, last))] : [new Draw(null, 0, last)];
        }
    }

    /// <summary>How many tokens are drawn after it.</summary>
    public int DrawCount => Sequence is not null ? Count : IsLast ? Run.Sequences.Length : 1;

    public int TokenAt(int index) => Sequence is null ? Run.Request.Prompt.Tokens[Start + index]
        : index == 0 ? Sequence.Tokens[^1] : Sequence.Guess[index - 1];
}

/// <summary>A token that a pass draws.</summary>
/// <param name="Sequence">The completion whose it is; null where nobody gets it.</param>
/// <param name="Ahead">How many guessed tokens it takes for written.</param>
/// <param name="Offset">Behind which of its row's new tokens it comes.</param>
internal readonly record struct Draw(SequenceRun? Sequence, int Ahead, int Offset);

/// <summary>
/// What one pass of the language model reads: a row for each completion and for each prompt that takes part.
/// </summary>
internal sealed class StepBatch
{
    // A guess is a row more, for which no weights are read again. With as many completions nothing is guessed, so that
    // none of them waits for more rows than these.
    private const int MostRowsWithGuesses = 16;

    private StepBatch(IReadOnlyList<StepRow> rows, IReadOnlyList<Draw> drawing, StepShape shape,
        GenerationStep.Inputs inputs)
    {
        Rows = rows;
        Drawing = drawing;
        Shape = shape;
        Inputs = inputs;
    }

    public IReadOnlyList<StepRow> Rows { get; }

    /// <summary>The tokens that are drawn, in the order of the rows.</summary>
    public IReadOnlyList<Draw> Drawing { get; }

    public StepShape Shape { get; }

    public GenerationStep.Inputs Inputs { get; }

    /// <summary>
    /// Puts a pass together: every completion, and prompts whose pictures are encoded, as far as the budget goes.
    /// </summary>
    /// <param name="configuration">The model's.</param>
    /// <param name="cache">Gives completions the pages for their next token.</param>
    /// <param name="writing">The completions.</param>
    /// <param name="reading">The prompts.</param>
    /// <param name="budget">The most prompt tokens.</param>
    /// <returns>Null if there is nothing to run.</returns>
    public static StepBatch? Compose(ModelConfiguration configuration, KeyValueCache cache, List<SequenceRun> writing,
        List<RequestRun> reading, int budget)
    {
        var rows = new List<StepRow>(writing.Count + reading.Count);
        int room = MostRowsWithGuesses - writing.Count, guessing = writing.Count(sequence => sequence.Guesses);
        foreach (SequenceRun sequence in writing)
        {
            if (sequence.Pages.Count < KeyValueCache.PagesFor(sequence.Length + 1))
                sequence.Pages.Add(cache.Take());
            if (sequence.Guesses)
            {
                sequence.MakeGuess(Math.Max(0, room) / guessing--);
                sequence.CutGuess(PagesBehind(sequence, cache));
                room -= sequence.Guess.Count;
            }

            rows.Add(new StepRow(sequence.Run, sequence, sequence.Length, 1 + sequence.Guess.Count));
        }

        foreach (RequestRun run in reading)
        {
            if (budget == 0)
                break;
            if (run.Features.Any(picture => picture is { Rows: null }))
                continue;
            int count = Math.Min(budget, run.PromptLength - run.PrefilledTokens);
            rows.Add(new StepRow(run, null, run.PrefilledTokens, count));
            budget -= count;
        }

        return rows.Count == 0 ? null : Pack(rows, configuration);
    }

    /// <summary>
    /// Gives a completion pages for what it guesses, and says how many tokens have room there. Only pages that hold
    /// nothing: what is kept for prompts to come is worth more than a guess.
    /// </summary>
    private static int PagesBehind(SequenceRun sequence, KeyValueCache cache)
    {
        int wanted = KeyValueCache.PagesFor(sequence.Length + 1 + sequence.Guess.Count);
        while (sequence.Pages.Count < wanted && cache.HasBlankPage)
            sequence.Pages.Add(cache.Take());
        return sequence.Pages.Count * PagedAttention.PageSize - sequence.Length - 1;
    }

    /// <summary>Rounds up to 1, 2, 3, 4, 6, 8, 12, 16, 24 …, so that few plans serve all sizes.</summary>
    internal static int BucketOf(int count)
    {
        int bucket = 1;
        while (bucket < count)
        {
            if (bucket + bucket / 2 >= count && bucket > 1)
                return bucket + bucket / 2;
            bucket *= 2;
        }

        return bucket;
    }

    /// <summary>
    /// The shape that a pass of so much has. Small passes take one of few sizes; for large ones padding would cost more
    /// than a plan.
    /// </summary>
    internal static StepShape ShapeOf(int tokens, int sequences, int draws, int pages, bool hasFeatures, int adjustments) =>
        new(tokens <= 64 ? BucketOf(tokens) : (tokens + 31) / 32 * 32, BucketOf(sequences), BucketOf(draws),
            BucketOf(pages), hasFeatures, adjustments);

    private static StepBatch Pack(List<StepRow> rows, ModelConfiguration configuration)
    {
        bool hasFeatures = rows.Exists(HasFeatures);
        StepShape shape = ShapeOf(
            rows.Sum(row => row.Count), rows.Count, rows.Sum(row => row.DrawCount),
            rows.Max(row => KeyValueCache.PagesFor(row.Start + row.Count)), hasFeatures, 0);
        (int tokenCount, int sequences, int draws, int width) = (shape.Tokens, shape.Sequences, shape.Draws, shape.Pages);
        int hidden = configuration.Language.HiddenSize;
        int[] tokens = new int[tokenCount], positions = new int[tokenCount], slots = new int[tokenCount],
            table = new int[sequences * width];
        int[] starts = new int[sequences + 1], lengths = new int[sequences];
        List<Draw> drawing = [];
        List<int> lastRows = [];
        int[]? featureIndex = hasFeatures ? new int[tokenCount] : null;
        float[]? features = hasFeatures ? new float[(long)tokenCount * hidden] : null;
        Array.Fill(slots, -1);
        Array.Fill(featureIndex ?? [], -1);
        int next = 0;
        for (int index = 0; index < rows.Count; index++)
        {
            StepRow row = rows[index];
            starts[index] = next;
            foreach (Draw draw in row.Drawing)
            {
                drawing.Add(draw);
                lastRows.Add(next + draw.Offset);
            }

            lengths[index] = row.Start + row.Count;
            for (int page = 0; page < KeyValueCache.PagesFor(lengths[index]); page++)
                table[index * width + page] = row.Pages[page];
            for (int offset = 0; offset < row.Count; offset++, next++)
            {
                int position = row.Start + offset;
                tokens[next] = row.TokenAt(offset);
                positions[next] = position;
                slots[next] = row.Pages[position / PagedAttention.PageSize] * PagedAttention.PageSize
                    + position % PagedAttention.PageSize;
                if (row.Sequence is null && row.Run.Places[position] is { Image: >= 0 } place)
                {
                    featureIndex![next] = next;
                    row.Run.Features[place.Image]!.Rows.AsSpan(place.Row * hidden, hidden)
                        .CopyTo(features.AsSpan(next * hidden, hidden));
                }
            }
        }

        Array.Fill(starts, next, rows.Count, starts.Length - rows.Count);
        lastRows.AddRange(new int[draws - drawing.Count]);
        SamplingInputs sampling = SamplingInputs.Of(drawing, draws,
            configuration.Language.VocabularySize);
        var inputs = new GenerationStep.Inputs(tokens, positions, starts, lengths, slots, table, [.. lastRows],
            featureIndex, features, sampling);
        shape = shape with
        {
            Adjustments = sampling.AdjustedTokens.Length,
            Masks = sampling.MaskCount,
            TopTokens = sampling.TopTokens,
        };
        return new StepBatch(rows, drawing, shape, inputs);
    }

    private static bool HasFeatures(StepRow row) =>
        row.Sequence is null && row.Run.Places.AsSpan(row.Start, row.Count).ContainsAnyExcept(FeaturePlace.Text);
}
