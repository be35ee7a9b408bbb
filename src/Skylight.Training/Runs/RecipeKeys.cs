using System.Text;

namespace Skylight.Training.Runs;

/// <summary>A key of a recipe, as docs/recipes.md lists it.</summary>
/// <param name="Path">The key with those above it; <c>*</c> is a place in a list.</param>
/// <param name="Type">What it holds.</param>
/// <param name="Default">What holds where it is not there.</param>
/// <param name="Description">What it means.</param>
public sealed record RecipeKey(string Path, string Type, string Default, string Description);

/// <summary>All keys of a recipe: the reader asks for no other, and the documentation is made from them.</summary>
public static class RecipeKeys
{
    /// <summary>The keys, in the order in which a recipe is written.</summary>
    public static IReadOnlyList<RecipeKey> All { get; } =
    [
        new("name", "text", "the file's name",
            "What the run is called; the name of its folder where several recipes run in order."),
        new("description", "text", "", "What it is for."),
        new("model", "folder or repository", "the recipe before",
            "The checkpoint to begin with: a folder, or OWNER/NAME or OWNER/NAME@REVISION of the hub (docs/models.md)."),
        new("from", "name", "the recipe before", "Another earlier recipe of the same command, to begin with its result."),
        new("method", "`sft`, `grpo`, `rejection`", "required",
            "Supervised tuning; policy optimisation by rewards; supervised tuning on the model's own rewarded answers."),
        new("seed", "whole number", "1", "Everything random follows from it."),
        new("learning_rate", "number, or a map", "required", "One for all modules, or one for each."),
        new("learning_rate.vision", "number", "0", "Of the vision encoder; 0 freezes it."),
        new("learning_rate.connector", "number", "0", "Of the connector; 0 freezes it."),
        new("learning_rate.language", "number", "0", "Of the language model; 0 freezes it."),
        new("data_folder", "folder", "the current one", "Where data files are looked for."),
        new("data", "list", "required", "What is trained on: files, or maps of the keys below."),
        new("data.*.file", "path or pattern", "required",
            "JSONL (`.jsonl`, `.json`) or Parquet (`.parquet`); `*` and `?` stand for several."),
        new("data.*.weight", "number", "its rows", "How often it is drawn from, relative to the others."),
        new("data.*.columns", "map", "", "Names of columns where they differ: `answer: solution` (docs/data.md)."),
        new("data.*.difficulty", "[least, most]", "", "Only rows whose `difficulty` lies between."),
        new("bad_rows", "whole number", "0", "The most rows that may be unusable; they are listed in `bad-rows.jsonl`."),
        new("prompt", "map", "", "How examples become prompts."),
        new("prompt.system", "text", "the checkpoint's", "The system message; `\"\"` for none."),
        new("prompt.chat_template", "`built-in`, or a name", "the checkpoint's",
            "The chat template; names are those of `skylight chat --template`."),
        new("prompt.thinking", "`default`, `on`, `off`", "default", "Whether the prompt opens a think block."),
        new("prompt.template", "text", "{question}", "What is written around a question."),
        new("prompt.max_tiles", "whole number", "the checkpoint's", "The most tiles of a picture."),
        new("prompt.max_sequence", "tokens", "the checkpoint's context",
            "The most tokens of prompt and completion; a longer row is unusable."),
        new("steps", "whole number", "", "Optimizer steps. Either this or `epochs`."),
        new("epochs", "number", "", "How often the data is gone through."),
        new("batch", "whole number", "32", "Examples of a step; prompts, where the method draws completions."),
        new("warmup", "steps, or a share", "0", "Linear rise of the learning rate; below 1 a share of all steps."),
        new("decay", "`constant`, `linear`, `cosine`", "constant", "What follows the rise."),
        new("final_fraction", "number", "0", "The share of the learning rate that is left at the end."),
        new("patience", "whole number", "", "`sft`: ends after so many evaluations without a lower loss."),
        new("optimizer", "map", "", "AdamW, and the memory that a pass may take."),
        new("optimizer.beta1", "number", "0.9", "Decay of the first moment."),
        new("optimizer.beta2", "number", "0.999", "Decay of the second moment."),
        new("optimizer.epsilon", "number", "1e-8", "Added to the root of the second moment."),
        new("optimizer.weight_decay", "number", "0", "Decoupled; not on norms, biases, positions and layer scales."),
        new("optimizer.max_gradient_norm", "number", "1", "Gradients are scaled down to it; 0 for no clipping."),
        new("optimizer.micro_batch_tokens", "tokens", "8192",
            "Samples are run together up to so many. Changes memory and speed, not what is learnt."),
        new("optimizer.recompute", "true, false", "false",
            "Layers are computed again in the backward pass: less memory, more time."),
        new("optimizer.not_finite", "`stop`, `skip`", "stop",
            "What becomes of a step whose loss or gradient is not finite."),
        new("sampling", "map", "", "How completions are drawn (`grpo`, `rejection`)."),
        new("sampling.group", "whole number", "8", "Completions of each prompt."),
        new("sampling.temperature", "number, or [first, last]", "1",
            "Over the run from one to the other. The loss is that of the same temperature."),
        new("sampling.max_new_tokens", "tokens, or a map", "1024",
            "The most tokens of a completion; `{0: 4096, 200: 8192}` gives more from step 200 on."),
        new("sampling.cache_tokens", "tokens", "by memory, at most 16384",
            "What the key-value cache holds: the more, the more completions are written at once."),
        new("grpo", "map", "", "The policy objective (`grpo`)."),
        new("grpo.loss", "`grpo`, `dapo`, `dr_grpo`, `gspo`, `gspo_token`, `cispo`, `sapo`, `reinforce_pp`", "grpo",
            "The form, with its paper's clipping, aggregation and advantages, unless keys below say otherwise."),
        new("grpo.clip_low", "number", "by loss", "The ratio is clipped at 1 − this."),
        new("grpo.clip_high", "number", "by loss", "The ratio is clipped at 1 + this."),
        new("grpo.dual_clip", "number", "0",
            "For negative advantages the loss is at most so many times the advantage; 0 for none."),
        new("grpo.kl", "`none`, `k1`, `k2`, `k3`", "none",
            "The estimator of the divergence from the model at the start. The gradient of `k1` is 0 in expectation."),
        new("grpo.beta", "number", "0", "The weight of that divergence."),
        new("grpo.advantage", "`group`, `batch`, `none`", "by loss",
            "What advantages are divided by: the deviation of the group, of the batch, or nothing."),
        new("grpo.aggregation", "`sequence_mean`, `token_mean`, `constant`", "by loss",
            "How tokens' losses become one; `constant` divides by `sampling.max_new_tokens`."),
        new("grpo.mini_batches", "whole number", "1", "Optimizer steps for each batch of completions."),
        new("grpo.resample", "whole number", "0",
            "How often groups of equal rewards are drawn anew, with other prompts (dynamic sampling)."),
        new("grpo.keep_surplus", "steps", "0", "For how many steps good groups that were left over may replace others."),
        new("grpo.mask_truncated", "true, false", "false", "Completions that the limit cut off are not trained on."),
        new("grpo.entropy_share", "number", "1",
            "Only this share of tokens, those of highest entropy, is trained on (arXiv 2506.01939: 0.2)."),
        new("grpo.drop_solved", "number", "", "A prompt whose solved share so far is at least this is not drawn again."),
        new("rewards", "list", "answer 0.8, format 0.2",
            "What completions earn (docs/rewards.md): names, or maps of the keys below."),
        new("rewards.*.name", "text", "required",
            "`answer`, `choice`, `numeric`, `format`, `length`, `repetition`, `regex`, `verifier`, or a type of " +
            "`assembly`."),
        new("rewards.*.weight", "number", "1", "What it counts in the sum."),
        new("rewards.*.weights", "map", "", "Of a reward with several components, what each counts."),
        new("rewards.*.label", "text", "its name", "What it is called in metrics; two of one kind need it."),
        new("rewards.*.assembly", "path", "", "A .NET assembly with rewards of your own."),
        new("rewards.*.options", "map", "", "Its own settings."),
        new("reward_faults", "`stop`, `zero`, `skip`", "stop",
            "What becomes of a reward that throws or is not a number: the run stops, it counts 0, or the group " +
            "is left out."),
        new("evaluation", "map", "", "Tries on held-out data, with the code of `skylight eval`."),
        new("evaluation.data", "list", "required", "As `data`."),
        new("evaluation.data.*.file", "path or pattern", "required", "As `data.*.file`."),
        new("evaluation.data.*.weight", "number", "", "Not read: all items count alike."),
        new("evaluation.data.*.columns", "map", "", "As `data.*.columns`."),
        new("evaluation.data.*.difficulty", "[least, most]", "", "As `data.*.difficulty`."),
        new("evaluation.every", "steps", "50",
            "From one to the next; one comes before the first step and one after the last."),
        new("evaluation.items", "whole number", "all", "The most items."),
        new("evaluation.samples", "whole number", "1", "Responses to each item."),
        new("evaluation.temperature", "number", "0", "0 takes the most likely token."),
        new("evaluation.thinking", "`default`, `on`, `off`", "prompt's", "Whether its prompts open a think block."),
        new("evaluation.max_new_tokens", "tokens", "sampling's", "The most tokens of a response."),
        new("checkpoints", "map", "", "What is saved."),
        new("checkpoints.every", "steps", "0", "From one checkpoint to the next; 0 for the last one alone."),
        new("checkpoints.keep", "whole number", "3", "How many of the latest are kept; the best is kept too."),
        new("checkpoints.best", "`accuracy`, `reward`, `critical_entropy`, `loss`", "accuracy",
            "What makes one better than another."),
        new("checkpoints.result", "`last`, `best`", "last", "Which one is the result of the run."),
        new("checkpoints.save_state", "steps", "20",
            "From one saved state to the next, from which an interrupted run goes on."),
        new("samples", "whole number, or `all`", "4", "Completions of each step in `samples.jsonl`."),
    ];

    private static readonly HashSet<string> s_paths = [.. All.Select(key => key.Path)];

    /// <summary>The table of docs/recipes.md.</summary>
    public static string ToMarkdown()
    {
        var table = new StringBuilder("| key | value | default | what it says |\n| --- | --- | --- | --- |\n");
        foreach (RecipeKey key in All)
            table.Append($"| `{key.Path}` | {key.Type} | {key.Default} | {key.Description} |\n");
        return table.ToString();
    }

    /// <summary>Holds that a key which the reader asks for is documented.</summary>
    internal static void Check(string path)
    {
        string pattern = string.Join('.',
            path.Split('.').Select(key => key.Length > 0 && key.All(char.IsAsciiDigit) ? "*" : key));
        if (!s_paths.Contains(pattern))
            throw new InvalidOperationException($"The key '{pattern}' is missing in RecipeKeys.");
    }
}
