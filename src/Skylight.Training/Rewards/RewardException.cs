using Skylight.Chat;

namespace Skylight.Training.Rewards;

/// <summary>A reward cannot judge a sample, and the run is to stop then.</summary>
public sealed class RewardException : Exception
{
    /// <summary>Names the reward and the sample.</summary>
    /// <param name="reward">The reward's name.</param>
    /// <param name="sampleId">The sample's <see cref="RewardRequest.Id"/>.</param>
    /// <param name="fault">Why.</param>
    public RewardException(string reward, string sampleId, Exception fault)
        : base($"Reward '{reward}', sample '{sampleId}': {Describe(fault)} Mend the row or the reward, or let the " +
            $"run go on with such samples worth zero, or skipped.", fault) =>
        (Reward, SampleId) = (reward, sampleId);

    /// <summary>The reward's name.</summary>
    public string Reward { get; }

    /// <summary>The sample that it could not judge; the first of them, if the whole batch failed.</summary>
    public string SampleId { get; }

    /// <summary>What is wrong, as a sentence; the type is named where the message is not from here.</summary>
    internal static string Describe(Exception fault)
    {
        string message = PlainMessages.Of(fault).Trim();
        message = message.Length == 0 ? "no message" : message;
        if (fault is not (InvalidDataException or VerifierException))
            message = $"{fault.GetType().Name}: {message}";
        return message[^1] is '.' or '!' or '?' ? message : message + ".";
    }
}
