using Skylight.Tests.Chat;

namespace Skylight.Tests.Cli.Chat;

/// <summary>A checkpoint of a small model with the real tokenizer.</summary>
public sealed class ChatCheckpoint : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("skylight-cli-");

    public ChatCheckpoint()
    {
        Folder = Path.Combine(_folder.FullName, "tiny-model");
        TinyChatModel.WriteCheckpoint(Folder);
    }

    /// <summary>The checkpoint's folder.</summary>
    public string Folder { get; }

    /// <summary>A sample picture.</summary>
    public static string Picture(string name) => Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", name);

    public void Dispose() => _folder.Delete(recursive: true);
}
