namespace Skylight.Training.Runs;

/// <summary>Is told how a run goes: a display, say. Called from the run's own thread, never at the same time.</summary>
public interface IRunObserver
{
    /// <summary>A run begins or goes on.</summary>
    /// <param name="recipe">Its recipe.</param>
    /// <param name="step">Steps that are done.</param>
    /// <param name="steps">All steps.</param>
    void Begin(Recipe recipe, int step, int steps);

    /// <summary>A step or an evaluation is done.</summary>
    /// <param name="figures">What it measured.</param>
    /// <param name="steps">All steps.</param>
    void Report(StepFigures figures, int steps);

    /// <summary>Something that is worth a line: a checkpoint, a row that cannot be used, a step that was left out.</summary>
    void Note(string text);

    /// <summary>The run has ended.</summary>
    void End(RunResult result);
}

/// <summary>What has come of a run.</summary>
/// <param name="Name">The recipe's.</param>
/// <param name="Folder">Its folder: the checkpoint, the logs and the report.</param>
/// <param name="Steps">Steps that were taken.</param>
/// <param name="ResultStep">The step whose weights are the result.</param>
/// <param name="Accuracy">On held-out data, of the result; null where nothing was tried.</param>
/// <param name="FirstAccuracy">The same before the first step.</param>
/// <param name="LogProbabilityDifference">The greatest |log p of training − log p of the rollout| of any step; null for
/// methods that draw nothing.</param>
/// <param name="Seconds">Wall time over all sittings.</param>
/// <param name="BadRows">Rows that could not be used.</param>
public sealed record RunResult(
    string Name, string Folder, int Steps, int ResultStep, double? Accuracy, double? FirstAccuracy,
    double? LogProbabilityDifference, double Seconds, int BadRows);
