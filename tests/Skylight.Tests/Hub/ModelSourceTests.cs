using System.Diagnostics;
using System.Text.Json;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Cli;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Tests.Cli;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Hub;

/// <summary>Models by folder and by repository, with and without a network.</summary>
public sealed class ModelSourceTests
{
    [Theory]
    [InlineData("Acme/Tiny", true)]
    [InlineData("Acme/Tiny-1.5_b@v1.0", true)]
    [InlineData("Acme/Tiny@refs/pr/3", true)]
    [InlineData("Acme", false)]
    [InlineData("./Acme/Tiny", false)]
    [InlineData("/Acme/Tiny", false)]
    [InlineData("Acme/Tiny/x", false)]
    [InlineData("Acme\\Tiny", false)]
    [InlineData("Acme/../Tiny", false)]
    [InlineData("Acme/..", false)]
    [InlineData("Acme/a--b", false)]
    [InlineData("Acme/Tiny.git", false)]
    [InlineData("Acme/Tiny@", false)]
    [InlineData("Acme/Tiny@../../x", false)]
    [InlineData("Acme/Tiny@a b", false)]
    [InlineData("Acme/Tiny@a\0b", false)]
    [InlineData("Acme/Tiny\n", false)]
    [InlineData("https://huggingface.co/Acme/Tiny", false)]
    public void A_repository_is_told_from_a_path(string text, bool isRepository) =>
        Assert.Equal(isRepository, ModelSource.IsRepository(text));

    [Theory]
    [InlineData("../x")]
    [InlineData("/x")]
    [InlineData("x..y")]
    [InlineData("x:y")]
    [InlineData("x.lock")]
    [InlineData("")]
    public async Task A_revision_that_would_be_a_path_elsewhere_is_refused(string revision)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        await PullTests.FaultAsync(() => ModelSource.PullAsync(HubSite.Id, revision, options: site.Options(cache)),
            HubFault.Setting, "is no branch, tag or commit");
        Assert.Empty(site.Requests);
    }

    [Fact]
    public async Task A_folder_wins_and_what_is_neither_is_said_to_be_neither()
    {
        using var folder = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        Assert.Equal(folder.Path, await ModelSource.FolderAsync(folder.Path, options: site.Options(folder)));
        string relative = Path.GetRelativePath(Environment.CurrentDirectory, AppContext.BaseDirectory);
        Assert.Equal(relative, await ModelSource.FolderAsync(relative, options: site.Options(folder)));
        CheckpointException neither = await Assert.ThrowsAsync<CheckpointException>(
            () => ModelSource.FolderAsync("internvl3-1b", options: site.Options(folder)));
        Assert.Contains("and it is no repository of the hub: those are OWNER/NAME", neither.Message,
            StringComparison.Ordinal);
        string file = folder.Write("x", "x");
        Assert.Contains("is a file",
            (await Assert.ThrowsAsync<CheckpointException>(
                () => ModelSource.FolderAsync(file, options: site.Options(folder)))).Message, StringComparison.Ordinal);
        Assert.Empty(site.Requests);
        await PullTests.FaultAsync(() => ModelSource.FolderAsync("Acme/Other", options: site.Options(folder)),
            HubFault.NotFound, "There is no folder 'Acme/Other', and http://127.0.0.1", "has no model 'Acme/Other'");
    }

    [Fact]
    public async Task GGUF_files_are_pulled_by_name_and_the_repository_is_then_that_model()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync(new Dictionary<string, byte[]>
        {
            ["README.md"] = "x"u8.ToArray(),
            ["config.json"] = "{}"u8.ToArray(),
            ["m-Q4_K_M.gguf"] = "GGUF4"u8.ToArray(),
            ["m-Q8_0.gguf"] = "GGUF8"u8.ToArray(),
            ["mmproj-F16.gguf"] = "GGUFm"u8.ToArray(),
        });
        await PullTests.FaultAsync(() => ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache)),
            HubFault.NoCheckpoint, "holds GGUF files", "skylight pull Acme/Tiny --include m-Q4_K_M.gguf --include 'mmproj*'");
        HubSnapshot pulled = await ModelSource.PullAsync(HubSite.Id, include: ["*Q4_K_M*", "mmproj*"],
            options: site.Options(cache));
        Assert.Equal(["m-Q4_K_M.gguf", "mmproj-F16.gguf"], pulled.Files.Select(file => file.Path).Order());
        int before = site.Requests.Count;
        Assert.Equal(pulled.Folder, await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache)));
        Assert.Equal(before, site.Requests.Count);
        Assert.True(ModelSource.IsGguf(pulled.Folder));
        string file = Path.Combine(pulled.Folder, "m-Q4_K_M.gguf");
        Assert.Equal(file, await ModelSource.FolderAsync(file, options: site.Options(cache)));
        Assert.Equal(HubSite.Id, ModelSource.NameOf(pulled.Folder));
    }

    /// <summary>As versions before 1 leave it: no record of the files, also of those that are known not to exist.</summary>
    [Fact]
    public async Task What_Python_has_downloaded_is_found_and_completed()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        string old = site.Commit, repository = "models--Acme--Tiny", snapshot = cache[$"{repository}/snapshots/{old}"];
        foreach (string path in new[] { "config.json", "tokenizer.json", "model.safetensors" })
        {
            string hash = HubSite.HashOf(site.Files[path], site.IsLarge(path));
            cache.Write($"{repository}/blobs/{hash}", site.Files[path]);
            Directory.CreateDirectory(snapshot);
            File.CreateSymbolicLink(Path.Combine(snapshot, path), $"../../blobs/{hash}");
        }

        cache.Write($"{repository}/refs/main", old);
        cache.Write($"{repository}/.no_exist/{old}/chat_template.jinja", "");
        Assert.Equal(snapshot,
            await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache) with { Offline = true }));
        Assert.Empty(site.Requests);

        // With a network it is completed as the commit that it is, though the branch has gone on.
        site.Commits[new string('b', 40)] = new Dictionary<string,
            byte[]>(site.Files)
        { ["model.safetensors"] = HubSite.Noise(9, 1000) };
        site.Revisions["main"] = new string('b', 40);
        Assert.Equal(snapshot, await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache)));
        Assert.Equal(0, site.Count("/store/"));
        Assert.True(File.Exists(Path.Combine(snapshot, "conversation.py")));
        Assert.Equal(old, await File.ReadAllTextAsync(cache[$"{repository}/refs/main"]));

        // From then on no network is asked.
        int before = site.Requests.Count;
        Assert.Equal(snapshot, await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache)));
        Assert.Equal(before, site.Requests.Count);
    }

    [Fact]
    public async Task A_hub_that_cannot_be_reached_leaves_a_way_to_use_what_is_there()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        cache.Write($"models--Acme--Tiny/snapshots/{site.Commit}/config.json", "{}");
        cache.Write("models--Acme--Tiny/refs/main", site.Commit + "\n");
        HubOptions options = site.Options(cache);
        await site.DisposeAsync();
        await PullTests.FaultAsync(() => ModelSource.FolderAsync(HubSite.Id, options: options), HubFault.Unreachable,
            "HF_HUB_OFFLINE=1 takes them as they are");
    }

    [Fact]
    public async Task Half_a_file_of_Python_is_named_where_the_shard_is_missed()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        cache.Write($"models--Acme--Tiny/snapshots/{site.Commit}/config.json", "{}");
        cache.Write($"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files["model.safetensors"], true)}.incomplete",
            new byte[1234]);
        cache.Write("models--Acme--Tiny/refs/main", site.Commit);
        string folder = await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache) with { Offline = true });
        CheckpointException exception = Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder));
        Assert.Contains(".incomplete (1234 bytes)", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_a_network_and_without_a_cache_it_says_so()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        HubOptions options = site.Options(cache) with { Offline = true };
        await PullTests.FaultAsync(() => ModelSource.FolderAsync(HubSite.Id, options: options), HubFault.Offline,
            "no folder 'Acme/Tiny'", cache.Path, "HF_HUB_OFFLINE");
        await PullTests.FaultAsync(() => ModelSource.PullAsync(HubSite.Id, options: options), HubFault.Offline,
            "is not pulled");
        Assert.Empty(site.Requests);
    }

    [Theory]
    [InlineData("refs/main", "nonsense", "holds no commit")]
    [InlineData("refs/main", "", "holds no commit")]
    [InlineData("trees/COMMIT.json", "{", "is no list of files")]
    public async Task A_spoilt_cache_is_named_without_a_network_and_healed_with_one(string file, string content,
        string expected)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache));
        file = cache.Write($"models--Acme--Tiny/{file.Replace("COMMIT", site.Commit, StringComparison.Ordinal)}", content);
        await PullTests.FaultAsync(() =>
            ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache) with { Offline = true }), HubFault.Disk,
            file, expected);
        await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache));
        if (expected.Contains("list", StringComparison.Ordinal))
            await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache));
        Assert.EndsWith(site.Commit,
            await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache) with { Offline = true }),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_was_cut_or_lost_in_the_cache_is_fetched_again()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        HubSnapshot snapshot = await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache));
        string weights = cache[$"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files["model.safetensors"], true)}"];
        await using (FileStream stream = File.OpenWrite(weights))
            stream.SetLength(1000);
        File.Delete(cache[$"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files["config.json"], false)}"]);
        await PullTests.FaultAsync(() =>
            ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache) with { Offline = true }), HubFault.Offline,
            "only in part", "model.safetensors", "config.json");
        await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache));
        Assert.All(new[] { "config.json", "model.safetensors" },
            path => Assert.Equal(site.Files[path], File.ReadAllBytes(Path.Combine(snapshot.Folder, path))));
    }

    [Fact]
    public async Task A_description_leaves_the_weights_where_they_are()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        string folder = await ModelSource.FolderAsync(HubSite.Id, ModelParts.Description, site.Options(cache));
        Assert.False(File.Exists(Path.Combine(folder, "model.safetensors")));
        Assert.Equal(0, site.Count("/store/"));
        Assert.Equal(folder, await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache)));
        Assert.True(File.Exists(Path.Combine(folder, "model.safetensors")));
    }

    [Fact]
    public async Task A_model_is_loaded_by_its_repository()
    {
        using var model = new TemporaryFolder();
        using var cache = new TemporaryFolder();
        InitCommand.WriteDemo(model["m"], 1, default);
        await using HubSite site = await HubSite.StartAsync(FilesOf(model["m"]));
        await using (ChatModel chat = await ChatModel.LoadAsync(HubSite.Id,
            new ChatModelOptions { Hub = site.Options(cache) }))
            Assert.Equal(HubSite.Id, chat.Name);
        await using (ChatModel chat = await ChatModel.LoadAsync(HubSite.Id,
            new ChatModelOptions { Hub = site.Options(cache) with { Offline = true } }))
            Assert.Equal(HubSite.Id, chat.Name);
        string folder = await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache));
        Assert.Equal(HubSite.Id, ModelSource.NameOf(folder));
        Assert.Equal("m", ModelSource.NameOf(model["m"]));
        await using IAsyncDisposable reward = (IAsyncDisposable)RewardCatalog.Create("verifier",
            new Dictionary<string, string> { ["checkpoint"] = HubSite.Id },
            new RewardContext { Hub = site.Options(cache) with { Offline = true } });
    }

    /// <summary>
    /// The program as a user runs it: two pulls at once, then everything by the repository's name without a network.
    /// </summary>
    [Fact]
    public async Task Pull_then_ask_without_a_network()
    {
        using var model = new TemporaryFolder();
        using var home = new TemporaryFolder();
        InitCommand.WriteDemo(model["m"], 1, default);
        await using HubSite site = await HubSite.StartAsync(
            new Dictionary<string, byte[]>(FilesOf(model["m"])) { ["pytorch_model.bin"] = new byte[2000] });
        site.AtStore = async _ =>
        {
            await Task.Delay(1500);
            return false;
        };
        (string, string)[] online = [("HF_ENDPOINT", site.Address.ToString()), ("HF_HOME", home.Path),
            ("HF_TOKEN", "hf_secret"), ("HF_HUB_OFFLINE", ""), ("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", "")];
        (int Code, string Output, string Error)[] pulls = await Task.WhenAll(Enumerable.Range(0, 2)
            .Select(_ => SkylightProgram.RunAsync(SkylightProgram.Start(["pull", HubSite.Id], environment: online))));
        Assert.All(pulls, pull => Assert.True(pull.Code == 0, pull.Error));
        string folder = Path.Combine(home.Path, "hub", "models--Acme--Tiny", "snapshots", site.Commit);
        Assert.All(pulls, pull => Assert.Equal(folder + Environment.NewLine, pull.Output));
        Assert.Equal(1, site.Count("/store/model.safetensors"));
        Assert.All(pulls, pull => Assert.Contains("pytorch_model.bin (2.0 kB)", pull.Error, StringComparison.Ordinal));
        Assert.Contains(pulls, pull => pull.Error.Contains("model.safetensors", StringComparison.Ordinal)
            && pull.Error.Contains("checked", StringComparison.Ordinal));
        Assert.All(site.Requests, request => Assert.Equal(request.IsStore ? "" : "Bearer hf_secret", request.Authorization));

        (int code, string output,
            string error) = await SkylightProgram.RunAsync(
                SkylightProgram.Start(["pull", HubSite.Id, "--json", "--include", "config.json", "*.txt", "tokenizer*"],
                    environment: online));
        Assert.True(code == 1 && output.Length == 0 && error.Contains("--include *.txt", StringComparison.Ordinal), error);
        (code, output, error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["pull", HubSite.Id, "--json", "--include", "config.json"], environment: online));
        Assert.True(code == 0, error);
        JsonElement json = JsonDocument.Parse(output).RootElement;
        Assert.Equal((folder, site.Commit, 0),
            (json.GetProperty("folder").GetString(), json.GetProperty("commit").GetString(),
                json.GetProperty("receivedBytes").GetInt32()));

        int before = site.Requests.Count;
        (string, string)[] offline = [.. online.Where(variable => variable.Item1 != "HF_HUB_OFFLINE"),
            ("HF_HUB_OFFLINE", "1")];
        (code, output,
            error) = await SkylightProgram.RunAsync(SkylightProgram.Start(
                ["generate", HubSite.Id, "--prompt", "1+1=", "--max-tokens", "3", "--json"], environment: offline));
        Assert.True(code == 0, error);
        Assert.Equal(HubSite.Id, JsonDocument.Parse(output).RootElement.GetProperty("model").GetString());
        (code, output, error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["chat", HubSite.Id, "--max-tokens", "3"], environment: offline), "1+1=\n");
        Assert.True(code == 0, error);
        (code, output, error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["info", HubSite.Id, "--json"], environment: offline));
        Assert.True(code == 0 && output.Contains(folder, StringComparison.Ordinal), output + error);
        (code, _, error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["chat", "Acme/Other"], environment: offline));
        Assert.True(code == 1 && error.Contains("no folder 'Acme/Other'", StringComparison.Ordinal), error);

        // Training begins with it too, and so does a tokenizer for random weights.
        string recipe = home.Write("recipe.yaml",
            $"model: {HubSite.Id}\nmethod: sft\nlearning_rate: {{connector: 1e-4}}\ndata: " +
            $"{home["train.jsonl"]}\nsteps: 1\nbatch: 1\n");
        home.Write("train.jsonl",
            """{"messages": [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]}""" + "\n");
        (code, _, error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["train", recipe, "--plan"], environment: offline));
        Assert.True(code == 0, error);
        (code, output, error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["train", recipe, "--output", home["run"]], environment: offline));
        Assert.True(code == 0 && File.Exists(home["run/model.safetensors"]), output + error);
        (code, _, error) = await SkylightProgram.RunAsync(SkylightProgram.Start(
            ["init", home["random"], "--like", "demo", "--tokenizer", HubSite.Id], environment: offline));
        Assert.True(code == 0 && File.Exists(home["random/tokenizer.json"]), error);
        Assert.Equal(before, site.Requests.Count);
    }

    [Fact]
    public async Task A_pull_that_is_interrupted_ends_cleanly_and_goes_on()
    {
        using var home = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        var begun = new TaskCompletionSource();
        site.AtStore = async context =>
        {
            context.Response.ContentLength = 3_000_000;
            await context.Response.Body.WriteAsync(site.Stored(context).AsMemory(0, 900_000));
            await context.Response.Body.FlushAsync();
            begun.TrySetResult();
            await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
            return true;
        };
        (string, string)[] environment = [("HF_ENDPOINT", site.Address.ToString()), ("HF_HUB_CACHE", home.Path),
            ("HF_TOKEN", ""), ("HF_HUB_OFFLINE", "")];
        Process pulling = SkylightProgram.Start(["pull", HubSite.Id], environment: environment);
        await begun.Task;
        string part = home[$"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files["model.safetensors"], true)}.incomplete"];
        for (int tries = 0; tries < 300 && !(File.Exists(part) && new FileInfo(part).Length == 900_000); tries++)
            await Task.Delay(50);
        using (Process kill = Process.Start("kill", ["-INT", $"{pulling.Id}"]))
            await kill.WaitForExitAsync();
        (int code, string output, string error) = await SkylightProgram.RunAsync(pulling);
        Assert.True(code == 130 && output.Length == 0
            && error.TrimEnd().EndsWith("skylight: stopped.", StringComparison.Ordinal), $"{code} {error}");
        Assert.Equal(900_000, new FileInfo(part).Length);
        site.AtStore = _ => Task.FromResult(false);
        (code, output, error) = await SkylightProgram.RunAsync(
            SkylightProgram.Start(["pull", HubSite.Id], environment: environment));
        Assert.True(code == 0 && error.Contains("of which 900.0 kB are here", StringComparison.Ordinal), error);
        Assert.Equal("bytes=900000-", site.Requests.Last(request => request.IsStore).Range);
    }

    internal static Dictionary<string, byte[]> FilesOf(string folder) =>
        Directory.EnumerateFiles(folder).ToDictionary(file => Path.GetFileName(file), File.ReadAllBytes);
}
