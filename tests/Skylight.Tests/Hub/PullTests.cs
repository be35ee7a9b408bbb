using System.Net;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using Skylight.Hub;

namespace Skylight.Tests.Hub;

/// <summary>Downloads from a hub, and what can go wrong with them.</summary>
public sealed class PullTests
{
    private const string Weights = "model.safetensors";

    [Fact]
    public async Task A_pull_has_the_layout_of_Python_and_takes_what_a_checkpoint_needs()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        HubSnapshot snapshot = await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache));

        string repository = cache["models--Acme--Tiny"];
        Assert.Equal(Path.Combine(repository, "snapshots", site.Commit), snapshot.Folder);
        Assert.Equal(site.Commit, await File.ReadAllTextAsync(Path.Combine(repository, "refs", "main")));
        string[] taken = ["LICENSE", "config.json", "conversation.py", Weights, "tokenizer.json"];
        Assert.Equal(taken,
            Directory.EnumerateFiles(snapshot.Folder).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(taken, snapshot.Files.Select(file => file.Path).Order(StringComparer.Ordinal));
        Assert.Equal(["README.md", "examples/cat.png", "onnx/config.json", "pytorch_model.bin"],
            snapshot.LeftOut.Select(file => file.Path).Order(StringComparer.Ordinal));
        foreach (string path in taken)
        {
            string hash = HubSite.HashOf(site.Files[path], site.IsLarge(path));
            Assert.Equal(Path.Combine("..", "..", "blobs", hash),
                new FileInfo(Path.Combine(snapshot.Folder, path)).LinkTarget);
            Assert.Equal(site.Files[path], await File.ReadAllBytesAsync(Path.Combine(repository, "blobs", hash)));
        }

        Assert.Equal(taken.Sum(path => site.Files[path].Length), snapshot.ReceivedBytes);
        JsonNode tree = JsonNode.Parse(
            await File.ReadAllTextAsync(Path.Combine(repository, "trees", site.Commit + ".json")))!;
        Assert.Equal(1, (int)tree["format_version"]!);
        Assert.Equal(HubSite.HashOf(site.Files[Weights], isLarge: true), (string?)tree["files"]![Weights]!["lfs_sha256"]);
        Assert.Equal(2, (int)tree["files"]!["config.json"]!["size"]!);

        // Once more: the list is looked at, and no file.
        int before = site.Requests.Count;
        Assert.Equal(0, (await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache))).ReceivedBytes);
        Assert.Equal(before + 1, site.Requests.Count);
    }

    [Fact]
    public async Task A_changed_branch_fetches_only_what_changed_and_the_old_commit_stays()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        HubSnapshot old = await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache));
        string next = new('b', 40);
        site.Commits[next] = new Dictionary<string,
            byte[]>(site.Files)
        { ["config.json"] = """{"new": true}"""u8.ToArray() };
        site.Revisions["main"] = next;
        site.Revisions["refs/pr/1"] = old.Commit;

        // What was pulled is used as it was, until it is pulled again.
        Assert.Equal(old.Folder, await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache)));
        HubSnapshot changed = await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache));
        Assert.Equal((next, 13L), (changed.Commit, changed.ReceivedBytes));
        Assert.Equal(changed.Folder, await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache)));
        Assert.Equal(old.Folder,
            (await ModelSource.PullAsync(HubSite.Id, "refs/pr/1", options: site.Options(cache))).Folder);
        Assert.Equal(old.Folder, await ModelSource.FolderAsync($"{HubSite.Id}@refs/pr/1", options: site.Options(cache)));
        Assert.Equal(old.Folder, await ModelSource.FolderAsync($"{HubSite.Id}@{old.Commit}", options: site.Options(cache)));
        Assert.Equal("{}", await File.ReadAllTextAsync(Path.Combine(old.Folder, "config.json")));
    }

    [Fact]
    public async Task A_token_goes_to_the_hub_and_nowhere_else()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        // The repository was renamed (a relative redirect), and a small file lies at the same address by another name.
        site.AtHub = context =>
        {
            string path = context.Request.Path.Value!;
            if (path.Contains("/Old/", StringComparison.Ordinal) || path.EndsWith("/Old", StringComparison.Ordinal))
                context.Response.Redirect(
                    path.Replace("/Old", "/Tiny", StringComparison.Ordinal) + context.Request.QueryString);
            else if (path.EndsWith("tokenizer.json", StringComparison.Ordinal) && context.Request.Host.Host == "127.0.0.1")
                context.Response.Redirect($"http://localhost:{context.Request.Host.Port}{path}");
            else
                return Task.FromResult(false);
            return Task.FromResult(true);
        };
        await ModelSource.PullAsync("Acme/Old", options: site.Options(cache) with { Token = "hf_secret\n" });
        Assert.Contains(site.Requests, request => request.IsStore);
        Assert.Contains(site.Requests, request => request.Host.StartsWith("localhost:", StringComparison.Ordinal));
        Assert.All(site.Requests, request => Assert.Equal(
            request.IsStore || request.Host.StartsWith("localhost:", StringComparison.Ordinal) ? ""
                : "Bearer hf_secret", request.Authorization));
        Assert.Contains(site.Requests, request => request.Path == "/api/models/Acme/Tiny/revision/main");
    }

    [Theory]
    [InlineData("https://hub.test/", "http://hub.test/elsewhere", false)]
    [InlineData("https://hub.test/", "file:///etc/passwd", false)]
    [InlineData("https://hub.test/", "https://hub.test:444/elsewhere", true)]
    [InlineData("http://hub.test/", "https://hub.test/elsewhere", true)]
    public async Task No_redirect_leaves_https_and_none_takes_the_token_along(string endpoint, string target,
        bool isFollowed)
    {
        using var cache = new TemporaryFolder();
        var seen = new List<(Uri Address, string? Token)>();
        using var http = new HttpClient(new Handler(request =>
        {
            seen.Add((request.RequestUri!, request.Headers.Authorization?.Parameter));
            return request.RequestUri!.AbsolutePath == "/elsewhere" ? new HttpResponseMessage(HttpStatusCode.NotFound)
                : new HttpResponseMessage(HttpStatusCode.Redirect) { Headers = { Location = new Uri(target) } };
        }));
        HubException exception = await Assert.ThrowsAsync<HubException>(() => ModelSource.PullAsync(
            HubSite.Id, options: new HubOptions
            {
                Endpoint = new Uri(endpoint),
                Token = "hf_secret",
                CacheDirectory = cache.Path,
                HttpClient = http,
                Variable = _ => null,
            }));
        Assert.Equal(isFollowed ? 2 : 1, seen.Count);
        Assert.Equal("hf_secret", seen[0].Token);
        Assert.True(!isFollowed || seen[1].Token is null);
        Assert.DoesNotContain("hf_secret", exception.ToString());
        Assert.Equal(!isFollowed, exception.Message.Contains("not followed", StringComparison.Ordinal));
    }

    /// <summary>
    /// The connection is cut twice; the server goes on from there, knows no ranges, or says that there is no such part.
    /// </summary>
    [Theory]
    [InlineData("ranges")]
    [InlineData("none")]
    [InlineData("416")]
    [InlineData("another part")]
    public async Task Cut_connections_are_gone_on_with(string kind)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        int asked = 0;
        site.AtStore = async context =>
        {
            byte[] content = site.Stored(context);
            bool isAgain = context.Request.Headers.Range.Count > 0;
            if (kind == "416" && isAgain)
                context.Response.StatusCode = 416;
            else if (kind == "another part" && isAgain)
                (context.Response.StatusCode, context.Response.Headers.ContentRange) = (206,
                    $"bytes 1-{content.Length - 1}/{content.Length}");
            else
                await HubSite.SendAsync(context, content, "of-the-store", knowsRanges: kind != "none",
                    ++asked <= 2 ? 500_000 * asked : null);
            return true;
        };
        List<TimeSpan> waits = [];
        HubSnapshot snapshot = await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache, waits));
        Assert.Equal(site.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot.Folder, Weights)));
        string[] ranges = [.. site.Requests.Where(request => request.IsStore).Select(request => request.Range)];
        Assert.Equal("", ranges[0]);
        Assert.Matches("^bytes=[1-9][0-9]*-$", ranges[1]);
        Assert.Equal(kind is "ranges" or "none" ? 3 : 5, ranges.Length);
        Assert.All(waits, wait => Assert.InRange(wait.TotalSeconds, 0, 60));
        Assert.True(waits.Count >= 2);
        Assert.Empty(Directory.EnumerateFiles(cache["models--Acme--Tiny/blobs"], "*.incomplete"));
    }

    /// <summary>What Python, or a program that was killed, has left: right, wrong, or too much.</summary>
    [Theory]
    [InlineData(1_000_000, false, "bytes=1000000-")]
    [InlineData(1_000_000, true, "bytes=1000000-")]
    [InlineData(3_000_000, false, null)]
    [InlineData(3_000_000, true, "")]
    [InlineData(3_000_001, false, "")]
    public async Task Half_a_file_is_gone_on_with_or_begun_anew(int bytes, bool isSpoilt, string? range)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        byte[] half = [.. site.Files[Weights].Concat(new byte[1]).Take(bytes)];
        half[17] ^= (byte)(isSpoilt ? 1 : 0);
        cache.Write($"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files[Weights], true)}.incomplete", half);
        HubSnapshot snapshot = await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache));
        Assert.Equal(site.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot.Folder, Weights)));
        Assert.Equal(range, site.Requests.FirstOrDefault(request => request.IsStore)?.Range);
    }

    [Fact]
    public async Task A_stopped_pull_leaves_what_has_come_and_goes_on_there()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        using var stop = new CancellationTokenSource();
        site.AtStore = async context =>
        {
            context.Response.ContentLength = 3_000_000;
            await context.Response.Body.WriteAsync(site.Stored(context).AsMemory(0, 700_000));
            await context.Response.Body.FlushAsync();
            await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
            return true;
        };
        string part = cache[$"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files[Weights], true)}.incomplete"];
        Task pulling = ModelSource.PullAsync(HubSite.Id, options: site.Options(cache), cancellationToken: stop.Token);
        while (!pulling.IsCompleted && !(File.Exists(part) && new FileInfo(part).Length == 700_000))
            await Task.Delay(20);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pulling);
        Assert.Equal(700_000, new FileInfo(part).Length);
        Assert.False(File.Exists(cache["models--Acme--Tiny/refs/main"]));
        site.AtStore = _ => Task.FromResult(false);
        HubException offline = await FaultAsync(() =>
            ModelSource.FolderAsync($"{HubSite.Id}@{site.Commit}",
                options: site.Options(cache) with { Offline = true }), HubFault.Offline, Weights,
                    "700.0 kB of 3.0 MB there");
        PlainWords.Check(offline.Message);

        string folder = await ModelSource.FolderAsync(HubSite.Id, options: site.Options(cache));
        Assert.Equal(site.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(folder, Weights)));
        Assert.Equal("bytes=700000-", site.Requests.Last(request => request.IsStore).Range);
    }

    [Theory]
    [InlineData(Weights)]
    [InlineData("tokenizer.json")]
    public async Task What_has_another_hash_is_not_kept(string path)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        byte[] other = [.. site.Files[path]];
        other[^1] ^= 1;
        string expected = HubSite.HashOf(site.Files[path], site.IsLarge(path)),
            found = HubSite.HashOf(other, site.IsLarge(path));
        async Task<bool> SendOtherAsync(HttpContext context)
        {
            if (!context.Request.Path.Value!.EndsWith(path, StringComparison.Ordinal)
                || (!context.Request.Path.Value.StartsWith("/store", StringComparison.Ordinal) && site.IsLarge(path)))
                return false;
            await HubSite.SendAsync(context, other, "x");
            return true;
        }

        (site.AtHub, site.AtStore) = (SendOtherAsync, SendOtherAsync);
        await FaultAsync(() => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache)), HubFault.Untrusted,
            path, expected, found);
        Assert.DoesNotContain(Directory.EnumerateFiles(cache["models--Acme--Tiny/blobs"]),
            file => Path.GetFileName(file).StartsWith(expected, StringComparison.Ordinal));
        Assert.False(File.Exists(cache["models--Acme--Tiny/refs/main"]));
    }

    [Theory]
    [InlineData(-1, false)]
    [InlineData(+1, false)]
    [InlineData(-1, true)]
    public async Task A_hub_that_lies_about_lengths_is_caught(int lie, bool isStreamed)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.ChangeList = list =>
        {
            JsonNode weights = list["siblings"]!.AsArray().Single(file => (string?)file!["rfilename"] == Weights)!;
            weights["lfs"]!["size"] = 3_000_000 + lie;
        };
        if (isStreamed)
        {
            site.AtStore = async context =>
            {
                await context.Response.Body.WriteAsync(site.Stored(context));
                return true;
            };
        }

        await FaultAsync(
            () => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache)), HubFault.Untrusted,
            isStreamed ? [Weights, "goes on beyond the 2,999,999 bytes"]
                : [Weights, "3,000,000 bytes", $"{3_000_000 + lie:N0}"]);
    }

    [Fact]
    public async Task A_file_that_ends_early_is_asked_for_until_there_is_no_hope()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.AtStore = async context =>
        {
            // Chunked, so that nothing says how much will come.
            if (context.Request.Headers.Range.Count == 0)
                await context.Response.Body.WriteAsync(site.Stored(context).AsMemory(0, 1000));
            else
                (context.Response.StatusCode, context.Response.Headers.ContentRange) = (206, "bytes 1000-2999999/3000000");
            return true;
        };
        List<TimeSpan> waits = [];
        await FaultAsync(() => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache, waits)),
            HubFault.Unreachable, Weights, "1,000 of 3,000,000");
        Assert.Equal(5, waits.Count);
        Assert.True(waits[4] > waits[0]);
    }

    [Fact]
    public async Task An_overloaded_hub_is_asked_again_when_it_says()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        int refused = 0;
        site.AtHub = context =>
        {
            if (refused++ >= 2)
                return Task.FromResult(false);
            (context.Response.StatusCode, context.Response.Headers.RetryAfter) = (refused == 1 ? 429 : 503, "7");
            return Task.FromResult(true);
        };
        List<TimeSpan> waits = [];
        await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache, waits));
        Assert.Equal([TimeSpan.FromSeconds(7), TimeSpan.FromSeconds(7)], waits);
    }

    [Theory]
    [InlineData(429, "3600", 0, "429 (too many requests)", "Try again in 3600 seconds")]
    [InlineData(503, null, 5, "503", "Try again later")]
    public async Task A_hub_that_stays_overloaded_is_given_up(int status, string? after, int tries, params string[] expected)
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.AtHub = context =>
        {
            (context.Response.StatusCode, context.Response.Headers.RetryAfter) = (status, after);
            return Task.FromResult(true);
        };
        List<TimeSpan> waits = [];
        await FaultAsync(() => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache, waits)),
            HubFault.Unreachable, expected);
        Assert.Equal(tries, waits.Count);
    }

    [Fact]
    public async Task A_server_that_says_nothing_is_not_waited_for()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.AtStore = async context =>
        {
            await context.Response.Body.FlushAsync();
            await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
            return true;
        };
        await FaultAsync(
            () => ModelSource.PullAsync(HubSite.Id,
                options: site.Options(cache) with { Timeout = TimeSpan.FromMilliseconds(400) }), HubFault.Unreachable,
                    Weights, "has sent nothing for 0.4 seconds");
    }

    [Fact]
    public async Task A_hub_that_is_not_there_is_given_up_soon()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        HubOptions options = site.Options(cache);
        await site.DisposeAsync();
        List<TimeSpan> waits = [];
        await FaultAsync(() =>
            ModelSource.PullAsync(HubSite.Id,
                options: options with { WaitAsync = (time, _) => { waits.Add(time); return Task.CompletedTask; } }),
                    HubFault.Unreachable, "refused", "HF_ENDPOINT");
        Assert.Equal(2, waits.Count);
    }

    [Fact]
    public async Task Nothing_is_begun_that_the_disk_cannot_hold()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        await FaultAsync(() =>
            ModelSource.PullAsync(HubSite.Id, options: site.Options(cache) with { FreeBytes = _ => 2_500_000 }),
            HubFault.Disk, HubSite.Id, "3.1 MB", "2.5 MB are free", cache.Path, "HF_HOME");
        Assert.Single(site.Requests);
        // What is there already needs no room.
        cache.Write($"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files[Weights], true)}.incomplete",
            site.Files[Weights][..2_000_000]);
        await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache) with { FreeBytes = _ => 2_500_000 });
    }

    [Fact]
    public async Task A_cache_that_cannot_be_written_is_named()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        // A folder where the half of the weights would be.
        string part = cache[$"models--Acme--Tiny/blobs/{HubSite.HashOf(site.Files[Weights], true)}.incomplete"];
        Directory.CreateDirectory(part);
        await FaultAsync(() => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache)), HubFault.Disk,
            "'model.safetensors' of Acme/Tiny", part, "cannot be written", "HF_HUB_CACHE");
        string file = cache.Write("file", "x");
        await FaultAsync(() =>
            ModelSource.PullAsync(HubSite.Id, options: site.Options(cache) with { CacheDirectory = file }),
            HubFault.Disk, file, "cannot be written");
    }

    [Fact]
    public async Task Where_links_are_refused_files_are_copies()
    {
        using var cache = new TemporaryFolder();
        var files = new Dictionary<string, byte[]>(HubSite.Checkpoint()) { ["copy.json"] = "{}"u8.ToArray() };
        await using HubSite site = await HubSite.StartAsync(files);
        HubOptions options = site.Options(cache) with
        {
            CreateLink = (_, _) => throw new UnauthorizedAccessException("A required privilege is not held by the client."),
        };
        HubSnapshot snapshot = await ModelSource.PullAsync(HubSite.Id, options: options);
        Assert.All(snapshot.Files, file =>
        {
            string path = Path.Combine(snapshot.Folder, file.Path);
            Assert.Null(new FileInfo(path).LinkTarget);
            Assert.Equal(files[file.Path], File.ReadAllBytes(path));
        });
        Assert.Equal(0, (await ModelSource.PullAsync(HubSite.Id, options: options)).ReceivedBytes);
        Assert.Empty(Directory.EnumerateFiles(snapshot.Folder, ".*"));
    }

    [Fact]
    public async Task Many_at_once_fetch_each_file_once()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.AtStore = async _ =>
        {
            await Task.Delay(300);
            return false;
        };
        HubSnapshot[] snapshots = await Task.WhenAll(
            Enumerable.Range(0, 4).Select(_ => ModelSource.PullAsync(HubSite.Id, options: site.Options(cache))));
        Assert.Equal(1, site.Count("/store/"));
        Assert.All(snapshots,
            snapshot => Assert.Equal(site.Files[Weights], File.ReadAllBytes(Path.Combine(snapshot.Folder, Weights))));
        Assert.Equal(site.Files[Weights].Length + 70_005 + 0, snapshots.Sum(snapshot => snapshot.ReceivedBytes));
    }

    [Fact]
    public async Task A_hub_whose_list_has_no_lengths_and_hashes_is_asked_for_each_file()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        site.ChangeList = list =>
            list["siblings"] = new JsonArray(
                [.. list["siblings"]!.AsArray()
                    .Select(file => new JsonObject { ["rfilename"] = (string?)file!["rfilename"] })]);
        HubSnapshot snapshot = await ModelSource.PullAsync(HubSite.Id,
            options: site.Options(cache) with { Token = "hf_secret" });
        Assert.Equal(5, site.Requests.Count(request => request.Method == "HEAD"));
        Assert.Equal(site.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot.Folder, Weights)));
        Assert.All(site.Requests, request => Assert.Equal(request.IsStore, request.Authorization.Length == 0));
    }

    [Fact]
    public async Task Progress_adds_up_and_names_every_file()
    {
        using var cache = new TemporaryFolder();
        await using HubSite site = await HubSite.StartAsync();
        List<HubProgress> reports = [];
        await ModelSource.PullAsync(HubSite.Id, options: site.Options(cache) with { Progress = new Progress(reports.Add) });
        Assert.Contains("5 files, 3.1 MB", reports[0].Note);
        Assert.Equal(5, reports.Count(report => report.IsFileComplete));
        Assert.Equal((3_070_005, 3_070_005), (reports[^1].Bytes, reports[^1].Length));
        Assert.True(reports[^1].BytesPerSecond > 0);
        Assert.All(reports.Zip(reports.Skip(1)), pair => Assert.True(pair.First.Bytes <= pair.Second.Bytes));
    }

    internal static async Task<HubException> FaultAsync(Func<Task> act, HubFault fault, params string[] expected)
    {
        HubException exception = await Assert.ThrowsAsync<HubException>(act);
        Assert.True(exception.Fault == fault, $"{exception.Fault}: {exception.Message}");
        Assert.All(expected, part => Assert.Contains(part, exception.Message, StringComparison.Ordinal));
        Assert.True(exception.Message[^1] is '.' or '?', exception.Message);
        PlainWords.Check(exception.Message);
        return exception;
    }

    private sealed class Progress(Action<HubProgress> act) : IProgress<HubProgress>
    {
        public void Report(HubProgress value) => act(value);
    }

    private sealed class Handler(Func<HttpRequestMessage, HttpResponseMessage> answer) : HttpMessageHandler
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request,
            CancellationToken cancellationToken)
        {
            HttpResponseMessage response = answer(request);
            response.RequestMessage = request;
            return Task.FromResult(response);
        }
    }
}
