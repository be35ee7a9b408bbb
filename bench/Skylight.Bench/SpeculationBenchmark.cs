using System.Diagnostics;
using System.Text.Json;
using Skylight.Bench.Models;
using Skylight.Cpu;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench;

/// <summary>
/// Answers with and without guessed tokens, of a model with random weights: one that repeats itself, one of which nothing
/// can be guessed, and one that looks as if it repeated itself and does not, in which guesses cost and bring little.
/// </summary>
internal static class SpeculationBenchmark
{
    private const int Tokens = 160, Rounds = 5, Guesses = 8;

    private sealed record Row(string Answers, int Passes, long Guessed, long Accepted, double Plain, double WithGuesses);

    /// <summary>Measures, prints and writes.</summary>
    public static int Run()
    {
        ModelConfiguration like = ModelFamily.Configuration("internvl3-1b");
        using var model = new VisionLanguageModel(like with
        {
            Language = like.Language with { LayerCount = 6, VocabularySize = 32768 },
            ImageTokenId = 32767,
            StopTokenIds = [32766],
        }, new CpuDevice(), DataType.BFloat16);
        RandomWeights.Fill(model);
        var few = Enumerable.Range(0, 3).ToDictionary(token => token, _ => 60f);
        var greedy = new SamplingOptions { Temperature = 0, MaxOutputTokens = Tokens };
        (string Name, SamplingOptions Options)[] cases =
        [
            ("repeats itself (greedy)", greedy),
            ("nothing to guess (drawn from all tokens)", greedy with { Temperature = 1, Seed = 1 }),
            ("seems to repeat (three tokens, drawn)", greedy with { Temperature = 4, Seed = 1, LogitBias = few }),
        ];
        Row[] rows = [.. cases.Select(each => Measure(model, each.Name, each.Options))];
        Console.WriteLine($"{"answer of " + Tokens + " tokens",-42} {"passes",7} {"guessed",8} {"right",7} {"plain",8} {"guesses",8}  tokens/s");
        foreach (Row row in rows)
            Console.WriteLine(
                $"{row.Answers,-42} {row.Passes,7} {row.Guessed,8} {Share(row),7:P0} {row.Plain,8:F1} {row.WithGuesses,8:F1}");
        BenchmarkReport.Write("cpu-speculation.json", "speculation", json => Write(json, rows));
        return 0;
    }

    private static Row Measure(VisionLanguageModel model, string name, SamplingOptions options)
    {
        List<double> plain = [], guessing = [];
        int[] expected = [];
        (int passes, long guessed, long accepted) = (0, 0, 0);
        using var engine = new GenerationEngine(model, cacheTokens: 512);
        // In turn; the first round makes the plans.
        for (int round = 0; round <= Rounds; round++)
        {
            foreach (bool guesses in (bool[])[false, true])
            {
                (long guessedBefore, long acceptedBefore) = (engine.GuessedTokens, engine.AcceptedTokens);
                SamplingOptions own = options with { SpeculativeTokens = guesses ? Guesses : 0 };
                var prompt = new TokenSequence([.. Enumerable.Range(0, 64).Select(index => 100 + 7 * index)], []);
                RequestRun run = engine.Add(new GenerationRequest(prompt), own);
                engine.Step();
                long start = Stopwatch.GetTimestamp();
                int count = 0;
                for (; engine.HasWork; count++)
                    engine.Step();
                double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                int[] tokens = run.Completions[0]!.Tokens;
                expected = expected.Length == 0 ? tokens : expected;
                if (!tokens.AsSpan().SequenceEqual(expected))
                    throw new InvalidOperationException($"'{name}': guesses have changed the answer.");
                if (guesses)
                    (passes, guessed, accepted) = (count, engine.GuessedTokens - guessedBefore,
                        engine.AcceptedTokens - acceptedBefore);
                if (round > 0)
                    (guesses ? guessing : plain).Add((Tokens - 1) / seconds);
            }
        }

        return new Row(name, passes, guessed, accepted, Median(plain), Median(guessing));
    }

    private static double Share(Row row) => row.Guessed == 0 ? 0 : (double)row.Accepted / row.Guessed;

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static void Write(Utf8JsonWriter json, Row[] rows)
    {
        json.WriteString("model", $"language model as InternVL3-1B's with 6 layers and 32768 tokens, bfloat16, random weights; one answer of {Tokens} " +
            $"tokens, up to {Guesses} guessed; medians of {Rounds} rounds, with and without in turn");
        json.WriteStartArray("answers");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteString("answer", row.Answers);
            json.WriteNumber("passes", row.Passes);
            json.WriteNumber("guessed", row.Guessed);
            json.WriteNumber("accepted", row.Accepted);
            json.WriteNumber("tokens_per_second_plain", Math.Round(row.Plain, 1));
            json.WriteNumber("tokens_per_second_with_guesses", Math.Round(row.WithGuesses, 1));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
