using System.Collections.Immutable;
using Skylight.Checkpoints.Gguf;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>The tokenizer of a GGUF file.</summary>
internal static class GgufTokenizer
{
    private const string Prefix = "tokenizer.ggml.", Model = Prefix + "model", Cutting = Prefix + "pre",
        Tokens = Prefix + "tokens", Types = Prefix + "token_type", Merges = Prefix + "merges",
        EndOfText = "<|endoftext|>";

    /// <summary>Reads it.</summary>
    /// <param name="file">The language model's file, or one of its parts.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="Checkpoints.CheckpointException">The file cannot be read.</exception>
    /// <exception cref="TokenizerException">It has no tokenizer, or one that is not supported.</exception>
    public static BytePairTokenizer Load(string file, CancellationToken cancellationToken)
    {
        using GgufFiles files = GgufFiles.Open(file);
        return Of(files.Metadata, cancellationToken);
    }

    /// <summary>Adds the tokenizer of a checkpoint folder to what a file says, with its template and the tokens that end a
    /// text.</summary>
    /// <param name="directory">The folder.</param>
    /// <param name="configuration">The model, to which the tokenizer must belong.</param>
    /// <param name="builder">What the file says.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="TokenizerException">It cannot be read, or GGUF cannot have it.</exception>
    public static void Write(string directory, ModelConfiguration configuration, GgufBuilder builder,
        CancellationToken cancellationToken)
    {
        TokenizerFile file = TokenizerFile.Load(directory, cancellationToken);
        TokenizerLists lists = file.ToLists(configuration.Language.VocabularySize);
        builder.Text(Model, "gpt2").Text(Cutting, "qwen2")
            .Texts(Tokens, [.. lists.Tokens.Select(token => token.ToArray())])
            .Integers(Types, [.. lists.Kinds.Select(kind => kind switch
            {
                TokenKind.Plain => 1,
                TokenKind.Special => 3,
                TokenKind.Added => 4,
                _ => 5,
            })])
            .Texts(Merges, [.. lists.Merges.Select(merge => merge.ToArray())])
            .Flag(Prefix + "add_bos_token", false);
        // The turn's end comes first, and the text's second; llama.cpp knows both by their spelling as well.
        foreach ((string name, int token) in new[] { "eos", "eot" }.Zip(configuration.StopTokenIds))
            builder.Integer($"{Prefix}{name}_token_id", token);
        if (file.Added.Find(token => token.Content == EndOfText) is { } end)
            builder.Integer(Prefix + "bos_token_id", end.Id).Integer(Prefix + "padding_token_id", end.Id);
        if (configuration.ChatTemplate is { } template)
            builder.Text("tokenizer.chat_template", template.Source);
    }

    /// <summary>Takes it from metadata.</summary>
    public static BytePairTokenizer Of(GgufMetadata metadata, CancellationToken cancellationToken = default)
    {
        Demand(Model, metadata.Text(Model), "gpt2");
        Demand(Cutting, metadata.Text(Cutting), "qwen2");
        foreach (string key in (ReadOnlySpan<string>)["add_bos_token", "add_eos_token", "add_space_prefix"])
        {
            if (metadata.Boolean(Prefix + key) == true)
                throw new TokenizerException(metadata.File,
                    $"'{Prefix}{key}' is true; supported: false, as all models of the family have it.");
        }

        ImmutableArray<ReadOnlyMemory<byte>> tokens = Required(Tokens, metadata.Texts(Tokens));
        ImmutableArray<int> types = Required(Types, metadata.Integers(Types));
        if (types.Length != tokens.Length)
            throw new TokenizerException(metadata.File,
                $"'{Tokens}' has {tokens.Length} tokens and '{Types}' {types.Length}; supported: as many.");
        return BytePairTokenizer.Of(
            new TokenizerLists(metadata.File, Tokens, tokens, [.. types.Select(KindOf)], Merges,
                Required(Merges, metadata.Texts(Merges))),
            cancellationToken);

        void Demand(string key, string? found, string supported)
        {
            if (found != supported)
                throw new TokenizerException(metadata.File,
                    $"'{key}' is {(found is null ? "missing" : $"'{found}'")}; supported: '{supported}', the tokenizers of " +
                    $"Qwen2.5 and Qwen3.");
        }

        ImmutableArray<T> Required<T>(string key, ImmutableArray<T> list) => list.IsDefault
            ? throw new TokenizerException(metadata.File, $"'{key}' is missing: the file holds no whole tokenizer.") : list;

        TokenKind KindOf(int type, int id) => type switch
        {
            1 => TokenKind.Plain,
            2 or 3 => TokenKind.Special,
            4 => TokenKind.Added,
            5 => TokenKind.Unused,
            _ => throw new TokenizerException(metadata.File,
                $"'{Types}[{id}]' is {type}; supported: 1 (normal), 2 (unknown), 3 (control), 4 (user-defined), 5 (unused)."),
        };
    }
}
