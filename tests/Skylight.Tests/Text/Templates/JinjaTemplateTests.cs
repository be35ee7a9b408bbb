using System.Globalization;
using System.Text.Json;
using Skylight.Text.Templates;

namespace Skylight.Tests.Text.Templates;

/// <summary>
/// What Python's jinja2 renders with transformers' settings, to the character (<c>tests/golden/templates</c>), and what
/// is refused.
/// </summary>
public sealed class JinjaTemplateTests
{
    // A list of two lists that are the same, and so on: little memory, and endless to walk through.
    private const string Doubled = "{% set n = namespace(x=[1]) %}{% for a in range(50) %}{% set n.x = [n.x, n.x] %}{% endfor %}";

    private const string Inside = "{% set n = namespace() %}{% set n.x = n %}";

    private static readonly DateTimeOffset s_now = new(2025, 3, 7, 15, 4, 9, TimeSpan.Zero);

    [Theory]
    [InlineData("internvl3-hf", 14)]
    [InlineData("skywork-r1v3", 10)]
    [InlineData("qwen2.5", 12)]
    [InlineData("qwen3", 38)]
    [InlineData("qwen2.5-vl", 28)]
    public void Templates_of_models_are_rendered_as_by_Python(string name, int cases)
    {
        using JsonDocument golden = Read(name);
        var template = JinjaTemplate.Parse(golden.RootElement.GetProperty("template").GetString()!);
        int count = 0;
        foreach (JsonElement item in golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            Assert.Equal(item.GetProperty("output").GetString(), template.Render(Names(item.GetProperty("names")), s_now));
            count++;
        }

        Assert.Equal(cases, count);
    }

    [Fact]
    public void Every_construct_is_rendered_as_by_Python()
    {
        using JsonDocument golden = Read("snippets");
        Dictionary<string, object?> names = Names(golden.RootElement.GetProperty("names"));
        List<string> wrong = [];
        foreach (JsonElement item in golden.RootElement.GetProperty("snippets").EnumerateArray())
        {
            string source = item.GetProperty("template").GetString()!, expected = item.GetProperty("output").GetString()!;
            string found;
            try
            {
                found = JinjaTemplate.Parse(source).Render(names, s_now);
            }
            catch (TemplateException exception)
            {
                found = exception.ToString();
            }

            if (found != expected)
                wrong.Add($"{source}\n  Python: {expected}\n  ours:   {found}");
        }

        Assert.True(wrong.Count == 0, string.Join("\n\n", wrong));
        Assert.InRange(golden.RootElement.GetProperty("snippets").GetArrayLength(), 60, 200);
    }

    [Theory]
    [InlineData("a\n {{ x | rot13 }}", 2, 9, "the filter 'rot13' is not supported; there are: abs,")]
    [InlineData("{{ x is weird }}", 1, 9, "the test 'weird' is not supported")]
    [InlineData("{% include 'x' %}", 1, 4, "'include' is not supported here")]
    [InlineData("{% if x %}\nA", 2, 2, "'endif' is missing")]
    [InlineData("{% for x in y %}", 1, 17, "'endfor' is missing")]
    [InlineData("{% endif %}", 1, 4, "'endif' is not supported here")]
    [InlineData("{{ x", 1, 1, "'{{' is not closed by '}}'")]
    [InlineData("{{ 'x }}", 1, 4, "a string is not closed")]
    [InlineData("{# x", 1, 1, "a comment is not closed")]
    [InlineData("{% raw %} x", 1, 1, "'raw' is not closed")]
    [InlineData("{{ x ] }}", 1, 6, "']' closes nothing")]
    [InlineData("{{ 1 + }}", 1, 8, "where an expression is expected")]
    [InlineData("{{ x y }}", 1, 6, "'y' stands where '}}' is expected")]
    [InlineData("{{ $ }}", 1, 4, "'$' is not expected here")]
    [InlineData("{% break %}", 1, 4, "'break' is not supported here")]
    [InlineData("{% set = 1 %}", 1, 8, "the name to set")]
    [InlineData("{{ '\\ud800' }}", 1, 5, "not a character")]
    [InlineData("{{ f(a=1, a=2) }}", 1, 11, "'a' is given twice")]
    public void What_is_not_supported_is_refused_when_it_is_read(string source, int line, int column, string message)
    {
        TemplateException exception = Assert.Throws<TemplateException>(() => JinjaTemplate.Parse(source));
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
        Assert.Equal((line, column), (exception.Line, exception.Column));
        Assert.StartsWith($"line {line}, column {column}: ", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{{ missing.x }}", "'missing' is undefined, so it has no 'x'")]
    [InlineData("{{ 'a' + missing }}", "'missing' is undefined, and '+' needs it")]
    [InlineData("{{ 'a' + 1 }}", "'+' does not work on text and a number")]
    [InlineData("{{ none.x.y }}", "'x' is undefined, so it has no 'y'")]
    [InlineData("{{ 1 < 'a' }}", "cannot be compared")]
    [InlineData("{{ 1 // 0 }}", "divided by zero")]
    [InlineData("{{ f() }}", "'f' is no function that is supported")]
    [InlineData("{{ 'a'.encode() }}", "'encode' is no method of texts that is supported")]
    [InlineData("{{ [1].append(2) }}", "'append' is no method of lists that is supported")]
    [InlineData("{{ ''.__class__.__mro__ }}", "'__class__' is undefined")]
    [InlineData("{% set x.y = 1 %}", "'x' is no namespace")]
    [InlineData("{% for a, b in [1] %}{% endfor %}", "the loop takes 2 names")]
    [InlineData("{% for a in 5 %}{% endfor %}", "a number has no elements")]
    [InlineData("{{ 9223372036854775807 + 1 }}", "beyond 64 bits")]
    [InlineData("{{ strftime_now('%Q') }}", "does not know '%Q'")]
    [InlineData("{{ range(1000000)|length }}", "longer than")]
    [InlineData("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep")]
    [InlineData("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}", "steps")]
    [InlineData("{% set ns = namespace(x='ab') %}{% for a in range(90000) %}{% set ns.x = ns.x * 2 %}{% endfor %}",
        "makes texts of more than")]
    [InlineData("{% set ns = namespace(x='ab') %}{% for a in range(90000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "makes texts of more than")]
    [InlineData(
        "{% set ns = namespace(x='ab') %}{% for a in range(90000) %}{% set ns.x = ns.x|replace('a', ns.x) " +
        "%}{% endfor %}", "makes texts of more than")]
    [InlineData("{% set ns = namespace(x=[1]) %}{% for a in range(90000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "elements")]
    [InlineData("{{ ('a' * 100000).split('a')|join('b' * 1000) }}", "makes texts of more than")]
    [InlineData("{% for a in range(90000) %}{{ 'x' * 10000 }}{% endfor %}", "characters")]
    [InlineData("{% for a in range(90000) %}{% set x %}{{ 'x' * 10000 }}{% endset %}{% endfor %}", "characters")]
    [InlineData("{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{{ m(m(m(m('x' * 5000000)))) }}", "characters")]
    [InlineData("{{ range(100000)|unique|list }}", "steps")]
    [InlineData("{% set r = range(100000) %}{% for a in r %}{% if -1 in r %}{% endif %}{% endfor %}", "steps")]
    [InlineData("{% set t = 'x' * 9000000 %}{% for a in range(90000) %}{% if 'y' in t %}{% endif %}{% endfor %}", "steps")]
    [InlineData("{% set t = 'x' * 9000000 %}{% for a in range(90000) %}{% if t.find('y') %}{% endif %}{% endfor %}",
        "steps")]
    [InlineData("{% for a in range(90000) %}{% set x = range(90000) %}{% endfor %}", "steps")]
    [InlineData("{{ ('x' * 9000000)|first }}", "steps")]
    [InlineData("{{ ('x' * 9000000).split('x')|length }}", "elements")]
    [InlineData("{{ ('x\n' * 9000000).splitlines()|length }}", "elements")]
    [InlineData("{{ ('x ' * 9000000).split()|length }}", "elements")]
    [InlineData("{{ ('x' * 9000000).rsplit('x', 8000000)|length }}", "elements")]
    [InlineData(Doubled + "{{ n.x }}", "steps")]
    [InlineData(Doubled + "{{ n.x|string }}", "steps")]
    [InlineData(Doubled + "{{ n.x ~ '' }}", "steps")]
    [InlineData(Doubled + "{{ n.x|tojson }}", "steps")]
    [InlineData(Doubled + "{% set m = namespace(x=[1]) %}{% for a in range(50) %}{% set m.x = [m.x, m.x] %}{% endfor %}" +
        "{{ n.x == m.x }}", "steps")]
    [InlineData(Inside + "{{ n }}", "too deep is written")]
    [InlineData(Inside + "{{ n|tojson }}", "something too deep")]
    [InlineData(Inside + "{% set m = namespace() %}{% set m.x = m %}{{ n == m }}", "too deep is compared")]
    [InlineData(Inside + "{% set m = namespace() %}{% set m.x = m %}{{ [n].index(m) }}", "too deep is compared")]
    [InlineData("{{ [1]|tojson(indent=2000000000) }}", "takes a whole number from 0 to 256 for 'indent'")]
    [InlineData("{{ [1]|tojson(indent=-1) }}", "takes a whole number from 0 to 256 for 'indent'")]
    [InlineData("{{ (-9223372036854775807 - 1)|abs }}", "beyond 64 bits")]
    [InlineData("{{ {}|map('nope') }}{{ [1]|map('nope') }}", "does not know the filter 'nope'")]
    [InlineData("{{ 'a'.split(',', 1, 2) }}", "takes at most 2 arguments")]
    [InlineData("{{ 'a'|trim(x=1) }}", "takes no argument 'x'")]
    public void What_cannot_be_rendered_says_where(string source, string message)
    {
        var template = JinjaTemplate.Parse(source);
        TemplateException exception = Assert.Throws<TemplateException>(
            () => template.Render(new Dictionary<string, object?>()));
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
        Assert.False(exception.IsRefusal);
    }

    [Theory]
    [InlineData("{{ 'abc'[1::9223372036854775807] }}{{ [1, 2, 3][2::-9223372036854775807] }}", "b[3]")]
    [InlineData("{{ range(9223372036854775806, 9223372036854775807, 5)|list }}", "[9223372036854775806]")]
    [InlineData("{{ (-1) ** 65 }} {{ (-1) ** 66 }} {{ 0 ** 99 }} {{ 1 ** 99 }}", "-1 1 0 1")]
    [InlineData("{{ (-9223372036854775807 - 1) is divisibleby(-1) }}", "True")]
    [InlineData("{{ '' * 9223372036854775807 }}{{ 'ab' * 3 }}{{ 'a' * -1 }}", "ababab")]
    [InlineData("{{ 'a-b-c-d'.rsplit('-', 2) }}{{ 'a-b'.rsplit('-', 5) }}{{ '-a'.rsplit('-', 1) }}",
        "['a-b', 'c', 'd']['a', 'b']['', 'a']")]
    [InlineData("{{ 'a-b-c'.split('-', 1) }}{{ 'a-b-c'.split('-', 0) }}{{ 'a\nb\n'.splitlines() }}",
        "['a', 'b-c']['a-b-c']['a', 'b']")]
    [InlineData("{{ 'aXbXc'.replace('X', 'XX', 1) }}{{ 'aXbXc'.replace('X', '', 5) }}{{ 'a'.replace('a', 'b', 0) }}",
        "aXXbXcabca")]
    [InlineData("{{ 'a' 'b' 'c' }}{{ 'g🙂n'|length }}{{ 'g🙂n'|last }}{{ [[], {}, [1, 'x']] }}",
        "abc3n[[], {}, [1, 'x']]")]
    public void Extremes_are_as_in_Python(string source, string expected) =>
        Assert.Equal(expected, JinjaTemplate.Parse(source).Render(new Dictionary<string, object?>()));

    [Fact]
    public void More_arguments_than_anybody_writes_are_refused()
    {
        static string Many(string form, int count) => $"{{{{ f({string.Join(", ", Enumerable.Range(0, count)
            .Select(index => string.Format(CultureInfo.InvariantCulture, form, index)))}) }}}}";
        foreach (string form in (string[])["{0}", "a{0}={0}"])
        {
            JinjaTemplate.Parse(Many(form, 255));
            Assert.Contains("more than 255 arguments",
                Assert.Throws<TemplateException>(() => JinjaTemplate.Parse(Many(form, 256))).Message,
                StringComparison.Ordinal);
        }

        string macro = string.Join(", ", Enumerable.Range(0, 256).Select(index => $"a{index}"));
        Assert.Contains("more than 255 arguments", Assert.Throws<TemplateException>(
            () => JinjaTemplate.Parse($"{{% macro m({macro}) %}}{{% endmacro %}}")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_template_may_refuse()
    {
        TemplateException exception = Assert.Throws<TemplateException>(() =>
            JinjaTemplate.Parse("a\n{{ raise_exception('Roles must ' ~ 'alternate') }}")
                .Render(new Dictionary<string, object?>()));
        Assert.True(exception.IsRefusal);
        Assert.Equal("line 2, column 19: the template refuses this: Roles must alternate", exception.Message);
    }

    [Fact]
    public void Nothing_spoilt_does_more_than_to_be_refused()
    {
        string[] sources = [.. new[] { "qwen3", "qwen2.5", "qwen2.5-vl" }.Select(name =>
        {
            using JsonDocument golden = Read(name);
            return golden.RootElement.GetProperty("template").GetString()!;
        })];
        var random = new Random(7);
        var names = new Dictionary<string,
            object?>
        {
            ["messages"] =
                    new List<object?> { new Dictionary<string, object?> { ["role"] = "user", ["content"] = "x" } },
        };
        int refused = 0;
        for (int round = 0; round < 3000; round++)
        {
            string source = sources[round % sources.Length];
            int at = random.Next(source.Length), length = random.Next(1, 12);
            source = (round % 4) switch
            {
                0 => source.Remove(at, Math.Min(length, source.Length - at)),
                1 => source.Insert(at, source.Substring(random.Next(source.Length - 12), length)),
                2 => source[..at],
                _ => source[..at] + (char)random.Next(32, 127) + source[Math.Min(at + 1, source.Length)..],
            };
            try
            {
                JinjaTemplate.Parse(source).Render(names);
            }
            catch (TemplateException)
            {
                refused++;
            }
        }

        Assert.InRange(refused, 500, 2999);
        foreach (string deep in (string[])[new string('(', 100_000),
            string.Concat(Enumerable.Repeat("{% if x %}", 50_000)),
            "{{ " + string.Join("+", Enumerable.Repeat("1", 200_000)) + " }}",
            "{{ x" + string.Concat(Enumerable.Repeat("|trim", 100_000)) + " }}"])
            Assert.Throws<TemplateException>(
                () => JinjaTemplate.Parse(deep.StartsWith('(') ? "{{ " + deep + " }}" : deep).Render(names));
    }

    private static JsonDocument Read(string name) =>
        JsonDocument.Parse(File.ReadAllBytes(Golden.PathOf($"templates/{name}.json")));

    private static Dictionary<string, object?> Names(JsonElement names) =>
        (Dictionary<string, object?>)TemplateValue.FromJson(names)!;
}
