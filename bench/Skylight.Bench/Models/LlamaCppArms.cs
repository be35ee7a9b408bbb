using System.Globalization;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// The language part of a model in llama.cpp, with the same weights, as arms of a measurement. It only computes logits:
/// nothing is sampled.
/// </summary>
internal sealed class LlamaCppArms : IDisposable
{
    private readonly LlamaCpp _llama;

    /// <summary>Loads a file.</summary>
    /// <param name="folder">Of the library.</param>
    /// <param name="file">A GGUF file.</param>
    /// <param name="sequences">The most sequences side by side.</param>
    /// <param name="cacheTokens">The most tokens of all of them.</param>
    public LlamaCppArms(string folder, string file, int sequences, int cacheTokens) =>
        _llama = new LlamaCpp(folder, file, (cacheTokens + 255) / 256 * 256, sequences, CpuParallel.ThreadCount);

    /// <summary>Says what runs, and how far its log-probabilities of a greedy completion lie from Skylight's.</summary>
    public string Describe(VisionLanguageModel model, TokenSequence prompt)
    {
        const int NewTokens = 8;
        using var engine = new GenerationEngine(model, prompt.Tokens.Length + NewTokens);
        Completion completion = engine.Generate([new GenerationRequest(prompt)],
            new SamplingOptions { Temperature = 0, MaxOutputTokens = NewTokens })[0][0];
        double difference = 0;
        int same = 0;
        _llama.Clear();
        _llama.Decode(prompt.Tokens, 1, 0);
        for (int index = 0; index < NewTokens; index++)
        {
            ReadOnlySpan<float> logits = _llama.Logits(-1, model.Configuration.Language.VocabularySize);
            float greatest = System.Numerics.Tensors.TensorPrimitives.Max(logits);
            double sum = 0;
            foreach (float logit in logits)
                sum += Math.Exp(logit - greatest);
            difference = Math.Max(difference,
                Math.Abs(logits[completion.Tokens[index]] - greatest - Math.Log(sum) - completion.LogProbabilities[index]));
            same += logits[completion.Tokens[index]] == greatest ? 1 : 0;
            _llama.Decode([completion.Tokens[index]], 1, prompt.Tokens.Length + index);
        }

        return string.Create(CultureInfo.InvariantCulture,
            $"llama.cpp with the same weights: greedy tokens {same} of {NewTokens} alike, log-probabilities differ by at most {difference:G2}; {LlamaCpp.Variant ?? "variant not known"}; {_llama.Description.Trim()}");
    }

    /// <summary>Reads a prompt.</summary>
    public Arm Prefill(int[] prompt) => new(() => _llama.Decode(prompt, 1, 0), _llama.Clear);

    /// <summary>Reads more after what <see cref="Decoding"/> has read, again and again.</summary>
    public Arm Continuing(int[] prompt, int[] more)
    {
        bool isRead = false;
        return new Arm(() => _llama.Decode(more, 1, prompt.Length), () =>
        {
            if (!isRead)
            {
                _llama.Clear();
                _llama.Decode(prompt, 1, 0);
            }

            isRead = true;
            _llama.Forget(0, prompt.Length);
        });
    }

    /// <summary>Adds a token to each of some sequences, which begin again after so many.</summary>
    public Arm Decoding(int[] prompt, int sequences, int newTokens)
    {
        int position = int.MaxValue;
        bool isRead = false;
        int[] next = [.. Enumerable.Repeat(prompt[0], sequences)];
        return new Arm(() => _llama.Decode(next, sequences, position++), () =>
        {
            if (position < prompt.Length + newTokens)
                return;
            position = prompt.Length;
            if (isRead)
            {
                for (int sequence = 0; sequence < sequences; sequence++)
                    _llama.Forget(sequence, position);
                return;
            }

            // Read once: it may be long, and only steps are timed.
            _llama.Clear();
            _llama.Decode(prompt, 1, 0);
            for (int sequence = 1; sequence < sequences; sequence++)
                _llama.CopyTo(sequence);
            isRead = true;
        });
    }

    /// <inheritdoc/>
    public void Dispose() => _llama.Dispose();
}
