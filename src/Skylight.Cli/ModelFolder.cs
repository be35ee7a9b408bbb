using System.CommandLine;
using Skylight.Hub;

namespace Skylight.Cli;

/// <summary>The model that every command but <c>pull</c> is given: a folder, or a repository of the hub.</summary>
internal static class ModelFolder
{
    /// <summary>What the argument is.</summary>
    public const string Description =
        "The checkpoint: a folder with config.json and *.safetensors, a GGUF file (or a folder with one of a language " +
        "model), or OWNER/NAME (or OWNER/NAME@REVISION) of the hub, which is pulled unless the cache has it.";

    /// <summary>The hub and cache of the environment, with downloads told on the error stream.</summary>
    public static HubOptions Hub => new() { Progress = new PullDisplay(Console.Error, !Console.IsErrorRedirected) };

    /// <summary>The option for the vision encoder of a GGUF file.</summary>
    public static Option<string?> CreateVisionOption() => new("--mmproj", "--base")
    {
        Description =
            "The vision encoder and connector of a GGUF file: an mmproj-*.gguf, or a folder of safetensors (or its " +
            "repository) whose own are taken; by default the one mmproj-*.gguf that lies beside it.",
    };

    /// <summary>Its folder, after it was pulled where that is needed.</summary>
    public static Task<string> FindAsync(string model, ModelParts parts, CancellationToken cancellationToken) =>
        ModelSource.FolderAsync(model, parts, Hub, cancellationToken);
}
