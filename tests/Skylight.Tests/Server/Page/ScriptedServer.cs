using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Skylight.Server;

namespace Skylight.Tests.Server.Page;

/// <summary>The real page before a server that says what a test wants: errors, endings, hostile text, entropies.</summary>
internal sealed class ScriptedServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private ScriptedServer(WebApplication app)
    {
        _app = app;
        Address = new Uri(
            app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
    }

    public Uri Address { get; }

    /// <summary>The bodies of the requests for answers, in their order.</summary>
    public ConcurrentQueue<byte[]> Bodies { get; } = [];

    /// <summary>What the server says of itself.</summary>
    public string Metrics { get; set; } =
        "skylight_requests_total{status=\"200\"} 3\nskylight_queue_length 2\nskylight_cache_pages_used 5\nskylight_cache_pages 20\n";

    /// <summary>How the next request is answered.</summary>
    public Func<ScriptedAnswer, Task> Script { get; set; } = answer => answer.SayAsync("Yes.");

    public static async Task<ScriptedServer> StartAsync(long maximumBodyBytes = 32 << 20)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore();
        WebApplication app = builder.Build();
        app.UseRouting();
        ScriptedServer? server = null;
        PageEndpoints.Map(app, maximumBodyBytes);
        app.MapGet("/health", (RequestDelegate)(context => context.Response.WriteAsync("""{"status":"ok","model":"scripted"}""")));
        app.MapGet("/v1/models", (RequestDelegate)(context => context.Response.WriteAsync("""{"data":[{"max_model_len":8192}]}""")));
        app.MapGet("/metrics", (RequestDelegate)(context => context.Response.WriteAsync(server!.Metrics)));
        app.MapPost("/v1/chat/completions", (RequestDelegate)(context => server!.AnswerAsync(context)));
        await app.StartAsync();
        return server = new ScriptedServer(app);
    }

    /// <summary>The last request for an answer.</summary>
    public JsonElement LastRequest() => JsonDocument.Parse(Bodies.Last()).RootElement;

    /// <summary>Closes the door and every connection.</summary>
    public async Task VanishAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _app.StopAsync(now.Token);
    }

    public async ValueTask DisposeAsync()
    {
        await VanishAsync();
        await _app.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        context.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = null;
        var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        Bodies.Enqueue(body.ToArray());
        var answer = new ScriptedAnswer(context, JsonDocument.Parse(body.ToArray()).RootElement);
        try
        {
            await Script(answer);
            await answer.EndAsync();
        }
        catch (OperationCanceledException)
        {
            // The page went away, as some tests want it.
        }
    }
}

/// <summary>An answer as a script gives it.</summary>
internal sealed class ScriptedAnswer(HttpContext context, JsonElement request)
{
    private bool _isOver;
    private int _tokens;

    public JsonElement Request => request;

    /// <summary>Cancelled when the page has gone away.</summary>
    public CancellationToken Left => context.RequestAborted;

    /// <summary>Refuses, as the server does.</summary>
    public async Task RefuseAsync(int status, string message, string? parameter = null, int? retryAfter = null)
    {
        context.Response.StatusCode = status;
        if (retryAfter is { } seconds)
            context.Response.Headers.RetryAfter = $"{seconds}";
        await context.Response.WriteAsync(JsonSerializer.Serialize(
            new { error = new { message, param = parameter } }), Left);
        _isOver = true;
    }

    public Task ThinkAsync(string text) => TokenAsync(text, null, reasoning: true);

    public Task SayAsync(string text) => TokenAsync(text, null, reasoning: false);

    /// <summary>A token with its entropy, as far as probabilities were asked for.</summary>
    public Task TokenAsync(string text, double? entropy, bool reasoning)
    {
        _tokens++;
        object delta = reasoning ? new { reasoning_content = text } : new { content = text };
        bool measures = request.TryGetProperty("logprobs", out JsonElement wanted) && wanted.GetBoolean();
        var token = new Dictionary<string, object>
        {
            ["token"] = text,
            ["logprob"] = -0.25,
            ["bytes"] = Encoding.UTF8.GetBytes(text).Select(each => (int)each).ToArray(),
            ["top_logprobs"] = request.TryGetProperty("top_logprobs", out _)
                ? new[] { new { token = text, logprob = -0.25 }, new { token = " other", logprob = -1.75 } } : [],
        };
        if (entropy is { } nats)
            (token["entropy"], token["reasoning"]) = (nats, reasoning);
        return EventAsync(new
        {
            choices = new[] { new { index = 0, delta, logprobs = measures ? new { content = new[] { token } } : null } },
        });
    }

    /// <summary>Ends the answer in the middle: no more of it, and no word why.</summary>
    public void Break()
    {
        _isOver = true;
        context.Abort();
    }

    /// <summary>An error in the middle of the answer.</summary>
    public async Task FailAsync(string message, string code)
    {
        await EventAsync(new { error = new { message, code } });
        _isOver = true;
    }

    /// <summary>Sends a text as it is.</summary>
    public async Task RawAsync(string text)
    {
        await context.Response.WriteAsync(text, Left);
        await context.Response.Body.FlushAsync(Left);
    }

    /// <summary>The end of an answer that is complete, unless it is over.</summary>
    public async Task EndAsync(string reason = "stop")
    {
        if (_isOver)
            return;
        await EventAsync(new { choices = new[] { new { index = 0, delta = new { }, finish_reason = reason } } });
        await EventAsync(new
        {
            choices = Array.Empty<object>(),
            usage = new { prompt_tokens = 20, completion_tokens = _tokens },
        });
        await context.Response.WriteAsync("data: [DONE]\n\n", Left);
        _isOver = true;
    }

    private async Task EventAsync(object value)
    {
        if (!context.Response.HasStarted)
            context.Response.ContentType = "text/event-stream";
        await context.Response.WriteAsync($"data: {JsonSerializer.Serialize(value)}\n\n", Left);
        await context.Response.Body.FlushAsync(Left);
    }
}
