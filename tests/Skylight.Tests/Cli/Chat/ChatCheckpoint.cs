using Skylight.Tests.Chat;

namespace Skylight.Tests.Cli.Chat;

/// <summary>A checkpoint of a small model with the real tokenizer.</summary>
public sealed class ChatCheckpoint : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public ChatCheckpoint()
    {
        Folder = _folder["tiny-model"];
        TinyChatModel.WriteCheckpoint(Folder);
    }

    /// <summary>The checkpoint's folder.</summary>
    public string Folder { get; }

    /// <summary>A sample picture.</summary>
    public static string Picture(string name) => Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", name);

    public void Dispose() => _folder.Dispose();
}
