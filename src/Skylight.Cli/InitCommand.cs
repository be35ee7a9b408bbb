using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Skylight.Checkpoints;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Cli;

/// <summary><c>skylight init</c>: a checkpoint of random weights in the shape of a published model.</summary>
internal static class InitCommand
{
    private const string DemoNaming = "huggingface-nested", Quantized = "q4";

    public static Command Create()
    {
        var directory =
            new Argument<string>("directory") { Description = "The folder to make; it must be empty or not exist." };
        var like = new Option<string>("--like") { Description = "The model whose shape it has.", Required = true };
        like.AcceptOnlyFromAmong([.. ModelFamily.Names]);
        var seed = new Option<ulong>("--seed") { Description = "The seed of the weights.", DefaultValueFactory = _ => 0 };
        var type = new Option<string?>("--dtype")
        {
            Description =
                "The data type of the weights (bfloat16; float32 for demo). q4: all matrices in AWQ's packing of 4 bits, " +
                "also those that AutoAWQ would not take.",
        };
        type.AcceptOnlyFromAmong("bfloat16", "float32", Quantized);
        var naming =
            new Option<string?>("--naming")
            {
                Description =
                    "The names of the tensors: those of the original repositories, of the -hf ones, or of newer " +
                    "transformers (original; huggingface-nested for demo).",
            };
        naming.AcceptOnlyFromAmong("original", "huggingface", "huggingface-nested");
        var tokenizer =
            new Option<string?>("--tokenizer")
            {
                Description =
                    "A tokenizer.json, or a folder or repository with one, to copy beside the weights, so that a " +
                    "chat works. It must fit the model; demo brings its own.",
            };
        var shard = new Option<double>("--shard-gb")
        {
            Description = "The most gigabytes in one file.",
            DefaultValueFactory = _ => 5,
        };
        var command = new Command("init",
            "Make a checkpoint of random weights in the shape of a published model, for tests and measurements " +
            "without its weights.")
        {
            directory, like, seed, type, naming, tokenizer, shard,
        };
        command.SetCancellableAction((parse, cancellationToken) => Run(
            parse.GetRequiredValue(directory), parse.GetRequiredValue(like), parse.GetValue(seed), parse.GetValue(type),
            parse.GetValue(naming),
            parse.GetValue(tokenizer), parse.GetValue(shard), cancellationToken));
        return command;
    }

    private static int Run(string directory, string like, ulong seed, string? type, string? naming, string? tokenizer,
        double shard, CancellationToken cancellationToken)
    {
        if (!(shard > 0 && shard < 1e9))
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture,
                $"--shard-gb is {shard}; give a positive number of gigabytes."));
        bool isDemo = like == ModelFamily.Demo;
        type ??= isDemo ? "float32" : "bfloat16";
        naming ??= isDemo ? DemoNaming : "original";
        ModelConfiguration configuration = ModelFamily.Configuration(like);
        long parameters = KeyMap.For(configuration, CheckpointNaming.Original)
            .Entries.Sum(entry => entry.Shape.ElementCount);
        StoredType stored = type == "float32" ? StoredType.Float32 : StoredType.BFloat16;
        CheckpointWriterOptions options = Options(configuration, NamingOf(naming), isDemo && tokenizer is null) with
        {
            MaximumShardBytes = Math.Max(1, (long)(shard * 1e9)),
        };
        long bytes = type == Quantized ? RandomCheckpoint.QuantizedBytes(configuration, options) : parameters * stored.Size();
        if (tokenizer is not null && !File.Exists(tokenizer))
            tokenizer = ModelFolder.FindAsync(tokenizer, ModelParts.Description, cancellationToken).GetAwaiter().GetResult();
        options = options with
        {
            CopyFrom = tokenizer,
            Progress = new ConsoleProgress("Writing", bytes),
        };
        // A chat would find out only after gigabytes were written.
        if (tokenizer is not null)
            BytePairTokenizer.Load(tokenizer, cancellationToken)
                .EnsureFits(configuration.Language.VocabularySize, configuration.ImageTokenId);
        long start = Stopwatch.GetTimestamp();
        if (type == Quantized)
            RandomCheckpoint.WriteQuantized(directory, configuration, seed, options, cancellationToken);
        else
            RandomCheckpoint.Write(directory, configuration, stored, seed, options, cancellationToken);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{directory}: random weights in the shape of {like}, {(parameters < 1e8 ? $"{parameters / 1e6:F3} million" : $"{parameters / 1e9:F3} billion")} parameters, {(bytes < 1e8 ? $"{bytes / 1e6:F2} MB" : $"{bytes / 1e9:F2} GB")} in {type}, {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s."));
        return 0;
    }

    /// <summary>Makes what <c>init --like demo --seed SEED</c> makes.</summary>
    public static void WriteDemo(string directory, ulong seed, CancellationToken cancellationToken)
    {
        ModelConfiguration configuration = ModelFamily.Configuration(ModelFamily.Demo);
        RandomCheckpoint.Write(directory, configuration, StoredType.Float32, seed,
            Options(configuration, NamingOf(DemoNaming), bringsTokenizer: true), cancellationToken);
    }

    private static CheckpointNaming NamingOf(string naming) =>
        naming switch
        {
            "original" => CheckpointNaming.Original,
            "huggingface" => CheckpointNaming.HuggingFace,
            _ => CheckpointNaming.HuggingFaceNested,
        };

    private static CheckpointWriterOptions Options(ModelConfiguration configuration, CheckpointNaming naming,
        bool bringsTokenizer) => new()
        {
            Naming = naming,
            TextFiles = [.. bringsTokenizer ? DemoTokenizer.Files() : [], .. naming == CheckpointNaming.Original ? []
            : ProcessorFiles.Of(configuration)],
        };
}
