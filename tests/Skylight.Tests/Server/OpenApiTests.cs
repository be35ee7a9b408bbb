using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Json.Schema;
using Microsoft.OpenApi;
using Microsoft.OpenApi.Reader;
using Skylight.Server;

namespace Skylight.Tests.Server;

/// <summary>The description of the server: read by Microsoft's reader, and held against what the server takes and says.</summary>
public sealed class OpenApiTests(BadRequestTests.Shared shared) : IClassFixture<BadRequestTests.Shared>
{
    private readonly ServedModel _served = shared.Served;

    [Fact]
    public async Task It_is_read_without_a_complaint_and_has_every_endpoint()
    {
        string text = await _served.Client.GetStringAsync("/openapi.json");
        ReadResult read = Microsoft.OpenApi.OpenApiDocument.Parse(text, "json");
        Assert.Empty(read.Diagnostic!.Errors.Select(error => error.ToString()));
        Assert.Empty(read.Diagnostic.Warnings.Select(warning => warning.ToString()));
        Assert.Equal(OpenApiSpecVersion.OpenApi3_1, read.Diagnostic.SpecificationVersion);
        var described = read.Document!.Paths.SelectMany(path => path.Value.Operations!
            .Select(operation => $"{operation.Key.Method} {path.Key}")).Order();
        Assert.Equal(ServerRoutes.All.Select(route => $"{route.Method} {route.Path.Replace("{**id}", "{id}",
            StringComparison.Ordinal)}").Order(), described);
        // Each has a name of its own, and says what it answers.
        OpenApiOperation[] operations = [.. read.Document.Paths.SelectMany(path => path.Value.Operations!.Values)];
        Assert.Equal(operations.Length, operations.Select(operation => operation.OperationId).Distinct().Count());
        Assert.All(operations, operation => Assert.True(operation.Responses!.ContainsKey("default")));
    }

    [Fact]
    public async Task Every_field_that_is_taken_is_described_and_none_that_is_refused()
    {
        JsonNode schemas = await SchemasAsync();
        foreach (ServerRoute route in ServerRoutes.All.Where(route => route.Fields is not null))
        {
            string name = "post" + string.Concat(route.Path.Split('/', '_').Where(part => part.Length > 0)
                .Select(part => char.ToUpperInvariant(part[0]) + part[1..])) + "Request";
            foreach (RequestField field in route.Fields!.Fields)
            {
                JsonNode? place = schemas[name];
                foreach (string part in field.Name.Split('.'))
                {
                    place = place?["properties"]?[part.Replace("[]", "", StringComparison.Ordinal)];
                    if (part.EndsWith("[]", StringComparison.Ordinal))
                        place = place?["items"];
                }

                Assert.True(place is not null == (field.Use != FieldUse.Refused), $"{name}: {field.Name}");
            }
        }
    }

    [Theory]
    [InlineData("/v1/chat/completions", "postV1ChatCompletions",
        """{"messages":[{"role":"user","content":"Hi"}],"max_tokens":6,"logprobs":true,"top_logprobs":2,"n":2}""")]
    [InlineData("/v1/completions", "postV1Completions", """{"prompt":["Hi","Ho"],"max_tokens":6,"n":2,"logprobs":2}""")]
    [InlineData("/v1/completions", "postV1Completions", """{"prompt":[1,2,3],"max_tokens":60,"prompt_lookup_num_tokens":9}""")]
    [InlineData("/tokenize", "postTokenize", """{"prompt":"Hi","return_token_strs":true}""")]
    [InlineData("/detokenize", "postDetokenize", """{"tokens":[1,2,3]}""")]
    [InlineData("/v1/models", "getV1Models", null)]
    [InlineData("/health", "getHealth", null)]
    [InlineData("/v1/models/tiny", "getV1ModelsId", null)]
    public async Task What_is_sent_and_answered_has_the_form_that_is_described(string path, string name, string? body)
    {
        JsonNode schemas = await SchemasAsync();
        if (body is not null)
            AssertValid(schemas[name + "Request"]!, body);
        AssertValid(schemas[name + "Answer"]!, await SendAsync(path, body));
        if (schemas[name + "Piece"] is not { } piece)
            return;
        JsonObject streamed = JsonNode.Parse(body!)!.AsObject();
        streamed["stream"] = true;
        string[] pieces = [.. (await SendAsync(path, streamed.ToJsonString())).Split("\n\n",
            StringSplitOptions.RemoveEmptyEntries)];
        Assert.True(pieces.Length > 2);
        Assert.All(pieces[..^1], line => AssertValid(piece, line["data: ".Length..]));
    }

    [Fact]
    public async Task Errors_have_the_form_that_is_described()
    {
        using HttpResponseMessage response = await _served.PostAsync("{}");
        AssertValid((await SchemasAsync())["Error"]!, await response.Content.ReadAsStringAsync());
    }

    private async Task<JsonNode> SchemasAsync() =>
        JsonNode.Parse(await _served.Client.GetStringAsync("/openapi.json"))!["components"]!["schemas"]!;

    private async Task<string> SendAsync(string path, string? body)
    {
        using HttpResponseMessage response = body is null ? await _served.Client.GetAsync(path)
            : await _served.Client.PostAsync(path, new StringContent(body, Encoding.UTF8, "application/json"));
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return text;
    }

    private static void AssertValid(JsonNode schema, string json)
    {
        EvaluationResults results = JsonSchema.FromText(schema.ToJsonString()).Evaluate(
            JsonDocument.Parse(json).RootElement, new EvaluationOptions { OutputFormat = OutputFormat.List });
        Assert.True(results.IsValid, json + "\n" + string.Join('\n', (results.Details ?? [])
            .Where(detail => detail.Errors is not null)
            .SelectMany(detail => detail.Errors!.Select(error => $"{detail.InstanceLocation}: {error.Value}"))));
    }
}
