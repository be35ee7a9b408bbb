using System.Text.Json;

namespace Skylight.Tests;

public sealed class JsonMembersTests
{
    [Theory]
    [InlineData("""{"a":1,"b":[{"c":2},{"c":3}],"A":{"a":null}}""", null)]
    [InlineData("""[1,"a","a"]""", null)]
    [InlineData("""{"a":1,"b":2,"a":3}""", "a")]
    [InlineData("""{"b":[0,{"x":{"deep":1,"deep":1}}]}""", "deep")]
    [InlineData("""{"a":1,"\u0061":2}""", "a")]
    public void A_member_that_comes_twice_is_named(string json, string? twice)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        if (twice is null)
            JsonMembers.CheckUnique(document.RootElement);
        else
            Assert.Contains($"'{twice}'",
                Assert.Throws<JsonException>(() => JsonMembers.CheckUnique(document.RootElement)).Message,
                StringComparison.Ordinal);
    }
}
