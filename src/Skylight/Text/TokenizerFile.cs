using System.Text;
using System.Text.Json;

namespace Skylight.Text;

/// <summary>
/// What the files of a byte-level byte-pair tokenizer say, checked; <see cref="BytePairTokenizer"/> is made of it.
/// </summary>
internal sealed class TokenizerFile
{
    private const string Name = "tokenizer.json";
    private const long MostBytes = 1L << 29;

    private TokenizerFile(string file, int expectedTokens)
    {
        File = file;
        Tokens = new TokenTable(expectedTokens);
    }

    /// <summary>The file.</summary>
    public string File { get; }

    /// <summary>The tokens of the model; added tokens that are not among them are not.</summary>
    public TokenTable Tokens { get; }

    /// <summary>The merges, lowest rank first.</summary>
    public MergeTable Merges { get; private set; } = new(0);

    /// <summary>The same in their order: left, right and what they make.</summary>
    public IReadOnlyList<(int Left, int Right, int Merged)> MergeOrder { get; private set; } = [];

    /// <summary>The added tokens.</summary>
    public List<AddedToken> Added { get; } = [];

    /// <summary>The regular expression that cuts text into pieces.</summary>
    public string Pattern { get; private set; } = QwenPieces.Pattern;

    /// <summary>Whether text is brought into normalization form C.</summary>
    public bool Composes { get; private set; }

    /// <summary>
    /// Reads a <c>tokenizer.json</c>, or a folder that holds one, or else one with <c>vocab.json</c> and
    /// <c>merges.txt</c> of Qwen2.
    /// </summary>
    public static TokenizerFile Load(string fileOrDirectory, CancellationToken cancellationToken)
    {
        if (!Directory.Exists(fileOrDirectory))
            return LoadJson(fileOrDirectory, cancellationToken);
        string file = Path.Combine(fileOrDirectory, Name);
        if (System.IO.File.Exists(file))
            return LoadJson(file, cancellationToken);
        string vocabulary = Path.Combine(fileOrDirectory, QwenTokenizerFiles.Vocabulary);
        if (!System.IO.File.Exists(vocabulary))
            throw new TokenizerException(file,
                $"is missing, and so is {QwenTokenizerFiles.Vocabulary}. A tokenizer is a folder with {Name}, or " +
                $"with {QwenTokenizerFiles.Vocabulary} and {QwenTokenizerFiles.Merges} as Qwen2 has them.");
        var result = new TokenizerFile(vocabulary, ExpectedTokens(BoundedFile.Length(vocabulary))) { Composes = true };
        QwenTokenizerFiles.Read(fileOrDirectory, result, cancellationToken);
        result.CheckAdded();
        return result;
    }

    /// <summary>Takes the lists of Qwen2's tokenizer, of which normalizer and expression are known.</summary>
    public static TokenizerFile Of(TokenizerLists lists, CancellationToken cancellationToken)
    {
        var result = new TokenizerFile(lists.File, Math.Clamp(lists.Tokens.Length, 256, 1 << 18)) { Composes = true };
        if (lists.Tokens.Length > TokenTable.MostTokens)
            throw result.Error(
                $"'{lists.TokensField}' has {lists.Tokens.Length} tokens; supported: up to {TokenTable.MostTokens}.");
        for (int id = 0; id < lists.Tokens.Length; id++)
        {
            TokenKind kind = lists.Kinds[id];
            if (kind == TokenKind.Unused)
                continue;
            ReadOnlySpan<byte> spelling = lists.Tokens[id].Span;
            if (spelling.IsEmpty || !System.Text.Unicode.Utf8.IsValid(spelling))
                throw result.Error(
                    $"'{lists.TokensField}[{id}]' is {(spelling.IsEmpty ? "empty" : "not UTF-8")}. The file is corrupt.");
            if (kind != TokenKind.Plain)
                result.Added.Add(new AddedToken(id, Encoding.UTF8.GetString(spelling), kind == TokenKind.Special));
            else if (!result.Tokens.TryAdd(spelling, id))
                throw result.DuplicateToken(lists.TokensField, spelling, id);
            if ((id & 0xFFFF) == 0)
                cancellationToken.ThrowIfCancellationRequested();
        }

        var merges = new List<(int, int, int)>(lists.Merges.Length);
        for (int index = 0; index < lists.Merges.Length; index++)
            merges.Add(result.Merge(lists.MergesField, index, lists.Merges[index].Span));
        result.SetMerges(lists.MergesField, merges);
        result.CheckAdded();
        return result;
    }

    /// <summary>
    /// The reverse of <see cref="Of"/>: lists of as many tokens as a model has, of a tokenizer that cuts and composes as
    /// Qwen2's does.
    /// </summary>
    /// <exception cref="TokenizerException">It does not, or has more tokens.</exception>
    public TokenizerLists ToLists(int size)
    {
        if (Pattern != QwenPieces.Pattern || !Composes)
            throw Error(
                $"{(Composes ? "cuts text by another expression" : "does not compose characters (NFC)")} than Qwen2's; " +
                $"lists of tokens and merges alone, as GGUF files have them, cannot say so.");
        int tokens = Math.Max(Tokens.Size, Added.Select(token => token.Id + 1).DefaultIfEmpty(0).Max());
        if (tokens > size)
            throw Error($"has {tokens} tokens, and the model {size}. It belongs to another model.");
        Dictionary<int, AddedToken> added = Added.ToDictionary(token => token.Id);
        var spellings = new ReadOnlyMemory<byte>[size];
        var kinds = new TokenKind[size];
        for (int id = 0; id < size; id++)
        {
            ReadOnlySpan<byte> spelling = Tokens.Spelling(id, out bool exists);
            (spellings[id], kinds[id]) = added.TryGetValue(id, out AddedToken? token)
                ? (Encoding.UTF8.GetBytes(token.Content), token.Special ? TokenKind.Special : TokenKind.Added)
                : exists ? (spelling.ToArray(), TokenKind.Plain) : (Encoding.UTF8.GetBytes($"[PAD{id}]"), TokenKind.Unused);
        }

        return new TokenizerLists(File, "tokens", [.. spellings], [.. kinds], "merges", [.. MergeOrder.Select(
            merge => (ReadOnlyMemory<byte>)(byte[])[.. Tokens.Spelling(merge.Left, out _), (byte)' ',
                .. Tokens.Spelling(merge.Right, out _)])]);
    }

    /// <summary>Reads a file of text or JSON, saying what is wrong if it cannot be had.</summary>
    public static byte[] ReadBytes(string file)
    {
        try
        {
            byte[] bytes = BoundedFile.Read(file, MostBytes);
            if (bytes.AsSpan().StartsWith("version https://git-lfs"u8))
                throw new TokenizerException(file,
                    "this is a git-lfs pointer, not the data. Run `git lfs pull` in the repository that it came from.");
            return bytes.AsSpan().StartsWith("GGUF"u8) ? throw new TokenizerException(file,
                "this is a GGUF file, whose tokenizer is read with its model (ChatModel.LoadAsync).") : bytes;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException(file, $"cannot be read: {exception.Message}", exception);
        }
    }

    /// <summary>
    /// Runs something that reads JSON; what the JSON reader finds wrong becomes an error that names the file.
    /// </summary>
    public static void ReadingJson(string file, Action read)
    {
        try
        {
            read();
        }
        catch (JsonException exception)
        {
            throw new TokenizerException(file,
                $"is not valid JSON, or only half of the file is here: {JsonText.Plain(exception).Message}", exception);
        }
    }

    /// <summary>Makes the error for something at fault in this tokenizer's file.</summary>
    public TokenizerException Error(string message) => new(File, message);

    /// <summary>Reads the vocabulary, an object of spellings and numbers; the reader stands on its opening brace.</summary>
    public void ReadVocabulary(ref Utf8JsonReader json, string field, CancellationToken cancellationToken)
    {
        if (json.TokenType != JsonTokenType.StartObject)
            throw Error($"'{field}' is {Describe(json.TokenType)}; supported: an object of tokens and their numbers.");
        byte[] spelling = new byte[256];
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            if (json.ValueSpan.Length > spelling.Length)
                spelling = new byte[json.ValueSpan.Length];
            int length = json.CopyString(spelling);
            json.Read();
            if (json.TokenType != JsonTokenType.Number || !json.TryGetInt32(out int id) || id < 0
                || id >= TokenTable.MostTokens)
                throw Error(
                    $"'{field}' gives the token '{Encoding.UTF8.GetString(spelling.AsSpan(0, length))}' " +
                    $"{Describe(json.TokenType)} as its number; supported: a whole number from 0 to " +
                    $"{TokenTable.MostTokens - 1}.");
            if (!Tokens.TryAdd(spelling.AsSpan(0, length), id))
                throw DuplicateToken(field, spelling.AsSpan(0, length), id);
            if ((Tokens.Count & 0xFFFF) == 0)
                cancellationToken.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Takes the merges, all at once.</summary>
    public void SetMerges(string field, List<(int Left, int Right, int Merged)> merges)
    {
        Merges = new MergeTable(merges.Count);
        MergeOrder = merges;
        for (int rank = 0; rank < merges.Count; rank++)
            Merges.Set(merges[rank].Left, merges[rank].Right, rank, merges[rank].Merged);
        if (merges.Count == 0 && Tokens.Count > 256 + Added.Count)
            throw Error($"'{field}' is empty though there are {Tokens.Count} tokens; is the file complete?");
    }

    /// <summary>Looks up the tokens of a merge.</summary>
    public (int Left, int Right, int Merged) Merge(string field, int index, ReadOnlySpan<byte> left,
        ReadOnlySpan<byte> right)
    {
        Span<byte> joined = left.Length + right.Length <= 512 ? stackalloc byte[512] : new byte[left.Length + right.Length];
        left.CopyTo(joined);
        right.CopyTo(joined[left.Length..]);
        return (Find(left), Find(right), Find(joined[..(left.Length + right.Length)]));

        int Find(ReadOnlySpan<byte> spelling)
        {
            int id = Tokens.Find(spelling);
            return id >= 0 ? id
                : throw Error(
                    $"'{field}[{index}]' needs the token '{Encoding.UTF8.GetString(spelling)}', which the vocabulary " +
                    $"does not have; the merges belong to another vocabulary.");
        }
    }

    /// <summary>Looks up the tokens of a merge that is written as "left right".</summary>
    public (int Left, int Right, int Merged) Merge(string field, int index, ReadOnlySpan<byte> line)
    {
        int space = line.IndexOf((byte)' ');
        if (space <= 0 || space == line.Length - 1 || line[(space + 1)..].Contains((byte)' '))
            throw Error(
                $"'{field}[{index}]' is '{Encoding.UTF8.GetString(line)}'; supported: two tokens with a space " +
                $"between them.");
        return Merge(field, index, line[..space], line[(space + 1)..]);
    }

    private static TokenizerFile LoadJson(string file, CancellationToken cancellationToken)
    {
        if (!System.IO.File.Exists(file))
            throw new TokenizerException(file, "is missing.");
        byte[] bytes = ReadBytes(file);
        cancellationToken.ThrowIfCancellationRequested();
        var result = new TokenizerFile(file, ExpectedTokens(bytes.Length));
        ReadingJson(file, () => result.Read(bytes, cancellationToken));
        result.CheckAdded();
        return result;
    }

    // A token takes some thirty bytes of file with its merge.
    private static int ExpectedTokens(long fileLength) => (int)Math.Clamp(fileLength / 32, 256, 1 << 18);

    private void Read(byte[] bytes, CancellationToken cancellationToken)
    {
        Utf8JsonReader json = JsonText.Reader(bytes);
        var fields = new HashSet<string>(StringComparer.Ordinal);
        bool hasModel = false, hasPieces = false, hasDecoder = false;
        if (!json.Read() || json.TokenType != JsonTokenType.StartObject)
            throw Error("must hold a JSON object.");
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            string field = json.GetString()!;
            if (!fields.Add(field))
                throw Error($"'{field}' is there twice.");
            json.Read();
            switch (field)
            {
                case "added_tokens":
                    ReadAdded(JsonText.ParseValue(ref json));
                    break;
                case "normalizer":
                    Composes = TokenizerParts.Composes(this, JsonText.ParseValue(ref json));
                    break;
                case "pre_tokenizer":
                    Pattern = TokenizerParts.Pattern(this, JsonText.ParseValue(ref json));
                    hasPieces = true;
                    break;
                case "post_processor":
                    TokenizerParts.CheckPostProcessor(this, JsonText.ParseValue(ref json));
                    break;
                case "decoder":
                    TokenizerParts.CheckDecoder(this, JsonText.ParseValue(ref json));
                    hasDecoder = true;
                    break;
                case "model":
                    ReadModel(ref json, cancellationToken);
                    hasModel = true;
                    break;
                default:
                    // "version"; "truncation" and "padding", which are about batches of whole texts.
                    json.Skip();
                    break;
            }
        }

        // Reports what follows the object, if anything does.
        json.Read();
        if (!hasModel || !hasPieces || !hasDecoder)
            throw Error($"'{(!hasModel ? "model" : !hasPieces ? "pre_tokenizer" : "decoder")}' is missing.");
    }

    private void ReadModel(ref Utf8JsonReader json, CancellationToken cancellationToken)
    {
        if (json.TokenType != JsonTokenType.StartObject)
            throw Error($"'model' is {Describe(json.TokenType)}; supported: an object.");
        string? type = null;
        var fields = new HashSet<string>(StringComparer.Ordinal);
        bool hasVocabulary = false, hasMerges = false;
        Utf8JsonReader merges = default;
        Utf8JsonReader start = json;

        // The type comes first: a vocabulary of another type looks different.
        while (start.Read() && start.TokenType == JsonTokenType.PropertyName)
        {
            bool isType = start.ValueTextEquals("type");
            start.Read();
            if (isType)
            {
                type = start.TokenType == JsonTokenType.String ? start.GetString()
                    : throw Error($"'model.type' is {Describe(start.TokenType)}; supported: 'BPE'.");
                break;
            }

            start.Skip();
        }

        if (type != "BPE")
            throw Error(type is null ? "'model.type' is missing; supported: 'BPE'."
                : $"'model.type' is '{type}'; supported: 'BPE'.");
        while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
        {
            string field = json.GetString()!;
            if (!fields.Add(field))
                throw Error($"'model.{field}' is there twice.");
            json.Read();
            switch (field)
            {
                case "vocab":
                    ReadVocabulary(ref json, "model.vocab", cancellationToken);
                    hasVocabulary = true;
                    break;
                case "merges":
                    merges = json;
                    json.Skip();
                    hasMerges = true;
                    break;
                default:
                    TokenizerParts.CheckModelField(this, field, JsonText.ParseValue(ref json));
                    break;
            }
        }

        if (!hasVocabulary || !hasMerges)
            throw Error($"'model.{(hasVocabulary ? "merges" : "vocab")}' is missing.");
        ReadMerges(ref merges, cancellationToken);
    }

    private void ReadMerges(ref Utf8JsonReader json, CancellationToken cancellationToken)
    {
        const string Field = "model.merges";
        if (json.TokenType != JsonTokenType.StartArray)
            throw Error($"'{Field}' is {Describe(json.TokenType)}; supported: a list.");
        var merges = new List<(int, int, int)>(Tokens.Count);
        byte[] left = new byte[256], right = new byte[256];
        for (int index = 0; json.Read() && json.TokenType != JsonTokenType.EndArray; index++)
        {
            if (json.TokenType == JsonTokenType.String)
            {
                ReadOnlySpan<byte> line = Copy(ref json, ref left);
                if (!line.StartsWith("#version"u8))
                    merges.Add(Merge(Field, index, line));
            }
            else if (json.TokenType == JsonTokenType.StartArray && json.Read() && json.TokenType == JsonTokenType.String)
            {
                ReadOnlySpan<byte> first = Copy(ref json, ref left);
                json.Read();
                ReadOnlySpan<byte> second = json.TokenType == JsonTokenType.String ? Copy(ref json, ref right)
                    : throw BadMerge(index);
                json.Read();
                if (json.TokenType != JsonTokenType.EndArray)
                    throw BadMerge(index);
                merges.Add(Merge(Field, index, first, second));
            }
            else
            {
                throw BadMerge(index);
            }

            if ((index & 0xFFFF) == 0)
                cancellationToken.ThrowIfCancellationRequested();
        }

        SetMerges(Field, merges);

        TokenizerException BadMerge(int index) =>
            Error($"'{Field}[{index}]' is not supported; supported: \"left right\" or [\"left\", \"right\"].");
    }

    private static ReadOnlySpan<byte> Copy(ref Utf8JsonReader json, ref byte[] buffer)
    {
        if (!json.ValueIsEscaped)
            return json.ValueSpan;
        if (json.ValueSpan.Length > buffer.Length)
            buffer = new byte[json.ValueSpan.Length];
        return buffer.AsSpan(0, json.CopyString(buffer));
    }

    private void ReadAdded(JsonElement list)
    {
        if (list.ValueKind == JsonValueKind.Null)
            return;
        if (list.ValueKind != JsonValueKind.Array)
            throw Error($"'added_tokens' is {TokenizerParts.Shorten(list)}; supported: a list.");
        int index = 0;
        foreach (JsonElement element in list.EnumerateArray())
        {
            string path = $"added_tokens[{index++}]";
            Added.Add(TokenizerParts.AddedToken(this, path, element, TokenizerParts.Integer(this, path, element, "id")));
        }
    }

    /// <summary>
    /// Added tokens come before or after the vocabulary in the file, so they are checked when all is read.
    /// </summary>
    private void CheckAdded()
    {
        var byId = new Dictionary<int, string>();
        var byContent = new HashSet<string>(StringComparer.Ordinal);
        foreach (AddedToken token in Added)
        {
            if (!byContent.Add(token.Content))
                throw Error($"'added_tokens' gives '{token.Content}' twice.");
            if (!byId.TryAdd(token.Id, token.Content))
                throw Error($"'added_tokens' gives {token.Id} to both '{byId[token.Id]}' and '{token.Content}'.");
            byte[] content = Encoding.UTF8.GetBytes(token.Content);
            ReadOnlySpan<byte> spelling = Tokens.Spelling(token.Id, out bool exists);
            if (exists && !spelling.SequenceEqual(content))
                throw Error(
                    $"'added_tokens' gives {token.Id} to '{token.Content}', and the vocabulary gives it to " +
                    $"'{Encoding.UTF8.GetString(spelling)}'.");
            int other = Tokens.Find(content);
            if (other >= 0 && other != token.Id)
                throw Error(
                    $"'added_tokens' gives '{token.Content}' the number {token.Id}, and the vocabulary gives it {other}.");
        }
    }

    private TokenizerException DuplicateToken(string field, ReadOnlySpan<byte> spelling, int id)
    {
        string text = Encoding.UTF8.GetString(spelling);
        ReadOnlySpan<byte> other = Tokens.Spelling(id, out bool exists);
        return Error(exists ? $"'{field}' gives {id} to both '{Encoding.UTF8.GetString(other)}' and '{text}'."
            : $"'{field}' gives the token '{text}' twice.");
    }

    private static string Describe(JsonTokenType type) => type switch
    {
        JsonTokenType.StartObject => "an object",
        JsonTokenType.StartArray => "a list",
        JsonTokenType.String => "a string",
        JsonTokenType.Number => "such a number",
        JsonTokenType.True => "true",
        JsonTokenType.False => "false",
        JsonTokenType.Null => "null",
        _ => "something else",
    };
}
