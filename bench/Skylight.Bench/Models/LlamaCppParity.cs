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
/// continuations in float32. Where a continuation differs, how close the two tokens were says whether it is rounding:
/// llama.cpp rounds the inputs of quantised weights to 8 bits.
/// </summary>
internal static class LlamaCppParity
{
    private const string Usage = "parity --llama-cpp FOLDER --model FILE.gguf --base DIR [--tokens 48]";
    private const int Context = 1024;

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
        string? folder = null, file = null, vision = null;
        int newTokens = 48;
        for (int index = 0; index < arguments.Length; index += 2)
        {
            string value = index + 1 < arguments.Length ? arguments[index + 1] : "";
            bool understood = value.Length > 0;
            switch (arguments[index])
            {
                case "--llama-cpp":
                    folder = Path.GetFullPath(value);
                    break;
                case "--model":
                    file = value;
                    break;
                case "--base":
                    vision = value;
                    break;
                case "--tokens":
                    understood = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out newTokens)
                        && newTokens is > 0 and < Context / 2;
                    break;
                default:
                    understood = false;
                    break;
            }

            if (!understood)
            {
                Console.Error.WriteLine($"'{arguments[index]} {value}' is not understood.\nUsage: {Usage}");
                return 2;
            }
        }

        if (folder is null || file is null || vision is null)
        {
            Console.Error.WriteLine($"--llama-cpp, --model and --base are needed.\nUsage: {Usage}");
            return 2;
        }

        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        using VisionLanguageModel model = ModelCheckpoint.Load(file, device, vision: vision);
        using var llama = new LlamaCpp(folder, file, Context, 1, CpuParallel.ThreadCount, isExact: true);
        Console.WriteLine($"{LlamaCpp.Variant}; {llama.Description.Trim()}");
        int differences = 0;
        foreach (int[] prompt in Prompts(file, model, llama, ref differences))
            differences += Compare(model, llama, prompt, newTokens) ? 0 : 1;
        Console.WriteLine(differences == 0 ? "all tokens are the same" : $"{differences} differences");
        return differences == 0 ? 0 : 1;
    }

    /// <summary>The texts' tokens, which both must cut alike; random ones where the file's tokenizer spells no bytes.</summary>
    private static List<int[]> Prompts(string file, VisionLanguageModel model, LlamaCpp llama, ref int differences)
    {
        BytePairTokenizer? tokenizer = null;
        try
        {
            tokenizer = GgufTokenizer.Load(file, CancellationToken.None);
        }
        catch (TokenizerException exception)
        {
            Console.WriteLine($"no texts are compared, random tokens instead: {exception.Message}");
        }

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

    private static bool Compare(VisionLanguageModel model, LlamaCpp llama, int[] prompt, int newTokens)
    {
        using var engine = new GenerationEngine(model, prompt.Length + newTokens);
        Completion completion = engine.Generate([new GenerationRequest(new TokenSequence(prompt, []))],
            new SamplingOptions { Temperature = 0, MaxOutputTokens = newTokens })[0][0];
        llama.Clear();
        llama.Decode(prompt, 1, 0);
        double difference = 0;
        for (int index = 0; index < newTokens; index++)
        {
            ReadOnlySpan<float> logits = llama.Logits(-1, model.Configuration.Language.VocabularySize);
            int greatest = System.Numerics.Tensors.TensorPrimitives.IndexOfMax(logits), ours = completion.Tokens[index];
            double sum = 0;
            foreach (float logit in logits)
                sum += Math.Exp(logit - logits[greatest]);
            difference = Math.Max(difference,
                Math.Abs(logits[ours] - logits[greatest] - Math.Log(sum) - completion.LogProbabilities[index]));
            if (ours != greatest)
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"prompt of {prompt.Length}: token {index} is {ours} here, {greatest} in llama.cpp, whose logits for them are {logits[ours]} and {logits[greatest]}; log-probabilities up to it differ by at most {difference:G2}"));
                return false;
            }

            llama.Decode([greatest], 1, prompt.Length + index);
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"prompt of {prompt.Length}: {newTokens} greedy tokens, the same; log-probabilities differ by at most {difference:G2}"));
        return true;
    }
}
