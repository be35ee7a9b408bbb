using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Skylight.Tests.Chat;
using Skylight.Tests.Extensions;

namespace Skylight.Tests.Samples;

/// <summary>README's samples of chats work; that README shows them as they are, <see cref="ReadmeTests"/> holds.</summary>
public class ChatSampleTests(CheckpointFolder folder) : IClassFixture<CheckpointFolder>
{
    [Fact]
    public async Task A_program_asks_about_a_picture()
    {
        string picture = Path.Combine(Path.GetDirectoryName(folder.Path)!, "picture.png");
        await File.WriteAllBytesAsync(picture, ExtensionModel.Png(200, 100, 50), TestContext.Current.CancellationToken);
        using var output = new StringWriter();
        await ChatSample.AskAsync(folder.Path, picture, output, TestContext.Current.CancellationToken);
        Assert.Contains($"{ExtensionModel.TokensPerTile} of them for the picture; 100 written]", output.ToString(),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_gets_objects_and_answers_of_a_form()
    {
        var services = new ServiceCollection();
        ChatClientSample.AddModel(services, folder.Path);
        await using ServiceProvider provider = services.BuildServiceProvider();
        Sighting sighting = await StructuredSample.SeeAsync(provider.GetRequiredService<IChatClient>(),
            ExtensionModel.Png(200, 100, 50), TestContext.Current.CancellationToken);
        Assert.True(Enum.IsDefined(sighting.Animal) && sighting.Count is >= 1 and <= 9 && sighting.Place.Length <= 20);
        Skylight.Chat.ChatModel model = await provider.GetRequiredService<Skylight.Extensions.AI.SkylightModelProvider>()
            .GetAsync(TestContext.Current.CancellationToken);
        Assert.Matches(@"^Answer: (yes|no), with a certainty of (100|[1-9]?\d) %\.$",
            await StructuredSample.JudgeAsync(model, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_model_and_an_agent_look_by_calling_tools()
    {
        int looked = 0;
        using Skylight.Chat.ChatModel model = ScriptedToolModel.Create();
        Assert.Equal(ScriptedToolModel.Answer, await ToolSample.LookCloserAsync(model, TinyChatModel.Picture(1), asked =>
        {
            Assert.Contains(' ', asked.GetProperty("quarter").GetString()!);
            return TinyChatModel.Picture(++looked);
        }, TestContext.Current.CancellationToken));
        using var client = new Skylight.Extensions.AI.SkylightChatClient(model);
        Assert.Equal(ScriptedToolModel.Answer, await ToolSample.AskAgentAsync(client, () =>
        {
            looked++;
            return ExtensionModel.Png(200, 100, 50);
        }, TestContext.Current.CancellationToken));
        Assert.Equal(2, looked);
    }

    [Fact]
    public async Task A_host_asks_through_the_standard_interface()
    {
        var services = new ServiceCollection();
        ChatClientSample.AddModel(services, folder.Path);
        await using ServiceProvider provider = services.BuildServiceProvider();
        string answer = await ChatClientSample.DescribeAsync(provider.GetRequiredService<IChatClient>(),
            ExtensionModel.Png(200, 100, 50), TestContext.Current.CancellationToken);
        Assert.EndsWith("(length, 100 tokens)", answer, StringComparison.Ordinal);
    }
}
