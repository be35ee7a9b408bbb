using System.Text.Json;
using System.Text.Json.Nodes;

namespace Skylight.Bench.Soak;

/// <summary>A request of the soak, and how it is answered when nothing else runs.</summary>
/// <param name="Body">What is posted, without <c>stream</c>.</param>
/// <param name="IsPoisoned">Whether it poisons itself.</param>
internal sealed record SoakRequest(JsonObject Body, bool IsPoisoned)
{
    /// <summary>
    /// The text of the answer when the request is alone; of one that poisons itself, what comes before it fails.
    /// </summary>
    public string Expected { get; set; } = "";

    /// <summary>
    /// Requests of all kinds: short and long, with common beginnings, with pictures, drawn and greedy, and poisoned at
    /// the start and within the answer.
    /// </summary>
    public static SoakRequest[] All(SoakServer server)
    {
        var requests = new List<SoakRequest>();
        string shared = string.Concat(Enumerable.Repeat("You read this before: all questions begin with it. ", 8));
        string[] questions = ["What is it?", "Why?", "How many are there, and where do they stand?", "Read the sign.",
            "Tell me about the left half."];
        for (int index = 0; index < 20; index++)
        {
            string question = questions[index % questions.Length];
            string text = index % 2 == 0 ? shared + question : question;
            requests.Add(Create(server, text, index, picture: index % 4 == 3 ? Picture(index % 3) : null));
        }

        for (int index = 0; index < 2; index++)
        {
            string text = $"{(index % 2 == 0 ? shared : "")}A poisoned {SoakServer.Poison} question.";
            requests.Add(Create(server, text, 100 + index, isPoisoned: true));
            // The answer comes to hold it.
            requests.Add(Create(server, questions[index], 200 + index, isPoisoned: true, poisonBias: 100));
        }

        return [.. requests];
    }

    private static SoakRequest Create(SoakServer server, string text, int seed, bool isPoisoned = false,
        int poisonBias = -100, string? picture = null)
    {
        var parts = new JsonArray();
        if (picture is not null)
            parts.Add(new JsonObject
            {
                ["type"] = "image_url",
                ["image_url"] = new JsonObject { ["url"] = picture, ["detail"] = "low" },
            });
        parts.Add(new JsonObject { ["type"] = "text", ["text"] = text });
        var body = new JsonObject
        {
            ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = parts }),
            ["temperature"] = seed % 3 == 0 ? 0 : 1,
            ["top_p"] = seed % 3 == 1 ? 0.9 : 1,
            ["seed"] = seed,
            ["max_tokens"] = 10 + seed * 7 % 120,
            ["logit_bias"] = new JsonObject { [$"{server.PoisonToken}"] = poisonBias },
        };
        return new SoakRequest(body, isPoisoned);
    }

    /// <summary>The body as it is posted.</summary>
    public byte[] ToJson()
    {
        var body = (JsonObject)Body.DeepClone();
        body["stream"] = true;
        return JsonSerializer.SerializeToUtf8Bytes<JsonNode>(body);
    }

    /// <summary>One colour, as a bitmap of 1 × 1 points in a PNG.</summary>
    private static string Picture(int kind) => "data:image/png;base64," + kind switch
    {
        0 => "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC",
        1 => "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYPgPAAEDAQA2dBFAAAAAAElFTkSuQmCC",
        _ => "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNg+M8AAAICAQBF9FLUAAAAAElFTkSuQmCC",
    };
}
