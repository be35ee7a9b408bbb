using Skylight.Training.Rewards;
using static Skylight.Tests.Training.Rewards.RewardTesting;

namespace Skylight.Tests.Training.Rewards;

public class RewardCatalogTests
{
    [Fact]
    public void The_page_lists_the_catalogue()
    {
        string page = File.ReadAllText(Repository.PathOf("docs", "rewards.md")).ReplaceLineEndings("\n");
        const string begin = "<!-- the catalogue, from RewardCatalog -->\n\n", end = "<!-- end of the catalogue -->";
        Assert.Contains(begin, page, StringComparison.Ordinal);
        Assert.Equal(RewardCatalog.ToMarkdown(), page.Split(begin)[1].Split(end)[0]);
    }

    [Fact]
    public void Every_reward_is_made_with_its_defaults_and_has_the_component_of_its_name()
    {
        var needed = new Dictionary<string, (string, string)[]>
        {
            ["length"] = [("buffer", "10")],
            ["regex"] = [("pattern", "x")],
            ["verifier"] = [("endpoint", "http://127.0.0.1:1/v1"), ("model", "m")],
            ["all_of"] = [("of", "answer, choice, numeric, format, regex, verifier"), ("regex.pattern", "x"),
                ("verifier.endpoint", "http://127.0.0.1:1/v1"), ("verifier.model", "m")],
        };
        Assert.Equal(["answer", "choice", "numeric", "format", "length", "repetition", "regex", "verifier", "all_of"],
            RewardCatalog.All.Select(kind => kind.Name));
        foreach (RewardKind kind in RewardCatalog.All)
            Assert.Equal([kind.Name], Create(kind.Name, needed.GetValueOrDefault(kind.Name, [])).Components);
    }

    [Theory]
    [InlineData("anwser", "", "There is no reward 'anwser': did you mean 'answer'?")]
    [InlineData("accuracy_reward", "",
        "there are answer, choice, numeric, format, length, repetition, regex, verifier, all_of.")]
    [InlineData("answer", "need_mark=true", "Reward 'answer' has no option 'need_mark': did you mean 'needs_mark'?")]
    [InlineData("format", "x=1", "Reward 'format' has no option 'x': there are none.")]
    [InlineData("answer", "answer.needs_mark=true", "has no option 'answer.needs_mark'")]
    [InlineData("answer", "needs_mark=yes", "the option 'needs_mark' is 'yes'; give true or false.")]
    [InlineData("numeric", "tolerance=-1", "is '-1'; give a number of at least 0.")]
    [InlineData("numeric", "tolerance=NaN", "is 'NaN'; give a number of at least 0.")]
    [InlineData("numeric", "tolerance=1,5", "is '1,5'; give a number")]
    [InlineData("length", "", "needs the option 'buffer'")]
    [InlineData("length", "shape=cosin", "is 'cosin'; give overlong or cosine or linear.")]
    [InlineData("length", "shape=cosine;buffer=5", "the option 'buffer' has no effect with the shape 'cosine'")]
    [InlineData("length", "buffer=5;right_long=1", "the option 'right_long' has no effect with the shape 'overlong'")]
    [InlineData("length", "buffer=0", "is '0'; give a whole number of at least 1.")]
    [InlineData("length", "buffer=20;max_tokens=10", "give at most max_tokens, which is 10.")]
    [InlineData("length", "buffer=99999999999", "give a whole number of at least 1.")]
    [InlineData("repetition", "max_penalty=1", "is '1'; give a number of at most 0.")]
    [InlineData("repetition", "ngram=0", "give a whole number from 1 to 100.")]
    [InlineData("regex", "", "Reward 'regex' needs the option 'pattern': The expression.")]
    [InlineData("regex", "pattern=(", "the pattern '(' is no regular expression")]
    [InlineData("regex", "pattern=x;group=2", "the pattern 'x' has no group '2' but '0'.")]
    [InlineData("regex", "pattern=x;on=prompt", "is 'prompt'; give turn or completion or answer.")]
    [InlineData("regex", "pattern=x;timeout=0", "give a number from 0.001 to 3600.")]
    [InlineData("verifier", "", "needs one of the options 'checkpoint'")]
    [InlineData("verifier", "checkpoint=a;endpoint=http://b", "and not both.")]
    [InlineData("verifier", "checkpoint=no-such-folder", "there is no config.json in '")]
    [InlineData("verifier", "checkpoint=a;model=m", "the option 'model' has no effect with a checkpoint")]
    [InlineData("verifier", "endpoint=http://b", "an endpoint needs the option 'model'")]
    [InlineData("verifier", "endpoint=b;model=m", "no URL")]
    [InlineData("verifier", "endpoint=ftp://b;model=m", "must be an http or https URL")]
    [InlineData("verifier", "endpoint=http://b;model=m;prompt={answer}?", "has no {response}")]
    [InlineData("verifier", "endpoint=http://b;model=m;extra_body=[]", "must be a JSON object")]
    [InlineData("verifier", "endpoint=http://b;model=m;extra_body={", "is no JSON")]
    [InlineData("verifier", "endpoint=http://b;model=m;extra_body={\"stream\":true}", "without 'stream'")]
    [InlineData("verifier", "endpoint=http://b;model=m;cache=-1", "give a whole number from 0")]
    [InlineData("all_of", "", "Reward 'all_of' needs the option 'of'")]
    [InlineData("all_of", "of=answer,answer", "name rewards, each once.")]
    [InlineData("all_of", "of=answer,length", "'length' cannot be one of them")]
    [InlineData("all_of", "of=all_of", "'all_of' cannot be one of them")]
    [InlineData("all_of", "of=answer,fromat", "There is no reward 'fromat': did you mean 'format'?")]
    [InlineData("all_of", "of=answer;answer.need_mark=true", "Reward 'answer' has no option 'need_mark'")]
    [InlineData("all_of", "of=answer;regex.pattern=x", "the option 'regex.pattern' is for none of its rewards")]
    public void What_cannot_be_used_is_refused_by_name(string name, string options, string message)
    {
        Dictionary<string, string> given = options.Split(';', StringSplitOptions.RemoveEmptyEntries)
            .Select(option => option.Split('=', 2)).ToDictionary(parts => parts[0], parts => parts[1]);
        Assert.Contains(message, Assert.ThrowsAny<ArgumentException>(() => RewardCatalog.Create(name, given)).Message,
            StringComparison.Ordinal);
    }

    /// <summary>A recipe may be published, and an error pasted anywhere.</summary>
    [Theory]
    [InlineData("api_key", "sk-secret123")]
    [InlineData("key", "sk-secret123")]
    [InlineData("key_variable", "sk-secret123")]
    [InlineData("key_variable", "secret123abc")]
    [InlineData("endpoint", "http://user:secret123@host/v1")]
    [InlineData("endpoint", "secret123")]
    public void A_key_in_the_wrong_place_is_not_repeated(string option, string value)
    {
        var options = new Dictionary<string, string>
        {
            ["endpoint"] = "http://127.0.0.1:1/v1",
            ["model"] = "m",
            [option] = value,
        };
        string message = Assert.ThrowsAny<ArgumentException>(() => RewardCatalog.Create("verifier", options)).ToString();
        Assert.DoesNotContain("secret123", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, "The environment variable JUDGE_KEY is not set")]
    [InlineData("  ", "The environment variable JUDGE_KEY is not set")]
    [InlineData("secret\n123", "cannot be a key")]
    [InlineData("secret 123", "cannot be a key")]
    [InlineData("sëcret123", "cannot be a key")]
    public void A_key_that_is_missing_or_none_is_said_without_it(string? key, string message)
    {
        var options = new Dictionary<string, string>
        {
            ["endpoint"] = "http://127.0.0.1:1/v1",
            ["model"] = "m",
            ["key_variable"] = "JUDGE_KEY",
        };
        string refused = Assert.Throws<ArgumentException>(() =>
            RewardCatalog.Create("verifier", options,
                new RewardContext { EnvironmentVariable = name => name == "JUDGE_KEY" ? key : "other" })).ToString();
        Assert.Contains(message, refused, StringComparison.Ordinal);
        Assert.DoesNotContain("123", refused.Replace("JUDGE_KEY", "", StringComparison.Ordinal).Split(" at ")[0],
            StringComparison.Ordinal);
    }
}
