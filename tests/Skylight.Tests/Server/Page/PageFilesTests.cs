using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Skylight.Chat;
using Skylight.Server;
using Skylight.Tests.Chat;

namespace Skylight.Tests.Server.Page;

/// <summary>The files of the page as the server sends them.</summary>
public sealed class PageFilesTests
{
    private static readonly SkylightServerOptions s_options = new() { ServesPage = true, MaximumBodyBytes = 12345 };

    private static string Bundle => Repository.PathOf("src", "Skylight.Server", "page", "dist");

    [Fact]
    public void The_bundle_is_small_and_asks_nobody_else()
    {
        Dictionary<string, PageFile> files = PageFile.ReadAll();
        Assert.Equal(
            Repository.Files(Bundle).Select(file => Path.GetRelativePath(Bundle, file).Replace('\\', '/'))
                .Order(StringComparer.Ordinal),
            files.Keys.Order(StringComparer.Ordinal));
        Assert.True(files.Values.Sum(file => file.Content.Length) < 1_000_000);
        foreach ((string name, PageFile file) in files)
            Assert.Equal(File.ReadAllBytes(Path.Combine(Bundle, name)), file.Content);
        string html = System.Text.Encoding.UTF8.GetString(files["index.html"].Content);
        // The policy would refuse them.
        Assert.DoesNotMatch(@"<style|<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|https?:", html);
        string css = System.Text.Encoding.UTF8.GetString(files["page/index.css"].Content);
        Assert.DoesNotMatch(@"url\(\W*https?:|@import", css);
        foreach (Match font in Regex.Matches(css, @"url\(\W*([\w./-]+)\W*\)"))
            Assert.Contains($"page/{Path.GetFileName(font.Groups[1].Value)}", files.Keys);
        Assert.Contains("katex", System.Text.Encoding.UTF8.GetString(files["page/licences.txt"].Content), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_page_needs_no_key_and_has_a_policy()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options with { ApiKeys = ["key"] });
        using HttpResponseMessage response = await served.Client.GetAsync("/");
        Assert.Equal("text/html; charset=utf-8", response.Content.Headers.ContentType!.ToString());
        string policy = response.Headers.GetValues("Content-Security-Policy").Single();
        Assert.StartsWith("default-src 'none'; script-src 'self';", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.Contains("frame-ancestors 'none'", policy, StringComparison.Ordinal);
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Equal("no-referrer", response.Headers.GetValues("Referrer-Policy").Single());
        Assert.Equal("no-cache", response.Headers.CacheControl!.ToString());
        Assert.Contains("content=\"12345\"", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        foreach ((string name, string type) in new[]
        {
            ("index.js", "text/javascript"), ("index.css", "text/css"), ("theme.js", "text/javascript"), ("icon.svg", "image/svg+xml"),
            ("licences.txt", "text/plain"), ("KaTeX_Main-Regular.woff2", "font/woff2"),
        })
        {
            using HttpResponseMessage file = await served.Client.GetAsync($"/page/{name}");
            Assert.Equal((HttpStatusCode.OK, type), (file.StatusCode, file.Content.Headers.ContentType!.MediaType));
            Assert.Equal("nosniff", file.Headers.GetValues("X-Content-Type-Options").Single());
            Assert.Equal(await File.ReadAllBytesAsync(Path.Combine(Bundle, "page", name)), await file.Content.ReadAsByteArrayAsync());
        }

        foreach (string none in new[] { "/page/nothing.js", "/page/", "/page/index.html", "/page/..%2findex.html", "/page/sub/index.js" })
            await BadRequestTests.ErrorAsync(await served.Client.GetAsync(none), 404);
    }

    [Theory]
    [InlineData("gzip, deflate, br, zstd", "br")]
    [InlineData("gzip", "gzip")]
    [InlineData("br;q=0, gzip;q=0.5", "gzip")]
    [InlineData("identity", null)]
    [InlineData(null, null)]
    public async Task Files_are_compressed_and_sent_once(string? accepted, string? encoding)
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        foreach (string path in new[] { "/", "/page/index.js" })
        {
            using HttpResponseMessage response = await GetAsync(path);
            Assert.Equal(encoding, response.Content.Headers.ContentEncoding.SingleOrDefault());
            Assert.Equal("Accept-Encoding", response.Headers.Vary.Single());
            byte[] sent = await response.Content.ReadAsByteArrayAsync(), plain = await served.Client.GetByteArrayAsync(path);
            Assert.Equal(plain, Decoded(sent));
            if (encoding is not null && path != "/")
                Assert.True(sent.Length < plain.Length / 2);
            using HttpResponseMessage known = await GetAsync(path, response.Headers.ETag!);
            Assert.Equal(HttpStatusCode.NotModified, known.StatusCode);
            Assert.Empty(await known.Content.ReadAsByteArrayAsync());
            using HttpResponseMessage old = await GetAsync(path, new EntityTagHeaderValue("\"old\""));
            Assert.Equal(HttpStatusCode.OK, old.StatusCode);
            using HttpResponseMessage head = await served.Client.SendAsync(new HttpRequestMessage(HttpMethod.Head, path));
            Assert.Equal((plain.Length, ""), ((int)head.Content.Headers.ContentLength!.Value, await head.Content.ReadAsStringAsync()));
        }

        Task<HttpResponseMessage> GetAsync(string path, EntityTagHeaderValue? tag = null)
        {
            var request = new HttpRequestMessage(HttpMethod.Get, path);
            if (accepted is not null)
                request.Headers.TryAddWithoutValidation("Accept-Encoding", accepted);
            if (tag is not null)
                request.Headers.IfNoneMatch.Add(tag);
            return served.Client.SendAsync(request);
        }

        byte[] Decoded(byte[] bytes)
        {
            if (encoding is null)
                return bytes;
            using var stream = new MemoryStream(bytes);
            using Stream decoder = encoding == "br" ? new BrotliStream(stream, CompressionMode.Decompress)
                : new GZipStream(stream, CompressionMode.Decompress);
            using var decoded = new MemoryStream();
            decoder.CopyTo(decoded);
            return decoded.ToArray();
        }
    }

    [Fact]
    public async Task A_host_keeps_its_own_root_and_may_have_the_page_below_it()
    {
        await using ChatModel model = TinyChatModel.Create();
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddRoutingCore();
        await using WebApplication app = builder.Build();
        app.UseRouting();
        app.MapGet("/", (RequestDelegate)(context => context.Response.WriteAsync("the host's own")));
        app.MapSkylight(model);
        app.MapGroup("/ask").MapSkylight(model, s_options);
        await app.StartAsync(TestContext.Current.CancellationToken);
        using var client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false })
        {
            BaseAddress = new Uri(app.Services.GetRequiredService<IServer>()
                .Features.Get<IServerAddressesFeature>()!.Addresses.Single()),
        };
        Assert.Equal("the host's own", await client.GetStringAsync("/"));
        using HttpResponseMessage bare = await client.GetAsync("/ask?x=1");
        Assert.Equal((HttpStatusCode.Redirect, "/ask/?x=1"), (bare.StatusCode, bare.Headers.Location!.ToString()));
        string html = await client.GetStringAsync("/ask/");
        // Whatever it loads and asks lies below its own address.
        Assert.DoesNotMatch(@"(?:src|href)=""(?!\./)", html);
        Assert.NotEmpty(await client.GetByteArrayAsync("/ask/page/index.js"));
        Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync("/page/index.js")).StatusCode);
    }

    [Fact]
    public async Task Without_the_option_there_is_no_page()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        await BadRequestTests.ErrorAsync(await served.Client.GetAsync("/"), 404);
        await BadRequestTests.ErrorAsync(await served.Client.GetAsync("/page/index.js"), 404);
    }
}
