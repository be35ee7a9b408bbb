namespace Skylight.Chat;

/// <summary>What errors say to people who do not see the code: users of the command line and of a server.</summary>
public static class PlainMessages
{
    /// <summary>The message without the name of a method's parameter, which says nothing to who called none.</summary>
    public static string Of(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return Without(exception.Message, (exception as ArgumentException)?.ParamName);
    }

    internal static string Without(string message, string? parameter)
    {
        if (parameter is null)
            return message;
        string suffix = $" (Parameter '{parameter}')";
        int at = message.IndexOf(suffix, StringComparison.Ordinal);
        return at < 0 ? message : message.Remove(at, suffix.Length);
    }
}
