using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;

namespace Skylight.Cli;

/// <summary>
/// One reader for the numbers of all options: written with a point, without thousands separators, on every machine. A
/// comma is refused, since it would be a decimal point to one half of the world and nothing to the other. That a text
/// is empty is said here too, where the name of its option is known.
/// </summary>
internal static class OptionReaders
{
    // What may be said with no words; that a key is empty, its command says better.
    private static readonly string[] _mayBeEmpty = ["--prompt", "--system", "--prefill", "--ban", "--api-key"];

    /// <summary>Gives all options of a command and of those below it this reader.</summary>
    public static void Apply(Command command)
    {
        foreach (Option option in command.Options)
            Apply(option);
        foreach (Argument argument in command.Arguments)
            argument.Validators.Add(result => RefuseEmpty(result, argument.Name));
        foreach (Command child in command.Subcommands)
            Apply(child);
    }

    private static void Apply(Option option)
    {
        switch (option)
        {
            case Option<int> number: number.CustomParser = Read<int>; break;
            case Option<int?> number: number.CustomParser = result => Read<int>(result); break;
            case Option<float> number: number.CustomParser = Read<float>; break;
            case Option<float?> number: number.CustomParser = result => Read<float>(result); break;
            case Option<double> number: number.CustomParser = Read<double>; break;
            case Option<double?> number: number.CustomParser = result => Read<double>(result); break;
            case Option<ulong> number: number.CustomParser = Seed; break;
            case Option<ulong?> number: number.CustomParser = result => Seed(result); break;
            case Option<string> or Option<string[]> when !_mayBeEmpty.Contains(option.Name):
                option.Validators.Add(
                result => RefuseEmpty(result, option.Name)); break;
        }
    }

    private static T Read<T>(ArgumentResult result)
        where T : struct, INumber<T>
    {
        string text = result.Tokens[0].Value;
        bool whole = typeof(T) == typeof(int) || typeof(T) == typeof(ulong);
        NumberStyles style = whole ? NumberStyles.AllowLeadingSign
            : NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
        if (T.TryParse(text, style, CultureInfo.InvariantCulture, out T value) && T.IsFinite(value))
            return value;
        string wanted = whole ? $"a whole number from {RangeOf<T>()}"
            : "a number, written with a point and without thousands separators (0.5)";
        result.AddError($"{NameOf(result)} takes {wanted}, not '{text}'.");
        return default;
    }

    private static void RefuseEmpty(SymbolResult result, string name)
    {
        if (result.Tokens.Any(token => token.Value.Length == 0))
            result.AddError($"{name} is empty; give it a value.");
    }

    // A negative seed names a sequence too, as over HTTP: the same 64 bits.
    private static ulong Seed(ArgumentResult result) =>
        long.TryParse(result.Tokens[0].Value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long seed)
        ? unchecked((ulong)seed)
        : Read<ulong>(result);

    private static string RangeOf<T>() => typeof(T) == typeof(int)
        ? $"{int.MinValue} to {int.MaxValue}"
        : $"{long.MinValue} to {ulong.MaxValue}";

    private static string NameOf(ArgumentResult result) => result.Parent is OptionResult option ? option.Option.Name
        : result.Argument.Name;
}
