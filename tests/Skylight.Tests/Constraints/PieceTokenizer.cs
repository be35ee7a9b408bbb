using System.Text;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Tests.Constraints;

/// <summary>
/// A vocabulary of all bytes and some hundred random pieces of texts, so that characters, names and marks are split over
/// tokens in every way; the first tokens are special.
/// </summary>
internal sealed class PieceTokenizer : ITokenizer
{
    private static readonly string[] s_special = ["<|im_end|>", "<|im_start|>", "</think>"];

    private readonly List<byte[]> _tokens = [.. s_special.Select(Encoding.UTF8.GetBytes)];
    private readonly Dictionary<string, int> _numbers = [];

    public PieceTokenizer(ulong seed, params string[] texts)
    {
        for (int value = 0; value < 256; value++)
            Add([(byte)value]);
        var random = new CounterRandom(seed, 0x70);
        foreach (string text in texts)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            for (int piece = 0; piece < 60; piece++)
            {
                int start = random.Next(bytes.Length), length = 1 + random.Next(Math.Min(9, bytes.Length - start));
                Add(bytes[start..(start + length)]);
            }
        }
    }

    public const int End = 0;

    public int VocabularySize => _tokens.Count;

    public ReadOnlySpan<byte> TokenBytes(int token) => _tokens[token];

    public bool IsSpecial(int token) => token < s_special.Length;

    public int? TokenId(string specialToken) => Array.IndexOf(s_special, specialToken) is var at and >= 0 ? at : null;

    /// <summary>Cuts bytes into tokens at random.</summary>
    public int[] Cut(byte[] bytes, ref CounterRandom random)
    {
        var tokens = new List<int>();
        for (int at = 0; at < bytes.Length;)
        {
            int length = 1 + random.Next(Math.Min(9, bytes.Length - at));
            while (!_numbers.ContainsKey(Convert.ToHexString(bytes, at, length)))
                length--;
            tokens.Add(_numbers[Convert.ToHexString(bytes, at, length)]);
            at += length;
        }

        return [.. tokens];
    }

    public int[] Encode(string text, bool allowSpecial = false) => throw new NotSupportedException();

    public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false) => Encoding.UTF8.GetString(Bytes(tokens));

    public byte[] Bytes(ReadOnlySpan<int> tokens)
    {
        var bytes = new List<byte>();
        foreach (int token in tokens)
            bytes.AddRange(_tokens[token]);
        return [.. bytes];
    }

    private void Add(byte[] bytes)
    {
        if (_numbers.TryAdd(Convert.ToHexString(bytes), _tokens.Count))
            _tokens.Add(bytes);
    }
}
