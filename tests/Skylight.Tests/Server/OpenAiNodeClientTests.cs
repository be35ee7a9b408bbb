using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;
using Skylight.Server;
using Skylight.Tests.Chat;
using Skylight.Tests.Extensions;

namespace Skylight.Tests.Server;

/// <summary>
/// The real OpenAI client of Node, in the version that tests/openai-client locks. Skipped where node, npm or the
/// package cannot be had.
/// </summary>
public sealed class OpenAiNodeClientTests
{
    [Fact]
    public async Task The_client_of_Node_reads_answers_streams_pictures_and_errors()
    {
        using var temporary = new TemporaryFolder();
        string folder = await InstalledAsync(temporary.Path);
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { ApiKeys = ["node-key"] });
        (int code, string output, string error) = (await RunAsync(
            folder, "node",
            ["client.mjs", new Uri(served.Address, "v1").ToString(), "node-key",
                Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "cat.png")]))!.Value;
        Assert.True(code == 0, error);
        JsonElement result = JsonDocument.Parse(output).RootElement;
        Assert.Equal(["tiny"], result.GetProperty("models").EnumerateArray().Select(model => model.GetString()));
        string whole = result.GetProperty("whole").GetString()!;
        Assert.True(whole.Length > 5);
        Assert.Equal(whole, result.GetProperty("streamed").GetString());
        Assert.Equal(result.GetProperty("wholeUsage").GetRawText().Replace("\"cached_tokens\":0",
            "\"cached_tokens\":32", StringComparison.Ordinal), result.GetProperty("streamedUsage").GetRawText());
        Assert.Equal(256, result.GetProperty("imageTokens").GetInt32());
        Assert.NotEqual(whole, result.GetProperty("ofPicture").GetString());
        string[] texts = [.. result.GetProperty("texts").EnumerateArray().Select(text => text.GetString()!)];
        Assert.Equal(4, texts.Length);
        Assert.NotEqual(texts[0], texts[1]);
        Assert.Equal(texts, result.GetProperty("textsStreamed").EnumerateArray().Select(text => text.GetString()));
        Assert.Equal([6, 6, 6, 6], result.GetProperty("textTokens").EnumerateArray().Select(count => count.GetInt32()));
        Assert.Equal("400 BadRequestError unsupported_parameter", result.GetProperty("noSuffix").GetString());
        Assert.Equal("400 BadRequestError unsupported_endpoint", result.GetProperty("noEmbeddings").GetString());
        Assert.Equal("400 BadRequestError temperature", result.GetProperty("badRequest").GetString());
        Assert.Equal("401 AuthenticationError invalid_api_key", result.GetProperty("unauthorized").GetString());
        Assert.Equal("404 NotFoundError model_not_found", result.GetProperty("notFound").GetString());
        await served.BecomesIdleAsync();
    }

    [Fact]
    public async Task The_client_of_Node_calls_tools_by_chat_and_by_responses()
    {
        using var temporary = new TemporaryFolder();
        string folder = await InstalledAsync(temporary.Path);
        await using ServedModel served = await ServedModel.StartAsync(model: ScriptedToolModel.Create());
        (int code, string output, string error) = (await RunAsync(folder, "node",
            ["tools.mjs", new Uri(served.Address, "v1").ToString(),
                Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "cat.png")]))!.Value;
        Assert.True(code == 0, error);
        JsonElement result = JsonDocument.Parse(output).RootElement;
        Assert.Equal(ScriptedToolModel.Answer, result.GetProperty("looped").GetString());
        string side = Assert.Single(result.GetProperty("sides").EnumerateArray()).GetString()!;
        Assert.Contains(side, (string[])["left", "right"]);
        Assert.Equal(side, result.GetProperty("streamed").GetProperty("side").GetString());
        JsonElement called = result.GetProperty("called");
        Assert.Equal(("completed", "camera", side), (called.GetProperty("status").GetString(), called.GetProperty("name").GetString(),
            called.GetProperty("arguments").GetProperty("side").GetString()));
        string[] types = [.. result.GetProperty("types").EnumerateArray().Select(type => type.GetString()!)];
        Assert.Equal(("response.created", "response.completed"), (types[0], types[^1]));
        Assert.Contains("response.output_text.delta", types);
        Assert.Equal(ScriptedToolModel.Answer, result.GetProperty("answered").GetString());
        Assert.Equal(ExtensionModel.TokensPerTile, result.GetProperty("imageTokens").GetInt32());
        Assert.Single(result.GetProperty("formed").EnumerateObject());
        Assert.True(result.GetProperty("same").GetBoolean());
        Assert.Equal("404 NotFoundError response_not_found", result.GetProperty("gone").GetString());
        await served.BecomesIdleAsync();
    }

    /// <summary>A folder with the client in it.</summary>
    private static async Task<string> InstalledAsync(string folder)
    {
        foreach (string file in Directory.GetFiles(Repository.PathOf("tests", "openai-client")))
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        if (await RunAsync(folder, "node", ["--version"]) is not { Code: 0 })
            Assert.Skip("There is no node on this machine.");
        if (await RunAsync(folder, "npm",
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"])
                is not { } install)
            Assert.Skip("There is no npm on this machine.");
        else if (install.Code != 0)
            Assert.Skip($"npm ci fails, so that there is no client to test with: {install.Error}");
        return folder;
    }

    private static async Task<(int Code, string Output, string Error)?> RunAsync(string folder, string program,
        string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception)
        {
            return null;
        }

        using (process)
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
            using var timeout = new CancellationTokenSource(TimeSpan.FromMinutes(3));
            try
            {
                await process.WaitForExitAsync(timeout.Token);
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                return (124, "", $"{program} {arguments[0]} takes more than three minutes.");
            }

            return (process.ExitCode, await output, await error);
        }
    }
}
