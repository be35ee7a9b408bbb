using System.Buffers;
using System.Collections.Frozen;
using System.Text;
using System.Text.RegularExpressions;

namespace Skylight.Text;

/// <summary>
/// A byte-level byte-pair tokenizer as Qwen2.5 has it, read from a <c>tokenizer.json</c> as it is. Every text has
/// tokens, and decoding gives it back in normalization form C (where the file asks for that) with lone surrogates as
/// U+FFFD. Many threads may use one.
/// </summary>
/// <example>
/// <code>
/// ITokenizer tokenizer = BytePairTokenizer.Load("InternVL3-1B");
/// int[] tokens = tokenizer.Encode("What is this?", allowSpecial: false);
/// </code>
/// </example>
public sealed class BytePairTokenizer : ITokenizer
{
    private readonly byte[] _bytes;
    private readonly int[] _ends;
    private readonly FrozenDictionary<string, int> _added;
    private readonly FrozenSet<int> _special;
    private readonly AddedTokenMatcher _beforeNormalizing;
    private readonly AddedTokenMatcher _afterNormalizing;
    private readonly bool _composes;
    private readonly RegexPieces? _regex;
    private readonly PieceMerger _merger;
    private readonly PieceCache _cache = new();

    private BytePairTokenizer(TokenizerFile file)
    {
        File = file.File;
        _composes = file.Composes;
        _regex = file.Pattern == QwenPieces.Pattern ? null : MakeRegex(file);
        _added = file.Added.ToFrozenDictionary(token => token.Content, token => token.Id, StringComparer.Ordinal);
        _special = file.Added.Where(token => token.Special).Select(token => token.Id).ToFrozenSet();
        _beforeNormalizing = new AddedTokenMatcher(
            file.Added.Where(token => !token.Normalized).Select(token => (token.Content, token)));
        _afterNormalizing = new AddedTokenMatcher(file.Added.Where(token => token.Normalized)
            .Select(token => (CanonicalComposition.Apply(token.Content, _composes) ?? token.Content, token)));
        VocabularySize = Math.Max(file.Tokens.Size, file.Added.Select(token => token.Id + 1).DefaultIfEmpty(0).Max());
        (_bytes, _ends) = Spell(file, VocabularySize);
        _merger = new PieceMerger(file.Merges, ByteTokens(file));
    }

    /// <summary>The file that this was read from.</summary>
    public string File { get; }

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <summary>
    /// Reads a tokenizer: BPE on bytes, cut by any regular expression, normalizer NFC or none, decoder ByteLevel. A
    /// folder without
    /// <c>tokenizer.json</c> may hold Qwen2's older form, <c>vocab.json</c> and <c>merges.txt</c>.
    /// </summary>
    /// <param name="fileOrDirectory">A <c>tokenizer.json</c>, or the folder of a checkpoint.</param>
    /// <param name="cancellationToken">Stops reading.</param>
    /// <exception cref="TokenizerException">A file is missing, damaged, or asks for something that is not supported;
    /// names the file, the field, what was found and what is supported.</exception>
    /// <exception cref="OperationCanceledException">Reading was stopped.</exception>
    public static BytePairTokenizer Load(string fileOrDirectory, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(fileOrDirectory);
        return new BytePairTokenizer(TokenizerFile.Load(fileOrDirectory, cancellationToken));
    }

    /// <summary>Makes a tokenizer of lists.</summary>
    /// <exception cref="TokenizerException">They contradict themselves.</exception>
    internal static BytePairTokenizer Of(TokenizerLists lists, CancellationToken cancellationToken = default) =>
        new(TokenizerFile.Of(lists, cancellationToken));

    /// <inheritdoc/>
    /// <remarks>
    /// With <paramref name="allowSpecial"/> the spelling of every added token becomes that token, as in Hugging Face's
    /// tokenizers; without it none does, also of those that the file does not call special, such as
    /// <c>&lt;tool_call&gt;</c>.
    /// </remarks>
    /// <exception cref="TokenizerException">The file's regular expression, where it is not Qwen2's, takes too
    /// long.</exception>
    public int[] Encode(string text, bool allowSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        var tokens = new TokenBuffer(text.Length / 2);
        if (allowSpecial && !_beforeNormalizing.IsEmpty)
        {
            int position = 0;
            while (_beforeNormalizing.Next(text, position, out int start, out int end) is { } token)
            {
                EncodeNormalizing(text.AsSpan(position, start - position), allowSpecial, ref tokens);
                tokens.Add(token.Id);
                position = end;
            }

            EncodeNormalizing(text.AsSpan(position), allowSpecial, ref tokens);
        }
        else
        {
            EncodeNormalizing(text, allowSpecial, ref tokens);
        }

        return tokens.ToArrayAndFree();
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> tokens, bool skipSpecial = false)
    {
        byte[] bytes = ArrayPool<byte>.Shared.Rent(Math.Max(tokens.Length * 4, 64));
        int length = 0;
        foreach (int token in tokens)
        {
            ReadOnlySpan<byte> spelled = TokenBytes(token);
            if (skipSpecial && _special.Contains(token))
                continue;
            if (spelled.Length > bytes.Length - length)
            {
                byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(bytes.Length * 2, length + spelled.Length));
                bytes.AsSpan(0, length).CopyTo(larger);
                ArrayPool<byte>.Shared.Return(bytes);
                bytes = larger;
            }

            spelled.CopyTo(bytes.AsSpan(length));
            length += spelled.Length;
        }

        string text = Encoding.UTF8.GetString(bytes, 0, length);
        ArrayPool<byte>.Shared.Return(bytes);
        return text;
    }

    /// <inheritdoc/>
    public int? TokenId(string specialToken) => _added.TryGetValue(specialToken, out int id) ? id : null;

    /// <inheritdoc/>
    public IReadOnlyCollection<string> AddedTokens => _added.Keys;

    /// <inheritdoc/>
    public bool IsSpecial(int token) => _special.Contains(token);

    /// <inheritdoc/>
    /// <remarks>A number below <see cref="VocabularySize"/> that the file gives to no token has no bytes.</remarks>
    public ReadOnlySpan<byte> TokenBytes(int token)
    {
        if ((uint)token >= (uint)_ends.Length)
            throw new ArgumentOutOfRangeException(nameof(token), token,
                $"Token {token} is outside the vocabulary of {_ends.Length} tokens.");
        int start = token == 0 ? 0 : _ends[token - 1];
        return _bytes.AsSpan(start, _ends[token] - start);
    }

    private void EncodeNormalizing(ReadOnlySpan<char> text, bool allowSpecial, ref TokenBuffer tokens)
    {
        if (CanonicalComposition.Apply(text, _composes) is { } normalized)
            text = normalized;
        if (allowSpecial && !_afterNormalizing.IsEmpty)
        {
            int position = 0;
            while (_afterNormalizing.Next(text, position, out int start, out int end) is { } token)
            {
                EncodePlain(text[position..start], ref tokens);
                tokens.Add(token.Id);
                position = end;
            }

            text = text[position..];
        }

        EncodePlain(text, ref tokens);
    }

    private void EncodePlain(ReadOnlySpan<char> text, ref TokenBuffer tokens)
    {
        if (_regex is null)
        {
            for (int start = 0; start < text.Length;)
            {
                int end = QwenPieces.End(text, start);
                EncodePiece(text[start..end], ref tokens);
                start = end;
            }
        }
        else
        {
            int start = 0;
            foreach (int end in Cut(_regex, text))
            {
                EncodePiece(text[start..end], ref tokens);
                start = end;
            }
        }
    }

    private List<int> Cut(RegexPieces regex, ReadOnlySpan<char> text)
    {
        try
        {
            return regex.Ends(text);
        }
        catch (RegexMatchTimeoutException exception)
        {
            throw new TokenizerException(File,
                $"its regular expression needs more than {exception.MatchTimeout.TotalSeconds:F0} s for a text of " +
                $"{text.Length} characters.", exception);
        }
    }

    private void EncodePiece(ReadOnlySpan<char> piece, ref TokenBuffer tokens)
    {
        if (piece.Length > PieceCache.LongestPiece)
        {
            EncodeLongPiece(piece, ref tokens);
            return;
        }

        if (_cache.Find(piece, out int slot) is { } known)
        {
            tokens.Add(known);
            return;
        }

        Span<byte> bytes = stackalloc byte[PieceCache.LongestPiece * 3];
        int length = Encoding.UTF8.GetBytes(piece, bytes);
        Span<int> room = tokens.Room(length);
        int count = _merger.Merge(bytes[..length], room);
        _cache.Keep(slot, piece, room[..count]);
        tokens.Advance(count);
    }

    private void EncodeLongPiece(ReadOnlySpan<char> piece, ref TokenBuffer tokens)
    {
        byte[] bytes = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(piece.Length));
        int length = Encoding.UTF8.GetBytes(piece, bytes);
        tokens.Advance(_merger.Merge(bytes.AsSpan(0, length), tokens.Room(length)));
        ArrayPool<byte>.Shared.Return(bytes);
    }

    private static RegexPieces MakeRegex(TokenizerFile file)
    {
        try
        {
            return new RegexPieces(file.Pattern);
        }
        catch (ArgumentException exception)
        {
            throw new TokenizerException(file.File,
                $"'pre_tokenizer' has a regular expression that is not understood: {exception.Message}", exception);
        }
    }

    private static int[] ByteTokens(TokenizerFile file)
    {
        int[] tokens = new int[256];
        Span<byte> spelling = stackalloc byte[4];
        for (int value = 0; value < 256; value++)
        {
            int length = new Rune(ByteAlphabet.CharacterOf((byte)value)).EncodeToUtf8(spelling);
            tokens[value] = file.Tokens.Find(spelling[..length]);
            if (tokens[value] < 0)
                throw file.Error(
                    $"the vocabulary has no token for the byte 0x{value:X2} " +
                    $"('{ByteAlphabet.CharacterOf((byte)value)}'); supported: byte-level vocabularies, which " +
                    $"have one for each of the 256.");
        }

        return tokens;
    }

    /// <summary>The bytes of all tokens in one array, and where those of each token end.</summary>
    private static (byte[] Bytes, int[] Ends) Spell(TokenizerFile file, int size)
    {
        Dictionary<int, byte[]> added = file.Added.ToDictionary(token => token.Id,
            token => Encoding.UTF8.GetBytes(token.Content));
        byte[] bytes = new byte[file.Tokens.TextLength + added.Values.Sum(content => content.Length)];
        int[] ends = new int[size];
        int end = 0;
        for (int id = 0; id < size; id++)
        {
            ReadOnlySpan<byte> spelling = file.Tokens.Spelling(id, out bool exists);
            if (added.TryGetValue(id, out byte[]? content))
            {
                content.CopyTo(bytes, end);
                end += content.Length;
            }
            else if (exists)
            {
                // A token that is not of the alphabet stands for its spelling.
                if (!ByteAlphabet.TryDecode(spelling, bytes.AsSpan(end), out int written))
                {
                    spelling.CopyTo(bytes.AsSpan(end));
                    written = spelling.Length;
                }

                end += written;
            }

            ends[id] = end;
        }

        return (bytes, ends);
    }
}
