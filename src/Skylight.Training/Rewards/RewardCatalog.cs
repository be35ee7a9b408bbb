using System.Globalization;
using System.Text;
using Skylight.Chat;
using Skylight.Hub;
using Skylight.Models;

namespace Skylight.Training.Rewards;

/// <summary>What named rewards need from the program around them.</summary>
public sealed record RewardContext
{
    /// <summary>
    /// Loads a verifier's checkpoint. If null it lives on the device of the run, or on the CPU where there is no run.
    /// </summary>
    public Func<string, CancellationToken, Task<ChatModel>>? OpenCheckpoint { get; init; }

    /// <summary>Reads an environment variable: those that hold keys.</summary>
    public Func<string, string?> EnvironmentVariable { get; init; } = Environment.GetEnvironmentVariable;

    /// <summary>From where a checkpoint that is named by its repository comes; as the environment says if null.</summary>
    public HubOptions? Hub { get; init; }

    /// <summary>What relative paths are relative to; the current folder if null.</summary>
    public string? Folder { get; init; }
}

/// <summary>The rewards that recipes make by name. docs/rewards.md lists them.</summary>
public static class RewardCatalog
{
    private const string Cut = "Whether a completion that the length limit cut off can earn it too.";

    private static readonly RewardOption s_unfinished = new("unfinished", "false", Cut);

    private static readonly RewardKind[] s_kinds =
    [
        new("answer", RewardKind.YesOrNo,
            "What follows the think block is the row's answer, by the rules of `skylight eval` (docs/evaluation.md).",
            [new("needs_mark", "true",
                "Whether an open answer must be marked: a box, answer tags, \"the answer is …\"."), s_unfinished])
        {
            Make = (options, _) => new AnswerReward(options.Flag("needs_mark"), options.Flag("unfinished")),
        },
        new("choice", RewardKind.YesOrNo,
            "What follows the think block names the right option. Rows have options, or a letter as their answer.",
            [new("needs_mark", "false", "Whether the option must be marked: a box, answer tags, \"the answer is …\"."),
                s_unfinished])
        {
            Make = (options, _) => new ChoiceReward(options.Flag("needs_mark"), options.Flag("unfinished")),
        },
        new("numeric", RewardKind.YesOrNo,
            "What follows the think block is a number close to the row's answer; units are converted where both have one.",
        [
            new("tolerance", "0.01", "The fraction of the right number that it may be off."),
            new("absolute_tolerance", "0", "What it may be off whatever the number; the larger of the two counts."),
            new("needs_mark", "true", "Whether the number must be marked; else all of the answer may be it."), s_unfinished,
        ])
        {
            Make = (options, _) => new NumericReward(options.Number("tolerance", 0),
                options.Number("absolute_tolerance", 0), options.Flag("needs_mark"), options.Flag("unfinished")),
        },
        new("format", RewardKind.YesOrNo, "The turn is one think block, then an answer, and has ended.",
            []) { Make = (_, _) => new FormatReward() },
        new("length", "−1 to 0, or as set",
            "DAPO's soft penalty for completions that come near the limit; or a reward that falls with the length of " +
            "right answers and rises with that of wrong ones.",
        [
            new("shape", "overlong",
                "`overlong`: 0 up to the buffer before the most tokens, then down to −1. `cosine`, `linear`: between " +
                "the four values below."),
            new("max_tokens", "", "The most tokens of a completion; by default what the run allows."),
            new("buffer", "", "Of `overlong`, which needs it: the tokens before the limit over which the penalty grows."),
            new("right_short", "1", "Of the others: what a right answer of no length earns."),
            new("right_long", "0.5", "What a right answer of the most tokens earns."),
            new("wrong_short", "-1", "What a wrong answer of no length earns."),
            new("wrong_long", "-0.5", "What a wrong answer of the most tokens earns."),
        ])
        {
            Make = MakeLength,
        },
        new("repetition", "max_penalty to 0",
            "A penalty for n-grams of words that come again: the share that is not new, times the greatest penalty.",
        [
            new("ngram", "3", "Words that belong together. A character of Chinese or Japanese is a word."),
            new("max_penalty", "-1", "What a completion without anything new would earn; not above 0."),
        ])
        {
            Make = (options, _) =>
                new RepetitionReward(options.Integer("ngram", 1, 100), options.Number("max_penalty", most: 0)),
        },
        new("regex", RewardKind.YesOrNo,
            "A regular expression (.NET's) matches somewhere; with a group, what it captured is the row's answer.",
        [
            new("pattern", null, "The expression."),
            new("group", "", "The name or number of the group that must have captured the answer."),
            new("on", "turn",
                "What it is held against: `turn` (what the prompt holds of it included), `completion`, or `answer` " +
                "(what follows the think block)."),
            new("ignore_case", "false", "Whether case does not count."),
            new("timeout", "1",
                "Seconds, after which the sample is a fault. Only lookarounds and back references can take long."),
                    s_unfinished,
        ])
        {
            Make = MakeRegex,
        },
        new("verifier", RewardKind.YesOrNo,
            "The rule or a model says that the answer is right, as in the paper. The model is a checkpoint of its " +
            "own, or behind an endpoint.",
        [
            new("checkpoint", "", "The folder of a checkpoint that judges in this process, or its repository on the hub."),
            new("endpoint", "",
                "Instead: the base URL of an endpoint with OpenAI's chat completions, `http://host:8000/v1`."),
            new("model", "", "The endpoint's name of the model, which it needs."),
            new("key_variable", "", "The name of the environment variable that holds the endpoint's key. Never the key."),
            new("use_rule", "true", "Whether the rule of `answer` is asked first, and the model only where it says no."),
            new("prompt", "", "Another prompt, with `{question}`, `{answer}` and `{response}`, that asks for yes or no."),
            new("max_characters", "8000",
                "What the model sees of a longer response: its last characters, where the final answer stands."),
            new("max_tokens", "256", "The most tokens of a reply, thinking included."),
            new("extra_body", "",
                "A JSON object whose fields are added to requests to an endpoint, or replace them; null takes one away."),
            new("max_requests", "16", "Responses that are judged at once."),
            new("timeout", "60", "Seconds that one attempt at an endpoint may take."),
            new("retries", "4", "Attempts after the first."),
            new("cache", "100000", "Verdicts that are kept; 0 for none."), s_unfinished,
        ])
        {
            Make = MakeVerifier,
        },
        new("all_of", RewardKind.YesOrNo,
            "All of several rewards give 1. They are asked in their order, and of what one refused the later ones " +
            "are not asked.",
            [new("of", null,
                "Their names, parted by commas: `format, answer`. Each must give 0 or 1. Their options are written " +
                "with a point: `answer.needs_mark`.")])
        {
            Make = MakeAllOf,
        },
    ];

    /// <summary>All rewards that there are.</summary>
    public static IReadOnlyList<RewardKind> All => s_kinds;

    /// <summary>Makes a reward.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="options">Its options as texts.</param>
    /// <param name="context">What it needs from the program.</param>
    /// <exception cref="ArgumentException">There is no such reward or option, or a value cannot be used; says which,
    /// and what there is.</exception>
    public static IReward Create(string name, IReadOnlyDictionary<string, string> options, RewardContext? context = null)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(options);
        return Make(name, options, context ?? new RewardContext());
    }

    private static IFaultingReward Make(string name, IReadOnlyDictionary<string, string> options, RewardContext context)
    {
        RewardKind kind = Array.Find(s_kinds, kind => kind.Name == name)
            ?? throw new ArgumentException(
                $"There is no reward '{name}': {NameHint.For(name, [.. s_kinds.Select(kind => kind.Name)])}");
        foreach ((string option, string value) in options)
        {
            // Never with its value: it may be a key.
            if (kind.Options.All(known => known.Name != option)
                && !(kind.Name == "all_of" && option.Contains('.', StringComparison.Ordinal)))
                throw new ArgumentException(
                    $"Reward '{name}' has no option '{option}': " +
                    $"{NameHint.For(option, [.. kind.Options.Select(known => known.Name)])}");
            if (value is null)
                throw new ArgumentException(
                    $"Reward '{name}': the option '{option}' has no value; give one, or leave the option out.");
        }

        return kind.Make(new RewardOptionValues(kind, options), context);
    }

    /// <summary>The table of docs/rewards.md.</summary>
    internal static string ToMarkdown()
    {
        var page = new StringBuilder();
        foreach (RewardKind kind in s_kinds)
        {
            page.Append(CultureInfo.InvariantCulture, $"### `{kind.Name}` ({kind.Values})\n\n{kind.Description}\n\n");
            if (kind.Options.Count == 0)
                continue;
            page.Append("| option | default | |\n| --- | --- | --- |\n");
            foreach (RewardOption option in kind.Options)
            {
                string standard = option.Default is null ? "must be given" : option.Default.Length == 0 ? ""
                    : $"`{option.Default}`";
                page.Append(CultureInfo.InvariantCulture,
                    $"| `{option.Name}` | {standard} | " +
                    $"{option.Description.Replace("|", "\\|", StringComparison.Ordinal)} |\n");
            }

            page.Append('\n');
        }

        return page.ToString();
    }

    private static IFaultingReward MakeLength(RewardOptionValues options, RewardContext context)
    {
        string shape = options.OneOf("shape", "overlong", "cosine", "linear");
        int most = options.OptionalText("max_tokens") is null ? 0 : options.Integer("max_tokens", 1);
        if (shape == "overlong")
        {
            options.Refuse("with the shape 'overlong'", "right_short", "right_long", "wrong_short", "wrong_long");
            if (options.OptionalText("buffer") is null)
                throw new ArgumentException(
                    "Reward 'length': the shape 'overlong' needs the option 'buffer', the tokens before the limit " +
                    "over which the penalty grows.");
            int buffer = options.Integer("buffer", 1);
            return most == 0 || buffer <= most ? new OverlongReward(most, buffer)
                : throw options.Wrong("buffer", $"give at most max_tokens, which is {most}");
        }

        options.Refuse($"with the shape '{shape}'", "buffer");
        return new ScaledLengthReward(shape == "cosine", most, options.Number("right_short"),
            options.Number("right_long"), options.Number("wrong_short"), options.Number("wrong_long"));
    }

    private static IFaultingReward MakeRegex(RewardOptionValues options, RewardContext context)
    {
        RegexScope scope = options.OneOf("on", "turn", "completion", "answer") switch
        {
            "turn" => RegexScope.Turn,
            "answer" => RegexScope.Answer,
            _ => RegexScope.Completion,
        };
        (bool ignoreCase, bool unfinished, double seconds) = (options.Flag("ignore_case"), options.Flag("unfinished"),
            options.Number("timeout", 0.001, 3600));
        try
        {
            return new RegexReward(options.Text("pattern"), options.OptionalText("group"), scope, ignoreCase,
                unfinished, TimeSpan.FromSeconds(seconds));
        }
        catch (ArgumentException exception) when (options.IsGiven("pattern"))
        {
            throw new ArgumentException(
                $"Reward 'regex': the pattern '{AnswerKey.Shortened(options.Text("pattern"))}' {exception.Message}",
                exception);
        }
    }

    private static IFaultingReward MakeVerifier(RewardOptionValues options, RewardContext context)
    {
        (string? checkpoint, string? endpoint) = (options.OptionalText("checkpoint"), options.OptionalText("endpoint"));
        if (checkpoint is null == endpoint is null)
            throw new ArgumentException(
                "Reward 'verifier' needs one of the options 'checkpoint' (a model in this process) and 'endpoint' (a " +
                "base URL), and not both.");
        int mostTokens = options.Integer("max_tokens", 1);
        var asking = new ModelVerifierOptions
        {
            UseRule = options.Flag("use_rule"),
            RewardUnfinished = options.Flag("unfinished"),
            MaximumRequests = options.Integer("max_requests", 1, 4096),
            CacheEntries = options.Integer("cache", 0, 10_000_000),
            MaximumCharacters = options.Integer("max_characters", 1),
        };
        VerifierPrompt prompt = options.OptionalText("prompt") is { } template ? new VerifierPrompt(template)
            : new VerifierPrompt();
        if (checkpoint is not null)
        {
            options.Refuse("with a checkpoint", "model", "key_variable", "extra_body", "timeout", "retries");
            string folder = context.Folder is null ? Path.GetFullPath(checkpoint)
                : Path.GetFullPath(checkpoint, Path.GetFullPath(context.Folder));
            // Now, and not after the first rollouts.
            if (!Directory.Exists(folder) && ModelSource.IsRepository(checkpoint))
                folder = Task.Run(() => ModelSource.FolderAsync(checkpoint, ModelParts.Checkpoint, context.Hub))
                    .GetAwaiter().GetResult();
            if (!ModelSource.IsGguf(folder) && !File.Exists(Path.Combine(folder, "config.json")))
                throw options.Wrong("checkpoint", $"there is no config.json in '{folder}'");
            Func<string, CancellationToken, Task<ChatModel>> open = context.OpenCheckpoint
                ?? ((path, cancellationToken) => ChatModel.LoadAsync(path, cancellationToken: cancellationToken));
            return new ModelVerifier(new ChatModelVerifier(cancellationToken => open(folder, cancellationToken), prompt,
                mostTokens), asking);
        }

        if (!Uri.TryCreate(endpoint, UriKind.Absolute, out Uri? address))
            throw new ArgumentException(
                "Reward 'verifier': the option 'endpoint' is no URL; give the base URL of an endpoint, such as " +
                "http://host:8000/v1.");
        return new ModelVerifier(
            new OpenAiVerifier(new OpenAiVerifierOptions
            {
                Endpoint = address,
                Model = options.OptionalText("model") ?? throw new ArgumentException(
                    "Reward 'verifier': an endpoint needs the option 'model', its name of the model."),
                KeyVariable = options.OptionalText("key_variable"),
                Prompt = prompt,
                MaximumTokens = mostTokens,
                ExtraBody = options.OptionalText("extra_body"),
                Timeout = TimeSpan.FromSeconds(options.Number("timeout", 0.001, 86400)),
                Retries = options.Integer("retries", 0, 100),
                EnvironmentVariable = context.EnvironmentVariable,
            }),
            asking);
    }

    private static IFaultingReward MakeAllOf(RewardOptionValues options, RewardContext context)
    {
        string[] names = options.Text("of")
            .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (names.Length == 0 || names.Distinct().Count() != names.Length)
            throw options.Wrong("of", "name rewards, each once");
        if (options.Given.Keys.FirstOrDefault(option => option.Contains('.', StringComparison.Ordinal)
            && !names.Contains(option[..option.IndexOf('.', StringComparison.Ordinal)])) is { } stray)
            throw new ArgumentException(
                $"Reward 'all_of': the option '{stray}' is for none of its rewards, {string.Join(", ", names)}.");
        foreach (string name in names)
        {
            if (name != "all_of" && (Array.Find(s_kinds, kind => kind.Name == name) is not { } kind || kind.IsYesOrNo))
                continue;
            string there = string.Join(", ",
                s_kinds.Where(kind => kind.IsYesOrNo && kind.Name != "all_of").Select(kind => kind.Name));
            throw options.Wrong("of", $"'{name}' cannot be one of them: give rewards of 0 or 1, {there}");
        }

        return new AllOfReward([.. names.Select(name => Make(name, OptionsOf(name), context))]);

        Dictionary<string, string> OptionsOf(string name) =>
            options.Given.Where(option => option.Key.StartsWith(name + ".", StringComparison.Ordinal))
            .ToDictionary(option => option.Key[(name.Length + 1)..], option => option.Value);
    }
}
