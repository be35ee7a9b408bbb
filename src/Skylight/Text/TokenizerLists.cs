using System.Collections.Immutable;

namespace Skylight.Text;

/// <summary>What a token of a list is.</summary>
internal enum TokenKind
{
    /// <summary>A part of text, spelt in the byte alphabet.</summary>
    Plain,

    /// <summary>A special token: matched as a whole, and decoding may leave it out.</summary>
    Special,

    /// <summary>Matched as a whole, and a part of the text.</summary>
    Added,

    /// <summary>A number without a token.</summary>
    Unused,
}

/// <summary>
/// A byte-level byte-pair tokenizer of Qwen2 as lists, wherever they come from.
/// </summary>
/// <param name="File">Where they come from, for errors.</param>
/// <param name="TokensField">What the list of tokens is called there.</param>
/// <param name="Tokens">The spelling of each number, in UTF-8.</param>
/// <param name="Kinds">What each of them is.</param>
/// <param name="MergesField">What the list of merges is called there.</param>
/// <param name="Merges">Two tokens with a space between them each, lowest rank first.</param>
internal sealed record TokenizerLists(
    string File, string TokensField, ImmutableArray<ReadOnlyMemory<byte>> Tokens, ImmutableArray<TokenKind> Kinds,
    string MergesField, ImmutableArray<ReadOnlyMemory<byte>> Merges);
