using System.Globalization;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Bench.Models;

/// <summary>
/// Whether a GGUF file gives the same tokens in llama.cpp and here: texts cut by both tokenizers, and greedy
/// continuations in float32; with the mmproj that belongs to it also a question about a picture. llama.cpp rounds
/// activations to the kind of the weights (of Q8_0 and fewer bits to 8), which no setting changes: only files of F32 agree
/// to the last bits.
/// </summary>
internal static class LlamaCppParity
{
    private const string Usage =
        "parity --llama-cpp FOLDER --model FILE.gguf --mmproj FILE.gguf|--base DIR [--picture FILE] [--tokens 48]";

    // A picture of 12 tiles and its thumbnail have 3,328 features.
    private const int Context = 4096;

    private static readonly string[] s_names = ["--llama-cpp", "--model", "--mmproj", "--base", "--picture"];

    private static readonly string[] s_texts =
    [
        "The quick brown fox jumps over the lazy dog.",
        "def area(r):\n    return 3.14159 * r ** 2  # of a circle\n\n\nprint(area(10))",
        "解方程 x² − 5x + 6 = 0，并说明每一步。",
        "<|im_start|>user\nWhat's in the picture? 👩‍👩‍👧 naïve café\r\n<|im_end|>\n<|im_start|>assistant\n",
        "1234567890   \t\t mixed   spaces\n\n\n  and I'll, we've, they'RE ÄÖÜ ß ﬁ",
    ];

    /// <summary>Compares and prints; 0 where all tokens are the same.</summary>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        int newTokens = 48;
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string name = arguments[index], value = index + 1 < arguments.Length ? arguments[index + 1] : "";
            bool isNumber = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int number);
            if (value.Length == 0 || !(name == "--tokens" ? isNumber && number is > 0 and < Context / 2 : s_names.Contains(name)))
            {
                Console.Error.WriteLine($"'{name} {value}' is not understood.\nUsage: {Usage}");
                return 2;
            }

            newTokens = name == "--tokens" ? number : newTokens;
            values[name] = value;
        }

        string? folder = values.GetValueOrDefault("--llama-cpp"), file = values.GetValueOrDefault("--model");
        string? projector = values.GetValueOrDefault("--mmproj"), vision = projector ?? values.GetValueOrDefault("--base");
        if (folder is null || file is null || vision is null)
        {
            Console.Error.WriteLine($"--llama-cpp, --model and --mmproj or --base are needed.\nUsage: {Usage}");
            return 2;
        }

        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        BytePairTokenizer? tokenizer = null;
        try
        {
            tokenizer = GgufTokenizer.Load(file, CancellationToken.None);
        }
        catch (TokenizerException exception) when (projector is null)
        {
            Console.WriteLine($"no texts are compared, random tokens instead: {exception.Message}");
        }

        using VisionLanguageModel model = ModelCheckpoint.Load(file, device, vision: vision,
            imageTokenId: tokenizer?.TokenId(SpecialTokens.ImageContext));
        using var llama = new LlamaCpp(Path.GetFullPath(folder), file, Context, 1, CpuParallel.ThreadCount, isExact: true);
        Console.WriteLine($"{LlamaCpp.Variant}; {llama.Description.Trim()}");
        int differences = 0;
        foreach (int[] prompt in Prompts(tokenizer, model, llama, ref differences))
        {
            using var engine = new GenerationEngine(model, prompt.Length + newTokens);
            Completion completion = engine.Generate([new GenerationRequest(new TokenSequence(prompt, []))],
                new SamplingOptions { Temperature = 0, MaxOutputTokens = newTokens })[0][0];
            llama.Clear();
            llama.Decode(prompt, 1, 0);
            differences += GoOn($"prompt of {prompt.Length}", model, llama, completion, prompt.Length) ? 0 : 1;
        }

        if (projector is not null)
        {
            using var pictures = new LlamaCppPictures(llama, projector, CpuParallel.ThreadCount);
            differences += new PictureParity(model, tokenizer!, llama, pictures, newTokens)
                .Differences(values.GetValueOrDefault("--picture"));
        }

        Console.WriteLine(differences == 0 ? "all tokens are the same" : $"{differences} differences");
        return differences == 0 ? 0 : 1;
    }

    /// <summary>
    /// Goes on in llama.cpp, whose cache has the prompt, with the tokens of a greedy completion; whether it would have taken
    /// the same. Another token counts as the same where llama.cpp's logits of the two lie no further apart than twice the
    /// greatest difference of log-probabilities: then rounding decides.
    /// </summary>
    public static bool GoOn(string name, VisionLanguageModel model, LlamaCpp llama, Completion completion, int position)
    {
        double difference = 0;
        int ties = 0;
        for (int index = 0; index < completion.Tokens.Length; index++)
        {
            ReadOnlySpan<float> logits = llama.Logits(-1, model.Configuration.Language.VocabularySize);
            int greatest = System.Numerics.Tensors.TensorPrimitives.IndexOfMax(logits), ours = completion.Tokens[index];
            double sum = 0;
            foreach (float logit in logits)
                sum += Math.Exp(logit - logits[greatest]);
            difference = Math.Max(difference,
                Math.Abs(logits[ours] - logits[greatest] - Math.Log(sum) - completion.LogProbabilities[index]));
            if (ours != greatest && logits[greatest] - logits[ours] > 2 * difference)
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{name}: token {index} is {ours} here, {greatest} in llama.cpp, whose logits for them are {logits[ours]} and {logits[greatest]}; log-probabilities up to it differ by at most {difference:G2}"));
                return false;
            }

            ties += ours == greatest ? 0 : 1;
            llama.Decode([ours], 1, position + index);
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{name}: {completion.Tokens.Length} greedy tokens, {(ties == 0 ? "the same" : $"the same but for {ties} that rounding decides")}; log-probabilities differ by at most {difference:G2}"));
        return true;
    }

    /// <summary>The texts' tokens, which both must cut alike; random ones where the file's tokenizer spells no bytes.</summary>
    private static List<int[]> Prompts(BytePairTokenizer? tokenizer, VisionLanguageModel model, LlamaCpp llama,
        ref int differences)
    {
        var prompts = new List<int[]>();
        for (int index = 0; index < s_texts.Length; index++)
        {
            if (tokenizer is null)
            {
                var random = new Random(index);
                prompts.Add([.. Enumerable.Range(0, 40).Select(_ => random.Next(model.Configuration.Language.VocabularySize))]);
                continue;
            }

            int[] tokens = tokenizer.Encode(s_texts[index], allowSpecial: true), theirs = llama.Tokenize(s_texts[index]);
            bool same = tokens.AsSpan().SequenceEqual(theirs);
            differences += same ? 0 : 1;
            Console.WriteLine(same ? $"text {index}: {tokens.Length} tokens, the same"
                : $"text {index}: [{string.Join(' ', tokens)}] here, [{string.Join(' ', theirs)}] in llama.cpp");
            prompts.Add(tokens);
        }

        return prompts;
    }
}
