using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Skylight.Text;

namespace Skylight.Bench;

/// <summary>
/// Text to tokens and back on one thread, for kinds of text that differ in how often a piece comes again and how long
/// pieces are.
/// </summary>
internal static class TokenizerBenchmark
{
    private const int Rounds = 21;
    private const int Characters = 1_000_000;

    private sealed record Row(string Text, int Bytes, int Tokens, double EncodeSpeed, double DecodeSpeed, bool IsCalm);

    /// <summary>Measures and prints; writes the results where no text is given.</summary>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        foreach (string argument in arguments)
        {
            if (!File.Exists(argument))
            {
                Console.Error.WriteLine($"There is no file '{argument}'.");
                return 2;
            }
        }

        string root = Checkout();
        string tokenizerFile = arguments.Length > 1 ? arguments[1]
            : Unpack(Path.Combine(root, "tests", "golden", "tokenizer", "tokenizer.json.gz"));
        try
        {
            return Run(arguments, root, tokenizerFile);
        }
        finally
        {
            if (arguments.Length < 2)
                File.Delete(tokenizerFile);
        }
    }

    private static int Run(ReadOnlySpan<string> arguments, string root, string tokenizerFile)
    {
        BytePairTokenizer tokenizer = BytePairTokenizer.Load(tokenizerFile);
        Measurement loading = Measurement.InTurn(7, () => BytePairTokenizer.Load(tokenizerFile));
        Console.WriteLine($"load {loading.Seconds(0) * 1e3:F0} ms{(loading.IsCalm ? "" : "  (machine busy)")}");

        (string Name, string Text)[] texts = arguments.Length > 0 ? [(arguments[0], File.ReadAllText(arguments[0]))]
            : Texts(root);
        Console.WriteLine(
            $"{"text",-28} {"bytes",10} {"tokens",9} {"encode",8} {"decode",8}  MB/s of UTF-8, one thread, medians");
        var rows = new List<Row>();
        foreach ((string name, string text) in texts)
        {
            int[] tokens = tokenizer.Encode(text);
            Measurement measured = Measurement.InTurn(Rounds, () => tokenizer.Encode(text), () => tokenizer.Decode(tokens));
            double bytes = Encoding.UTF8.GetByteCount(text);
            var row = new Row(name, (int)bytes, tokens.Length, bytes / measured.Seconds(0) / 1e6,
                bytes / measured.Seconds(1) / 1e6, measured.IsCalm);
            rows.Add(row);
            Console.WriteLine(
                $"{name,-28} {row.Bytes,10} {row.Tokens,9} {row.EncodeSpeed,8:F1} {row.DecodeSpeed,8:F0}{(row.IsCalm ? "" : "  (machine busy)")}");
        }

        if (arguments.Length == 0)
            BenchmarkReport.Write("cpu-tokenizer.json", "tokenizer", json => Write(json, loading, rows));
        return 0;
    }

    private static (string Name, string Text)[] Texts(string root)
    {
        var random = new Random(1);
        string code = string.Concat(Directory.EnumerateFiles(Path.Combine(root, "src", "Skylight"), "*.cs",
            SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(File.ReadAllText));
        string chinese = Repeat(() => random.Next(12) == 0 ? "，" : ((char)random.Next(0x4E00, 0x9000)).ToString());
        var mixed = new StringBuilder();
        for (int i = 0; i + 400 < Math.Min(code.Length, chinese.Length); i += 400)
            mixed.Append(code.AsSpan(i, 300)).Append(chinese.AsSpan(i, 90)).Append("🙂 e\u0301\n");
        return
        [
            ("mixed code, Chinese, emoji", mixed.ToString()),
            ("code", code),
            ("random Chinese", chinese),
            ("random letters, 8 a word",
                Repeat(() => random.Next(9) == 0 ? " " : ((char)random.Next('a', 'z' + 1)).ToString())),
            ("random emoji", Repeat(() => char.ConvertFromUtf32(0x1F300 + random.Next(0x200)))),
            ("one letter, one word", new string('a', Characters)),
            ("random letters, one word", Repeat(() => ((char)random.Next('a', 'z' + 1)).ToString())),
            ("spaces", new string(' ', Characters)),
        ];
    }

    private static string Repeat(Func<string> next)
    {
        var text = new StringBuilder(Characters);
        while (text.Length < Characters)
            text.Append(next());
        return text.ToString();
    }

    private static string Unpack(string packed)
    {
        string file = Path.GetTempFileName();
        using var from = new GZipStream(File.OpenRead(packed), CompressionMode.Decompress);
        using FileStream to = File.Create(file);
        from.CopyTo(to);
        return file;
    }

    private static string Checkout()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder != null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Runtime.sln")))
                return folder.FullName;
        }

        throw new InvalidOperationException(
            "The benchmark reads its tokenizer and its text from the checkout: run it from one.");
    }

    private static void Write(Utf8JsonWriter json, Measurement loading, List<Row> rows)
    {
        json.WriteString("tokenizer", "Qwen2.5's with InternVL3's added tokens, 151674 tokens");
        json.WriteString("unit",
            "MB/s of UTF-8 on one thread, median over the rounds in which nothing else had a core; every text again " +
            "and again, so short pieces are met before");
        json.WriteNumber("load_milliseconds", Math.Round(loading.Seconds(0) * 1e3));
        json.WriteStartArray("texts");
        foreach (Row row in rows)
        {
            json.WriteStartObject();
            json.WriteString("text", row.Text);
            json.WriteNumber("bytes", row.Bytes);
            json.WriteNumber("tokens", row.Tokens);
            json.WriteBoolean("machine_was_calm", row.IsCalm);
            json.WriteNumber("encode", Math.Round(row.EncodeSpeed, 1));
            json.WriteNumber("decode", Math.Round(row.DecodeSpeed));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
