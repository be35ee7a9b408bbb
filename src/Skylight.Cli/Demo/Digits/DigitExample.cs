namespace Skylight.Cli.Demo.Digits;

/// <summary>One thing to train on or to solve.</summary>
/// <param name="Picture">The picture, or null for a problem in text alone.</param>
/// <param name="Prompt">What is asked, in the words that the model is given.</param>
/// <param name="Completion">
/// What it should write; of a thought what follows its opening. For a problem: one way to reason, which reinforcement
/// learning must not look at.
/// </param>
/// <param name="Answer">The final answer.</param>
/// <param name="Question">What is asked; null for a caption.</param>
internal sealed record DigitExample(
    DigitPicture? Picture, string Prompt, string Completion, string Answer, DigitQuestion? Question = null);
