namespace Skylight.Execution;

/// <summary>
/// How keys and values are cut into pages, in memory and in every reduction over keys; alike on all devices.
/// </summary>
public static class KeyValuePages
{
    /// <summary>Tokens in a page: page i of a sequence holds positions 32·i to 32·i + 31.</summary>
    public const int Size = 32;
}
