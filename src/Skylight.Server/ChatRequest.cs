using Skylight.Chat;

namespace Skylight.Server;

/// <summary>What a client asks for.</summary>
/// <param name="Messages">The conversation.</param>
/// <param name="Options">How answers are made.</param>
/// <param name="Count">How many answers.</param>
/// <param name="Stream">Whether they come in pieces.</param>
/// <param name="IncludeUsage">Whether a stream ends with the usage.</param>
internal sealed record ChatRequest(IReadOnlyList<Message> Messages, GenerationOptions Options, int Count, bool Stream,
    bool IncludeUsage)
{
    /// <summary>The options of one of the answers: each has its own random numbers.</summary>
    public GenerationOptions OptionsOf(int choice) => Options.Seed is { } seed
        ? Options with { Seed = unchecked(seed + (ulong)choice) } : Options;
}
