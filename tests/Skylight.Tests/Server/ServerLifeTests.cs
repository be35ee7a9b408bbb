using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Skylight.Chat;
using Skylight.Server;
using Skylight.Tests.Generation;

namespace Skylight.Tests.Server;

/// <summary>Keys, full queues, clients that leave, and the end.</summary>
public sealed class ServerLifeTests
{
    [Fact]
    public async Task A_container_without_a_model_is_told_how_to_get_one()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore();
        builder.Services.AddRoutingCore();
        await using WebApplication app = builder.Build();
        InvalidOperationException missing = Assert.Throws<InvalidOperationException>(() => app.MapSkylight());
        Assert.Contains("AddSkylight", missing.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_key_is_asked_for_everywhere_but_for_health()
    {
        await using ServedModel served = await ServedModel.StartAsync(
            new SkylightServerOptions { ApiKeys = ["first-key", "second-key"] });
        using HttpResponseMessage none = await served.PostAsync(ServedModel.Request(tokens: 2)),
            wrong = await served.SendAsync(Json(ServedModel.Request(tokens: 2)), "third-key");
        foreach (HttpResponseMessage refused in new[]
        {
            none, wrong, await served.Client.GetAsync("/v1/models"), await served.Client.GetAsync("/metrics"),
            await served.Client.GetAsync("/v1/models/tiny"),
        })
        {
            JsonElement error = await BadRequestTests.ErrorAsync(refused, 401);
            Assert.Equal("invalid_api_key", error.GetProperty("code").GetString());
            Assert.Equal("Bearer", refused.Headers.WwwAuthenticate.Single().Scheme);
        }

        foreach (string key in new[] { "first-key", "second-key" })
        {
            using HttpResponseMessage allowed = await served.SendAsync(Json(ServedModel.Request(tokens: 2)), key);
            Assert.True(allowed.IsSuccessStatusCode);
        }

        using HttpResponseMessage health = await served.Client.GetAsync("/health");
        Assert.Equal("""{"status":"ok","model":"tiny"}""", await health.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Models_are_listed_under_the_name_they_are_served_by()
    {
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { ModelName = "org/model" });
        JsonElement list = JsonDocument.Parse(await served.Client.GetStringAsync("/v1/models")).RootElement;
        Assert.Equal("list", list.GetProperty("object").GetString());
        JsonElement card = Assert.Single(list.GetProperty("data").EnumerateArray());
        Assert.Equal("org/model", card.GetProperty("id").GetString());
        Assert.Equal(8192, card.GetProperty("max_model_len").GetInt32());
        Assert.Equal(card.GetRawText(), await served.Client.GetStringAsync("/v1/models/org/model"));
        JsonObject request = ServedModel.Request(tokens: 2);
        using (HttpResponseMessage other = await served.PostAsync(request))
            Assert.Contains("org/model", (await BadRequestTests.ErrorAsync(other, 404)).GetProperty("message")
                .GetString(), StringComparison.Ordinal);
        request["model"] = "org/model";
        Assert.Equal("org/model", (await served.AskAsync(request)).GetProperty("model").GetString());
        request.Remove("model");
        await served.AskAsync(request);
    }

    [Fact]
    public async Task A_full_queue_refuses_and_says_when_to_come_back()
    {
        await using ServedModel served = await ServedModel.StartAsync(
            modelOptions: new ChatModelOptions { CacheTokens = 8192, MaximumRequests = 1 });
        Task<GenerationHold> writing = GenerationHold.WhenAsync(served.Model.BetweenStepsAsync);
        (HttpResponseMessage response, StreamReader reader) = await served.BeginStreamAsync(ServedModel.LongRequest(7000));
        using (await writing)
        using (HttpResponseMessage refused = await served.PostAsync(ServedModel.Request(tokens: 2)))
        {
            Assert.Equal("rate_limit_error",
                (await BadRequestTests.ErrorAsync(refused, 429)).GetProperty("type").GetString());
            Assert.Equal(TimeSpan.FromSeconds(1), refused.Headers.RetryAfter!.Delta);
        }

        reader.Dispose();
        response.Dispose();
        await served.BecomesIdleAsync();
        await served.AskAsync(ServedModel.Request(tokens: 2));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public async Task A_client_that_leaves_frees_its_pages_and_nobody_else_notices(int choices)
    {
        await using ServedModel served = await ServedModel.StartAsync();
        string expected = ChatCompletionsTests.Content(await served.AskAsync(ServedModel.Request(tokens: 30)));
        JsonObject leaving = ServedModel.LongRequest(2000);
        leaving["n"] = choices;
        Task<GenerationHold> writing = GenerationHold.WhenAsync(served.Model.BetweenStepsAsync,
            engine => engine.WritingSequences == choices);
        (HttpResponseMessage response, StreamReader reader) = await served.BeginStreamAsync(leaving);
        Task<JsonElement> other;
        using (await writing)
        {
            other = served.AskAsync(ServedModel.Request(tokens: 30));
            reader.Dispose();
            response.Dispose();
            await LeftAsync(1);
        }

        Assert.Equal(expected, ChatCompletionsTests.Content(await other));
        await served.BecomesIdleAsync();

        // The same without a stream.
        using var leave = new CancellationTokenSource();
        writing = GenerationHold.WhenAsync(served.Model.BetweenStepsAsync);
        Task<HttpResponseMessage> waiting = served.PostAsync(ServedModel.LongRequest(2000), leave.Token);
        using (await writing)
        {
            await leave.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
            await LeftAsync(2);
        }

        await served.BecomesIdleAsync();
        string metrics = await served.Client.GetStringAsync("/metrics");
        Assert.Equal(
            ["skylight_requests_total{status=\"200\"} 2", "skylight_requests_total{status=\"499\"} 2"],
            metrics.Split('\n').Where(line => line.StartsWith("skylight_requests_total{", StringComparison.Ordinal)));
        Assert.Contains("the client went away", served.Log, StringComparison.Ordinal);

        async Task LeftAsync(int requests)
        {
            string metrics = "";
            for (int attempt = 0;
                attempt < 3000 && !metrics.Contains($"skylight_requests_total{{status=\"499\"}} {requests}\n",
                    StringComparison.Ordinal); attempt++)
            {
                await Task.Delay(10, TestContext.Current.CancellationToken);
                metrics = await served.Client.GetStringAsync("/metrics");
            }

            Assert.Contains($"skylight_requests_total{{status=\"499\"}} {requests}\n", metrics, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_host_that_stops_finishes_what_runs_and_takes_nothing_new()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        using var second = new HttpClient { BaseAddress = served.Address };
        await second.GetStringAsync("/health");
        Task<GenerationHold> writing = GenerationHold.WhenAsync(served.Model.BetweenStepsAsync);
        (HttpResponseMessage response, StreamReader reader) = await served.BeginStreamAsync(ServedModel.LongRequest(400));
        using (response)
        using (reader)
        {
            using GenerationHold held = await writing;
            // As StopAsync begins, but before the server closes its door.
            served.Lifetime.StopApplication();
            using HttpResponseMessage health = await second.GetAsync("/health");
            Assert.Equal(503, (int)health.StatusCode);
            using HttpResponseMessage refused = await second.PostAsync("/v1/chat/completions", Json(ServedModel.Request()));
            Assert.Equal("draining", (await BadRequestTests.ErrorAsync(refused, 503)).GetProperty("code").GetString());
            Task stopped = served.StopAsync(CancellationToken.None);
            held.Dispose();
            string rest = await reader.ReadToEndAsync();
            Assert.EndsWith("data: [DONE]\n\n", rest, StringComparison.Ordinal);
            Assert.Contains("\"finish_reason\":\"length\"", rest, StringComparison.Ordinal);
            await stopped;
        }
    }

    [Fact]
    public async Task A_model_that_is_closed_ends_its_streams_with_an_error()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        Task<GenerationHold> writing = GenerationHold.WhenAsync(served.Model.BetweenStepsAsync);
        (HttpResponseMessage response, StreamReader reader) = await served.BeginStreamAsync(ServedModel.LongRequest(7000));
        using (response)
        using (reader)
        {
            ValueTask closed;
            using (await writing)
                closed = served.Model.DisposeAsync();
            await closed;
            string[] events = (await reader.ReadToEndAsync()).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
            JsonElement error = JsonDocument.Parse(events[^1]["data: ".Length..]).RootElement.GetProperty("error");
            Assert.Equal(("server_error", "draining"),
                (error.GetProperty("type").GetString(), error.GetProperty("code").GetString()));
            Assert.Contains("ends answers that are not complete", error.GetProperty("message").GetString(),
                StringComparison.Ordinal);
            Assert.DoesNotContain(events, line => line.Contains("[DONE]", StringComparison.Ordinal));
        }

        using HttpResponseMessage refused = await served.PostAsync(ServedModel.Request());
        await BadRequestTests.ErrorAsync(refused, 503);
    }

    [Fact]
    public async Task Metrics_count_and_logs_tell_nothing_of_the_content()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonElement usage = (await served.AskAsync(ServedModel.LongRequest(5))).GetProperty("usage");
        JsonElement again = (await served.AskAsync(ServedModel.LongRequest(5))).GetProperty("usage"),
            seen = (await served.AskAsync(ServedModel.PictureRequest(ServedModel.DataUrl("cat.png"), "low")))
                .GetProperty("usage");
        using (HttpResponseMessage refused = await served.PostAsync(
            "{\"messages\":[{\"role\":\"user\",\"content\":\"secretive\"}],\"stop\":[\"secretive\"],\"temperature\":\"secretive\"}"))
            await BadRequestTests.ErrorAsync(refused, 400);
        JsonElement secret = (await served.AskAsync(ServedModel.Request("secretive", 2))).GetProperty("usage");
        int[] cached = [.. new[]
        {
            usage, again, seen, secret,
        }.Select(each => each.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32())];
        Assert.True(cached[0] == 0 && cached[1] >= 32, string.Join(", ", cached));
        await served.BecomesIdleAsync();
        using HttpResponseMessage response = await served.Client.GetAsync("/metrics");
        Assert.Equal("text/plain; version=0.0.4; charset=utf-8", response.Content.Headers.ContentType!.ToString());
        string metrics = await response.Content.ReadAsStringAsync();
        Assert.Contains("skylight_requests_total{status=\"200\"} 4\n", metrics, StringComparison.Ordinal);
        Assert.Contains("skylight_requests_total{status=\"400\"} 1\n", metrics, StringComparison.Ordinal);
        Assert.Contains(
            $"skylight_image_tokens_total " +
            $"{seen.GetProperty("prompt_tokens_details").GetProperty("image_tokens").GetInt32()}\n", metrics,
            StringComparison.Ordinal);
        Assert.Contains($"skylight_cached_tokens_total {cached.Sum()}\n", metrics, StringComparison.Ordinal);
        Assert.Contains("skylight_time_to_first_token_seconds_count 4\n", metrics, StringComparison.Ordinal);
        Assert.Contains("skylight_time_to_first_token_seconds_bucket{le=\"+Inf\"} 4\n", metrics, StringComparison.Ordinal);
        Assert.Contains($"skylight_cache_pages {served.Model.Load.PageCount}\n", metrics, StringComparison.Ordinal);
        Assert.True(served.Model.Load.PageCount > 0 && usage.GetProperty("completion_tokens").GetInt32() == 5);
        Assert.All(metrics.Split('\n', StringSplitOptions.RemoveEmptyEntries), line =>
            Assert.Matches(@"^(# (HELP|TYPE) skylight_\w+ .+|skylight_\w+(\{\w+=""[^""]+""\})? [0-9.E+-]+)$", line));
        Assert.Contains(": 200 in ", served.Log, StringComparison.Ordinal);
        Assert.Contains("field temperature", served.Log, StringComparison.Ordinal);
        Assert.DoesNotContain("secretive", served.Log, StringComparison.Ordinal);
    }

    private static ByteArrayContent Json(JsonObject body)
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body.ToJsonString()));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        return content;
    }
}
