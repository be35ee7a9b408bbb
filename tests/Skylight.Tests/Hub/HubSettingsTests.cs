using Skylight.Hub;

namespace Skylight.Tests.Hub;

/// <summary>The environment, as Python's huggingface_hub reads it.</summary>
public sealed class HubSettingsTests
{
    [Theory]
    [InlineData("HOME=/h", "/h/.cache/huggingface/hub")]
    [InlineData("HOME=/h;XDG_CACHE_HOME=/x", "/x/huggingface/hub")]
    [InlineData("HOME=/h;XDG_CACHE_HOME=/x;HF_HOME=/hf", "/hf/hub")]
    [InlineData("HOME=/h;HF_HOME=~/models", "/h/models/hub")]
    [InlineData("HOME=/h;HF_HOME=$DATA/hf;DATA=/d", "/d/hf/hub")]
    [InlineData("HOME=/h;HF_HOME=${DATA}/hf;DATA=/d", "/d/hf/hub")]
    [InlineData("HOME=/h;HF_HOME=/$NONE/$", "/$NONE/$/hub")]
    [InlineData("HOME=/h;HF_HOME=", "/h/.cache/huggingface/hub")]
    [InlineData("HF_HOME=/hf;HUGGINGFACE_HUB_CACHE=/old", "/old")]
    [InlineData("HF_HOME=/hf;HUGGINGFACE_HUB_CACHE=/old;HF_HUB_CACHE=/new", "/new")]
    public void The_cache_is_where_Python_has_it(string environment, string folder)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "The paths are those of Unix.");
        Assert.Equal(folder, Of(environment).CacheDirectory);
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("HF_HUB_OFFLINE=1", true)]
    [InlineData("HF_HUB_OFFLINE=yes", true)]
    [InlineData("HF_HUB_OFFLINE=0", false)]
    [InlineData("TRANSFORMERS_OFFLINE=True", true)]
    public void Offline_is_as_Python_has_it(string environment, bool isOffline) =>
        Assert.Equal(isOffline, Of(environment).IsOffline);

    [Theory]
    [InlineData("HF_TOKEN= a \n", "a")]
    [InlineData("HUGGING_FACE_HUB_TOKEN=b", "b")]
    [InlineData("HF_TOKEN=;HUGGING_FACE_HUB_TOKEN=b", "b")]
    [InlineData("HF_TOKEN=a;HF_HUB_DISABLE_IMPLICIT_TOKEN=1", null)]
    [InlineData("", "of-the-file")]
    [InlineData("HF_TOKEN_PATH=$HF_HOME/other", "other")]
    [InlineData("HF_TOKEN_PATH=/nowhere/token", null)]
    public void A_token_is_found_where_Python_finds_it(string environment, string? token)
    {
        using var home = new TemporaryFolder();
        home.Write("token", "of-the-file\n");
        home.Write("other", "other");
        Assert.Equal(token, Of($"{environment};HF_HOME={home.Path}").Token());
    }

    [Fact]
    public void A_token_that_is_given_wins_and_an_empty_one_is_none()
    {
        Assert.Equal("mine",
            HubSettings.Of(new HubOptions
            {
                Token = "mine",
                Variable = name =>
                    name switch { "HF_TOKEN" => "other", "HF_HUB_DISABLE_IMPLICIT_TOKEN" => "1", _ => null },
            }).Token());
        Assert.Null(HubSettings.Of(
            new HubOptions { Token = "", Variable = name => name == "HF_TOKEN" ? "other" : null }).Token());
    }

    [Theory]
    [InlineData("HF_TOKEN=a\u00fcb", "HF_TOKEN has others")]
    [InlineData("HF_TOKEN=a b", "HF_TOKEN has others")]
    [InlineData("HF_TOKEN_PATH=FOLDER", "is a folder")]
    [InlineData("HF_ENDPOINT=hub.test", "'hub.test' (HF_ENDPOINT) is no http or https address")]
    [InlineData("HF_ENDPOINT=ftp://hub.test", "is no http or https address")]
    [InlineData("HF_ENDPOINT=https://hub.test?a=b", "is no http or https address")]
    public void What_cannot_be_used_is_named(string environment, string expected)
    {
        using var folder = new TemporaryFolder();
        HubSettings Read() => Of(environment.Replace("FOLDER", folder.Path, StringComparison.Ordinal) + ";HOME=/h");
        HubException exception = Assert.Throws<HubException>(() => Read().Token());
        Assert.Equal(HubFault.Setting, exception.Fault);
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("a\u00fcb", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_endpoint_is_shown_without_its_password() =>
        Assert.Equal("https://hub.test/hf",
            HubSettings.Of(new HubOptions
            {
                Endpoint = new Uri("https://me:secret@hub.test/hf/"),
                CacheDirectory = "c",
                Variable = _ => null,
            }).EndpointName);

    private static HubSettings Of(string environment)
    {
        Dictionary<string, string> variables = environment.Split(';', StringSplitOptions.RemoveEmptyEntries)
            .Select(part => part.Split('=', 2)).ToDictionary(part => part[0], part => part[1]);
        return HubSettings.Of(new HubOptions { Variable = variables.GetValueOrDefault });
    }
}
