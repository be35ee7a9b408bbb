namespace Skylight.Training;

/// <summary>How the learning rate goes after the warm-up.</summary>
public enum LearningRateDecay
{
    /// <summary>It stays.</summary>
    Constant,

    /// <summary>A line down to the final fraction.</summary>
    Linear,

    /// <summary>Half a cosine down to the final fraction.</summary>
    Cosine,
}

/// <summary>A learning rate for every step.</summary>
/// <param name="Peak">The highest learning rate.</param>
/// <param name="Steps">The number of steps of the whole run.</param>
/// <param name="WarmupSteps">Steps of linear rise at the start.</param>
/// <param name="Decay">What follows.</param>
/// <param name="FinalFraction">The fraction of the peak at the end.</param>
public sealed record LearningRateSchedule(float Peak, int Steps, int WarmupSteps = 0,
    LearningRateDecay Decay = LearningRateDecay.Constant, float FinalFraction = 0f)
{
    /// <summary>The learning rate of a step, counted from 0.</summary>
    public float At(int step)
    {
        if (step < WarmupSteps)
            return Peak * (step + 1) / WarmupSteps;
        if (Decay == LearningRateDecay.Constant)
            return Peak;
        double progress = Math.Clamp((double)(step - WarmupSteps) / Math.Max(1, Steps - WarmupSteps), 0, 1);
        double left = Decay == LearningRateDecay.Linear ? 1 - progress : 0.5 * (1 + Math.Cos(Math.PI * progress));
        return (float)(Peak * (FinalFraction + (1 - FinalFraction) * left));
    }
}
