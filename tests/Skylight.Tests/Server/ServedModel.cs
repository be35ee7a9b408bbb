using System.Collections.Concurrent;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Skylight.Chat;
using Skylight.Server;
using Skylight.Tests.Chat;
using Skylight.Text;

namespace Skylight.Tests.Server;

/// <summary>A small model behind a real web server on a free port, and a client for it.</summary>
internal sealed class ServedModel : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly CollectingLogger _logger;

    private readonly string? _key;

    private ServedModel(WebApplication app, ChatModel model, CollectingLogger logger, string? key)
    {
        (_app, Model, _logger, _key) = (app, model, logger, key);
        Address = new Uri(
            app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
        // An answer that is left is closed at once; by default up to a megabyte of it is read first, and it may be
        // complete by then.
        Client = new HttpClient(new SocketsHttpHandler { ResponseDrainTimeout = TimeSpan.Zero }) { BaseAddress = Address };
    }

    public ChatModel Model { get; }

    public Uri Address { get; }

    public HttpClient Client { get; }

    /// <summary>Everything that was logged.</summary>
    public string Log => string.Join('\n', _logger.Lines);

    public IHostApplicationLifetime Lifetime => _app.Lifetime;

    public static async Task<ServedModel> StartAsync(SkylightServerOptions? options = null,
        ChatModelOptions? modelOptions = null, bool thinking = false, ChatModel? model = null)
    {
        model ??= TinyChatModel.Create(modelOptions, thinking);
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore().AddSingleton(model);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(20));
        var logger = new CollectingLogger();
        builder.Logging.AddProvider(logger).SetMinimumLevel(LogLevel.Information);
        WebApplication app = builder.Build();
        app.UseRouting();
        app.MapSkylight(options);
        app.MapFallback("{**path}", SkylightErrors.WriteNotFoundAsync);
        await app.StartAsync();
        return new ServedModel(app, model, logger, options?.ApiKeys.FirstOrDefault());
    }

    /// <summary>A request for a few tokens, drawn with a fixed seed.</summary>
    public static JsonObject Request(string text = "Describe.", int tokens = 12) => new()
    {
        ["model"] = "tiny",
        ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = text }),
        ["temperature"] = 1,
        ["seed"] = 7,
        ["max_tokens"] = tokens,
    };

    /// <summary>A request with a picture.</summary>
    public static JsonObject PictureRequest(string url, string detail = "auto")
    {
        JsonObject request = Request();
        request["messages"] = new JsonArray(new JsonObject
        {
            ["role"] = "user",
            ["content"] = new JsonArray(
                new JsonObject
                {
                    ["type"] = "image_url",
                    ["image_url"] = new JsonObject { ["url"] = url, ["detail"] = detail },
                },
                new JsonObject { ["type"] = "text", ["text"] = "What is this?" }),
        });
        return request;
    }

    /// <summary>
    /// A request whose answer cannot end before its most tokens: those that would end it are as good as banned.
    /// </summary>
    public static JsonObject LongRequest(int tokens)
    {
        JsonObject request = Request(tokens: tokens);
        var bias = new JsonObject();
        foreach (int token in Tests.Text.TokenizerFixture.Real.StopTokenIds())
            bias[$"{token}"] = -100;
        request["logit_bias"] = bias;
        return request;
    }

    /// <summary>A file of the samples as a data URL.</summary>
    public static string DataUrl(string sample, string type = "image/png") =>
        $"data:{type};base64,{Convert.ToBase64String(File.ReadAllBytes(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", sample)))}";

    public Task<HttpResponseMessage> PostAsync(JsonNode body, CancellationToken cancellationToken = default) =>
        PostAsync(body.ToJsonString(), cancellationToken);

    public Task<HttpResponseMessage> PostAsync(string body, CancellationToken cancellationToken = default)
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        return SendAsync(content, null, cancellationToken);
    }

    public Task<HttpResponseMessage> SendAsync(HttpContent content, string? key = null,
        CancellationToken cancellationToken = default)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = content };
        if (key is not null)
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
        return Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
    }

    /// <summary>Sends something to an endpoint.</summary>
    public async Task<(int Status, string Body)> SendAsync(HttpMethod method, string path, JsonNode? body = null)
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
            request.Content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
        if (_key is not null)
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", _key);
        using HttpResponseMessage response = await Client.SendAsync(request);
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync());
    }

    /// <summary>The answer to a request that succeeds.</summary>
    public async Task<JsonElement> AskAsync(JsonNode body)
    {
        using HttpResponseMessage response = await PostAsync(body);
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{text}\n{Log}");
        Assert.Equal("application/json", response.Content.Headers.ContentType!.MediaType);
        return JsonDocument.Parse(text).RootElement;
    }

    /// <summary>The events of a stream; it must be one as the format wants it.</summary>
    public async Task<List<JsonElement>> StreamAsync(JsonNode body)
    {
        body["stream"] = true;
        using HttpResponseMessage response = await PostAsync(body);
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        Assert.EndsWith("\n\n", text, StringComparison.Ordinal);
        string[] events = text[..^2].Split("\n\n");
        Assert.All(events, line => Assert.StartsWith("data: ", line, StringComparison.Ordinal));
        Assert.All(events, line => Assert.DoesNotContain("\n", line, StringComparison.Ordinal));
        Assert.Equal("data: [DONE]", events[^1]);
        return [.. events[..^1].Select(line => JsonDocument.Parse(line["data: ".Length..]).RootElement)];
    }

    /// <summary>Begins a stream and waits for its first piece.</summary>
    public async Task<(HttpResponseMessage Response, StreamReader Reader)> BeginStreamAsync(JsonNode body,
        CancellationToken cancellationToken = default)
    {
        body["stream"] = true;
        HttpResponseMessage response = await PostAsync(body, cancellationToken);
        response.EnsureSuccessStatusCode();
        var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        Assert.StartsWith("data: {", await reader.ReadLineAsync(cancellationToken), StringComparison.Ordinal);
        return (response, reader);
    }

    /// <summary>Waits until nothing is running and all pages are free.</summary>
    public async Task BecomesIdleAsync()
    {
        for (int attempt = 0; attempt < 2400; attempt++)
        {
            Skylight.Generation.GenerationLoad load = Model.Load;
            string metrics = await MetricsAsync();
            if (load is { WaitingRequests: 0, ReadingRequests: 0, WritingSequences: 0, UsedPages: 0 }
                && metrics.Contains("\nskylight_requests_running 0\n", StringComparison.Ordinal))
                return;
            await Task.Delay(50);
        }

        Assert.Fail($"Still busy after two minutes: {Model.Load}");
    }

    /// <summary>Waits until a request has ended with a status.</summary>
    public async Task CountsAsync(int status)
    {
        for (int attempt = 0; attempt < 2400; attempt++)
        {
            if ((await MetricsAsync()).Contains($"\nskylight_requests_total{{status=\"{status}\"}} ", StringComparison.Ordinal))
                return;
            await Task.Delay(50);
        }

        Assert.Fail($"No request has ended with {status} after two minutes: {await MetricsAsync()}");
    }

    private async Task<string> MetricsAsync()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        if (_key is not null)
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", _key);
        using HttpResponseMessage response = await Client.SendAsync(request);
        return await response.EnsureSuccessStatusCode().Content.ReadAsStringAsync();
    }

    public Task StopAsync(CancellationToken cancellationToken) => _app.StopAsync(cancellationToken);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _app.StopAsync(now.Token);
        await _app.DisposeAsync();
        await Model.DisposeAsync();
    }

    private sealed class CollectingLogger : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<string> Lines { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;

        public void Dispose()
        {
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) =>
            Lines.Enqueue($"{logLevel}: {formatter(state, exception)} {exception}");
    }
}
