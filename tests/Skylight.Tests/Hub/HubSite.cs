using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Skylight.Hub;

namespace Skylight.Tests.Hub;

/// <summary>
/// A hub on this machine that speaks the protocol: a list of files, small files from itself, large ones by a redirect
/// to a store on another port.
/// </summary>
internal sealed class HubSite : IAsyncDisposable
{
    public const string Id = "Acme/Tiny";

    private WebApplication _hub = null!, _store = null!;

    /// <summary>What was asked: by the store if the address says so.</summary>
    public ConcurrentQueue<Request> Requests { get; } = [];

    public Uri Address => new(_hub.Urls.Single());

    public Uri Store => new(_store.Urls.Single());

    /// <summary>The commits by branch; the first of a fresh site is main.</summary>
    public Dictionary<string, string> Revisions { get; } = new() { ["main"] = new string('a', 40) };

    /// <summary>The files of each commit.</summary>
    public Dictionary<string, Dictionary<string, byte[]>> Commits { get; } = [];

    /// <summary>Whether a file is kept in the store.</summary>
    public Func<string, bool> IsLarge { get; set; } = path => path.EndsWith(".safetensors", StringComparison.Ordinal)
        || path.EndsWith(".bin", StringComparison.Ordinal);

    /// <summary>Answers in the hub's or the store's place; true if it has.</summary>
    public Func<HttpContext, Task<bool>> AtHub { get; set; } = _ => Task.FromResult(false);

    public Func<HttpContext, Task<bool>> AtStore { get; set; } = _ => Task.FromResult(false);

    /// <summary>Changes the list of files.</summary>
    public Action<JsonObject> ChangeList { get; set; } = _ => { };

    public string Commit => Revisions["main"];

    public Dictionary<string, byte[]> Files => Commits[Commit];

    public static async Task<HubSite> StartAsync(Dictionary<string, byte[]>? files = null)
    {
        var site = new HubSite();
        site.Commits[site.Commit] = files ?? Checkpoint();
        site._hub = await ServeAsync(site.AnswerAsync);
        site._store = await ServeAsync(site.AnswerAsStoreAsync);
        return site;
    }

    /// <summary>What a repository holds; 3 MB of weights.</summary>
    public static Dictionary<string, byte[]> Checkpoint() => new()
    {
        ["config.json"] = "{}"u8.ToArray(),
        ["tokenizer.json"] = Noise(1, 70_000),
        ["model.safetensors"] = Noise(2, 3_000_000),
        ["pytorch_model.bin"] = Noise(3, 4_000_000),
        ["README.md"] = "# Tiny"u8.ToArray(),
        ["LICENSE"] = "MIT"u8.ToArray(),
        ["conversation.py"] = [],
        ["examples/cat.png"] = Noise(4, 500),
        ["onnx/config.json"] = "{}"u8.ToArray(),
    };

    /// <summary>Options for this hub and a cache of the test's own, which wait for nothing.</summary>
    public HubOptions Options(TemporaryFolder cache, List<TimeSpan>? waits = null) => new()
    {
        Endpoint = Address,
        CacheDirectory = cache.Path,
        Variable = _ => null,
        Timeout = TimeSpan.FromSeconds(20),
        WaitAsync = (time, cancellationToken) =>
        {
            lock (Requests)
                waits?.Add(time);
            return Task.Delay(TimeSpan.FromMilliseconds(1), cancellationToken);
        },
    };

    public int Count(string part) => Requests.Count(request => request.Path.Contains(part, StringComparison.Ordinal));

    public static string HashOf(byte[] content, bool isLarge) => Convert.ToHexStringLower(isLarge ? SHA256.HashData(content)
        : SHA1.HashData([.. Encoding.ASCII.GetBytes($"blob {content.Length}\0"), .. content]));

    public static byte[] Noise(int seed, int length)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    /// <summary>Sends bytes as servers of files do, with ranges.</summary>
    public static async Task SendAsync(HttpContext context, byte[] content, string tag, bool knowsRanges = true,
        int? cutAfter = null)
    {
        int from = 0;
        string range = context.Request.Headers.Range.ToString(), condition = context.Request.Headers.IfRange.ToString();
        if (knowsRanges && range.StartsWith("bytes=", StringComparison.Ordinal)
            && (condition.Length == 0 || condition == $"\"{tag}\""))
        {
            from = int.Parse(range["bytes=".Length..].TrimEnd('-'));
            context.Response.StatusCode = from < content.Length ? 206 : 416;
            context.Response.Headers.ContentRange = from < content.Length
                ? $"bytes {from}-{content.Length - 1}/{content.Length}" : $"bytes */{content.Length}";
            if (from >= content.Length)
                return;
        }

        context.Response.Headers.ETag = $"\"{tag}\"";
        context.Response.ContentLength = content.Length - from;
        if (HttpMethods.IsHead(context.Request.Method))
            return;
        await context.Response.Body.WriteAsync(content.AsMemory(from, cutAfter ?? (content.Length - from)));
        await context.Response.Body.FlushAsync();
        if (cutAfter is null)
            return;
        // Aborting also drops what was written and not yet sent.
        await Task.Delay(300);
        context.Abort();
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        foreach (WebApplication app in new[] { _hub, _store })
        {
            await app.StopAsync(now.Token);
            await app.DisposeAsync();
        }
    }

    private static async Task<WebApplication> ServeAsync(RequestDelegate answer)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        WebApplication app = builder.Build();
        app.Run(answer);
        await app.StartAsync();
        return app;
    }

    private void Note(HttpContext context, bool isStore) => Requests.Enqueue(new Request(
        isStore, context.Request.Method, context.Request.Path.Value!, context.Request.Headers.Authorization.ToString(),
        context.Request.Headers.Range.ToString(), context.Request.Host.Value!));

    private async Task AnswerAsync(HttpContext context)
    {
        Note(context, isStore: false);
        if (await AtHub(context))
            return;
        string[] parts = [.. context.Request.Path.Value!.Split('/', StringSplitOptions.RemoveEmptyEntries)
            .Select(Uri.UnescapeDataString)];
        if (parts is ["api", "models", var owner, var name, "revision", var revision])
            await ListAsync(context, $"{owner}/{name}", revision);
        else if (parts is [var anOwner, var aName, "resolve", var commit, ..] && $"{anOwner}/{aName}" == Id
            && Commits.TryGetValue(commit, out Dictionary<string, byte[]>? files)
            && files.TryGetValue(string.Join('/', parts[4..]), out byte[]? content))
            await FileAsync(context, commit, string.Join('/', parts[4..]), content);
        else
            Refuse(context, 404, "EntryNotFound", "Entry not found");
    }

    private async Task ListAsync(HttpContext context, string id, string revision)
    {
        string commit = Revisions.GetValueOrDefault(revision, revision);
        if (id != Id)
        {
            Refuse(context, 401, "RepoNotFound", "Repository not found");
        }
        else if (!Commits.TryGetValue(commit, out Dictionary<string, byte[]>? files))
        {
            Refuse(context, 404, "RevisionNotFound", "Invalid rev id");
        }
        else
        {
            var siblings = new JsonArray();
            foreach ((string path, byte[] content) in files)
            {
                var sibling = new JsonObject
                {
                    ["rfilename"] = path,
                    ["size"] = content.Length,
                    ["blobId"] = HashOf(content, isLarge: false),
                };
                if (IsLarge(path))
                    sibling["lfs"] = new JsonObject
                    {
                        ["sha256"] = HashOf(content, isLarge: true),
                        ["size"] = content.Length,
                        ["pointerSize"] = 134,
                    };
                siblings.Add((JsonNode)sibling);
            }

            var list = new JsonObject { ["id"] = id, ["sha"] = commit, ["gated"] = false, ["siblings"] = siblings };
            ChangeList(list);
            await context.Response.WriteAsync(list.ToJsonString());
        }
    }

    private async Task FileAsync(HttpContext context, string commit, string path, byte[] content)
    {
        context.Response.Headers["X-Repo-Commit"] = commit;
        string hash = HashOf(content, IsLarge(path));
        if (!IsLarge(path))
        {
            await SendAsync(context, content, hash);
            return;
        }

        context.Response.Headers["X-Linked-Etag"] = $"\"{hash}\"";
        context.Response.Headers["X-Linked-Size"] = content.Length.ToString();
        context.Response.Redirect(new Uri(Store, $"store/{path}").ToString());
    }

    private async Task AnswerAsStoreAsync(HttpContext context)
    {
        Note(context, isStore: true);
        if (!await AtStore(context))
            await SendAsync(context, Stored(context), "of-the-store");
    }

    /// <summary>What the store is asked for.</summary>
    public byte[] Stored(HttpContext context) =>
        Commits.Values.Select(files => files.GetValueOrDefault(context.Request.Path.Value!["/store/".Length..]))
            .First(content => content is not null)!;

    public static void Refuse(HttpContext context, int status, string code, string message)
    {
        context.Response.StatusCode = status;
        context.Response.Headers["X-Error-Code"] = code;
        context.Response.Headers["X-Error-Message"] = message;
    }

    internal sealed record Request(bool IsStore, string Method, string Path, string Authorization, string Range,
        string Host);
}
