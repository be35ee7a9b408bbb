namespace Skylight.Text;

/// <summary>
/// A token that is matched in the text before anything else is done with it: an entry of <c>added_tokens</c>.
/// </summary>
/// <param name="Id">Its number.</param>
/// <param name="Content">Its spelling.</param>
/// <param name="Special">Whether decoding may leave it out.</param>
/// <param name="Normalized">Whether it is matched in the normalized text.</param>
/// <param name="StripLeft">Whether it takes the white space before it.</param>
/// <param name="StripRight">Whether it takes the white space after it.</param>
/// <param name="SingleWord">Whether it is matched only where no letter, digit or underscore touches it.</param>
internal sealed record AddedToken(
    int Id, string Content, bool Special, bool Normalized = false, bool StripLeft = false, bool StripRight = false,
    bool SingleWord = false);
