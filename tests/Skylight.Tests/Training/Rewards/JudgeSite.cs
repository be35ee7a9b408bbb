using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Skylight.Tests.Training.Rewards;

/// <summary>An endpoint that answers as a script says, on this machine.</summary>
internal sealed class JudgeSite : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly Func<HttpContext, int, JsonObject, Task> _script;
    private int _requests, _running, _mostAtOnce;

    private JudgeSite(WebApplication app, Func<HttpContext, int, JsonObject, Task> script) =>
        (_app, _script) = (app, script);

    public Uri Address => new(_app.Urls.Single() + "/v1");

    public int Requests => _requests;

    public int MostAtOnce => _mostAtOnce;

    public ConcurrentQueue<(JsonObject Body, string? Authorization)> Received { get; } = [];

    /// <summary>Starts it.</summary>
    /// <param name="script">Answers the request of a number, from 1.</param>
    public static async Task<JudgeSite> StartAsync(Func<HttpContext, int, JsonObject, Task> script)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        WebApplication app = builder.Build();
        var site = new JudgeSite(app, script);
        app.Run(site.AnswerAsync);
        await app.StartAsync();
        return site;
    }

    /// <summary>A chat completion.</summary>
    public static Task ReplyAsync(HttpContext context, string text, string end = "stop")
    {
        var reply = new JsonObject
        {
            ["choices"] = new JsonArray(
                new JsonObject
                {
                    ["message"] = new JsonObject { ["role"] = "assistant", ["content"] = text },
                    ["finish_reason"] = end,
                }),
            ["usage"] = new JsonObject { ["prompt_tokens"] = 100, ["completion_tokens"] = 3 },
        };
        context.Response.ContentType = "application/json";
        return context.Response.WriteAsync(reply.ToJsonString());
    }

    public static Task RefuseAsync(HttpContext context, int status, string body = "")
    {
        context.Response.StatusCode = status;
        return context.Response.WriteAsync(body);
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _app.StopAsync(now.Token);
        await _app.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        int number = Interlocked.Increment(ref _requests), running = Interlocked.Increment(ref _running);
        for (int most = _mostAtOnce; running > most; most = _mostAtOnce)
            Interlocked.CompareExchange(ref _mostAtOnce, running, most);
        try
        {
            Assert.Equal("/v1/chat/completions", context.Request.Path.Value);
            using var reader = new StreamReader(context.Request.Body);
            JsonObject body = JsonNode.Parse(await reader.ReadToEndAsync(context.RequestAborted))!.AsObject();
            Received.Enqueue((body, context.Request.Headers.Authorization));
            await _script(context, number, body);
        }
        finally
        {
            Interlocked.Decrement(ref _running);
        }
    }
}
