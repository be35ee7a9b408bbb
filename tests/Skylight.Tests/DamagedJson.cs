using System.Text;

namespace Skylight.Tests;

/// <summary>The ways in which JSON goes wrong between who writes it and us.</summary>
internal static class DamagedJson
{
    private const int Deep = 10_000;

    private static readonly Dictionary<string, Func<string, byte[]>> _kinds = new()
    {
        ["empty"] = _ => [],
        ["blank"] = _ => " \n"u8.ToArray(),
        ["cut off"] = json => Encoding.UTF8.GetBytes(json[..(json.Length / 2)]),
        ["more behind it"] = json => Encoding.UTF8.GetBytes(json + "}"),
        ["UTF-16"] = json => [0xFF, 0xFE, .. Encoding.Unicode.GetBytes(json)],
        ["UTF-16 without a mark"] = Encoding.BigEndianUnicode.GetBytes,
        ["UTF-32"] = json => [0xFF, 0xFE, 0, 0, .. Encoding.UTF32.GetBytes(json)],
        ["Latin-1"] = json => Encoding.Latin1.GetBytes(With(json, "\"note\":\"é\"")),
        ["half a pair in a text"] = json => Encoding.UTF8.GetBytes(With(json, "\"note\":\"\\ud83d!\"")),
        ["half a pair in a name"] = json => Encoding.UTF8.GetBytes(With(json, "\"\\uDE00\":1")),
        ["half a pair, encoded"] = json => Encoding.Latin1.GetBytes(With(json, "\"note\":\"\u00ED\u00A0\u00BD\"")),
        ["deep"] = json => Encoding.UTF8.GetBytes(With(json, $"\"note\":{new string('[', Deep)}{new string(']', Deep)}")),
        ["a member twice"] = json => Encoding.UTF8.GetBytes(With(json, "\"note\":1,\"n\\u006fte\":2")),
        ["a comment"] = json => Encoding.UTF8.GetBytes(json + "// so"),
        ["NaN"] = json => Encoding.UTF8.GetBytes(With(json, "\"note\":NaN")),
        ["a list"] = _ => "[1]"u8.ToArray(),
        ["null"] = _ => "null"u8.ToArray(),
        ["a number"] = _ => "1e999"u8.ToArray(),
        ["binary"] = _ => [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0xAB],
    };

    /// <summary>The names of the kinds.</summary>
    public static IEnumerable<string> Kinds => _kinds.Keys;

    /// <summary>An object of JSON, damaged.</summary>
    /// <param name="kind">One of <see cref="Kinds"/>.</param>
    /// <param name="json">The object.</param>
    public static byte[] Damage(string kind, string json) => _kinds[kind](json);

    // The texts of the objects have no space before their first member, or none at all.
    private static string With(string json, string member)
    {
        string rest = json.TrimStart()[1..].TrimStart();
        return $"{{{member}{(rest.StartsWith('}') ? "" : ",")}{rest}";
    }
}
