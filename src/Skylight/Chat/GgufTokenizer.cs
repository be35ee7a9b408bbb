using System.Collections.Immutable;
using Skylight.Checkpoints.Gguf;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>The tokenizer of a GGUF file.</summary>
internal static class GgufTokenizer
{
    private const string Prefix = "tokenizer.ggml.", Model = Prefix + "model", Cutting = Prefix + "pre",
        Tokens = Prefix + "tokens", Types = Prefix + "token_type", Merges = Prefix + "merges";

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
