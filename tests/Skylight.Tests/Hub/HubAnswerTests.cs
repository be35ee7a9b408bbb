using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Skylight.Hub;

namespace Skylight.Tests.Hub;

/// <summary>Hubs that refuse, and answers that no hub gives.</summary>
public sealed class HubAnswerTests
{
    [Theory]
    [InlineData(401, "RepoNotFound", null, HubFault.NotFound, "has no model 'Acme/Tiny'", "HF_TOKEN")]
    [InlineData(401, null, null, HubFault.NotFound, "has no model 'Acme/Tiny'")]
    [InlineData(404, "RepoNotFound", "t", HubFault.NotFound, "the token's account may not see it")]
    [InlineData(404, null, null, HubFault.NotFound, "has no model")]
    [InlineData(404, "RevisionNotFound", null, HubFault.RevisionNotFound, "no revision 'main'", "Acme/Tiny/tree/main")]
    [InlineData(401, "GatedRepo", null, HubFault.Gated, "Accept them at http://127.0.0.1", "/Acme/Tiny", "set HF_TOKEN")]
    [InlineData(403, "GatedRepo", "t", HubFault.Gated, "the token's account has not", "/Acme/Tiny")]
    [InlineData(401, null, "t", HubFault.Token, "refuses the token")]
    [InlineData(403, null, "t", HubFault.Gated, "does not let the token's account see")]
    [InlineData(418, null, null, HubFault.Untrusted, "answers 418")]
    public async Task A_refusal_says_what_to_do(int status, string? code, string? token, HubFault fault,
        params string[] expected)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.AtHub = context =>
        {
            HubSite.Refuse(context, status, code ?? "",
                status == 401 && token is not null ? "Invalid credentials in Authorization header" : "No.");
            return Task.FromResult(true);
        };
        await PullTests.FaultAsync(() =>
            ModelSource.PullAsync(HubSite.Id, options: site.Options(cache) with { Token = token }), fault, expected);
        Assert.Single(site.Requests);
    }

    [Theory]
    [InlineData("GatedRepo", 403, HubFault.Gated, "Accept them at")]
    [InlineData("EntryNotFound", 404, HubFault.Untrusted, "does not have it")]
    public async Task A_file_may_be_refused_where_the_list_is_not(string code, int status, HubFault fault, string expected)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.AtHub = context =>
        {
            if (!context.Request.Path.Value!.Contains("/resolve/", StringComparison.Ordinal))
                return Task.FromResult(false);
            HubSite.Refuse(context, status, code, "No.");
            return Task.FromResult(true);
        };
        await PullTests.FaultAsync(() => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache)), fault, expected);
    }

    [Theory]
    [InlineData("<html>Log in to the hotel's network</html>", "login page")]
    [InlineData("", "it is empty")]
    [InlineData("[]", "names no commit")]
    [InlineData("""{"sha": 5}""", "'sha' is no text")]
    [InlineData("""{"sha": "../../../etc"}""", "no hash of 40 digits")]
    [InlineData("""{"sha": "C"}""", "no hash of 40 digits")]
    [InlineData("""{"sha": "H"}""", "lists no files")]
    [InlineData("""{"sha": "H", "siblings": {}}""", "lists no files")]
    [InlineData("""{"sha": "H", "siblings": [5]}""", "has no name")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "../config.json"}]}""", "leads out of the folder")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "a/../../b"}]}""", "leads out of the folder")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "/etc/passwd"}]}""", "leads out of the folder")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "..\\..\\b"}]}""", "leads out of the folder")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "C:\\b"}]}""", "leads out of the folder")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "a"}, {"rfilename": "a"}]}""", "'a' twice")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "a"}, {"rfilename": "a/b"}]}""",
        "'a' as a file, and 'a/b' in it")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "a", "size": -5}]}""", "length of 'a' ('size') is -5")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "a", "size": 1e300}]}""", "which no file has")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "a", "blobId": "../../x"}]}""", "none of 40 digits")]
    [InlineData("""{"sha": "H", "siblings": [{"rfilename": "a", "size": 1, "lfs": {"size": 1}}]}""", "has no 'sha256'")]
    [InlineData("""{"sha": "H", "sha": "H", "siblings": []}""", "'sha' is there twice")]
    public async Task What_no_hub_says_is_refused(string answer, string expected)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.AtHub = async context =>
        {
            await context.Response.WriteAsync(
                answer.Replace("\"H\"", $"\"{new string('a', 40)}\"", StringComparison.Ordinal));
            return true;
        };
        await PullTests.FaultAsync(() => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache)),
            HubFault.Untrusted, expected);
        Assert.Empty(Directory.EnumerateFileSystemEntries(cache.Path));
    }

    [Fact]
    public async Task Another_commit_than_was_asked_for_is_refused()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        string asked = new('c', 40);
        site.Revisions[asked] = site.Commit;
        await PullTests.FaultAsync(() => ModelSource.PullAsync(HubSite.Id, asked, options: site.Options(cache)),
            HubFault.Untrusted, asked, site.Commit);
    }

    [Theory]
    [InlineData("config.json,model.safetensors,pytorch_model.bin,model.fp32.safetensors,consolidated.safetensors",
        "config.json,model.safetensors")]
    [InlineData(
        "config.json,model.safetensors.index.json,model-00001-of-00002.safetensors,model-00002-of-00002.safetensors,consolidated.safetensors", "config.json,model-00001-of-00002.safetensors,model-00002-of-00002.safetensors,model.safetensors.index.json")]
    [InlineData(
        "config.json,model.safetensors,LICENSE.md,NOTICE,README.md,modeling.py,chat_template.jinja,merges.txt,a.gguf,a.onnx,a.h5,sub/x.json", "LICENSE.md,NOTICE,chat_template.jinja,config.json,merges.txt,model.safetensors,modeling.py")]
    public void A_checkpoint_is_what_its_reader_opens(string files, string taken) =>
        Assert.Equal(taken.Split(','), FileSelection.Default("A/B", FilesOf(files), ModelParts.Checkpoint)
            .Select(file => file.Path).Order(StringComparer.Ordinal));

    [Theory]
    [InlineData("model.bin,README.md", "holds no config.json, but model.bin, README.md")]
    [InlineData("model.gguf,README.md", "holds GGUF files, model.gguf")]
    [InlineData("config.json,pytorch_model.bin", "no weights as *.safetensors")]
    [InlineData("", "nothing")]
    public void What_is_no_checkpoint_is_said_to_be_none(string files, string expected) =>
        Assert.Contains(expected,
            Assert.Throws<HubException>(() => FileSelection.Default("A/B", FilesOf(files), ModelParts.Checkpoint))
                .Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("config.json", "config.json")]
    [InlineData("*.json", "config.json,sub/x.json")]
    [InlineData("sub/", "sub/x.json,sub/y.bin")]
    [InlineData("model-0000[12]-*", "model-00001-of-3,model-00002-of-3")]
    [InlineData("model-0000[!12]-*", "model-00003-of-3")]
    [InlineData("?odel-00001-of-3", "model-00001-of-3")]
    [InlineData("a[", "a[")]
    [InlineData("[]]", "]")]
    public void Patterns_are_those_of_Python(string pattern, string taken) =>
        Assert.Equal(taken.Split(','),
            FileSelection.Of("A/B",
                FilesOf("config.json,model-00001-of-3,model-00002-of-3,model-00003-of-3,sub/x.json,sub/y.bin,a[,]"),
                [pattern]).Select(file => file.Path).Order(StringComparer.Ordinal));

    [Theory]
    [InlineData("*.gguf", "config.json", "has no such file")]
    [InlineData("[z-a]", "config.json", "is no pattern")]
    [InlineData("*", "Config.json,config.json", "one file where names ignore case")]
    [InlineData("*", "a:b", "parts of paths on Windows")]
    [InlineData("*", "a/b./c", "cannot be a file's name everywhere")]
    public void What_cannot_be_taken_is_named(string pattern, string files, string expected) =>
        Assert.Contains(expected, Assert.Throws<HubException>(() => FileSelection.Of("A/B", FilesOf(files), [pattern]))
            .Message, StringComparison.Ordinal);

    [Fact]
    public void A_record_is_read_as_it_was_written_and_as_Python_writes_it()
    {
        var listing = new HubListing(new string('a', 40),
            [new HubFile("config.json", 5) { BlobId = new string('1', 40) },
                new HubFile("w", 7) { BlobId = new string('2', 40), Sha256 = new string('3', 64) }]);
        Assert.Equal(listing.Files, HubListing.ParseRecord(listing.Commit, listing.ToRecord())!.Files);
        HubListing python = HubListing.ParseRecord(listing.Commit,
            """{"format_version": 1, "files": {"w": {"size": 9, "blob_id": "", "lfs_sha256": "3333333333333333333333333333333333333333333333333333333333333333", "lfs_size": 7, "xet_hash": "x"}}}"""u8.ToArray())!;
        Assert.Equal((7, new string('3', 64)), (python.Files[0].Length, python.Files[0].Hash));
        Assert.Null(HubListing.ParseRecord(listing.Commit, """{"format_version": 2, "files": []}"""u8.ToArray()));
        Assert.Throws<JsonException>(() =>
            HubListing.ParseRecord(listing.Commit, """{"format_version": 1, "files": {"../x": {"size": 1}}}"""u8.ToArray()));
    }

    private static HubFile[] FilesOf(string names) =>
        [.. names.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(name => new HubFile(name, 1))];
}
