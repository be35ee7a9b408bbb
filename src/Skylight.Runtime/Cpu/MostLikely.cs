namespace Skylight.Cpu;

/// <summary>The most likely tokens of a row, in order of falling logits and of ascending ids among equals.</summary>
internal static class MostLikely
{
    /// <summary>Finds them.</summary>
    /// <param name="logits">The row; none of it is NaN.</param>
    /// <param name="segments">The statistics of its segments, of logits divided by the temperature.</param>
    /// <param name="temperature">Divides the logits; above zero.</param>
    /// <param name="tokens">Takes as many as it has room for; no more than the row has.</param>
    public static void Find(ReadOnlySpan<float> logits, ReadOnlySpan<SegmentStatistics> segments, float temperature,
        Span<int> tokens)
    {
        int found = 0;
        for (int segment = 0; segment < segments.Length; segment++)
        {
            // Division keeps the order: a segment whose greatest lies below the last one found has nothing to give.
            if (found == tokens.Length && segments[segment].Maximum < logits[tokens[^1]] / temperature)
                continue;
            int first = segment * VocabularyCore.SegmentWidth,
                end = first + VocabularyCore.ColumnsOf(segment, logits.Length);
            for (int token = first; token < end; token++)
            {
                float logit = logits[token];
                // A later token is the less likely one of equals.
                if (found == tokens.Length && !(logit > logits[tokens[^1]]))
                    continue;
                int place = found < tokens.Length ? found++ : found - 1;
                for (; place > 0 && logit > logits[tokens[place - 1]]; place--)
                    tokens[place] = tokens[place - 1];
                tokens[place] = token;
            }
        }
    }
}
