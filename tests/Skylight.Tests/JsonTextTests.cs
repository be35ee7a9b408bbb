using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Checkpoints;
using Skylight.Training.Evaluation;

namespace Skylight.Tests;

public partial class JsonTextTests
{
    public static TheoryData<string> Kinds => [.. DamagedJson.Kinds];

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
        Assert.Contains(name, Assert.Throws<CheckpointException>(() => JsonSource.Load(Golden.PathOf("faults/" + name)))
            .Message, StringComparison.Ordinal);

    // Whatever the guard lets through is an object that can be read; the last three kinds are JSON, and their readers
    // refuse them.
    [Theory]
    [MemberData(nameof(Kinds))]
    public void Every_kind_of_damage_is_refused_in_plain_words(string kind)
    {
        byte[] bytes = DamagedJson.Damage(kind, """{"id": "1", "count": 3}""");
        if (kind is "a list" or "null" or "a number")
        {
            JsonText.Parse(bytes).Dispose();
            PlainWords.Check(Assert.Throws<JsonException>(() => JsonText.Deserialize(bytes, SampleJson.Default.Sample))
                .Message);
            return;
        }

        string message = Assert.Throws<JsonException>(() => JsonText.Parse(bytes)).Message;
        PlainWords.Check(message);
        Assert.InRange(message.Length, 10, 250);
        Assert.EndsWith(".", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "it is empty")]
    [InlineData("{\n \"a\": x}", "line 2, byte 7: ")]
    [InlineData("{\"a\":1,\"a\":2}", "'a'")]
    [InlineData("{\"a\":\"\\ud800\"}", "a text at byte 6 holds half of a surrogate pair")]
    [InlineData("{\"\\uDC00\":1}", "a field's name at byte 2 holds half of a surrogate pair")]
    public void The_message_says_what_and_where(string json, string expected) =>
        Assert.Contains(expected, Assert.Throws<JsonException>(() => JsonText.Parse(Encoding.UTF8.GetBytes(json)))
            .Message, StringComparison.Ordinal);

    [Fact]
    public void The_first_byte_that_is_no_character_is_named()
    {
        Assert.Contains("line 2, byte 4 is 0xE9", Utf8Text.Fault([.. "{}\nabc"u8, 0xE9, .. "def"u8]));
        Assert.Contains("line 1, byte 3 is 0xC3", Utf8Text.Fault([.. "é"u8, 0xC3]));
        Assert.Null(Utf8Text.Fault("é\nabc 😀"u8));
        Assert.Null(Utf8Text.Fault([]));
    }

    [Fact]
    public void A_byte_order_mark_is_passed_over()
    {
        using JsonDocument document = JsonText.Parse("\uFEFF{\"a\":1}"u8.ToArray());
        Assert.Equal(1, document.RootElement.GetProperty("a").GetInt32());
        Assert.Equal(new Sample("1", 3),
            JsonText.Deserialize("\uFEFF{\"id\":\"1\",\"count\":3}"u8.ToArray(), SampleJson.Default.Sample));
    }

    [Theory]
    [InlineData("{\"id\":\"1\"}", "it lacks 'count'.")]
    [InlineData("{}", "it lacks 'id', 'count'.")]
    [InlineData("{\"id\":\"1\",\"count\":1e400}", "'count' is of another kind than it should be, or out of range")]
    [InlineData("{\"id\":\"1\",\"count\":3000000000}", "'count'")]
    [InlineData("{\"id\":\"1\",\"count\":\"three\"}", "'count'")]
    [InlineData("{\"id\":null,\"count\":3}", "'id'")]
    [InlineData("{\"id\":{},\"count\":3}", "'id'")]
    [InlineData("{\"id\":\"1\",\"count\":3,\"more\":[\"a\",null]}", "a list in it holds null")]
    [InlineData("{\"id\":\"1\",\"count\":3,\"more\":[\"a\",2]}", "'more[1]'")]
    public void A_value_of_another_kind_is_named_by_its_place(string json, string expected)
    {
        string message = Assert.Throws<JsonException>(
            () => JsonText.Deserialize(Encoding.UTF8.GetBytes(json), SampleJson.Default.Sample)).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        PlainWords.Check(message);
    }

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
        byte[] sample = Encoding.UTF8.GetBytes(
            """{"id":"1","question":"a \ud83d\ude00 é 你","options":{"A":"x","\u0042":1.5e3},"list":[true,null,"\n"]}""");
        var random = new Random(7);
        int read = 0, refused = 0;
        for (int round = 0; round < 20_000; round++)
        {
            byte[] bytes = [.. sample];
            for (int change = random.Next(1, 4); change > 0; change--)
                bytes[random.Next(bytes.Length)] = random.Next(2) == 0 ? (byte)random.Next(256)
                    : bytes[random.Next(bytes.Length)];
            try
            {
                using JsonDocument document = JsonText.Parse(bytes);
                Visit(document.RootElement);
                read++;
            }
            catch (JsonException exception)
            {
                PlainWords.Check(exception.Message);
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

    internal sealed record Sample(string Id, int Count)
    {
        public List<string>? More { get; init; }
    }

    [JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
        RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
    [JsonSerializable(typeof(Sample))]
    internal sealed partial class SampleJson : JsonSerializerContext;
}
