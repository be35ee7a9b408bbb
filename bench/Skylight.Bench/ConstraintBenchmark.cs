using System.Diagnostics;
using System.IO.Compression;
using System.Text.Json;
using Skylight.Constraints;
using Skylight.Cpu;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Bench;

/// <summary>
/// What it costs to hold answers to a form: the mask of each token on one thread, when a form is new and when it has been
/// met, with the vocabulary of Qwen2.5; and the steps of a batch in which one answer has a form, or none.
/// </summary>
internal static class ConstraintBenchmark
{
    private const int Rounds = 21, Batch = 8, StepsOfRound = 40;

    private const string Schema = """
        {"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer", "minimum": 0,
         "maximum": 150}, "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5}, "when": {"type": "string",
         "format": "date-time"}, "children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["name", "age"],
         "additionalProperties": false}
        """;

    private const string Person =
        """{"name": "Jörg of Example", "age": 42, "tags": ["first", "second one"], "when": "2024-02-29T12:00:00Z", "children": [{"name": "Ann", "age": 7}]}""";

    private const string Free =
        """{"title": "The quick brown fox", "list": [1, 2.5, {"deep": [[["x"]]]}], "none": null, "text": "It jumps over the lazy dog.\n\"Quoted\" and über"}""";

    private static readonly (string Name, Func<Constraint> Make, string Text)[] s_cases =
    [
        ("JSON schema", () => Constraint.JsonSchema(Schema), Person),
        ("JSON object", Constraint.JsonObject, Free),
        ("regular expression", () => Constraint.Regex(@"[\w .,'-]{1,400}"),
            "The quick brown fox jumps over the lazy dog, again and again, until nobody looks any more."),
        ("choice", () => Constraint.Choice("a cat", "a dog", "neither of them"), "neither of them"),
        ("grammar", () => Constraint.Grammar("root ::= sum\nsum ::= product ([-+] product)*\nproduct ::= factor ([*/] factor)*\n" +
            "factor ::= [0-9]+ | \"(\" sum \")\""), "(12+345)*(6-78)/((9))"),
    ];

    private sealed record Row(string Form, int States, int Tokens, double MakeMilliseconds, double ColdMicroseconds,
        double ColdWorst, double WarmMicroseconds, double WarmWorst);

    /// <summary>Measures, prints and writes.</summary>
    public static int Run()
    {
        BytePairTokenizer tokenizer = Tokenizer();
        long start = Stopwatch.GetTimestamp();
        var vocabulary = new ConstraintVocabulary(tokenizer);
        double tree = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        Console.WriteLine($"tree of {vocabulary.Size} tokens: {tree:F0} ms");
        Console.WriteLine($"{"form",-20} {"states",7} {"tokens",7} {"make",9} {"cold",9} {"worst",9} {"warm",8} {"worst",8}  µs a token, one thread");
        // The code itself is compiled before anything is timed.
        foreach ((_, Func<Constraint> make, string text) in s_cases)
            Measure("", make, tokenizer.Encode(text), vocabulary, rounds: 3);
        Row[] rows = [.. s_cases.Select(form => Measure(form.Name, form.Make, tokenizer.Encode(form.Text), vocabulary, Rounds))];
        foreach (Row row in rows)
            Console.WriteLine(
                $"{row.Form,-20} {row.States,7} {row.Tokens,7} {row.MakeMilliseconds,6:F2} ms {row.ColdMicroseconds,9:F1} {row.ColdWorst,9:F0} {row.WarmMicroseconds,8:F2} {row.WarmWorst,8:F1}");
        (double none, double one, double all) = Steps(tokenizer, vocabulary);
        Console.WriteLine($"a step of {Batch} answers: none held {none:F0} µs, one held {one:F0} µs, all held {all:F0} µs");
        BenchmarkReport.Write("cpu-constraints.json", "constraints", json => Write(json, tree, rows, none, one, all));
        return 0;
    }

    private static Row Measure(string name, Func<Constraint> make, int[] tokens, ConstraintVocabulary vocabulary, int rounds)
    {
        uint[] words = new uint[(vocabulary.Size + 31) / 32];
        List<double> makes = [], colds = [], coldWorsts = [], warms = [], warmWorsts = [];
        int states = 0;
        for (int round = 0; round < rounds; round++)
        {
            long start = Stopwatch.GetTimestamp();
            Constraint constraint = make();
            makes.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            states = constraint.Automaton.Count;
            var known = new TokenConstraint(constraint, vocabulary);
            (double mean, double worst) = Answer(known);
            colds.Add(mean);
            coldWorsts.Add(worst);
            (mean, worst) = Answer(known);
            warms.Add(mean);
            warmWorsts.Add(worst);
        }

        return new Row(name, states, tokens.Length, Median(makes), Median(colds), Median(coldWorsts), Median(warms),
            Median(warmWorsts));

        // As the engine does it: the mask is written for a step, then the token that was drawn is taken.
        (double Mean, double Worst) Answer(TokenConstraint constraint)
        {
            double total = 0, worst = 0;
            long start = Stopwatch.GetTimestamp();
            var run = new ConstraintRun(constraint);
            foreach (int token in tokens)
            {
                run.Write(words, [0]);
                run.Accept(token);
                double spent = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
                (total, worst) = (total + spent, Math.Max(worst, spent));
                start = Stopwatch.GetTimestamp();
            }

            return (total / tokens.Length, worst);
        }
    }

    /// <summary>Medians of a step's time, in turn; the model is narrow, so that what a form adds shows.</summary>
    private static (double None, double One, double All) Steps(BytePairTokenizer tokenizer, ConstraintVocabulary vocabulary)
    {
        ModelConfiguration tiny = ModelFamily.Configuration("tiny");
        using var model = new VisionLanguageModel(tiny with
        {
            Language = tiny.Language with { VocabularySize = Math.Max(tiny.Language.VocabularySize, vocabulary.Size) },
        }, new CpuDevice(), DataType.BFloat16);
        model.Initialize(1);
        var form = new TokenConstraint(Constraint.Regex("[a-z ]+"), vocabulary);
        int end = tokenizer.StopTokenIds()[0];
        var bias = new Dictionary<int, float> { [end] = float.NegativeInfinity };
        int[] counts = [0, 1, Batch];
        List<double>[] times = [[], [], []];
        using var engine = new GenerationEngine(model, cacheTokens: 8192);
        for (int round = 0; round < Rounds; round++)
        {
            for (int arm = 0; arm < counts.Length; arm++)
            {
                RequestRun[] runs = [.. Enumerable.Range(0, Batch).Select(index => engine.Add(
                    new GenerationRequest(new TokenSequence([1, 2, 3])) { Constraint = index < counts[arm] ? form : null },
                    new SamplingOptions { MaxOutputTokens = 100, Seed = (ulong)index, StopTokens = [end], LogitBias = bias }))];
                var steps = new List<double>();
                for (int step = 0; step < StepsOfRound; step++)
                {
                    long start = Stopwatch.GetTimestamp();
                    engine.Step();
                    steps.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
                }

                times[arm].Add(Median(steps));
                foreach (RequestRun run in runs)
                    engine.Remove(run);
            }
        }

        return (Median(times[0]), Median(times[1]), Median(times[2]));
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static BytePairTokenizer Tokenizer()
    {
        string packed = Path.Combine(BenchmarkReport.RepositoryRoot(), "tests", "golden", "tokenizer", "tokenizer.json.gz");
        string file = Path.GetTempFileName();
        try
        {
            using (var from = new GZipStream(File.OpenRead(packed), CompressionMode.Decompress))
            using (FileStream to = File.Create(file))
                from.CopyTo(to);
            return BytePairTokenizer.Load(file);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static void Write(Utf8JsonWriter json, double tree, Row[] rows, double none, double one, double all)
    {
        json.WriteString("vocabulary", "Qwen2.5's with InternVL3's added tokens, 151674 tokens");
        json.WriteString("unit", "microseconds a token on one thread, mask written and token taken; medians over rounds of the mean " +
            "of an answer and of its slowest token; cold: the first answer of a form, warm: the same answer again");
        json.WriteNumber("tree_milliseconds", Math.Round(tree));
        json.WriteStartArray("forms");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteString("form", row.Form);
            json.WriteNumber("states", row.States);
            json.WriteNumber("tokens", row.Tokens);
            json.WriteNumber("make_milliseconds", Math.Round(row.MakeMilliseconds, 2));
            json.WriteNumber("cold", Math.Round(row.ColdMicroseconds, 1));
            json.WriteNumber("cold_slowest", Math.Round(row.ColdWorst));
            json.WriteNumber("warm", Math.Round(row.WarmMicroseconds, 2));
            json.WriteNumber("warm_slowest", Math.Round(row.WarmWorst, 1));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartObject("step_microseconds");
        json.WriteString("model", $"tiny, real vocabulary, {Batch} answers at once");
        json.WriteNumber("none_held", Math.Round(none));
        json.WriteNumber("one_held", Math.Round(one));
        json.WriteNumber("all_held", Math.Round(all));
        json.WriteEndObject();
    }
}
