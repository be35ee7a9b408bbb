using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using Skylight.Server;
using Skylight.Tests.Server;
using Skylight.Tests.Text;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Training.Rewards;

/// <summary>A verifier behind HTTP, which fails in all the ways that endpoints do.</summary>
public sealed class OpenAiVerifierTests
{
    private const string Key = "sk-secret/0123456789";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static OpenAiVerifierOptions Options(Uri address, int retries = 3) => new()
    {
        Endpoint = address,
        Model = "judge",
        Retries = retries,
        RetryDelay = TimeSpan.FromMilliseconds(1),
        LongestRetryDelay = TimeSpan.FromMilliseconds(20),
        Timeout = TimeSpan.FromSeconds(30),
        KeyVariable = "JUDGE_KEY",
        EnvironmentVariable = name => name == "JUDGE_KEY" ? Key : null,
    };

    private static ValueTask<VerifierVerdict> AskAsync(OpenAiVerifier verifier, string response = "a dozen") =>
        verifier.JudgeAsync("7 + 5?", ["12", "twelve"], response, Token);

    private static async Task<VerifierException> FaultAsync(OpenAiVerifierOptions options)
    {
        using var verifier = new OpenAiVerifier(options);
        VerifierException fault = await Assert.ThrowsAsync<VerifierException>(() => AskAsync(verifier).AsTask());
        Assert.DoesNotContain("secret", fault.ToString(), StringComparison.Ordinal);
        Assert.StartsWith($"the verifier endpoint {options.Endpoint.Authority} ", fault.Message, StringComparison.Ordinal);
        Assert.InRange(fault.Message.Length, 1, 500);
        return fault;
    }

    [Fact]
    public async Task The_request_is_that_of_a_chat_completion()
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, _, _) => JudgeSite.ReplyAsync(context, "Yes."));
        using var verifier = new OpenAiVerifier(Options(site.Address));
        Assert.Equal(new VerifierVerdict(true, "Yes.", 1, 100, 3), await AskAsync(verifier, "{question} \uD800 \"x\""));
        (JsonObject body, string? authorization) = Assert.Single(site.Received);
        Assert.Equal($"Bearer {Key}", authorization);
        Assert.Equal("judge", (string?)body["model"]);
        Assert.Equal((0, 256), ((int)body["temperature"]!, (int)body["max_tokens"]!));
        Assert.Equal(["model", "messages", "temperature", "max_tokens"], body.Select(field => field.Key));
        string prompt = (string)body["messages"]![0]!["content"]!;
        Assert.Contains("<question>\n7 + 5?\n</question>", prompt, StringComparison.Ordinal);
        Assert.Contains("<reference_answer>\n12\ntwelve\n</reference_answer>", prompt, StringComparison.Ordinal);
        Assert.Contains("<response>\n{question} \uFFFD \"x\"\n</response>", prompt, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Fields_can_be_added_replaced_and_taken_away()
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, _, _) => JudgeSite.ReplyAsync(context, "no"));
        using var verifier = new OpenAiVerifier(Options(site.Address) with
        {
            KeyVariable = null,
            ExtraBody = """{"max_completion_tokens": 5, "temperature": null, "model": "other", "chat_template_kwargs": {"enable_thinking": false}}""",
        });
        Assert.False((await AskAsync(verifier)).IsCorrect);
        (JsonObject body, string? authorization) = Assert.Single(site.Received);
        Assert.Null(authorization);
        Assert.Equal(["messages", "max_completion_tokens", "model", "chat_template_kwargs"],
            body.Select(field => field.Key));
        Assert.Equal("other", (string?)body["model"]);
        Assert.False((bool)body["chat_template_kwargs"]!["enable_thinking"]!);
    }

    [Theory]
    [InlineData("yes", true)]
    [InlineData("No", false)]
    [InlineData("**Yes**.\n", true)]
    [InlineData("<think>Yes, or no?</think>\n\nno", false)]
    [InlineData("", null)]
    [InlineData("<think>yes", null)]
    [InlineData("yes, the answer is right", null)]
    [InlineData("yes no", null)]
    [InlineData("Nope", null)]
    [InlineData("correct", null)]
    public async Task A_verdict_is_one_word(string reply, bool? verdict)
    {
        Assert.Equal(verdict, VerifierPrompt.Read(reply));
        await using JudgeSite site = await JudgeSite.StartAsync(
            (context, _, _) => JudgeSite.ReplyAsync(context, reply, "length"));
        using var verifier = new OpenAiVerifier(Options(site.Address));
        VerifierVerdict found = await AskAsync(verifier);
        Assert.Equal((verdict, 3), (found.IsCorrect, found.CompletionTokens));
        Assert.Equal(verdict is null,
            found.Text.EndsWith("(cut off at the most tokens of a reply, 256)", StringComparison.Ordinal));
        Assert.Equal(1, site.Requests);
    }

    [Theory]
    [InlineData(408)]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(503)]
    public async Task What_passes_is_tried_again(int status)
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, number, _) => number <= 2
            ? JudgeSite.RefuseAsync(context, status) : JudgeSite.ReplyAsync(context, "yes"));
        using var verifier = new OpenAiVerifier(Options(site.Address));
        VerifierVerdict verdict = await AskAsync(verifier);
        Assert.Equal((true, 3, 3), (verdict.IsCorrect, verdict.Requests, site.Requests));
    }

    [Fact]
    public async Task What_does_not_pass_ends_after_its_attempts()
    {
        await using JudgeSite site = await JudgeSite.StartAsync(
            (context, _, _) => JudgeSite.RefuseAsync(context, 500, "<html>no\nworker</html>"));
        VerifierException fault = await FaultAsync(Options(site.Address));
        Assert.EndsWith("answers 500: <html>no worker</html> (4 attempts).", fault.Message, StringComparison.Ordinal);
        Assert.Equal((4, 4), (fault.Requests, site.Requests));
    }

    [Theory]
    [InlineData("1")]
    [InlineData("date")]
    public async Task Retry_after_is_waited_for_but_not_for_ever(string after)
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, number, _) =>
        {
            context.Response.Headers.RetryAfter = number == 1 ? after == "date"
                ? DateTimeOffset.UtcNow.AddSeconds(10).ToString("r") : after : "86400";
            return number <= 2 ? JudgeSite.RefuseAsync(context, 429) : JudgeSite.ReplyAsync(context, "yes");
        });
        using var verifier = new OpenAiVerifier(
            Options(site.Address) with { LongestRetryDelay = TimeSpan.FromSeconds(1.5) });
        long start = Stopwatch.GetTimestamp();
        Assert.True((await AskAsync(verifier)).IsCorrect);
        Assert.InRange(Stopwatch.GetElapsedTime(start).TotalSeconds, 2.4, 60);
    }

    [Theory]
    [InlineData(400, """{"error": {"message": "max_tokens is too large."}}""", "answers 400: max_tokens is too large.")]
    [InlineData(400, """{"error": "plain"}""", "answers 400: plain.")]
    [InlineData(422, """{"message": "of vLLM"}""", "answers 422: of vLLM.")]
    [InlineData(401, """{"error": {"message": "Incorrect API key provided: sk-secret/0123456789."}}""",
        "answers 401: Incorrect API key provided: (the key); check the key in the environment variable")]
    [InlineData(403, """[ "sk-secret\/0123456789" ]""", "answers 403: [ \"(the key)\" ]; check the key")]
    [InlineData(400, "{\"error\": {\"message\": \"\\ud800 half a character\"}}", "answers 400: {\"error\"")]
    [InlineData(400, """{"error": {"code": 1}}""", "answers 400: {\"error\": {\"code\": 1}}")]
    [InlineData(404, "", "answers 404; check the base URL")]
    [InlineData(301, "", "answers 301; give the address that it redirects to.")]
    public async Task What_is_wrong_for_good_fails_at_once(int status, string body, string message)
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, _, _) =>
        {
            context.Response.Headers.Location = "http://127.0.0.1:1/";
            return JudgeSite.RefuseAsync(context, status, body);
        });
        VerifierException fault = await FaultAsync(Options(site.Address));
        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
        Assert.Equal((1, 1), (fault.Requests, site.Requests));
    }

    [Fact]
    public async Task A_key_at_the_edge_of_what_is_shown_is_not_shown_in_part()
    {
        for (int before = 180; before <= 200; before += 4)
        {
            await using JudgeSite site = await JudgeSite.StartAsync(
                (context, _, _) => JudgeSite.RefuseAsync(context, 401, new string('x', before) + Key));
            await FaultAsync(Options(site.Address));
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("<html></html>")]
    [InlineData("{}")]
    [InlineData("[]")]
    [InlineData("\"yes\"")]
    [InlineData("""{"choices": []}""")]
    [InlineData("""{"choices": [{"message": {"content": null}}]}""")]
    [InlineData("""{"choices": [{"message": {"content": ["yes"]}}]}""")]
    [InlineData("""{"choices": {"message": {"content": "yes"}}}""")]
    [InlineData("{\"choices\": [{\"message\": {\"content\": \"yes\\ud800\"}}]}")]
    public async Task Garbage_is_no_verdict(string body)
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, _, _) => context.Response.WriteAsync(body));
        Assert.Contains("sends no chat completion but '", (await FaultAsync(Options(site.Address))).Message,
            StringComparison.Ordinal);
        Assert.Equal(1, site.Requests);
    }

    [Theory]
    [InlineData(
        """{"choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": -5, "completion_tokens": "many"}}""")]
    [InlineData("""{"choices": [{"message": {"content": "yes"}, "finish_reason": 3}], "usage": null}""")]
    public async Task Odd_counts_are_left_out(string body)
    {
        await using JudgeSite site = await JudgeSite.StartAsync((context, _, _) => context.Response.WriteAsync(body));
        using var verifier = new OpenAiVerifier(Options(site.Address));
        Assert.Equal(new VerifierVerdict(true, "yes"), await AskAsync(verifier));
    }

    [Theory]
    [InlineData(200)]
    [InlineData(500)]
    public async Task A_body_without_end_is_left(int status)
    {
        long sent = 0;
        await using JudgeSite site = await JudgeSite.StartAsync(async (context, _, _) =>
        {
            context.Response.StatusCode = status;
            while (!context.RequestAborted.IsCancellationRequested && Interlocked.Read(ref sent) < 1L << 30)
            {
                await context.Response.Body.WriteAsync(new byte[64 << 10], context.RequestAborted);
                Interlocked.Add(ref sent, 64 << 10);
            }
        });
        string message = (await FaultAsync(Options(site.Address, retries: 0))).Message;
        Assert.Contains(status == 200 ? "sends more than 1,048,576 bytes" : "answers 500", message,
            StringComparison.Ordinal);
        Assert.InRange(Interlocked.Read(ref sent), 1 << 20, 1 << 28);
    }

    [Fact]
    public async Task A_connection_that_breaks_is_tried_again()
    {
        await using JudgeSite site = await JudgeSite.StartAsync(async (context, number, _) =>
        {
            if (number == 3)
            {
                await JudgeSite.ReplyAsync(context, "yes");
                return;
            }

            if (number == 2)
            {
                context.Response.ContentLength = 500;
                await context.Response.WriteAsync("{\"choices\"");
                await context.Response.Body.FlushAsync();
            }

            context.Abort();
        });
        using var verifier = new OpenAiVerifier(Options(site.Address));
        Assert.Equal(3, (await AskAsync(verifier)).Requests);
        Assert.Contains("cannot be reached or breaks off",
            (await FaultAsync(Options(await ClosedPortAsync(), retries: 1))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_slow_endpoint_is_left_and_a_cancelled_run_waits_for_nothing()
    {
        await using JudgeSite site = await JudgeSite.StartAsync(async (context, number, _) =>
        {
            // Neither headers that do not come nor a body that does not end.
            if (number == 2)
            {
                await context.Response.WriteAsync(" ");
                await context.Response.Body.FlushAsync();
            }

            await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
        });
        VerifierException fault = await FaultAsync(
            Options(site.Address, retries: 1) with { Timeout = TimeSpan.FromMilliseconds(200) });
        Assert.EndsWith("does not answer within 0.2 s (2 attempts).", fault.Message, StringComparison.Ordinal);
        using var verifier = new OpenAiVerifier(Options(site.Address));
        using var cancel = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => verifier.JudgeAsync("", ["1"], "1", cancel.Token).AsTask());
    }

    /// <summary>A thousand samples do not each wait for an endpoint that is down.</summary>
    [Fact]
    public async Task An_endpoint_that_stays_down_is_not_retried_for_every_sample()
    {
        bool isUp = false;
        await using JudgeSite site = await JudgeSite.StartAsync((context, _, _) => Volatile.Read(ref isUp)
            ? JudgeSite.ReplyAsync(context, "yes") : JudgeSite.RefuseAsync(context, 503));
        using var verifier = new OpenAiVerifier(Options(site.Address, retries: 2));
        for (int sample = 0; sample < 40; sample++)
            await Assert.ThrowsAsync<VerifierException>(() => AskAsync(verifier).AsTask());
        Assert.Equal(32 * 3 + 8, site.Requests);
        Volatile.Write(ref isUp, true);
        Assert.Equal(1, (await AskAsync(verifier)).Requests);
        Volatile.Write(ref isUp, false);
        Assert.Equal(3, (await Assert.ThrowsAsync<VerifierException>(() => AskAsync(verifier).AsTask())).Requests);
    }

    [Fact]
    public async Task Skylights_own_server_is_an_endpoint()
    {
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { ApiKeys = [Key] });
        var address = new Uri(served.Address, "v1");
        OpenAiVerifierOptions options = Options(address, retries: 0) with { Model = "tiny", MaximumTokens = 6 };
        using var verifier = new OpenAiVerifier(options);
        // Not disposed: the server closes its model.
        var inProcess = new ChatModelVerifier(_ => Task.FromResult(served.Model), maximumTokens: 6);
        VerifierVerdict byHttp = await AskAsync(verifier),
            here = await inProcess.JudgeAsync("7 + 5?", ["12", "twelve"], "a dozen", Token);
        // A random model says neither yes nor no, but the same to both; behind HTTP it is said that it was cut off.
        Assert.Null(byHttp.IsCorrect);
        Assert.Equal((here.PromptTokens, here.CompletionTokens), (byHttp.PromptTokens, byHttp.CompletionTokens));
        Assert.True(here is { CompletionTokens: > 0, PromptTokens: > 100 });

        int yes = TokenizerFixture.Real.Encode("yes").Single(), no = TokenizerFixture.Real.Encode("no").Single();
        foreach ((int token, bool verdict) in new[] { (yes, true), (no, false) })
        {
            using var biased = new OpenAiVerifier(
                options with { ExtraBody = $$$"""{"max_tokens": 1, "logit_bias": {"{{{token}}}": 100}}""" });
            Assert.Equal(verdict, (await AskAsync(biased)).IsCorrect);
        }

        Assert.Contains("answers 401", (await FaultAsync(options with { EnvironmentVariable = _ => "sk-secret-other" }))
            .Message, StringComparison.Ordinal);
        Assert.Contains("answers 404", (await FaultAsync(options with { Endpoint = new Uri(served.Address, "v2") }))
            .Message, StringComparison.Ordinal);
        Assert.Contains("answers 400", (await FaultAsync(options with { ExtraBody = """{"temperature": "warm"}""" }))
            .Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", served.Log, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("http://host:8000/v1/", "http://host:8000/v1/chat/completions")]
    [InlineData("https://host/openai/deployments/x?api-version=1",
        "https://host/openai/deployments/x/chat/completions?api-version=1")]
    [InlineData("http://host/v1/chat/completions", "http://host/v1/chat/completions")]
    [InlineData("http://host", "http://host/chat/completions")]
    public void The_address_is_the_base_url_with_the_path_of_the_call(string endpoint, string address) =>
        Assert.Equal(address, OpenAiVerifier.AddressOf(new Uri(endpoint)).ToString());

    [Fact]
    public void Senseless_options_are_refused()
    {
        OpenAiVerifierOptions options = Options(new Uri("http://127.0.0.1:1"));
        foreach (OpenAiVerifierOptions wrong in new[]
        {
            options with { Model = " " }, options with { MaximumTokens = 0 }, options with { Retries = -1 },
            options with { Timeout = TimeSpan.Zero },
            options with { RetryDelay = TimeSpan.FromSeconds(-1) },
            options with { Endpoint = new Uri("v1", UriKind.Relative) },
        })
        {
            Assert.ThrowsAny<ArgumentException>(() => new OpenAiVerifier(wrong));
        }

        Assert.DoesNotContain("secret", options.ToString(), StringComparison.Ordinal);
    }

    private static async Task<Uri> ClosedPortAsync()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        int port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        await Task.Yield();
        return new Uri($"http://127.0.0.1:{port}/v1");
    }
}
