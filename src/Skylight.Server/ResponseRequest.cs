using System.Text.Json;
using Skylight.Chat;

namespace Skylight.Server;

/// <summary>A response that a client asks for.</summary>
/// <param name="Messages">What the model reads: instructions, what was stored, and the input.</param>
/// <param name="Options">How it is made.</param>
/// <param name="Stream">Whether it comes in pieces.</param>
/// <param name="Input">What the input brought, as it is stored.</param>
/// <param name="InputBytes">What that takes, pictures included.</param>
internal sealed record ResponseRequest(IReadOnlyList<Message> Messages, GenerationOptions Options, bool Stream,
    IReadOnlyList<Message> Input, long InputBytes)
{
    /// <summary>The stored response that it goes on from; null where there is none.</summary>
    public StoredResponse? Previous { get; init; }

    /// <summary>The input, item by item.</summary>
    public IReadOnlyList<KeptItem> InputItems { get; init; } = [];

    public string? Instructions { get; init; }

    public bool Store { get; init; }

    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();

    public ResponseReasoning Reasoning { get; init; } = new(null, null);

    /// <summary>The form of the text, as it was asked for.</summary>
    public required JsonElement Text { get; init; }

    /// <summary>The choice of tools, as it was asked for.</summary>
    public required JsonElement ToolChoice { get; init; }
}
