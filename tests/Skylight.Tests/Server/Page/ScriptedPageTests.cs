using System.Text.Json;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Skylight.Tests.Server.Page;

/// <summary>What the page makes of what a server may say: of hostile text, of tokens, of every error.</summary>
[Collection(PageBrowser.Collection)]
public sealed class ScriptedPageTests(PageBrowser browser)
{
    private const string Hostile =
        """
        <script>window.hit = 1</script><img src=x onerror="window.hit = 2"><svg onload="window.hit = 3"></svg>
        <iframe src="https://example.org"></iframe><style>body { display: none }</style><form action="https://example.org"><button>x</button></form>

        [one](javascript:window.hit=4) [two](data:text/html,<script>window.hit=5</script>) [three](https://example.org "title") [four](/v1/models)
        ![picture](https://example.org/picture.png) <https://example.org/auto>

        ```html" onmouseover="window.hit=6
        <script>window.hit = 7</script>
        ```

        $\href{javascript:window.hit=8}{x}$ $\includegraphics{https://example.org/p.png}$ $\htmlStyle{position:fixed}{x}$ $\unknown$

        | <b>x</b> | `<script>` |
        | --- | --- |
        | <img src=y> | $<i>x</i>$ |
        """;

    [Fact]
    public async Task Hostile_text_of_a_model_is_inert()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Script = async answer =>
        {
            await answer.ThinkAsync(Hostile);
            // In pieces, since half a mark is another text than a whole one.
            for (int start = 0; start < Hostile.Length; start += 7)
                await answer.SayAsync(Hostile[start..Math.Min(start + 7, Hostile.Length)]);
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.AskAsync(Hostile);
        ILocator answer = await page.AnswerAsync();
        await answer.Locator(".fold").ClickAsync();
        await Expect(answer.Locator(".thoughts .markdown")).ToContainTextAsync("window.hit = 1");
        foreach (bool shaded in new[] { false, true })
        {
            if (shaded)
                await page.Button("Shade tokens by entropy").ClickAsync();
            string found = await page.Page.EvaluateAsync<string>(
                """
                () => {
                  const all = [...document.querySelectorAll('.messages *')];
                  const wrong = all.filter(each => ['SCRIPT', 'IFRAME', 'STYLE', 'IMG', 'OBJECT', 'FORM'].includes(each.tagName)
                    || [...each.attributes].some(attribute => attribute.name.startsWith('on') || /javascript:/i.test(attribute.value))
                    || (each.tagName === 'A' && !/^https?:/.test(each.getAttribute('href'))));
                  return `${window.hit} ${wrong.map(each => each.outerHTML).join()}`;
                }
                """);
            Assert.Equal("undefined ", found);
        }

        // What was text is still to be read.
        await Expect(page.Page.Locator(".messages")).ToContainTextAsync("<script>window.hit = 1</script>");
    }

    [Fact]
    public async Task Markdown_formulas_and_code_look_as_they_are_meant()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Script = answer => answer.SayAsync(
            "## Head\n\nAn **apple** costs $5 and \\(x^2\\) is $\\frac12$.\n\n$$\n\\sum_{i=1}^n i\n$$\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n" +
            "```python\ndef f(): return 1\n```\n\n- [link](https://example.org)\n\n7. seventh\n\n$\\frac{$");
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.AskAsync("Show all.");
        ILocator answer = await page.AnswerAsync();
        await Expect(answer.Locator("h4")).ToHaveTextAsync("Head");
        await Expect(answer.Locator("strong")).ToHaveTextAsync("apple");
        await Expect(answer.Locator(".katex")).ToHaveCountAsync(3);
        await Expect(answer.Locator(".katex-display")).ToHaveCountAsync(1);
        await Expect(answer.Locator("td")).ToHaveTextAsync(["1", "2"]);
        await Expect(answer.Locator(".hljs-keyword").First).ToHaveTextAsync("def");
        await Expect(answer.Locator("ol")).ToHaveAttributeAsync("start", "7");
        await Expect(answer.Locator("pre")).ToHaveAttributeAsync("tabindex", "0");
        await Expect(answer.Locator("a")).ToHaveAttributeAsync("rel", "noopener noreferrer nofollow");
        // A formula is typeset by its stylesheet and its own font, both of this server: the styles that KaTeX sets are
        // not refused.
        Assert.True(await page.Page.EvaluateAsync<bool>("document.fonts.ready.then(fonts => [...fonts].some(font => font.family === 'KaTeX_Main' && font.status === 'loaded'))"));
        Assert.NotEqual("0px", await answer.Locator(".katex-display .vlist > span").First.EvaluateAsync<string>("each => getComputedStyle(each).top"));
        await page.Page.Context.GrantPermissionsAsync(["clipboard-read", "clipboard-write"]);
        await answer.Locator(".copy-code").ClickAsync();
        await Expect(answer.Locator(".copy-code")).ToHaveTextAsync("Copied");
        Assert.Equal("def f(): return 1\n", await page.Page.EvaluateAsync<string>("navigator.clipboard.readText()"));
    }

    [Fact]
    public async Task Thinking_is_folded_with_its_last_line_and_its_time()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        var thinks = new TaskCompletionSource();
        server.Script = async answer =>
        {
            await answer.ThinkAsync("First I look.\n\nThen I *count* to three.");
            await thinks.Task.WaitAsync(answer.Left);
            await answer.SayAsync("Three.");
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address, """{"thinking":"on"}""");
        await page.AskAsync("How many?");
        ILocator fold = page.Page.Locator(".fold");
        await Expect(fold).ToContainTextAsync("Thinking for");
        await Expect(fold.Locator(".line")).ToHaveTextAsync("Then I count to three.");
        await Expect(fold).ToHaveAttributeAsync("aria-expanded", "false");
        await fold.ClickAsync();
        await Expect(page.Page.Locator(".thoughts em")).ToHaveTextAsync("count");
        await Expect(page.Page.GetByRole(AriaRole.Status).Filter(new LocatorFilterOptions { HasText = "The model is thinking." })).ToHaveCountAsync(1);
        thinks.SetResult();
        ILocator answer = await page.AnswerAsync();
        await Expect(fold).ToHaveTextAsync(new System.Text.RegularExpressions.Regex(@"^Thought for \d"));
        await Expect(answer.Locator("> .markdown")).ToHaveTextAsync("Three.");
        await Expect(page.Page.GetByText("The answer is complete. Three.")).ToHaveCountAsync(1);
        Assert.True(server.LastRequest().GetProperty("enable_thinking").GetBoolean());
    }

    [Fact]
    public async Task An_answer_is_stopped_in_the_middle_and_gone_on_with()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        var left = new TaskCompletionSource();
        server.Script = async answer =>
        {
            await answer.SayAsync("One, two");
            await using CancellationTokenRegistration registration = answer.Left.Register(left.SetResult);
            await Task.Delay(Timeout.Infinite, answer.Left);
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.AskAsync("Count.");
        await Expect(page.Page.Locator(".markdown")).ToHaveTextAsync("One, two");
        await page.Button("Stop").ClickAsync();
        ILocator answer = await page.AnswerAsync();
        await Expect(answer.Locator(".facts")).ToContainTextAsync("stopped");
        await left.Task.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        server.Script = async next => await next.SayAsync(", three.");
        await page.Button("Go on with this answer").ClickAsync();
        await Expect(page.Answers.Locator(".markdown")).ToHaveTextAsync("One, two, three.");
        JsonElement last = server.LastRequest().GetProperty("messages").EnumerateArray().Last();
        Assert.Equal(("assistant", "One, two"), (last.GetProperty("role").GetString(), last.GetProperty("content").GetString()));
    }

    [Fact]
    public async Task A_connection_that_is_lost_keeps_what_came()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        var isShown = new TaskCompletionSource();
        server.Script = async answer =>
        {
            await answer.SayAsync("Half an");
            await isShown.Task.WaitAsync(answer.Left);
            answer.Break();
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.AskAsync("Speak.");
        await Expect(page.Page.Locator(".markdown")).ToHaveTextAsync("Half an");
        isShown.SetResult();
        ILocator failure = page.Page.Locator(".failure");
        await Expect(failure).ToContainTextAsync("The connection was lost");
        await Expect(page.Page.Locator(".markdown")).ToHaveTextAsync("Half an");
        server.Script = async answer => await answer.SayAsync(" answer.");
        await failure.GetByText("Go on with it").ClickAsync();
        await Expect(page.Answers.Locator(".markdown")).ToHaveTextAsync("Half an answer.");
        await Expect(failure).ToHaveCountAsync(0);

        // The server ends by itself, and says so.
        server.Script = async answer =>
        {
            await answer.SayAsync("Then");
            await answer.FailAsync("The server is shutting down.", "draining");
        };
        await page.AskAsync("And?");
        await Expect(failure).ToContainTextAsync("The server is shutting down.");

        // There is no server any more.
        await server.VanishAsync();
        await page.AskAsync("Anybody there?");
        await Expect(failure.Last).ToContainTextAsync("cannot be reached");
        await Expect(page.Page.Locator(".banner")).ToContainTextAsync("No server answers");
    }

    [Fact]
    public async Task An_answer_never_looks_complete_before_it_is()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        TaskCompletionSource asked = new(), ends = new();
        server.Script = async answer =>
        {
            asked.SetResult();
            await ends.Task.WaitAsync(answer.Left);
            await answer.SayAsync("Yes.");
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.HandOverAsync("paste", ("cat.png", "image/png",
            File.ReadAllBytes(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "cat.png"))));
        await Expect(page.Thumbnails).ToHaveCountAsync(1);
        await page.Page.EvaluateAsync(
            """
            () => {
              window.complete = 0;
              new MutationObserver(() => window.complete += document.querySelectorAll('.answer[aria-busy=false]').length)
                .observe(document.body, { subtree: true, childList: true, attributes: true });
            }
            """);
        await page.AskAsync("What is this?");
        await asked.Task.WaitAsync(TimeSpan.FromMinutes(2), TestContext.Current.CancellationToken);
        Assert.Equal(0, await page.Page.EvaluateAsync<int>("window.complete"));
        ends.SetResult();
        await page.AnswerAsync();
        Assert.Single(server.Bodies);
    }

    [Theory]
    [InlineData("{\"choices\": [", "no answer")]
    [InlineData("null", "no answer")]
    [InlineData("<html>", "no answer")]
    public async Task What_is_no_answer_is_said_to_be_none(string data, string message)
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Script = async answer =>
        {
            await answer.SayAsync("So far");
            await answer.RawAsync($"data: {data}\n\n");
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.AskAsync("Speak.");
        await Expect(page.Page.GetByRole(AriaRole.Alert)).ToContainTextAsync(message);
        await Expect(page.Answers.Locator(".markdown")).ToHaveTextAsync("So far");
        server.Script = answer => answer.SayAsync(" so good.");
        await page.Page.GetByText("Go on with it").ClickAsync();
        await Expect(page.Answers.Locator(".markdown")).ToHaveTextAsync("So far so good.");
    }

    [Theory]
    [InlineData(400, "The server refuses this request", "'temperature' is 7; it must be…")]
    [InlineData(413, "The request is too large", "The body has more than the 10 bytes that are allowed.")]
    [InlineData(429, "The server is busy", "Already 256 answers are running or waiting.")]
    [InlineData(503, "The server takes no requests now", "The server is shutting down.")]
    [InlineData(500, "The server failed", "The server failed to answer; its log says why.")]
    public async Task An_error_says_what_the_server_says_and_can_be_tried_again(int status, string title, string message)
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Script = answer => answer.RefuseAsync(status, message, retryAfter: status == 429 ? 600 : null);
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.Page.Clock.InstallAsync();
        await page.AskAsync("Speak.");
        ILocator failure = page.Page.GetByRole(AriaRole.Alert);
        await Expect(failure).ToContainTextAsync(title);
        await Expect(failure).ToContainTextAsync(message);
        server.Script = answer => answer.SayAsync("Now.");
        ILocator again = failure.GetByRole(AriaRole.Button);
        if (status == 429)
        {
            await Expect(again).ToHaveTextAsync(new System.Text.RegularExpressions.Regex("^Try again in [1-9][0-9]* s$"));
            await Expect(again).ToBeDisabledAsync();
            await page.Page.Clock.FastForwardAsync(601_000);
        }

        await Expect(again).ToHaveTextAsync("Try again");
        await again.ClickAsync();
        await Expect(page.Answers.Locator(".markdown")).ToHaveTextAsync("Now.");
        // An answer that never was leaves nothing behind.
        await Expect(failure).ToHaveCountAsync(0);
        await Expect(page.Page.Locator(".branches")).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task Tokens_are_shaded_by_their_entropy_and_critical_ones_marked()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Script = async answer =>
        {
            foreach ((string text, double entropy) in new[] { ("So", 0.0), (" five", 0.3), (".", 0.1), ("\n\n", 0.2), ("Wait", 2.4), (",", 0.1) })
                await answer.TokenAsync(text, entropy, reasoning: true);
            foreach ((string text, double entropy) in new[] { ("Five", 2.9), (" Wait", 0.0), ("ing", 0.0) })
                await answer.TokenAsync(text, entropy, reasoning: false);
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.AskAsync("How many?");
        ILocator answer = await page.AnswerAsync();
        JsonElement request = server.LastRequest();
        Assert.True(request.GetProperty("logprobs").GetBoolean());
        Assert.Equal(5, request.GetProperty("top_logprobs").GetInt32());
        await page.Button("Shade tokens by entropy").ClickAsync();
        await answer.Locator(".fold").ClickAsync();
        await Expect(answer.Locator(".legend")).ToContainTextAsync("3 nats of entropy; mean 0.67");
        await Expect(answer.Locator(".legend")).ToContainTextAsync("critical words of the thinking: 1, mean 2.40");
        await Expect(answer.Locator(".thoughts .critical")).ToHaveTextAsync("Wait");
        await Expect(answer.Locator(".tokens .fork")).ToHaveTextAsync("Five");
        await Expect(answer.Locator("> .tokens .critical")).ToHaveCountAsync(0);
        string[] colours = await answer.Locator(".tokens .token").EvaluateAllAsync<string[]>("all => all.map(each => getComputedStyle(each).backgroundColor)");
        Assert.Equal("rgba(0, 0, 0, 0)", colours[0]);
        Assert.NotEqual(colours[1], colours[4]);
        await answer.Locator(".critical").Last.HoverAsync();
        ILocator card = page.Page.Locator(".card");
        await Expect(card).ToContainTextAsync("Wait");
        await Expect(card).ToContainTextAsync("2.400 nats");
        await Expect(card).ToContainTextAsync("-0.250");
        await Expect(card.Locator("li").Last).ToContainTextAsync("␣other");

        // By keys: the undecided one, then the next token.
        await page.Page.Mouse.MoveAsync(0, 0);
        await answer.Locator("> .tokens").FocusAsync();
        await page.Page.Keyboard.PressAsync("ArrowDown");
        await Expect(card).ToContainTextAsync("undecided");
        await page.Page.Keyboard.PressAsync("ArrowRight");
        await Expect(card.Locator("strong")).ToHaveTextAsync("␣Wait");
        await page.Page.Keyboard.PressAsync("Escape");
        await Expect(card).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task What_a_server_does_not_tell_of_tokens_is_done_without()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Script = answer => answer.Request.TryGetProperty("top_logprobs", out _)
            ? answer.RefuseAsync(400, "'top_logprobs' is not supported.", "top_logprobs") : answer.SayAsync("Yes.");
        await using OpenedPage page = await browser.OpenAsync(server.Address, """{"shade":true}""");
        await page.AskAsync("Is it?");
        ILocator answer = await page.AnswerAsync();
        await Expect(answer.Locator(".tokens")).ToHaveTextAsync("Yes.");
        await Expect(answer.Locator(".legend")).ToContainTextAsync("surprise");
        Assert.Equal(2, server.Bodies.Count);
        // It is not tried again.
        await page.AskAsync("Sure?");
        await page.AnswerAsync(2);
        Assert.Equal(3, server.Bodies.Count);
    }

    [Fact]
    public async Task Pictures_are_made_smaller_only_where_the_server_would_not_take_them()
    {
        const int Limit = 300_000;
        await using ScriptedServer server = await ScriptedServer.StartAsync(Limit);
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        byte[] small = File.ReadAllBytes(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "gray.png"));
        // Noise, which no format makes small.
        byte[] large = Convert.FromBase64String(await page.Page.EvaluateAsync<string>(
            """
            () => {
              const canvas = document.createElement('canvas');
              canvas.width = canvas.height = 600;
              const image = new ImageData(600, 600);
              for (let start = 0; start < image.data.length; start += 65536)
                crypto.getRandomValues(image.data.subarray(start, Math.min(start + 65536, image.data.length)));
              for (let alpha = 3; alpha < image.data.length; alpha += 4) image.data[alpha] = 255;
              canvas.getContext('2d').putImageData(image, 0, 0);
              return canvas.toDataURL('image/png').split(',')[1];
            }
            """));
        Assert.True(large.Length > Limit);
        await page.HandOverAsync("drop", ("gray.png", "image/png", small), ("noise.png", "image/png", large));
        await Expect(page.Thumbnails).ToHaveCountAsync(2);
        await Expect(page.Page.Locator(".editor > .hint")).ToContainTextAsync("made smaller when they are sent");
        await page.AskAsync("What are these?");
        ILocator answer = await page.AnswerAsync();
        await Expect(answer.Locator(".hint")).ToContainTextAsync("Made smaller to fit the server's limit of 300 kB a request: noise.png from 600 × 600 to");
        Assert.True(server.Bodies.Last().Length <= Limit);
        JsonElement parts = server.LastRequest().GetProperty("messages")[0].GetProperty("content");
        Assert.Equal($"data:image/png;base64,{Convert.ToBase64String(small)}",
            parts[0].GetProperty("image_url").GetProperty("url").GetString());
        Assert.StartsWith("data:image/jpeg;base64,", parts[1].GetProperty("image_url").GetProperty("url").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_photo_of_the_camera_is_asked_about()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        await using OpenedPage page = await browser.OpenAsync(server.Address);
        await page.Button("Take a photo").ClickAsync();
        await page.Button("Take the photo").ClickAsync();
        await Expect(page.Thumbnails).ToHaveCountAsync(1);
        await page.AskAsync("What do you see?");
        await page.AnswerAsync();
        Assert.StartsWith("data:image/jpeg;base64,/9j/", server.LastRequest().GetProperty("messages")[0].GetProperty("content")[0]
            .GetProperty("image_url").GetProperty("url").GetString(), StringComparison.Ordinal);
    }
}
