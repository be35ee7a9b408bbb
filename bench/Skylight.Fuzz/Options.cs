using System.Globalization;

namespace Skylight.Fuzz;

/// <summary>What stands behind a verb: one word and pairs of --name and value.</summary>
internal sealed class Options
{
    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);

    public Options(string[] args)
    {
        int start = args.Length % 2;
        First = start == 1 ? args[0] : "";
        for (int index = start; index < args.Length; index += 2)
        {
            if (!args[index].StartsWith("--", StringComparison.Ordinal))
                throw new ArgumentException($"'{args[index]}' is not an option.");
            _values[args[index][2..]] = args[index + 1];
        }
    }

    /// <summary>The word before the options; empty where there is none.</summary>
    public string First { get; }

    public string? Text(string name) => _values.GetValueOrDefault(name);

    public int Number(string name, int otherwise) => _values.TryGetValue(name, out string? text)
        ? int.Parse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) : otherwise;
}
