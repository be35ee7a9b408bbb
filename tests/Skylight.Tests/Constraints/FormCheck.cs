using System.Text;
using Skylight.Constraints;
using Skylight.Tensors;
using Skylight.Tests.Text;

namespace Skylight.Tests.Constraints;

/// <summary>Answers of forms: whether a text is one, cut into tokens in several ways, and random ones.</summary>
internal static class FormCheck
{
    private static readonly Lazy<ConstraintVocabulary> s_real = new(() => new ConstraintVocabulary(TokenizerFixture.Real));

    /// <summary>The vocabulary of Qwen2.5.</summary>
    public static ConstraintVocabulary Real => s_real.Value;

    /// <summary>Pieces of JSON, of numbers and of letters of several lengths.</summary>
    public static PieceTokenizer Pieces { get; } = new(1, "{\"name\": \"value\", \"b\": [1, 2.5, true, null]}",
        "\"]}, {\"a\":\"\\u00e9\\n\\\"\"", "0123456789-0.25e+10", "abcabbacabc", "äöü€😀漢字", "  \n    \t", "</think>\n\n<think>");

    public static ConstraintVocabulary Small { get; } = new(Pieces);

    /// <summary>Whether a text has the form; where cuts disagree the test fails.</summary>
    public static bool Has(Constraint constraint, string text, ulong seed = 1) =>
        Has(new TokenConstraint(constraint, Small), text, seed);

    public static bool Has(TokenConstraint constraint, string text, ulong seed = 1)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        var random = new CounterRandom(seed, 0xC07);
        bool[] results = [.. Enumerable.Range(0, 3).Select(cut => Follows(constraint,
            cut == 0 ? [.. bytes.Select(value => 3 + value)] : Pieces.Cut(bytes, ref random)))];
        Assert.True(results.Distinct().Count() == 1, $"The cuts of '{text}' disagree.");
        return results[0];
    }

    /// <summary>Whether tokens may come one after the other, and the answer may end behind them.</summary>
    public static bool Follows(TokenConstraint constraint, int[] tokens)
    {
        var run = new ConstraintRun(constraint);
        foreach (int token in tokens)
        {
            if (!run.Mask.Contains(token))
                return false;
            run.Accept(token);
        }

        return run.IsComplete;
    }

    /// <summary>
    /// A random answer as bytes; null where it has not ended after many tokens. Tokens that close something are
    /// preferred, so that most answers end.
    /// </summary>
    public static byte[]? Walk(TokenConstraint constraint, ref CounterRandom random, int most = 300)
    {
        var run = new ConstraintRun(constraint);
        var tokens = new List<int>();
        while (tokens.Count < most)
        {
            int[] allowed = [.. Enumerable.Range(0, Pieces.VocabularySize).Where(run.Mask.Contains)];
            Assert.False(run.IsStuck);
            if (run.IsComplete && (allowed.Length == 0 || random.Next(3) == 0))
                return Pieces.Bytes(tokens.ToArray());
            int[] closing = [.. allowed.Where(token => Pieces.TokenBytes(token).IndexOfAny("\"]}"u8) >= 0)];
            int[] among = closing.Length > 0 && random.Next(2) == 0 ? closing : allowed;
            int token = among[random.Next(among.Length)];
            tokens.Add(token);
            run.Accept(token);
        }

        return null;
    }
}
