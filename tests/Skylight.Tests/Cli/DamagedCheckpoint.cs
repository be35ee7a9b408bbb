using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tests.Text;

namespace Skylight.Tests.Cli;

/// <summary>
/// A small model in shards with everything that a folder may hold, one file of which is damaged at a time.
/// </summary>
public sealed class DamagedCheckpoint : IDisposable
{
    private readonly TemporaryFolder _root = new();

    public DamagedCheckpoint()
    {
        Folder = Path.Combine(_root.Path, "model");
        RandomCheckpoint.Write(
            Folder, ModelFamily.Configuration("tiny"), StoredType.BFloat16, 1,
            new CheckpointWriterOptions { Naming = CheckpointNaming.Original, MaximumShardBytes = 8 << 20 });
        File.WriteAllBytes(Path.Combine(Folder, "tokenizer.json"), TokenizerFixture.RealJson);
        File.WriteAllText(Path.Combine(Folder, "generation_config.json"), """{"eos_token_id": 151645}""");
        File.WriteAllText(Path.Combine(Folder, "preprocessor_config.json"), """{"do_rescale": true}""");
        Data = Path.Combine(_root.Path, "data.jsonl");
        File.WriteAllText(Data, """{"id": "1", "question": "What is 2 + 2?", "answer": "4"}""" + "\n");
    }

    /// <summary>The checkpoint's folder.</summary>
    public string Folder { get; }

    /// <summary>A file of one question.</summary>
    public string Data { get; }

    /// <summary>A place beside the checkpoint where nothing is.</summary>
    public string Output => Path.Combine(_root.Path, "out");

    /// <summary>The command lines that load the model.</summary>
    public string[] CommandLine(string command) => command switch
    {
        "generate" => ["generate", Folder, "--prompt", "Hello", "--max-tokens", "2"],
        "eval" => ["eval", Folder, "--data", Data, "--output", Output, "--max-tokens", "2"],
        "serve" => ["serve", Folder, "--port", "0"],
        "verify" => ["verify", Folder, Golden.PathOf("vit300m-style/golden.safetensors")],
        _ => [command, Folder],
    };

    /// <summary>Runs something while a file of the folder has other content, and looks that nothing was written.</summary>
    /// <param name="name">The file.</param>
    /// <param name="replace">Puts something else in its place; the file is not there then.</param>
    /// <param name="run">Told nothing.</param>
    public async Task WithAsync(string name, Action<string> replace, Func<Task> run)
    {
        string file = Path.Combine(Folder, name), aside = Path.Combine(_root.Path, "aside");
        bool isThere = File.Exists(file);
        if (isThere)
            File.Move(file, aside);
        try
        {
            replace(file);
            string before = Names();
            await run();
            Assert.Equal(before, Names());
        }
        finally
        {
            if (File.Exists(file))
                File.Delete(file);
            else if (Directory.Exists(file))
                Directory.Delete(file);
            if (isThere)
                File.Move(aside, file);
        }
    }

    public void Dispose() => _root.Dispose();

    private string Names() =>
        string.Join('\n', Directory.EnumerateFileSystemEntries(_root.Path, "*", SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal));
}
