using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;

namespace Skylight.Tests.Server.Replicas;

/// <summary>The system's nginx with the configuration of docs/samples/scale-out.</summary>
internal static class Nginx
{
    private const string Module = "/usr/lib/nginx/modules/ngx_http_js_module.so";

    private static readonly string[] s_places = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];

    public static string Sample => Repository.PathOf("docs", "samples", "scale-out");

    /// <summary>The program; where there is none the test is skipped.</summary>
    public static string Program
    {
        get
        {
            Assert.SkipUnless(OperatingSystem.IsLinux() && s_places.Any(File.Exists),
                $"There is no nginx at {string.Join(" or ", s_places)}: .ci/install installs it where it can.");
            Assert.SkipUnless(File.Exists(Module), $"nginx has no JavaScript module at {Module}: on Debian libnginx-mod-http-js is it.");
            return s_places.First(File.Exists);
        }
    }

    /// <summary>A port that nobody listens on.</summary>
    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}

/// <summary>Replicas that a test scripts, in this process, behind a real nginx.</summary>
internal sealed class NginxReplicas : IAsyncDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly List<WebApplication> _replicas = [];
    private Process? _nginx;

    public HttpClient Client { get; private set; } = null!;

    /// <summary>How a replica, by its number from 0, answers; by default with nothing.</summary>
    public Func<int, HttpContext, Task> Script { get; set; } = (_, _) => Task.CompletedTask;

    /// <summary>The bodies that came, and to which replica.</summary>
    public ConcurrentQueue<(int Replica, byte[] Body)> Requests { get; } = [];

    public static async Task<NginxReplicas> StartAsync(int count)
    {
        string program = Nginx.Program;
        var replicas = new NginxReplicas();
        var servers = new StringBuilder();
        for (int number = 0; number < count; number++)
            servers.Append($"server {await replicas.AddAsync(number)} max_fails=1 fail_timeout=600s;\n");
        TemporaryFolder folder = replicas._folder;
        foreach (string name in new[] { "nginx.conf", "prefix.js" })
            File.Copy(Path.Combine(Nginx.Sample, name), folder[name]);
        int port = Nginx.FreePort();
        folder.Write("replicas.conf", servers.ToString());
        folder.Write("listen.conf", $"listen 127.0.0.1:{port};\n");
        replicas._nginx = Process.Start(new ProcessStartInfo(program,
            ["-p", folder.Path, "-c", folder["nginx.conf"], "-e", folder["error.log"], "-g", "daemon off;"]))!;
        replicas.Client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromMinutes(5) };
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                using HttpResponseMessage response = await replicas.Client.GetAsync("/health");
                return replicas;
            }
            catch (HttpRequestException) when (attempt < 1200)
            {
                Assert.False(replicas._nginx.HasExited, "nginx has ended.");
                await Task.Delay(100);
            }
        }
    }

    /// <summary>Asks, and says which replica answered.</summary>
    public async Task<int> AskAsync(string body, string path = "/v1/chat/completions", string? conversation = null)
    {
        using HttpResponseMessage response = await SendAsync(body, path, conversation);
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{response.StatusCode}: {text}");
        return int.Parse(response.Headers.GetValues("X-Replica").Single(), System.Globalization.CultureInfo.InvariantCulture);
    }

    public Task<HttpResponseMessage> SendAsync(string body, string path = "/v1/chat/completions", string? conversation = null,
        CancellationToken cancellationToken = default)
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = content };
        if (conversation is not null)
            request.Headers.Add("X-Conversation", conversation);
        return Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
    }

    /// <summary>Ends a replica, its connections included.</summary>
    public async Task KillAsync(int number)
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _replicas[number].StopAsync(now.Token);
    }

    public async ValueTask DisposeAsync()
    {
        if (_nginx is not null)
        {
            if (!_nginx.HasExited)
                _nginx.Kill(entireProcessTree: true);
            await _nginx.WaitForExitAsync();
            _nginx.Dispose();
        }

        Client?.Dispose();
        foreach (int number in Enumerable.Range(0, _replicas.Count))
        {
            await KillAsync(number);
            await _replicas[number].DisposeAsync();
        }

        _folder.Dispose();
    }

    private async Task<string> AddAsync(int number)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        WebApplication app = builder.Build();
        app.Run(async context =>
        {
            context.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = null;
            context.Response.Headers["X-Replica"] = $"{number}";
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body, context.RequestAborted);
            Requests.Enqueue((number, body.ToArray()));
            await Script(number, context);
        });
        await app.StartAsync();
        _replicas.Add(app);
        IServer server = app.Services.GetRequiredService<IServer>();
        return new Uri(server.Features.Get<IServerAddressesFeature>()!.Addresses.Single()).Authority;
    }
}
