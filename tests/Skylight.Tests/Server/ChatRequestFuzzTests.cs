using System.Text;
using System.Text.Json.Nodes;
using Skylight.Server;
using Skylight.Tensors;

namespace Skylight.Tests.Server;

/// <summary>Whatever bytes come as a request: it is read, or refused with a status of its own.</summary>
public sealed class ChatRequestFuzzTests
{
    private const int Mutations = 30_000;
    private const ulong Seed = 0x5EED;

    private static readonly byte[] s_marks = [.. "{}[]\",:\\0-eu"u8, 0, 0xFF];

    [Fact]
    public async Task Damaged_requests_are_read_or_refused()
    {
        JsonObject request = ServedModel.PictureRequest("data:image/png;base64,iVBORw0KGgo=", "low");
        foreach ((string name, string value) in new[]
        {
            ("stop", """["a", "\u00e9\ud83d\ude42"]"""), ("logit_bias", """{"12": -100, "7": 1.5}"""),
            ("stream", "true"), ("stream_options", """{"include_usage": true}"""), ("n", "2"), ("logprobs", "true"),
            ("chat_template_kwargs", """{"enable_thinking": true}"""), ("reasoning_effort", "\"low\""),
            ("response_format", """{"type": "text"}"""), ("top_k", "5"), ("tools", "[]"), ("seed", "-3"),
        })
            request[name] = JsonNode.Parse(value);
        byte[] whole = Encoding.UTF8.GetBytes(request.ToJsonString());
        var reader = new ChatRequestReader("tiny", 151674, new SkylightServerOptions());
        ChatRequest read = await reader.ReadAsync(whole, default);
        Assert.True(read is
        {
            Count: 2, Stream: true, IncludeUsage: true,
            Options: { Seed: unchecked((ulong)-3L), MaximumTiles: 1, ReportTokens: true, TopK: 5 }
        });
        var random = new CounterRandom(Seed, 1);
        int refused = 0;
        for (int mutation = 0; mutation < Mutations; mutation++)
        {
            byte[] body = Mutate(whole, ref random);
            try
            {
                await reader.ReadAsync(body, default);
            }
            catch (ApiException exception) when (exception.Status is 400 or 404)
            {
                refused++;
                Assert.True(exception.Message.Length is > 10 and < 600, exception.Message);
                // What is said must itself be JSON, even where it quotes the request.
                JsonNode.Parse(exception.ToJson());
            }
            catch (Exception exception)
            {
                Assert.Fail($"Mutation {mutation}: {Convert.ToBase64String(body)}: {exception}");
            }
        }

        Assert.InRange(refused, Mutations / 4, Mutations);
    }

    /// <summary>Up to three bytes changed, removed, repeated or put elsewhere; sometimes the end is missing.</summary>
    private static byte[] Mutate(byte[] whole, ref CounterRandom random)
    {
        List<byte> body = [.. whole];
        for (int change = random.Next(3); change >= 0; change--)
        {
            int place = random.Next(body.Count);
            int length = Math.Min(random.Next(12) + 1, body.Count - place);
            switch (random.Next(6))
            {
                case 0:
                    body[place] = (byte)random.Next(256);
                    break;
                case 1:
                    body[place] = s_marks[random.Next(s_marks.Length)];
                    break;
                case 2 when body.Count > length:
                    body.RemoveRange(place, length);
                    break;
                case 3:
                    body.InsertRange(place, body.GetRange(place, length));
                    break;
                case 4:
                    body.InsertRange(random.Next(body.Count), body.GetRange(place, length));
                    break;
                case 5 when random.Next(8) == 0 && place > 0:
                    body.RemoveRange(place, body.Count - place);
                    break;
            }
        }

        return [.. body];
    }
}
