using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Skylight.Tests.Server.Replicas;

/// <summary>What nginx.conf and prefix.js of docs/samples/scale-out make of requests.</summary>
public sealed class NginxTests
{
    private static string Turns(string question, int turns = 1, string system = "You are terse.") => JsonSerializer.Serialize(new
    {
        messages = Enumerable.Range(0, 2 * turns).Select(index => index == 0 ? new { role = "system", content = system }
            : index == 1 ? new { role = "user", content = question }
            : new { role = index % 2 == 0 ? "assistant" : "user", content = $"turn {index}" }),
        stream = false,
    });

    private static string Seen(string picture, string question) => JsonSerializer.Serialize(new
    {
        model = "m",
        messages = new[]
        {
            new
            {
                role = "user",
                content = new object[]
                {
                    new { type = "image_url", image_url = new { url = picture } }, new { type = "text", text = question },
                },
            },
        },
    });

    [Fact]
    public async Task What_begins_alike_goes_to_one_replica()
    {
        await using NginxReplicas replicas = await NginxReplicas.StartAsync(3);
        var chosen = new List<int>();
        for (int conversation = 0; conversation < 24; conversation++)
        {
            int first = await replicas.AskAsync(Turns($"Question {conversation}"));
            chosen.Add(first);
            foreach (int turns in new[] { 2, 5 })
                Assert.Equal(first, await replicas.AskAsync(Turns($"Question {conversation}", turns)));
        }

        // A system message that all share sends nobody to the same place.
        Assert.Equal([0, 1, 2], chosen.Distinct().Order());

        // Of a picture both ends and the length are looked at.
        string[] pictures = [.. Enumerable.Range(0, 12).Select(each => $"data:image/png;base64,{each:D4}{new string('A', 3000)}{each:D4}")];
        var seen = new List<int>();
        foreach (string picture in pictures)
        {
            seen.Add(await replicas.AskAsync(Seen(picture, "What is this?")));
            Assert.Equal(seen[^1], await replicas.AskAsync(Seen(picture, "And of what colour?")));
        }

        Assert.True(seen.Distinct().Count() > 1);

        // The other endpoints, and who says it himself.
        foreach ((string path, string one, string other) in new[]
        {
            ("/v1/completions", """{"prompt":"@ begins","max_tokens":1}""", """{"max_tokens":5,"prompt":"@ begins"}"""),
            ("/v1/responses", """{"input":"@ asks"}""", """{"store":true,"input":"@ asks"}"""),
            ("/v1/responses", """{"input":[{"role":"user","content":"@"}]}""",
                """{"input":[{"role":"user","content":"@"},{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}"""),
            ("/v1/chat/completions", """{"prompt_cache_key":"@","messages":[]}""",
                """{"messages":[{"role":"user","content":"else"}],"prompt_cache_key":"@"}"""),
        })
        {
            var places = new List<int>();
            for (int number = 0; number < 16; number++)
            {
                places.Add(await replicas.AskAsync(one.Replace("@", $"{number}", StringComparison.Ordinal), path));
                Assert.Equal(places[^1], await replicas.AskAsync(other.Replace("@", $"{number}", StringComparison.Ordinal), path));
            }

            Assert.True(places.Distinct().Count() > 1, path);
        }

        int named = await replicas.AskAsync(Turns("one"), conversation: "mine");
        for (int number = 0; number < 8; number++)
            Assert.Equal(named, await replicas.AskAsync(Turns($"{number}"), conversation: "mine"));
    }

    [Fact]
    public async Task What_no_replica_can_read_is_a_replicas_to_refuse()
    {
        await using NginxReplicas replicas = await NginxReplicas.StartAsync(2);
        foreach (string body in new[]
        {
            "", "garbage", "null", "[1]", "\"x\"", "{}", """{"messages":[null]}""", """{"messages":7}""", """{"messages":[{"role":"user"}]}""",
            """{"messages":[{"role":"user","content":[null]}]}""", """{"messages":[{"role":"user","content":[]}]}""", "\"data:",
            """{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}""", """{"prompt_cache_key":7,"input":{}}""", "{\"a\":\"\0\"}",
        })
        {
            await replicas.AskAsync(body);
            Assert.Equal(body, System.Text.Encoding.UTF8.GetString(replicas.Requests.Last().Body));
        }

        // Bytes that are no text come through as well, and so does what is large.
        string picture = $"data:image/png;base64,{new string('B', 6_000_000)}";
        await replicas.AskAsync(Seen(picture, "Grüße"));
        Assert.Equal(Seen(picture, "Grüße"), System.Text.Encoding.UTF8.GetString(replicas.Requests.Last().Body));
        using var bytes = new ByteArrayContent([0xff, 0xfe, 0x00]);
        using HttpResponseMessage taken = await replicas.Client.PostAsync("/v1/chat/completions", bytes);
        Assert.Equal(HttpStatusCode.OK, taken.StatusCode);
        Assert.Equal([0xff, 0xfe, 0x00], replicas.Requests.Last().Body);
        using HttpResponseMessage large = await replicas.SendAsync(new string('x', 33 << 20));
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, large.StatusCode);
    }

    [Fact]
    public async Task A_replica_that_ends_or_is_gone_leaves_its_conversations_to_the_others()
    {
        await using NginxReplicas replicas = await NginxReplicas.StartAsync(3);
        Dictionary<int, int> before = [];
        for (int conversation = 0; conversation < 24; conversation++)
            before[conversation] = await replicas.AskAsync(Turns($"Question {conversation}"));
        // One says that it is ending, another is gone.
        replicas.Script = (number, context) =>
        {
            context.Response.StatusCode = number == 1 ? 503 : 200;
            return Task.CompletedTask;
        };
        foreach ((int conversation, int replica) in before)
        {
            int now = await replicas.AskAsync(Turns($"Question {conversation}", 2));
            Assert.True(replica == 1 ? now != 1 : now == replica, $"{conversation}: {replica}, {now}");
        }

        await replicas.KillAsync(2);
        foreach (int conversation in before.Keys)
            Assert.Equal(0, await replicas.AskAsync(Turns($"Question {conversation}", 3)));

        // What a replica refuses is the client's to hear, and asked once.
        replicas.Requests.Clear();
        replicas.Script = (_, context) =>
        {
            context.Response.StatusCode = 429;
            context.Response.Headers.RetryAfter = "7";
            return Task.CompletedTask;
        };
        using HttpResponseMessage full = await replicas.SendAsync(Turns("One more"));
        Assert.Equal((HttpStatusCode.TooManyRequests, "7"), (full.StatusCode, full.Headers.RetryAfter!.ToString()));
        Assert.Single(replicas.Requests);
    }

    [Fact]
    public async Task Pieces_come_as_they_are_written_and_who_leaves_is_missed()
    {
        await using NginxReplicas replicas = await NginxReplicas.StartAsync(2);
        TaskCompletionSource read = new(), left = new();
        replicas.Script = async (_, context) =>
        {
            context.Response.ContentType = "text/event-stream";
            await context.Response.WriteAsync("data: one\n\n");
            await context.Response.Body.FlushAsync();
            await read.Task;
            await context.Response.WriteAsync("data: two\n\n");
            await context.Response.Body.FlushAsync();
            await using CancellationTokenRegistration registration = context.RequestAborted.Register(left.SetResult);
            await left.Task;
        };
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        using (HttpResponseMessage response = await replicas.SendAsync(Turns("Stream."), cancellationToken: cancellation))
        {
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellation));
            Assert.Equal("data: one", await reader.ReadLineAsync(cancellation));
            await reader.ReadLineAsync(cancellation);
            read.SetResult();
            Assert.Equal("data: two", await reader.ReadLineAsync(cancellation));
            Assert.False(left.Task.IsCompleted);
        }

        await left.Task.WaitAsync(TimeSpan.FromMinutes(2), cancellation);
    }
}
