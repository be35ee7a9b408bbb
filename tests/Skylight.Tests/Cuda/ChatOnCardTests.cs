using Skylight.Chat;
using Skylight.Cuda;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tests.Chat;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>A chat with the real vocabulary on the CUDA device, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class ChatOnCardTests(KernelFolder kernels)
{
    [Fact]
    public async Task A_question_about_a_picture_is_answered_alone_and_beside_others()
    {
        SimulatedCard card = new(cacheFolder: kernels.Path);
        card.Workspace.Dispose();
        // The model closes the device. Small tiles: 112 × 112 pixels are 64 patches and 16 tokens.
        await using ChatModel model = TinyChatModel.Create(
            new ChatModelOptions { Device = card.Device, CacheTokens = 2048, PrefillTokensBesideDecoding = 20 },
            change: configuration =>
                (configuration with { Vision = configuration.Vision with { ImageHeight = 112, ImageWidth = 112 } })
                    .Validate());
        GenerationOptions options = new() { Temperature = 1, Seed = 3, MaxOutputTokens = 3, ReportTokens = true };
        Message[][] conversations =
        [
            [Message.User("What is it?", ImagePart.FromRgb(TinyChatModel.Picture(1)))],
            [Message.User("What is it?", ImagePart.FromRgb(TinyChatModel.Picture(2)))],
            [Message.User("Why?")],
        ];
        ChatAnswer[] together = await Task.WhenAll(conversations.Select(
            messages => Task.Run(() => model.CompleteAsync(messages, options, TestContext.Current.CancellationToken))));
        Assert.Equal(3, together.Select(answer => answer.Answer).Distinct().Count());
        Assert.Equal([16, 16, 0], together.Select(answer => answer.Usage.ImageTokens));
        Assert.All(together,
            answer => Assert.Equal((3, FinishReason.Length), (answer.Usage.CompletionTokens, answer.FinishReason)));
        for (int index = 0; index < conversations.Length; index++)
        {
            ChatAnswer alone = await model.CompleteAsync(conversations[index], options,
                TestContext.Current.CancellationToken);
            Assert.Equal(together[index].Answer, alone.Answer);
            Assert.Equal(together[index].Tokens, alone.Tokens);
        }

        await model.BetweenStepsAsync(engine =>
        {
            Assert.Equal(2, engine.EncodedImages);
            Assert.Equal(engine.PageCount, engine.FreePages);
        });
        await model.DisposeAsync();
        Assert.Throws<ObjectDisposedException>(() => ((CudaDevice)model.Model.Device).Synchronize());
    }
}
