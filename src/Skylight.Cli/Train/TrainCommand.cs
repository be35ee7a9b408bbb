using System.CommandLine;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Hub;
using Skylight.Training.Rewards;
using Skylight.Training.Runs;
using Spectre.Console;

namespace Skylight.Cli.Train;

/// <summary><c>skylight train</c>: runs recipes, one after the other.</summary>
internal static class TrainCommand
{
    public static Command Create()
    {
        var recipes =
            new Argument<string[]>("recipe")
            {
                Description = "Recipes (YAML); several run in order, each from the result of the one before.",
                Arity = ArgumentArity.OneOrMore,
            };
        var set = new Option<string[]>("--set")
        {
            Description =
                "Sets a key of all recipes: steps=100, data.0.file=train.jsonl; NAME:key=value sets it in one of them.",
        };
        var output =
            new Option<string>("--output")
            {
                Description = "The folder of the run; with several recipes each has a folder of its name in it.",
                DefaultValueFactory = _ => "train-out",
            };
        var resume = new Option<bool>("--resume") { Description = "Go on with what is in the output folder." };
        var plan = new Option<bool>("--plan")
        {
            Description = "Only say parameters, steps, tokens and memory, before anything is loaded.",
        };
        var json = new Option<bool>("--json")
        {
            Description = "Print the result, or the plan, as one JSON object on a line; progress goes to the error stream.",
        };
        Option<string> device = DeviceOption.Create();
        Option<string?> compute = DeviceOption.CreateCompute();
        var command = new Command("train",
            "Train a checkpoint on data of your own: supervised tuning, policy optimisation, tuning on own answers.") { recipes, set, output, resume, plan, json, device, compute };
        command.SetCancellableAction((parse, cancellationToken) =>
        {
            List<Recipe> read = Read(parse.GetRequiredValue(recipes), parse.GetValue(set) ?? [], RecipeFile.Load);
            string folder = parse.GetRequiredValue(output);
            return parse.GetValue(plan)
                ? Plan(read, parse.GetValue(json), parse.GetRequiredValue(device), cancellationToken)
                : RunAsync(read, folder, parse.GetValue(resume), parse.GetValue(json),
                    () => DeviceOption.Open(parse.GetRequiredValue(device), compute: parse.GetValue(compute)),
                    cancellationToken).GetAwaiter().GetResult();
        });
        return command;
    }

    /// <summary>Runs recipes in order; those that have ended are passed over when resuming.</summary>
    /// <param name="recipes">From <see cref="Read"/>.</param>
    /// <param name="output">The folder of the run; with several recipes each has a folder of its name in it.</param>
    /// <param name="resume">Whether what is there goes on.</param>
    /// <param name="openDevice">Opens the device anew for every run.</param>
    /// <param name="observer">Is told how they go.</param>
    /// <param name="cancellationToken">Stops after the step.</param>
    /// <param name="ended">Awaited after every run, once its model is closed; null for nothing.</param>
    public static async Task<IReadOnlyList<RunResult>> RunAllAsync(
        IReadOnlyList<Recipe> recipes, string output, bool resume, Func<Device> openDevice, IRunObserver observer,
        CancellationToken cancellationToken,
        Func<RunResult, Task>? ended = null)
    {
        var results = new List<RunResult>();
        Dictionary<string, string> folders = recipes.ToDictionary(recipe => recipe.Name,
            recipe => recipes.Count == 1 ? output : Path.Combine(output, recipe.Name), StringComparer.Ordinal);
        await CheckAsync(recipes, folders, resume, cancellationToken).ConfigureAwait(false);
        foreach (Recipe recipe in recipes)
        {
            string folder = folders[recipe.Name];
            string model = recipe.Model ?? folders[recipe.From ?? recipes[results.Count - 1].Name];
            // Only what is there goes on; recipes behind it have not begun.
            var options = new TrainingRunOptions(openDevice())
            {
                Resume = resume && TrainingRun.IsIn(folder),
                Observer = observer,
                LoadReward = RewardLoading.Load,
                Hub = ModelFolder.Hub,
                ImageDecoders = Pictures.Decoders,
                Rewards = new RewardContext { Hub = ModelFolder.Hub },
            };
            await using (TrainingRun run = await TrainingRun.OpenAsync(recipe, model, folder, options,
                cancellationToken).ConfigureAwait(false))
                results.Add(await run.RunAsync(cancellationToken).ConfigureAwait(false));
            if (ended is not null)
                await ended(results[^1]).ConfigureAwait(false);
        }

        return results;
    }

    /// <summary>Finds what is wrong with a later recipe before the first one has run for hours.</summary>
    private static async Task CheckAsync(IReadOnlyList<Recipe> recipes, Dictionary<string, string> folders, bool resume,
        CancellationToken cancellationToken)
    {
        var models = new Dictionary<string, string>(StringComparer.Ordinal);
        for (int index = 0; index < recipes.Count; index++)
        {
            Recipe recipe = recipes[index];
            // Results have the shape and the tokenizer of what they began with.
            string model = models[recipe.Name] = recipe.Model ?? models[recipe.From ?? recipes[index - 1].Name];
            bool isThere = TrainingRun.IsIn(folders[recipe.Name]);
            try
            {
                if (index > 0)
                    await TrainingRun.CheckAsync(recipe, model, folders[recipe.Name], resume && isThere,
                        RewardLoading.Load, ModelFolder.Hub, Pictures.Decoders, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception)
                when (exception is CheckpointException or HubException or IOException or InvalidDataException)
            {
                throw new RecipeException($"The recipe '{recipe.Name}' could not begin: {PlainMessages.Of(exception)}",
                    exception);
            }
        }
    }

    /// <summary>Reads recipes and sees that each knows what it begins with.</summary>
    /// <param name="files">The recipes in order.</param>
    /// <param name="settings">As <c>--set</c> has them.</param>
    /// <param name="load">Reads one with what is set in it.</param>
    internal static List<Recipe> Read(IReadOnlyList<string> files, IReadOnlyList<string> settings,
        Func<string, IEnumerable<string>, Recipe> load)
    {
        var recipes = new List<Recipe>();
        foreach (string file in files)
        {
            string ownName = Path.GetFileNameWithoutExtension(file);
            Recipe recipe = load(file, settings.Where(setting => !IsForOne(setting, out _)));
            string[] own = [.. settings.Where(setting => IsForOne(setting, out string? name)
                && (name == recipe.Name || name == ownName))];
            if (own.Length > 0)
                recipe = load(file, settings.Where(setting => !IsForOne(setting, out _))
                    .Concat(own.Select(setting => setting[(setting.IndexOf(':', StringComparison.Ordinal) + 1)..])));
            if (recipes.Exists(other => other.Name == recipe.Name))
                throw new RecipeException(
                    $"{file}: another recipe is called '{recipe.Name}' too; give one of them another name.");
            if (recipe.Model is null && recipe.From is null && recipes.Count == 0)
                throw new RecipeException(
                    $"{file}: nothing says which model it begins with. Give 'model', or run it after another recipe.");
            if (recipe.From is { } from && !recipes.Exists(other => other.Name == from))
                throw new RecipeException(
                    $"{file}: it begins with the result of '{from}', which is no recipe before it{(recipes.Count > 0 ? $" ({string.Join(", ", recipes.Select(other => other.Name))})" : "")}.");
            recipes.Add(recipe);
        }

        foreach (string setting in settings)
        {
            if (IsForOne(setting, out string? name) && !recipes.Exists(recipe => recipe.Name == name)
                && !files.Any(file => Path.GetFileNameWithoutExtension(file) == name))
                throw new RecipeException($"--set {setting}: no recipe is called '{name}'.");
        }

        return recipes;
    }

    private static bool IsForOne(string setting, out string? name)
    {
        int colon = setting.IndexOf(':', StringComparison.Ordinal), equals = setting.IndexOf('=', StringComparison.Ordinal);
        name = colon > 0 && colon < equals ? setting[..colon] : null;
        return name is not null;
    }

    private static async Task<int> RunAsync(List<Recipe> recipes, string output, bool resume, bool json, Func<Device> openDevice,
        CancellationToken cancellationToken)
    {
        IAnsiConsole console = PlainConsole.ForProgress(json);
        try
        {
            IReadOnlyList<RunResult> results = await RunAllAsync(recipes, output, resume,
                openDevice, new RunDisplay(console), cancellationToken).ConfigureAwait(false);
            console.MarkupLineInterpolated(
                $"Report: [link]{Path.GetFullPath(Path.Combine(results[^1].Folder, "report.html"))}[/]");
            if (json)
                Console.WriteLine(TrainOutput.Json(results));
            return 0;
        }
        catch (OperationCanceledException)
        {
            ErrorReporting.BeginLine();
            console.MarkupLineInterpolated($"Stopped. Go on with the same command and --resume.");
            return ErrorReporting.Cancelled;
        }
    }

    private static int Plan(List<Recipe> recipes, bool json, string deviceName, CancellationToken cancellationToken)
    {
        long deviceBytes;
        using (Device real = DeviceOption.Open(deviceName))
            deviceBytes = real.MemoryBytes;
        // Plans may be larger than the device: that is what is to be found out.
        using Device device = DeviceOption.Open(deviceName, long.MaxValue);
        string? model = null;
        var plans = new List<(RunPlan Plan, string Model)>();
        foreach (Recipe recipe in recipes)
        {
            // Results have the shape of what they began with.
            model = recipe.Model ?? model!;
            RunPlan plan = RunPlan.OfAsync(recipe, model, device, deviceBytes, ModelFolder.Hub, Pictures.Decoders,
                cancellationToken).GetAwaiter().GetResult();
            plans.Add((plan, model));
            if (!json)
                Console.Write(TrainOutput.Text(plan, device));
        }

        if (json)
            Console.WriteLine(TrainOutput.Json(plans, device));
        return plans.TrueForAll(plan => plan.Plan.Fits) ? 0 : 1;
    }
}
