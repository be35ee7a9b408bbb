namespace Skylight.Training.Rewards;

/// <summary>Decides whether a response answers its question.</summary>
public interface IVerifier
{
    /// <summary>Whether the response gives the expected answer.</summary>
    /// <param name="completion">The assistant's turn as text, without the end token.</param>
    /// <param name="expectedAnswer">The known answer.</param>
    bool Verify(string completion, string expectedAnswer);
}
