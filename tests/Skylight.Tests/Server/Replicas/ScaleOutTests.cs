using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Skylight.Tests.Cli;
using Skylight.Tests.Cli.Chat;

namespace Skylight.Tests.Server.Replicas;

/// <summary>docs/samples/scale-out/scale-out.sh with two real servers and a real nginx.</summary>
public sealed class ScaleOutTests(ChatCheckpoint checkpoint) : IClassFixture<ChatCheckpoint>
{
    [Fact]
    public async Task Conversations_keep_their_replica_and_its_cache_until_it_dies()
    {
        _ = Nginx.Program;
        // A replica that is killed leaves files of .NET's own behind.
        using var folder = new TemporaryFolder();
        int port = Nginx.FreePort();
        var start = new ProcessStartInfo("bash",
            [Path.Combine(Nginx.Sample, "scale-out.sh"), checkpoint.Folder, "--cache-tokens", "8192"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["SKYLIGHT"] = $"{SkylightProgram.Dotnet} {Path.Combine(AppContext.BaseDirectory, "Skylight.Cli.dll")}";
        start.Environment["LISTEN"] = $"127.0.0.1:{port}";
        start.Environment["TMPDIR"] = folder.Path;
        start.Environment.Remove("SKYLIGHT_API_KEY");
        using Process script = Process.Start(start)!;
        Task<string> error = script.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        int[] processes = [];
        try
        {
            var replicas = new List<(Uri Address, int Process)>();
            while (await script.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
            {
                if (line.StartsWith("Listening on ", StringComparison.Ordinal))
                    break;
                // Replica 1, process 2, on http://127.0.0.1:3
                string[] words = line.Split(' ', ',');
                replicas.Add((new Uri(words[^1]), int.Parse(words[4], System.Globalization.CultureInfo.InvariantCulture)));
            }

            Assert.True(replicas.Count == 2, script.HasExited ? await error : "No two replicas.");
            processes = [.. replicas.Select(each => each.Process)];
            using var client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromMinutes(5) };
            await ListensAsync(client);

            // The second turn of each conversation finds its first one in the cache, whichever replica has it.
            for (int conversation = 0; conversation < 8; conversation++)
            {
                (string answer, int read, int cached) = await AskAsync(client, Messages(conversation));
                // What the template begins with is all conversations'.
                Assert.True(cached < read / 2, $"{conversation}: {cached} of {read}");
                (_, _, cached) = await AskAsync(client,
                    [.. Messages(conversation), new { role = "assistant", content = answer }, new { role = "user", content = "Go on." }]);
                Assert.True(cached > read / 2, $"{conversation}: {cached} of {read}");
            }

            foreach ((Uri address, _) in replicas)
                Assert.DoesNotContain("skylight_cached_tokens_total 0\n", await client.GetStringAsync(new Uri(address, "/metrics")),
                    StringComparison.Ordinal);

            // One is killed: whoever was there is answered by the other.
            using (Process victim = Process.GetProcessById(replicas[0].Process))
                victim.Kill();
            for (int conversation = 0; conversation < 8; conversation++)
                await AskAsync(client, Messages(conversation));

            // The end of the script is the end of all.
            using (Process kill = Process.Start("kill", ["-TERM", $"{script.Id}"]))
                await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
            await SkylightProgram.EndsAsync(script);
            Assert.Equal(0, script.ExitCode);
            Assert.DoesNotContain(folder.Names(), name => name.StartsWith("tmp.", StringComparison.Ordinal));
            Assert.DoesNotContain(Process.GetProcesses(), process => processes.Contains(process.Id));
        }
        finally
        {
            if (!script.HasExited)
                script.Kill(entireProcessTree: true);
        }
    }

    private static object[] Messages(int number) =>
    [
        new
        {
            role = "user",
            content = $"{number}: {string.Join(' ', Enumerable.Range(1, 40).Select(each => (each * (number + 3)) % 97))}. What comes next?",
        },
    ];

    private static async Task<(string Answer, int Read, int Cached)> AskAsync(HttpClient client, object[] messages)
    {
        using HttpResponseMessage response = await client.PostAsJsonAsync("/v1/chat/completions",
            new { messages, max_tokens = 4, temperature = 0 }, TestContext.Current.CancellationToken);
        string text = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.True(response.StatusCode == HttpStatusCode.OK, text);
        JsonElement answer = JsonDocument.Parse(text).RootElement, usage = answer.GetProperty("usage");
        return (answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!,
            usage.GetProperty("prompt_tokens").GetInt32(), usage.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32());
    }

    private static async Task ListensAsync(HttpClient client)
    {
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                await client.GetStringAsync("/health", TestContext.Current.CancellationToken);
                return;
            }
            catch (HttpRequestException) when (attempt < 600)
            {
                await Task.Delay(100, TestContext.Current.CancellationToken);
            }
        }
    }
}
