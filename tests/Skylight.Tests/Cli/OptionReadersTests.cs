using System.CommandLine;
using Skylight.Cli;

namespace Skylight.Tests.Cli;

public sealed class OptionReadersTests
{
    [Theory]
    [InlineData("--temperature", "0,5")]
    [InlineData("--temperature", "1,05")]
    [InlineData("--temperature", "1,000")]
    [InlineData("--temperature", " 1")]
    [InlineData("--temperature", "NaN")]
    [InlineData("--temperature", "Infinity")]
    [InlineData("--temperature", "1e99")]
    [InlineData("--temperature", "warm")]
    [InlineData("--memory", "1,5")]
    [InlineData("--tokens", "1,000")]
    [InlineData("--tokens", "1.0")]
    [InlineData("--tokens", "3000000000")]
    [InlineData("--batch", "two")]
    [InlineData("--seed", "1.5")]
    [InlineData("--seed", "18446744073709551616")]
    [InlineData("--optional-seed", "1,000")]
    public void What_is_no_plain_number_is_refused_in_plain_words(string option, string value)
    {
        string message = Assert.Single(Parse($"{option}={value}").Errors).Message;
        Assert.StartsWith($"{option} takes ", message, StringComparison.Ordinal);
        Assert.Contains($"'{value}'", message, StringComparison.Ordinal);
        Assert.DoesNotContain("System.", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Numbers_are_read_the_same_on_every_machine()
    {
        ParseResult parse = Parse("--temperature", "0.5", "--memory", "1.5e2", "--tokens", "-7", "--batch", "3",
            "--seed", "-3", "--optional-seed", "18446744073709551615");
        Assert.Empty(parse.Errors);
        Assert.Equal(0.5f, parse.GetValue<float?>("--temperature"));
        Assert.Equal(150, parse.GetValue<double?>("--memory"));
        Assert.Equal(-7, parse.GetValue<int?>("--tokens"));
        Assert.Equal(3, parse.GetValue<int>("--batch"));
        Assert.Equal(unchecked((ulong)-3), parse.GetValue<ulong>("--seed"));
        Assert.Equal(ulong.MaxValue, parse.GetValue<ulong?>("--optional-seed"));
    }

    [Fact]
    public void What_is_not_given_keeps_its_default()
    {
        ParseResult parse = Parse();
        Assert.Empty(parse.Errors);
        Assert.Null(parse.GetValue<float?>("--temperature"));
        Assert.Equal(1, parse.GetValue<int>("--batch"));
        Assert.Equal(7ul, parse.GetValue<ulong>("--seed"));
    }

    private static ParseResult Parse(params string[] arguments)
    {
        var command = new Command("run")
        {
            new Option<float?>("--temperature"),
            new Option<double?>("--memory"),
            new Option<int?>("--tokens"),
            new Option<int>("--batch") { DefaultValueFactory = _ => 1 },
            new Option<ulong>("--seed") { DefaultValueFactory = _ => 7 },
            new Option<ulong?>("--optional-seed"),
        };
        var root = new RootCommand { command };
        OptionReaders.Apply(root);
        return root.Parse(["run", .. arguments]);
    }
}
