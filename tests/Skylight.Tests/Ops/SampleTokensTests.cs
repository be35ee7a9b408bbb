using Skylight.Cpu;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cpu;

namespace Skylight.Tests.Ops;

/// <summary>Tokens drawn from logits, on the CPU.</summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class SampleTokensTests : IDisposable
{
    private const float Banned = float.NegativeInfinity;

    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    [Theory]
    [InlineData(1f, 0, 1f, 0f)]
    [InlineData(0.7f, 0, 1f, 0f)]
    [InlineData(2f, 4, 1f, 0f)]
    [InlineData(1f, 0, 0.8f, 0f)]
    [InlineData(1f, 0, 0.99f, 0f)]
    [InlineData(1.5f, 6, 0.7f, 0f)]
    [InlineData(1f, 0, 1f, 0.25f)]
    [InlineData(1f, 5, 0.95f, 0.1f)]
    [InlineData(1f, 100, 1f, 0f)]
    public void Tokens_are_drawn_in_proportion_to_their_probability(float temperature, int topK, float topP, float minP)
    {
        const int Draws = 40_000;
        // Two pairs of equals, of which a bound may keep one.
        float[] logits = [0.3f, 2f, -1f, 1.2f, Banned, 0.3f, 1.9f, 0.1f, -3f, 1.2f, 2.2f, -0.4f];
        double[] expected = Distribution(logits, temperature, topK, topP, minP);
        int[] counts = new int[logits.Length];
        float[] rows = [.. Enumerable.Repeat(logits, Draws).SelectMany(row => row)];
        foreach (int token in Sample(rows, logits.Length, new Parameters(temperature, topK, topP, minP), seed: 5).Tokens)
            counts[token]++;
        double statistic = 0;
        for (int token = 0; token < counts.Length; token++)
        {
            if (expected[token] == 0)
                Assert.Equal(0, counts[token]);
            else
                statistic += Math.Pow(counts[token] - Draws * expected[token], 2) / (Draws * expected[token]);
        }

        // 1 − 10⁻⁴ of χ², by Wilson and Hilferty.
        int freedom = expected.Count(p => p > 0) - 1;
        Assert.InRange(statistic, 0,
            freedom == 0 ? 0 : freedom * Math.Pow(1 - 2.0 / (9 * freedom) + 3.72 * Math.Sqrt(2.0 / (9 * freedom)), 3));
    }

    /// <summary>Against the definition in double precision, with equals, bans, and segments that end anywhere.</summary>
    [Theory]
    [InlineData(5003, 20, 1f, 3f)]
    [InlineData(5003, 20, 0f, 3f)]
    [InlineData(1024, 7, 0.3f, 1f)]
    [InlineData(2049, 20, 2.5f, 0.2f)]
    [InlineData(20, 20, 1f, 1f)]
    public void The_most_likely_tokens_are_those_of_the_definition(int vocabulary, int count, float temperature, float deviation)
    {
        const int Rows = 6;
        float[] logits = HeadReference.Normal(Rows * vocabulary, vocabulary, deviation);
        for (int index = 0; index < logits.Length; index++)
        {
            int row = index / vocabulary;
            // Rows of equals, of both zeros, and of bans; a few are left in any case.
            logits[index] = row == 1 ? MathF.Round(2 * logits[index]) / 2 : row == 2 ? (index % 2 == 0 ? 0f : -0f)
                : row == 3 && index % vocabulary % 3 != 1 ? Banned : logits[index];
        }

        Parameters parameters = new(temperature, 0, 1, 0);
        Array[] outputs = HeadHarness.Run(new SampleTokens(count),
            Inputs(logits, vocabulary, [.. Enumerable.Repeat(parameters, Rows)], 3));
        (int[] top, float[] scores) = ((int[])outputs[3], (float[])outputs[4]);
        double divisor = temperature == 0 ? 1 : temperature;
        for (int row = 0; row < Rows; row++)
        {
            float[] line = logits[(row * vocabulary)..((row + 1) * vocabulary)];
            double largest = line.Max() / divisor,
                logSum = largest + Math.Log(line.Sum(logit => Math.Exp(logit / divisor - largest)));
            int[] expected = [.. Enumerable.Range(0, vocabulary).OrderByDescending(token => line[token])
                .ThenBy(token => token).Take(count)];
            Assert.Equal(expected, top[(row * count)..((row + 1) * count)]);
            for (int rank = 0; rank < count; rank++)
            {
                double wanted = line[expected[rank]] / divisor - logSum;
                float score = scores[row * count + rank];
                if (double.IsNegativeInfinity(wanted))
                    Assert.Equal(float.NegativeInfinity, score);
                else
                    Assert.Equal(wanted, score, 1e-5 * Math.Max(1, Math.Abs(wanted)));
            }
        }
    }

    [Theory]
    [InlineData(1f, 0, 1f, 0f, 3f)]
    [InlineData(1f, 0, 0.9f, 0f, 3f)]
    [InlineData(1f, 50, 1f, 0f, 3f)]
    [InlineData(1f, 0, 0.999f, 0f, 0.1f)]
    [InlineData(0.6f, 4000, 0.97f, 0.001f, 1f)]
    [InlineData(1f, 2, 1f, 0f, 8f)]
    public void Of_a_large_vocabulary_just_the_eligible_tokens_are_drawn(float temperature, int topK, float topP,
        float minP, float deviation)
    {
        const int Vocabulary = 6000, Draws = 1500;
        float[] logits = HeadReference.Normal(Vocabulary, 3, deviation);
        double[] expected = Distribution(logits, temperature, topK, topP, minP);
        int[] tokens = Sample([.. Enumerable.Repeat(logits, Draws).SelectMany(row => row)], Vocabulary,
            new Parameters(temperature, topK, topP, minP), seed: 9).Tokens;
        Assert.All(tokens, token => Assert.True(expected[token] > 0, $"token {token}"));
        // In tenths of the distribution, whatever their tokens are.
        int[] cell = new int[Vocabulary];
        double[] cells = new double[10];
        double sum = 0;
        for (int token = 0; token < Vocabulary; token++)
        {
            cell[token] = Math.Min(9, (int)(sum * 10));
            cells[cell[token]] += expected[token];
            sum += expected[token];
        }

        double statistic = Enumerable.Range(0, 10).Where(index => cells[index] > 0)
            .Sum(index => Math.Pow(tokens.Count(token => cell[token] == index) - Draws * cells[index],
                2) / (Draws * cells[index]));
        Assert.InRange(statistic, 0, 34);
    }

    [Fact]
    public void The_scores_are_those_of_training_bit_for_bit_at_every_rows_temperature()
    {
        const int Rows = 12, Vocabulary = 2500;
        float[] logits = HeadReference.Normal(Rows * Vocabulary, 4, 3);
        float[] temperatures = [0, 1, 0.7f, 1.3f, 2, 0.01f, 0, 1, 0.5f, 3, 0.9f, 1.1f];
        Parameters[] parameters = [.. temperatures.Select(
            (temperature, row) => new Parameters(temperature, row % 3 * 20, row % 2 == 0 ? 1 : 0.8f, 0))];
        Drawn drawn = Sample(logits, Vocabulary, parameters, seed: 2);
        for (int row = 0; row < Rows; row++)
        {
            float[] line = logits[(row * Vocabulary)..((row + 1) * Vocabulary)];
            float[][] scores = HeadHarness.Floats(new LogProbabilities(temperatures[row] == 0 ? 1 : temperatures[row]),
                Given.Rows(line, 1, Vocabulary), Given.Ids(drawn.Tokens[row]));
            Assert.Equal((scores[0][0], scores[1][0]), (drawn.LogProbabilities[row], drawn.Entropies[row]));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void A_row_depends_on_itself_alone(int threads)
    {
        const int Rows = 9, Vocabulary = 9001;
        float[] logits = HeadReference.Normal(Rows * Vocabulary, 6, 2);
        Parameters[] parameters = [.. Enumerable.Range(0, Rows).Select(
            row => new Parameters(row % 4 * 0.5f, row % 3 * 30, row % 2 == 0 ? 1 : 0.9f, row == 7 ? 0.01f : 0))];
        CpuParallel.ThreadCount = threads;
        Drawn together = Sample(logits, Vocabulary, parameters, seed: 3);
        for (int row = 0; row < Rows; row++)
        {
            Drawn alone = Sample(logits[(row * Vocabulary)..((row + 1) * Vocabulary)], Vocabulary, [parameters[row]],
                seed: 3, firstStream: row);
            Assert.Equal((alone.Tokens[0], alone.LogProbabilities[0], alone.Entropies[0]),
                (together.Tokens[row], together.LogProbabilities[row], together.Entropies[row]));
        }
    }

    [Fact]
    public void Greedy_takes_the_lowest_id_of_equals_whatever_else_is_asked()
    {
        float[] logits = new float[3000];
        Array.Fill(logits, -0f);
        Assert.Equal(0, Sample(logits, 3000, new Parameters(0, 0, 1, 0), 1).Tokens[0]);
        logits[1500] = logits[1501] = logits[2999] = 3;
        Drawn drawn = Sample(logits, 3000, new Parameters(0, 7, 0.3f, 0.5f), 1);
        Assert.Equal(1500, drawn.Tokens[0]);
        Assert.Equal(3 - Math.Log(3 * Math.Exp(3) + 2997), drawn.LogProbabilities[0], 1e-5);
    }

    [Theory]
    [InlineData(1, 1f, 0f)]
    [InlineData(0, 1e-30f, 0f)]
    [InlineData(0, 1f, 1f)]
    public void The_narrowest_choice_is_the_most_likely_token(int topK, float topP, float minP)
    {
        float[] logits = HeadReference.Normal(5 * 4321, 8, 1);
        int[] greedy = Sample(logits, 4321, new Parameters(0, 0, 1, 0), 1).Tokens;
        Assert.Equal(greedy, Sample(logits, 4321, new Parameters(0.9f, topK, topP, minP), 77).Tokens);
    }

    [Fact]
    public void A_banned_token_is_never_drawn()
    {
        float[] logits = new float[64 * 1100];
        Array.Fill(logits, Banned);
        for (int row = 0; row < 64; row++)
            logits[row * 1100 + row * 17] = -30;
        foreach (Parameters parameters in (Parameters[])[new(0, 0, 1, 0), new(1, 0, 1, 0), new(1, 9, 0.5f, 0),
            new(3, 0, 0.999f, 0.5f)])
            Assert.Equal(Enumerable.Range(0, 64).Select(row => row * 17), Sample(logits, 1100, parameters, 4).Tokens);
    }

    [Fact]
    public void Random_bits_are_those_of_the_generator()
    {
        // 2048 equal tokens: the upper 11 bits choose.
        var random = new CounterRandom(0xFEDCBA9876543210, 0x123456789ABCDEF0, 0x1_0000_0005);
        int[] words = new int[SampleTokens.RandomWords];
        SampleTokens.WriteRandom(random, words);
        int[] tokens = (int[])HeadHarness.Run(
            new SampleTokens(), Given.Rows(new float[2048], 1, 2048), Given.Rows([1f]), Given.Ids(0), Given.Rows([1f]),
            Given.Rows([0f]), new Given(TensorType.Int32(1, words.Length), words))[0];
        Assert.Equal((int)(random.NextUInt64() >> 53), Assert.Single(tokens));
    }

    [Theory]
    [InlineData(float.NaN, SampleTokens.NotFinite)]
    [InlineData(float.PositiveInfinity, SampleTokens.NotFinite)]
    [InlineData(float.NegativeInfinity, SampleTokens.NothingToDraw)]
    public void A_row_of_which_nothing_can_be_drawn_says_so_and_changes_no_other(float bad, int token)
    {
        const int Vocabulary = 2100;
        float[] logits = HeadReference.Normal(4 * Vocabulary, 3, 1), healthy = [.. logits];
        if (bad == Banned)
            Array.Fill(logits, bad, 2 * Vocabulary, Vocabulary);
        else
            logits[2 * Vocabulary + 1999] = bad;
        foreach (Parameters parameters in (Parameters[])[new(0, 0, 1, 0), new(1, 0, 1, 0), new(1, 9, 0.5f, 0),
            new(3, 0, 0.999f, 0.1f)])
        {
            Check(logits, parameters);
            // The only one that is not −∞.
            if (float.IsNaN(bad))
            {
                float[] alone = [.. logits];
                Array.Fill(alone, Banned, 2 * Vocabulary, Vocabulary);
                alone[2 * Vocabulary + 1999] = bad;
                Check(alone, parameters);
            }
        }

        void Check(float[] given, Parameters parameters)
        {
            Drawn expected = Sample(healthy, Vocabulary, parameters, 1), drawn = Sample(given, Vocabulary, parameters, 1);
            Assert.Equal(token, drawn.Tokens[2]);
            Assert.True(float.IsNaN(drawn.LogProbabilities[2]) && float.IsNaN(drawn.Entropies[2]));
            foreach (int row in (int[])[0, 1, 3])
                Assert.Equal((expected.Tokens[row], expected.LogProbabilities[row], expected.Entropies[row]),
                    (drawn.Tokens[row], drawn.LogProbabilities[row], drawn.Entropies[row]));
        }
    }

    [Theory]
    [InlineData(-1f, 0, 1f, 0f, "the temperature must be 0 or more, not -1")]
    [InlineData(float.NaN, 0, 1f, 0f, "the temperature")]
    [InlineData(float.PositiveInfinity, 0, 1f, 0f, "the temperature")]
    [InlineData(1f, -2, 1f, 0f, "top-k must be 0 (all) or more, not -2")]
    [InlineData(1f, 0, 0f, 0f, "top-p must be in (0, 1], not 0")]
    [InlineData(1f, 0, 1.5f, 0f, "top-p")]
    [InlineData(1f, 0, float.NaN, 0f, "top-p")]
    [InlineData(1f, 0, 1f, -0.1f, "min-p must be in [0, 1]")]
    [InlineData(1f, 0, 1f, 2f, "min-p")]
    public void Parameters_out_of_range_are_named(float temperature, int topK, float topP, float minP, string message)
    {
        Parameters good = new(1, 0, 1, 0);
        string error = Assert.Throws<ArgumentOutOfRangeException>(
            () => Sample(new float[30], 10, [good, new Parameters(temperature, topK, topP, minP), good], 1)).Message;
        Assert.Contains("SampleTokens: row 1: " + message, error, StringComparison.Ordinal);
    }

    internal sealed record Parameters(float Temperature, int TopK, float TopP, float MinP);

    internal sealed record Drawn(int[] Tokens, float[] LogProbabilities, float[] Entropies);

    /// <summary>The op's inputs: row r draws the first number of stream firstStream + r.</summary>
    internal static Given[] Inputs(float[] logits, int vocabulary, Parameters[] rows, ulong seed, int firstStream = 0)
    {
        int[] words = new int[rows.Length * SampleTokens.RandomWords];
        for (int row = 0; row < rows.Length; row++)
            SampleTokens.WriteRandom(new CounterRandom(seed, (ulong)(firstStream + row)),
                words.AsSpan(row * SampleTokens.RandomWords, SampleTokens.RandomWords));
        return
        [
            Given.Rows(logits, rows.Length, vocabulary), Given.Rows([.. rows.Select(row => row.Temperature)]),
            Given.Ids([.. rows.Select(row => row.TopK)]),
            Given.Rows([.. rows.Select(row => row.TopP)]), Given.Rows([.. rows.Select(row => row.MinP)]),
            new Given(TensorType.Int32(rows.Length, SampleTokens.RandomWords), words),
        ];
    }

    private static Drawn Sample(float[] logits, int vocabulary, Parameters parameters, ulong seed) =>
        Sample(logits, vocabulary, [.. Enumerable.Repeat(parameters, logits.Length / vocabulary)], seed);

    private static Drawn Sample(float[] logits, int vocabulary, Parameters[] rows, ulong seed, int firstStream = 0)
    {
        Array[] outputs = HeadHarness.Run(new SampleTokens(), Inputs(logits, vocabulary, rows, seed, firstStream));
        return new Drawn((int[])outputs[0], (float[])outputs[1], (float[])outputs[2]);
    }

    /// <summary>By the definition, in double precision, with a sort.</summary>
    private static double[] Distribution(float[] logits, float temperature, int topK, float topP, float minP)
    {
        double largest = logits.Max() / temperature;
        double[] weights = [.. logits.Select(logit => Math.Exp(logit / temperature - largest))];
        double total = weights.Sum(), kept = 0;
        int[] order = [.. Enumerable.Range(0, logits.Length).OrderByDescending(token => logits[token])
            .ThenBy(token => token)];
        var eligible = new List<int>();
        foreach (int token in order)
        {
            if (eligible.Count > 0 && ((topK > 0 && eligible.Count >= topK) || (topP < 1 && kept >= topP * total)))
                break;
            eligible.Add(token);
            kept += weights[token];
        }

        int[] last = [.. eligible.Where(token => weights[token] > 0 && weights[token] >= minP)];
        double sum = last.Sum(token => weights[token]);
        return [.. Enumerable.Range(0, logits.Length).Select(token => last.Contains(token) ? weights[token] / sum : 0)];
    }
}
