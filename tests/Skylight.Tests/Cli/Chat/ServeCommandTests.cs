using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Cli.Chat;

namespace Skylight.Tests.Cli.Chat;

/// <summary><c>skylight serve</c> and the sample host, as processes of their own.</summary>
public sealed class ServeCommandTests(ChatCheckpoint checkpoint) : IClassFixture<ChatCheckpoint>
{
    private static readonly ServeChoices s_choices = new("127.0.0.1", 8080, null, false, 32, false, null, 256, true, [],
        true, 1000, 256, 30);

    [Fact]
    public void Only_this_machine_is_served_without_a_key()
    {
        Assert.Equal("127.0.0.1", s_choices.Check().ToString());
        Assert.Equal("127.0.0.1", (s_choices with { Host = "localhost" }).Check().ToString());
        Assert.Equal("::1", (s_choices with { Host = "::1" }).Check().ToString());
        Assert.Equal("0.0.0.0", (s_choices with { Host = "0.0.0.0", ApiKey = "key" }).Check().ToString());
        Assert.Equal("0.0.0.0", (s_choices with { Host = "0.0.0.0", Insecure = true }).Check().ToString());
        foreach ((ServeChoices choices, string expected) in new[]
        {
            (s_choices with { Host = "0.0.0.0" }, "--insecure"), (s_choices with { Host = "::" }, "--insecure"),
            (s_choices with { Host = "example.com" }, "'example.com'"), (s_choices with { Port = 70000 }, "--port is 70000"),
            (s_choices with { BodyMegabytes = 0 }, "--max-body"), (s_choices with { Requests = 0 }, "--max-requests"),
            (s_choices with { DrainSeconds = -1 }, "--drain-seconds"), (s_choices with { ApiKey = " " }, "API key is empty"),
        })
            Assert.Contains(expected, Assert.Throws<ArgumentException>(choices.Check).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task It_serves_until_it_is_told_to_end_and_finishes_what_runs()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no SIGTERM to send.");
        using Process process = SkylightProgram.Start(
            ["serve", checkpoint.Folder, "--port", "0", "--name", "served", "--no-prefix-cache"]);
        try
        {
            Task<string> error = process.StandardError.ReadToEndAsync();
            string? line = await process.StandardOutput.ReadLineAsync();
            Assert.True(line is not null && line.StartsWith("Serving served on http://127.0.0.1:",
                StringComparison.Ordinal), line ?? await error);
            using var client = new HttpClient { BaseAddress = new Uri(line!.Split(" on ")[1]) };
            Assert.Equal("ok", JsonDocument.Parse(await client.GetStringAsync("/health"))
                .RootElement.GetProperty("status").GetString());
            using (var foreign = new HttpRequestMessage(HttpMethod.Get,
                "/v1/models")
            { Headers = { Host = "rebound.example.com" } })
            using (HttpResponseMessage refused = await client.SendAsync(foreign))
                Assert.Equal(403, (int)refused.StatusCode);
            using (HttpResponseMessage nothing = await client.GetAsync("/v1/audio"))
                Assert.Contains("GET /v1/models", await nothing.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            for (int time = 0; time < 2; time++)
            {
                JsonNode body = JsonNode.Parse(
                    """{"model": "served", "messages": [{"role": "user", "content": "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve."}], "max_tokens": 1}""")!;
                using HttpResponseMessage answer = await client.PostAsJsonAsync("/v1/chat/completions", body);
                Assert.Contains("\"cached_tokens\":0,", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            }

            string rest = await RestOfAnAnswerThatIsInterruptedAsync(process, client, tokens: 300);
            Assert.Contains("\"finish_reason\":\"length\"", rest, StringComparison.Ordinal);
            Assert.EndsWith("data: [DONE]\n\n", rest, StringComparison.Ordinal);
            await SkylightProgram.EndsAsync(process);
            Assert.Equal(0, process.ExitCode);
            string log = await error;
            Assert.Contains(" 200 in ", log, StringComparison.Ordinal);
            Assert.Contains("running answers have 30 s", log, StringComparison.Ordinal);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    [Fact]
    public async Task Its_health_can_be_asked_for_until_the_last_stream_has_ended()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no SIGTERM to send.");
        using Process process = SkylightProgram.Start(["serve", checkpoint.Folder, "--port", "0", "--cache-tokens",
            "20000", "--name", "served", "--drain-seconds", "60"]);
        try
        {
            Task<string> error = process.StandardError.ReadToEndAsync();
            string? line = await process.StandardOutput.ReadLineAsync();
            Assert.True(line is not null, line is null ? await error : "");
            var address = new Uri(line!.Split(" on ")[1]);
            using var client = new HttpClient { BaseAddress = address };
            int asked = 0;
            Task<string> rest = RestOfAnAnswerThatIsInterruptedAsync(process, client, tokens: 19000, afterSignal: async () =>
            {
                for (; asked < 20; asked++)
                {
                    // A connection of its own each time.
                    using var other = new HttpClient { BaseAddress = address };
                    using HttpResponseMessage health = await other.GetAsync("/health");
                    if (asked == 0 && health.IsSuccessStatusCode)
                    {
                        // The signal is on its way.
                        await Task.Delay(20);
                        asked--;
                        continue;
                    }

                    Assert.Equal((503, "draining"),
                        ((int)health.StatusCode, JsonDocument.Parse(await health.Content.ReadAsStringAsync())
                            .RootElement.GetProperty("status").GetString()));
                }

                using Process kill = Process.Start("kill", ["-TERM", $"{process.Id}"]);
                await kill.WaitForExitAsync();
            });
            Assert.Contains("\"code\":\"draining\"", await rest, StringComparison.Ordinal);
            Assert.Equal(20, asked);
            await SkylightProgram.EndsAsync(process);
            Assert.Equal(0, process.ExitCode);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    [Fact]
    public async Task Answers_that_outlast_the_end_hear_of_it()
    {
        using Process process = SkylightProgram.Start(["serve", checkpoint.Folder, "--port", "0", "--drain-seconds",
            "0", "--cache-tokens", "20000", "--name", "served"]);
        try
        {
            Task<string> error = process.StandardError.ReadToEndAsync();
            string? line = await process.StandardOutput.ReadLineAsync();
            Assert.True(line is not null, line is null ? await error : "");
            using var client = new HttpClient { BaseAddress = new Uri(line!.Split(" on ")[1]) };
            string rest = await RestOfAnAnswerThatIsInterruptedAsync(process, client, tokens: 19000);
            Assert.Contains("\"code\":\"draining\"", rest, StringComparison.Ordinal);
            Assert.DoesNotContain("[DONE]", rest, StringComparison.Ordinal);
            await SkylightProgram.EndsAsync(process);
            Assert.Equal(0, process.ExitCode);
            Assert.Contains(" 503 in ", await error, StringComparison.Ordinal);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    [Fact]
    public async Task An_address_that_is_not_this_machines_is_refused_in_a_line()
    {
        // Of the range kept for documentation.
        (int code, string output, string error) = await SkylightProgram.RunAsync(
            ["serve", checkpoint.Folder, "--host", "192.0.2.1", "--insecure"]);
        Assert.Equal((1, ""), (code, output));
        Assert.Single(error.Trim().Split('\n'));
        Assert.StartsWith("skylight: 192.0.2.1, port 8080, cannot be listened on: ", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_sample_host_describes_pictures()
    {
        using Process process = SkylightProgram.Start(
            ["--Model", checkpoint.Folder, "--ApiKey", "sample-key", "--urls", "http://127.0.0.1:0"], "AspNetHost.dll");
        try
        {
            const string Listening = "Now listening on: ";
            string? line;
            do
            {
                line = await process.StandardOutput.ReadLineAsync();
            }
            while (line is not null && !line.Contains(Listening, StringComparison.Ordinal));
            Assert.True(line is not null, line is null ? await process.StandardError.ReadToEndAsync() : "");
            Task<string> rest = process.StandardOutput.ReadToEndAsync();
            using var client = new HttpClient { BaseAddress = new Uri(line!.Split(Listening)[1]) };
            using var picture = new ByteArrayContent(await File.ReadAllBytesAsync(ChatCheckpoint.Picture("cat.png")));
            using HttpResponseMessage described = await client.PostAsync("/describe", picture);
            Assert.True(described.IsSuccessStatusCode && (await described.Content.ReadAsStringAsync()).Length > 5);
            using var text = new StringContent("not a picture");
            using HttpResponseMessage refused = await client.PostAsync("/describe", text);
            Assert.Equal(400, (int)refused.StatusCode);
            using HttpResponseMessage models = await client.GetAsync("/v1/models");
            Assert.Equal(401, (int)models.StatusCode);
        }
        finally
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
        }
    }

    [Fact]
    public async Task The_documentation_shows_the_sample_as_it_is_compiled()
    {
        string program = await File.ReadAllTextAsync(Repository.PathOf("docs", "samples", "AspNetHost", "Program.cs")),
            page = await File.ReadAllTextAsync(Repository.PathOf("docs", "serving.md"));
        Assert.Contains($"```csharp\n{program}```\n", page.ReplaceLineEndings("\n"), StringComparison.Ordinal);
    }

    /// <summary>
    /// Asks for an answer that only its length ends, tells the server to end after the first piece of it, and reads on.
    /// </summary>
    private static async Task<string> RestOfAnAnswerThatIsInterruptedAsync(Process process, HttpClient client,
        int tokens, Func<Task>? afterSignal = null)
    {
        JsonNode body = JsonNode.Parse(
            """{"model": "served", "messages": [{"role": "user", "content": "Hi"}], "stream": true, "logit_bias": {"151643": -100, "151645": -100}}""")!;
        body["max_tokens"] = tokens;
        using var post = new HttpRequestMessage(HttpMethod.Post,
            "/v1/chat/completions")
        { Content = JsonContent.Create(body) };
        using HttpResponseMessage response = await client.SendAsync(post, HttpCompletionOption.ResponseHeadersRead);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        Assert.StartsWith("data: {", await reader.ReadLineAsync(), StringComparison.Ordinal);
        using (Process kill = Process.Start("kill", ["-TERM", $"{process.Id}"]))
            await kill.WaitForExitAsync();
        if (afterSignal is not null)
            await afterSignal();
        return await reader.ReadToEndAsync();
    }
}
