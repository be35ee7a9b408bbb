namespace Skylight.Chat;

/// <summary>What errors say to people who do not see the code: users of the command line and of a server.</summary>
public static class PlainMessages
{
    /// <summary>The message without the name of a method's parameter, which says nothing to who called none.</summary>
    public static string Of(Exception exception)
    {
        if (exception is not ArgumentException { ParamName: { } parameter } argument)
            return exception.Message;
        string suffix = $" (Parameter '{parameter}')";
        int at = argument.Message.IndexOf(suffix, StringComparison.Ordinal);
        return at < 0 ? argument.Message : argument.Message.Remove(at, suffix.Length);
    }
}
