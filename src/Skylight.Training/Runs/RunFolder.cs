using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Models;

namespace Skylight.Training.Runs;

/// <summary>
/// The folder of a run: its result as a checkpoint, logs, report, earlier checkpoints, and the state from which it goes
/// on. One process at a time has it open.
/// </summary>
internal sealed class RunFolder : IDisposable
{
    public const string BadRowsName = "bad-rows.jsonl", KeptGroupsName = "kept_groups", ReportName = "report.html",
        RecipeName = "recipe.yaml";
    private const string LockName = ".lock", StateName = "state", CheckpointsName = "checkpoints";
    private const int LastSamples = 12, MostLogBytes = 1 << 30;

    private readonly FileStream _lock;

    private RunFolder(string path, RunState state, FileStream held)
    {
        (Path, State, _lock) = (path, state, held);
        Log = new RunLog(path, state.Log);
    }

    /// <summary>Where it is.</summary>
    public string Path { get; }

    /// <summary>How far the run has come.</summary>
    public RunState State { get; }

    /// <summary>What it writes as it goes.</summary>
    public RunLog Log { get; }

    /// <summary>Where the state lies.</summary>
    public string StatePath => System.IO.Path.Combine(Path, StateName);

    /// <summary>Where the checkpoint of a step lies.</summary>
    public string CheckpointPath(int step) =>
        System.IO.Path.Combine(Path, CheckpointsName, string.Create(CultureInfo.InvariantCulture, $"step-{step:D6}"));

    /// <summary>Opens or makes a folder.</summary>
    /// <exception cref="RecipeException">There is a run that is not to be resumed, none to resume, or one of another
    /// recipe.</exception>
    public static RunFolder Open(string path, Recipe recipe, string model, bool resume)
    {
        string statePath = System.IO.Path.Combine(path, StateName);
        bool isThere = Demand(path, resume);
        Directory.CreateDirectory(path);
        FileStream held = Hold(System.IO.Path.Combine(path, LockName), path);
        try
        {
            RunState state = isThere ? Load(statePath, recipe, System.IO.Path.GetFullPath(model))
                : new RunState { Recipe = recipe.ResumedText, Model = System.IO.Path.GetFullPath(model) };
            DeleteUnfinished(path);
            byte[] text = Encoding.UTF8.GetBytes(recipe.Text);
            AtomicFile.Write(System.IO.Path.Combine(path, RecipeName), text.Length, stream => stream.Write(text));
            if (!isThere)
            {
                // From here on the folder is a run: whatever is written into it is gone on with, never taken for
                // something of others.
                TrainingCheckpoint.Save(statePath, [], state.ToJson());
            }

            return new RunFolder(path, state, held);
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <summary>Refuses, before anything is loaded or written, a folder that a run cannot be in.</summary>
    /// <exception cref="RecipeException">There is a run that is not to be resumed or one of another recipe, or
    /// something else.</exception>
    public static void Check(string path, Recipe recipe, bool resume)
    {
        if (!Demand(path, resume))
            return;
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(System.IO.Path.Combine(path, StateName));
        CheckRecipe(path, Parse(checkpoint), recipe);
    }

    /// <summary>Whether there is a run in a folder that may be opened.</summary>
    private static bool Demand(string path, bool resume)
    {
        if (File.Exists(path))
            throw new RecipeException($"'{path}' is a file; a run needs a folder (--output).");
        bool isThere = IsRun(path);
        if (isThere && !resume)
            throw new RecipeException(
                $"There is a run in '{path}' already. Go on with it (--resume), or give another folder (--output).");
        // What a run leaves that was killed before its first saved state is begun again.
        if (!isThere && Directory.Exists(path) && !Directory.EnumerateFileSystemEntries(path)
            .All(entry => IsOfABeginning(System.IO.Path.GetFileName(entry))))
            throw new RecipeException($"The folder '{path}' is not empty and holds no run. Give another one (--output).");
        return isThere;
    }

    /// <summary>Removes what a killed run had not finished to write; nobody else has the folder open.</summary>
    private static void DeleteUnfinished(string path)
    {
        foreach (string folder in ((string[])[path, System.IO.Path.Combine(path, CheckpointsName)]).Where(Directory.Exists))
        {
            foreach (string entry in Directory.EnumerateFileSystemEntries(folder, ".*.tmp").ToArray())
            {
                if (Directory.Exists(entry))
                    Directory.Delete(entry, recursive: true);
                else
                    File.Delete(entry);
            }
        }
    }

    /// <summary>Whether a folder holds a run; a crash while the state is replaced leaves the old one.</summary>
    public static bool IsRun(string path) =>
        Directory.Exists(System.IO.Path.Combine(path, StateName))
            || Directory.Exists(System.IO.Path.Combine(path, StateName + ".old"));

    private static bool IsOfABeginning(string name) =>
        name is LockName or RecipeName or RunLog.MetricsName or RunLog.SamplesName or RunLog.EventsName or BadRowsName
            or StateName + ".tmp" || (name.StartsWith('.') && name.EndsWith(".tmp", StringComparison.Ordinal));

    /// <summary>Whether a folder holds a run that has ended.</summary>
    public static bool IsComplete(string path)
    {
        string statePath = System.IO.Path.Combine(path, StateName);
        if (!Directory.Exists(statePath))
            return false;
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(statePath);
        return Parse(checkpoint).IsComplete;
    }

    /// <summary>Saves the state; until it is complete, the one before stays.</summary>
    public void Save(RunState state, IReadOnlyList<TensorToWrite> tensors) =>
        TrainingCheckpoint.Save(StatePath, tensors, state.ToJson());

    /// <summary>Deletes checkpoints that are neither among the latest nor the best.</summary>
    public void Forget(RunState state, int keep)
    {
        foreach (int step in state.Checkpoints.Order().SkipLast(keep).Where(step => step != state.Best).ToArray())
        {
            state.Checkpoints.Remove(step);
            if (Directory.Exists(CheckpointPath(step)))
                Directory.Delete(CheckpointPath(step), recursive: true);
        }
    }

    /// <summary>Writes the page.</summary>
    public void WriteReport(Recipe recipe, RunState state, VisionLanguageModel model, int resultStep)
    {
        IReadOnlyList<StepFigures> figures = RunLog.ReadMetrics(System.IO.Path.Combine(Path, RunLog.MetricsName),
            MostLogBytes);
        byte[] page = Encoding.UTF8.GetBytes(RunReport.Render(new RunReportData(
            recipe.Name, recipe, figures,
            [.. RunLog.ReadSamples(System.IO.Path.Combine(Path, RunLog.SamplesName), MostLogBytes).TakeLast(LastSamples)],
            [.. state.Evaluations.Where(point => point.Step == 0 || state.Checkpoints.Contains(point.Step)
                || point.Step == resultStep)
                .Select(point => new CheckpointScore(point.Step, point.CriticalEntropy, point.Accuracy ?? double.NaN,
                    point.Step == resultStep))],
            [
                ("Model", $"{state.Model}: {model.Configuration.Architecture}, {model.Parameters.ElementCount:N0} parameters"), ("Device", FormattableString.Invariant($"{model.Device.Name}; {model.Device.ReservedPeakBytes / 1e9:F2} GB reserved at most")),
                ("Machine", $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}, {Environment.ProcessorCount} cores, {RuntimeInformation.FrameworkDescription}"),
                ("Time", Reports.Markup.Duration(state.Seconds)),
                ("Steps", $"{state.Step}, of the optimizer {state.OptimizerSteps}; left out {state.SkippedSteps}"),
                ("Rows that could not be used", $"{state.BadRows}"), ("Rewards that failed", $"{state.RewardFaults}"),
                .. VerifierFacts(figures),
            ])));
        AtomicFile.Write(System.IO.Path.Combine(Path, ReportName), page.Length, stream => stream.Write(page));
    }

    private static IEnumerable<(string Name, string Value)> VerifierFacts(IReadOnlyList<StepFigures> figures)
    {
        if (!figures.Any(figure => figure["verifier/judged"] is not null))
            yield break;
        string Sum(string name) => Reports.Markup.Number((long)figures.Sum(figure => figure["verifier/" + name] ?? 0));
        yield return ("Verifier",
            $"right by the rule {Sum("by_rule")}, known already {Sum("cached")}, judged by the model {Sum("judged")}, no verdict {Sum("faults")}; "
            + $"{Sum("requests")} requests, {Sum("prompt_tokens")} tokens read, {Sum("completion_tokens")} written");
    }

    public void Dispose()
    {
        Log.Dispose();
        _lock.Dispose();
    }

    private static FileStream Hold(string file, string path)
    {
        try
        {
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1,
                FileOptions.DeleteOnClose);
        }
        catch (IOException exception)
        {
            throw new IOException(
                $"The run in '{path}' is open in another program, or its folder cannot be written: {exception.Message}",
                exception);
        }
    }

    private static RunState Load(string statePath, Recipe recipe, string model)
    {
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(statePath);
        RunState state = Parse(checkpoint);
        CheckRecipe(System.IO.Path.GetDirectoryName(statePath)!, state, recipe);
        if (state.Model != model)
            throw new RecipeException(
                $"The run in '{System.IO.Path.GetDirectoryName(statePath)}' was begun with the model '{state.Model}', not '{model}'. Resume it with the same one, or give another folder (--output).");
        return state;
    }

    private static void CheckRecipe(string path, RunState state, Recipe recipe)
    {
        if (state.Recipe != recipe.ResumedText)
            throw new RecipeException(
                $"The run in '{path}' was begun with another recipe ({RecipeName} in it): {FirstDifference(state.Recipe, recipe.ResumedText)}. Resume it with the same one, or give another folder (--output).");
    }

    private static RunState Parse(TrainingCheckpoint checkpoint)
    {
        try
        {
            RunState state = JsonText.Deserialize(Encoding.UTF8.GetBytes(checkpoint.StateJson),
                RunStateJson.Default.RunState);
            return state.Step >= 0 && state.Examples >= 0 ? state : throw new JsonException("it counts below 0.");
        }
        catch (JsonException exception)
        {
            throw new CheckpointException(checkpoint.Directory, $"is not the state of a run: {exception.Message}",
                innerException: exception);
        }
    }

    private static string FirstDifference(string before, string now)
    {
        string[] old = before.Split('\n'), new_ = now.Split('\n');
        int line = 0;
        while (line < old.Length && line < new_.Length && old[line] == new_[line])
            line++;
        return $"'{(line < old.Length ? old[line].Trim() : "")}' then, '{(line < new_.Length ? new_[line].Trim() : "")}' now";
    }
}
