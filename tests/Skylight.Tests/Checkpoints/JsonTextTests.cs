using System.Text;
using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Training.Evaluation;

namespace Skylight.Tests.Checkpoints;

public class JsonTextTests
{
    [Theory]
    [InlineData("surrogate-key.jsonl")]
    [InlineData("surrogate-question.jsonl")]
    public void EvaluationDataWithHalfASurrogatePairNamesFileAndLine(string name)
    {
        string file = Golden.PathOf("faults/" + name);
        string message = Assert.Throws<InvalidDataException>(() => EvaluationData.Load(file)).Message;
        Assert.Contains(name, message, StringComparison.Ordinal);
        Assert.Contains("line 1", message, StringComparison.Ordinal);
        Assert.Contains("surrogate", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("config-gbk.json")]
    [InlineData("verify-sidecar-damaged.json")]
    [InlineData("eval-settings-damaged.json")]
    public void DamagedFilesAreRefusedByName(string name) =>
        Assert.Contains(name, Assert.Throws<CheckpointException>(() => JsonSource.Load(Golden.PathOf("faults/" + name))).Message, StringComparison.Ordinal);

    [Fact]
    public void WholePairsAreRead()
    {
        using JsonDocument document = JsonText.Parse("""{"\ud83d\ude00":"\ud83d\ude00"}"""u8.ToArray());
        Assert.Equal("😀", document.RootElement.GetProperty("😀").GetString());
    }

    // What the guard lets through can be read to the last name and string; what it refuses, it refuses with one exception.
    [Fact]
    public void MutatedJsonIsReadOrRefusedWithJsonException()
    {
        byte[] sample = Encoding.UTF8.GetBytes("""{"id":"1","question":"a \ud83d\ude00 é 你","options":{"A":"x","\u0042":1.5e3},"list":[true,null,"\n"]}""");
        var random = new Random(7);
        int read = 0, refused = 0;
        for (int round = 0; round < 20_000; round++)
        {
            byte[] bytes = [.. sample];
            for (int change = random.Next(1, 4); change > 0; change--)
                bytes[random.Next(bytes.Length)] = random.Next(2) == 0 ? (byte)random.Next(256) : bytes[random.Next(bytes.Length)];
            try
            {
                using JsonDocument document = JsonText.Parse(bytes);
                Visit(document.RootElement);
                read++;
            }
            catch (JsonException)
            {
                refused++;
            }
        }

        Assert.True(read > 1000 && refused > 1000, $"{read} read, {refused} refused");

        static void Visit(JsonElement element)
        {
            if (element.ValueKind == JsonValueKind.String)
                _ = element.GetString();
            if (element.ValueKind == JsonValueKind.Array)
            {
                foreach (JsonElement member in element.EnumerateArray())
                    Visit(member);
            }

            if (element.ValueKind != JsonValueKind.Object)
                return;
            foreach (JsonProperty member in element.EnumerateObject())
            {
                _ = member.Name;
                Visit(member.Value);
            }
        }
    }
}
