using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Training.Objectives;

/// <summary>An objective of a <see cref="LossesFile"/>.</summary>
/// <param name="Name">What the file calls it.</param>
/// <param name="Loss">Its value.</param>
/// <param name="Gradient">The derivative in each token's current log-probability, by completion.</param>
internal sealed record LossesObjective(string Name, double Loss, double[][] Gradient);

/// <summary>
/// Reference values of policy objectives: the log-probabilities of completions under several policies, the completions'
/// groups and rewards, and for each objective its loss and gradient. <c>tests/golden/README.md</c> describes the form.
/// </summary>
internal sealed class LossesFile
{
    private readonly string _file;
    private const int MostBytes = 256 << 20;

    private readonly JsonElement _root;

    private LossesFile(string file, JsonElement root)
    {
        _file = file;
        _root = root;
        Lengths = [.. Numbers("lengths").Select((length, index) => Whole(length, $"lengths[{index}]", 1))];
        if (Lengths.Count == 0)
            throw Wrong("lengths", "is empty; give the length of each completion in tokens");
        Groups = [.. Numbers("groups", Lengths.Count)
            .Select((group, index) => Whole(group, $"groups[{index}]", int.MinValue))];
        Rewards = Numbers("rewards", Lengths.Count);
        Current = Rows("current");
    }

    /// <summary>The tokens of each completion.</summary>
    public IReadOnlyList<int> Lengths { get; }

    /// <summary>The group of each completion.</summary>
    public IReadOnlyList<int> Groups { get; }

    /// <summary>The reward of each completion.</summary>
    public double[] Rewards { get; }

    /// <summary>Log-probabilities under the policy that is trained, by completion.</summary>
    public double[][] Current { get; }

    /// <summary>What Dr. GRPO divides by.</summary>
    public int MaximumCompletionLength =>
        Whole(Number(Member(_root, "max_completion_length", "max_completion_length"), "max_completion_length"),
            "max_completion_length", 1);

    /// <summary>The objectives, in the file's order.</summary>
    public IEnumerable<(string Name, Func<LossesObjective> Read)> Objectives()
    {
        JsonElement objectives = Member(_root, "objectives", "objectives");
        if (objectives.ValueKind != JsonValueKind.Object)
            throw Wrong("objectives", "must be an object: a loss and a gradient by name");
        var names = new HashSet<string>();
        foreach (JsonProperty objective in objectives.EnumerateObject())
        {
            string where = $"objectives.{objective.Name}";
            if (!names.Add(objective.Name))
                throw Wrong(where, "is there twice");
            if (objective.Value.ValueKind != JsonValueKind.Object)
                throw Wrong(where, "must be an object with loss and gradient");
            yield return (objective.Name, () => new LossesObjective(
                objective.Name, Number(Member(objective.Value, "loss", $"{where}.loss"), $"{where}.loss"),
                Rows(Member(objective.Value, "gradient", $"{where}.gradient"), $"{where}.gradient")));
        }
    }

    /// <summary>The names of the advantage scales that the file gives advantages for, with them.</summary>
    public IEnumerable<(string Scale, double[] Advantages)> Advantages()
    {
        if (!_root.TryGetProperty("advantages", out JsonElement advantages))
            yield break;
        if (advantages.ValueKind != JsonValueKind.Object)
            throw Wrong("advantages", "must be an object: a list for each of group, batch and none");
        foreach (JsonProperty scale in advantages.EnumerateObject())
            yield return (scale.Name, Numbers(scale.Value, $"advantages.{scale.Name}", Lengths.Count));
    }

    /// <summary>Log-probabilities of every token, by completion: <c>old</c>, <c>reference</c> or <c>rollout</c>.</summary>
    public double[][] Rows(string name) => Rows(Member(_root, name, name), name);

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">It is not there or not of this form; the message names what is
    /// wrong.</exception>
    public static LossesFile Read(string file)
    {
        try
        {
            using JsonDocument document = JsonText.Parse(BoundedFile.Read(file, MostBytes));
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new LossesFile(file, document.RootElement.Clone())
                : throw new CheckpointException(file,
                    "must hold a JSON object with lengths, groups, rewards, log-probabilities and objectives.");
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CheckpointException(file, "there is no such file.", innerException: exception);
        }
        catch (JsonException exception)
        {
            throw new CheckpointException(file, $"is not valid JSON: {exception.Message}", innerException: exception);
        }
    }

    public CheckpointException Wrong(string where, string what) => new(_file, $"'{where}' {what}.");

    private JsonElement Member(JsonElement parent, string name, string where) =>
        parent.TryGetProperty(name, out JsonElement value) ? value : throw Wrong(where, "is missing");

    private double[][] Rows(JsonElement lists, string where)
    {
        JsonElement[] rows = List(lists, where, Lengths.Count, "lists, one for each completion");
        return [.. rows.Select((row, index) => Numbers(row, $"{where}[{index}]", Lengths[index]))];
    }

    private double[] Numbers(string name, int? count = null) => Numbers(Member(_root, name, name), name, count);

    private double[] Numbers(JsonElement list, string where, int? count) =>
        [.. List(list, where, count, "numbers").Select((number, index) => Number(number, $"{where}[{index}]"))];

    private JsonElement[] List(JsonElement list, string where, int? count, string of)
    {
        if (list.ValueKind != JsonValueKind.Array)
            throw Wrong(where, $"must be a list of {of}");
        return count is null || list.GetArrayLength() == count
            ? [.. list.EnumerateArray()]
            : throw Wrong(where, $"must have {count} {of}, as 'lengths' says, not {list.GetArrayLength()}");
    }

    private double Number(JsonElement value, string where)
    {
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number)
            && Math.Abs(number) <= float.MaxValue)
            return number;
        string found = value.ValueKind == JsonValueKind.Number && value.GetRawText() is { Length: < 40 } text ? text
            : $"{value.ValueKind}";
        throw Wrong(where, $"must be a number within float32's range, not {found}");
    }

    private int Whole(double number, string where, int minimum) =>
        number == Math.Floor(number) && number >= minimum && number <= int.MaxValue
            ? (int)number
            : throw Wrong(where, $"must be a whole number of {minimum} or more, not {number}");
}
