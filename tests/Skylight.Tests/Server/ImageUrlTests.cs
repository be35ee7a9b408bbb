using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Skylight.Images;
using Skylight.Server;

namespace Skylight.Tests.Server;

/// <summary>Pictures by URL: only where the host wants it, and never from inside its network.</summary>
public sealed class ImageUrlTests
{
    [Theory]
    [InlineData("8.8.8.8", true)]
    [InlineData("172.15.0.1", true)]
    [InlineData("2606:4700::1111", true)]
    [InlineData("127.0.0.1", false)]
    [InlineData("10.1.2.3", false)]
    [InlineData("172.16.0.1", false)]
    [InlineData("172.31.255.255", false)]
    [InlineData("192.168.1.1", false)]
    [InlineData("169.254.169.254", false)]
    [InlineData("100.64.0.1", false)]
    [InlineData("0.0.0.0", false)]
    [InlineData("198.18.0.1", false)]
    [InlineData("224.0.0.1", false)]
    [InlineData("255.255.255.255", false)]
    [InlineData("::1", false)]
    [InlineData("::", false)]
    [InlineData("fe80::1", false)]
    [InlineData("fd00::1", false)]
    [InlineData("ff02::1", false)]
    [InlineData("::ffff:127.0.0.1", false)]
    [InlineData("64:ff9b::7f00:1", false)]
    [InlineData("2002:7f00:1::", false)]
    [InlineData("2001:db8::1", false)]
    public void Only_addresses_of_the_open_internet_are_public(string address, bool isPublic) =>
        Assert.Equal(isPublic, ImageUrlFetcher.IsPublic(IPAddress.Parse(address)));

    [Fact]
    public async Task A_server_that_may_fetch_sees_the_same_picture()
    {
        await using PictureSite site = await PictureSite.StartAsync();
        using var fetcher = new ImageUrlFetcher(allowPrivateAddresses: true);
        await using ServedModel served = await ServedModel.StartAsync(
            new SkylightServerOptions { ImageResolver = fetcher.FetchAsync });
        string inline = ChatCompletionsTests.Content(
            await served.AskAsync(ServedModel.PictureRequest(ServedModel.DataUrl("cat.png"))));
        Assert.Equal(inline,
            ChatCompletionsTests.Content(await served.AskAsync(ServedModel.PictureRequest($"{site.Address}cat.png"))));
        Assert.Equal(inline,
            ChatCompletionsTests.Content(await served.AskAsync(ServedModel.PictureRequest($"{site.Address}moved"))));
        using HttpResponseMessage missing = await served.PostAsync(ServedModel.PictureRequest($"{site.Address}nothing"));
        Assert.Contains("answers 404", (await BadRequestTests.ErrorAsync(missing, 400)).GetProperty("message")
            .GetString(), StringComparison.Ordinal);
        using HttpResponseMessage page = await served.PostAsync(ServedModel.PictureRequest($"{site.Address}page"));
        Assert.Equal("invalid_image", (await BadRequestTests.ErrorAsync(page, 400)).GetProperty("code").GetString());
    }

    [Fact]
    public async Task Private_addresses_large_files_and_slow_sites_are_refused()
    {
        await using PictureSite site = await PictureSite.StartAsync();
        using var careful = new ImageUrlFetcher();
        ImageException refused = await Assert.ThrowsAsync<ImageException>(
            () => careful.FetchAsync(new Uri(site.Address, "cat.png"), default).AsTask());
        Assert.Contains("not an address of the open internet", refused.Message, StringComparison.Ordinal);
        Assert.Contains("open internet",
            (await Assert.ThrowsAsync<ImageException>(() => careful.FetchAsync(new Uri("http://localhost:1/"), default)
                .AsTask())).Message, StringComparison.Ordinal);
        Assert.Equal(0, site.Requests);

        using var small = new ImageUrlFetcher(mostBytes: 1000, allowPrivateAddresses: true);
        foreach (string path in new[] { "cat.png", "endless" })
            Assert.Contains("more than the 1,000 bytes",
                (await Assert.ThrowsAsync<ImageException>(() => small.FetchAsync(new Uri(site.Address, path), default)
                    .AsTask())).Message, StringComparison.Ordinal);
        using var impatient = new ImageUrlFetcher(timeout: TimeSpan.FromMilliseconds(300), allowPrivateAddresses: true);
        Assert.Contains("takes too long",
            (await Assert.ThrowsAsync<ImageException>(() => impatient.FetchAsync(new Uri(site.Address, "slow"), default)
                .AsTask())).Message, StringComparison.Ordinal);
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => impatient.FetchAsync(new Uri(site.Address, "cat.png"), cancelled.Token).AsTask());
    }

    /// <summary>A site with a picture, on this machine.</summary>
    private sealed class PictureSite(WebApplication app) : IAsyncDisposable
    {
        private int _requests;

        public Uri Address { get; } = new(app.Urls.Single());

        public int Requests => _requests;

        public static async Task<PictureSite> StartAsync()
        {
            WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
            builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
            WebApplication app = builder.Build();
            PictureSite? site = null;
            app.Run(context => site!.AnswerAsync(context));
            await app.StartAsync();
            return site = new PictureSite(app);
        }

        public async ValueTask DisposeAsync()
        {
            using var now = new CancellationTokenSource();
            await now.CancelAsync();
            await app.StopAsync(now.Token);
            await app.DisposeAsync();
        }

        private async Task AnswerAsync(HttpContext context)
        {
            Interlocked.Increment(ref _requests);
            switch (context.Request.Path.Value)
            {
                case "/cat.png":
                    await context.Response.SendFileAsync(
                        Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "cat.png"));
                    break;
                case "/moved":
                    context.Response.Redirect("/cat.png");
                    break;
                case "/page":
                    await context.Response.WriteAsync("<html></html>");
                    break;
                case "/endless":
                    while (!context.RequestAborted.IsCancellationRequested)
                    {
                        await context.Response.Body.WriteAsync(new byte[500]);
                        await context.Response.Body.FlushAsync(context.RequestAborted);
                    }

                    break;
                case "/slow":
                    await context.Response.Body.FlushAsync(context.RequestAborted);
                    await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
                    break;
                default:
                    context.Response.StatusCode = 404;
                    break;
            }
        }
    }
}
