namespace Skylight.Training.Rewards;

/// <summary>A reward failed or is not a number; the message names the sample and the reward.</summary>
public sealed class RewardException : Exception
{
    /// <summary>Makes an exception.</summary>
    public RewardException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with its cause.</summary>
    public RewardException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception without a message.</summary>
    public RewardException()
    {
    }
}
