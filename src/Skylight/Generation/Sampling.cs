namespace Skylight.Generation;

/// <summary>How tokens are chosen.</summary>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits before the softmax; 0 takes the most likely token (the lowest id of equals).</summary>
    public float Temperature { get; init; } = 1f;

    /// <summary>Only this many of the most likely tokens are eligible; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>Only the most likely tokens that together have this probability are eligible; 1 for all.</summary>
    public float TopP { get; init; } = 1f;

    /// <summary>The most tokens of a completion.</summary>
    public int MaxNewTokens { get; init; } = 256;

    /// <summary>Tokens after which a completion ends; they are part of it.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>The same seed, prompts and streams give the same completions, whatever else runs.</summary>
    public ulong Seed { get; init; }

    /// <summary>The temperature at which log-probabilities and entropies are reported: <see cref="Temperature"/>, or 1 when greedy.</summary>
    public float ScoreTemperature => Temperature == 0 ? 1f : Temperature;

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    public void Validate()
    {
        if (!(Temperature >= 0) || !float.IsFinite(Temperature))
            throw new ArgumentException($"The temperature must be 0 or more, not {Temperature}.");
        if (TopK < 0)
            throw new ArgumentException($"Top-k must be 0 (all) or more, not {TopK}.");
        if (!(TopP > 0 && TopP <= 1))
            throw new ArgumentException($"Top-p must be in (0, 1], not {TopP}.");
        if (MaxNewTokens < 1)
            throw new ArgumentException($"A completion needs at least 1 new token, not {MaxNewTokens}.");
    }
}

/// <summary>Chooses tokens from logits.</summary>
public static class Sampler
{
    /// <summary>The most likely token; of equals the lowest id.</summary>
    public static int Greedy(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int token = 1; token < logits.Length; token++)
        {
            if (logits[token] > logits[best])
                best = token;
        }

        return best;
    }

    /// <summary>Draws a token.</summary>
    /// <param name="logits">[vocabulary].</param>
    /// <param name="maximum">The greatest of logits / temperature.</param>
    /// <param name="options">Temperature, top-k, top-p.</param>
    /// <param name="uniform">A random number in [0, 1).</param>
    public static int Draw(ReadOnlySpan<float> logits, float maximum, SamplingOptions options, double uniform)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Temperature == 0)
            return Greedy(logits);
        var weights = new double[logits.Length];
        double total = 0;
        for (int token = 0; token < logits.Length; token++)
            total += weights[token] = Math.Exp(logits[token] / options.Temperature - maximum);
        bool truncated = (options.TopK > 0 && options.TopK < logits.Length) || options.TopP < 1;
        return truncated ? DrawTruncated(weights, total, options, uniform) : Walk(weights, total * uniform, null);
    }

    private static int DrawTruncated(double[] weights, double total, SamplingOptions options, double uniform)
    {
        int[] order = [.. Enumerable.Range(0, weights.Length)];
        Array.Sort(order, (left, right) => weights[left] != weights[right] ? weights[right].CompareTo(weights[left]) : left.CompareTo(right));
        int limit = options.TopK > 0 ? Math.Min(options.TopK, order.Length) : order.Length;
        double kept = 0;
        int count = 0;
        while (count < limit && (count == 0 || kept < options.TopP * total))
            kept += weights[order[count++]];
        return Walk(weights, kept * uniform, order.AsSpan(0, count).ToArray());
    }

    /// <summary>The first token whose cumulative weight exceeds the target.</summary>
    private static int Walk(double[] weights, double target, int[]? order)
    {
        double sum = 0;
        int last = 0, count = order?.Length ?? weights.Length;
        for (int index = 0; index < count; index++)
        {
            int token = order is null ? index : order[index];
            if (weights[token] <= 0)
                continue;
            last = token;
            sum += weights[token];
            if (sum > target)
                return token;
        }

        return last;
    }
}
