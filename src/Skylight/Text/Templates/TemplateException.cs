using System.Globalization;

namespace Skylight.Text.Templates;

/// <summary>
/// A template cannot be read, asks for something that is not supported, or cannot render what it was given.
/// </summary>
public sealed class TemplateException : Exception
{
    internal TemplateException(TemplatePlace place, string message, bool isRefusal = false)
        : base(string.Create(CultureInfo.InvariantCulture, $"line {place.Line}, column {place.Column}: {message}"))
    {
        Line = place.Line;
        Column = place.Column;
        IsRefusal = isRefusal;
    }

    /// <summary>The line, from 1.</summary>
    public int Line { get; }

    /// <summary>The column, from 1.</summary>
    public int Column { get; }

    /// <summary>Whether the template itself refuses the conversation, by <c>raise_exception</c>.</summary>
    public bool IsRefusal { get; }
}

/// <summary>A place in a template, from 1.</summary>
internal readonly record struct TemplatePlace(int Line, int Column);
