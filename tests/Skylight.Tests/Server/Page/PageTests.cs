using System.Text.Json;
using Microsoft.Playwright;
using Skylight.Server;
using Skylight.Tests.Generation;
using static Microsoft.Playwright.Assertions;

namespace Skylight.Tests.Server.Page;

/// <summary>A person, a browser, the page and a model: each test is what somebody does with them.</summary>
[Collection(PageBrowser.Collection)]
public sealed class PageTests(PageBrowser browser)
{
    /// <summary>Few tokens, and the same ones in every run.</summary>
    private const string Settings = """{"maxTokens":"16","temperature":"1","seed":"7"}""";

    private static readonly SkylightServerOptions s_options = new() { ServesPage = true };

    [Fact]
    public async Task A_picture_that_is_pasted_is_asked_about()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await using OpenedPage page = await browser.OpenAsync(served.Address, Settings);
        await Expect(page.Page.Locator(".model")).ToHaveTextAsync("tiny");
        await Expect(page.Field).ToBeFocusedAsync();
        await page.HandOverAsync("paste", ("cat.png", "image/png", Sample("cat.png")));
        await Expect(page.Thumbnails).ToHaveCountAsync(1);
        await page.AskAsync("What is this?");
        ILocator answer = await page.AnswerAsync();
        await Expect(answer.Locator(".facts")).ToContainTextAsync("tokens/s · first after");
        await Expect(page.Page.Locator(".question img")).ToBeVisibleAsync();
        Assert.NotEmpty(await answer.Locator(".markdown").InnerTextAsync());
        await Expect(page.Page).ToHaveTitleAsync("What is this? – Skylight");
        await served.BecomesIdleAsync();
        await SawAsync(served, pictures: 1);
    }

    [Fact]
    public async Task Pictures_that_are_dropped_can_be_removed_and_go_on_being_seen_in_later_questions()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await using OpenedPage page = await browser.OpenAsync(served.Address, Settings);
        (string, string, byte[]) picture = ("cat.png", "image/png", Sample("cat.png"));
        await page.HandOverAsync("dragover", picture);
        await Expect(page.Page.Locator(".drop")).ToBeVisibleAsync();
        await page.HandOverAsync("drop", picture, ("other.png", "image/png", Sample("cat.png")));
        await Expect(page.Page.Locator(".drop")).ToHaveCountAsync(0);
        await Expect(page.Thumbnails).ToHaveCountAsync(2);
        await page.Button("Remove other.png").ClickAsync();
        await Expect(page.Thumbnails).ToHaveCountAsync(1);
        await page.HandOverAsync("drop", ("notes.txt", "text/plain", "text"u8.ToArray()), ("bad.png", "image/png", [1, 2, 3]));
        await Expect(page.Page.Locator(".editor .fault")).ToContainTextAsync("bad.png is damaged");
        await Expect(page.Thumbnails).ToHaveCountAsync(1);
        await page.AskAsync("What is this?");
        await page.AnswerAsync();
        await page.AskAsync("And what else?");
        await page.AnswerAsync(2);
        await served.BecomesIdleAsync();
        await SawAsync(served, pictures: 2);
    }

    [Fact]
    public async Task Another_answer_stands_beside_the_first_one()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await using OpenedPage page = await browser.OpenAsync(served.Address, Settings);
        await page.AskAsync("Say something.");
        string first = await (await page.AnswerAsync()).Locator(".markdown").InnerTextAsync();
        await page.Button("Settings").ClickAsync();
        await page.Page.GetByLabel("Seed").FillAsync("8");
        await page.Button("Done").ClickAsync();
        await page.Button("Answer again").ClickAsync();
        await Expect(page.Page.Locator(".branches")).ToHaveTextAsync("2/2");
        string second = await (await page.AnswerAsync()).Locator(".markdown").InnerTextAsync();
        Assert.NotEqual(first, second);
        await page.Button("Earlier answer").ClickAsync();
        await Expect(page.Answers.Locator(".markdown")).ToHaveTextAsync(first);
        await Expect(page.Page.Locator(".branches")).ToHaveTextAsync("1/2");
    }

    [Fact]
    public async Task Escape_stops_the_answer_and_frees_the_server()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await using OpenedPage page = await browser.OpenAsync(served.Address, """{"maxTokens":"2000","temperature":"1","seed":"7"}""");
        Task<GenerationHold> writing = GenerationHold.WhenAsync(served.Model.BetweenStepsAsync);
        await page.AskAsync("Say something long.");
        using (await writing)
        {
            await Expect(page.Button("Stop")).ToBeVisibleAsync();
            await page.Page.Keyboard.PressAsync("Escape");
            await Expect((await page.AnswerAsync()).Locator(".facts, .hint").First).ToContainTextAsync("topped");
            await Expect(page.Button("Send")).ToBeVisibleAsync();
        }

        await served.BecomesIdleAsync();
        Assert.Contains("skylight_requests_total{status=\"499\"} 1\n", await served.Client.GetStringAsync("/metrics"), StringComparison.Ordinal);
        // The page can ask again.
        await page.Button("Settings").ClickAsync();
        await page.Page.GetByLabel("Most tokens").FillAsync("3");
        await page.Page.Keyboard.PressAsync("Escape");
        await page.Button("Answer again").ClickAsync();
        await Expect((await page.AnswerAsync()).Locator(".facts")).ToContainTextAsync("3 tokens");
    }

    [Fact]
    public async Task A_tab_that_is_closed_in_the_middle_harms_nobody()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await using OpenedPage stays = await browser.OpenAsync(served.Address, Settings);
        await using (OpenedPage leaves = await browser.OpenAsync(served.Address, """{"maxTokens":"2000","temperature":"1","seed":"7"}"""))
        {
            Task<GenerationHold> writing = GenerationHold.WhenAsync(served.Model.BetweenStepsAsync);
            await leaves.AskAsync("Say something long.");
            using (await writing)
            {
                await stays.AskAsync("Say something.");
                await Expect(stays.Button("Stop")).ToBeVisibleAsync();
                await leaves.Page.CloseAsync();
                // The answer would be complete before a browser that is slow to close the connection has done so.
                await served.CountsAsync(499);
            }
        }

        await Expect((await stays.AnswerAsync()).Locator(".facts")).ToContainTextAsync("tokens/s");
        await served.BecomesIdleAsync();
        string metrics = await served.Client.GetStringAsync("/metrics");
        Assert.Contains("skylight_requests_total{status=\"499\"} 1\n", metrics, StringComparison.Ordinal);
        Assert.Contains("skylight_requests_total{status=\"200\"} 1\n", metrics, StringComparison.Ordinal);
    }

    [Fact]
    public async Task All_of_it_works_from_the_keyboard()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await using OpenedPage page = await browser.OpenAsync(served.Address, Settings);
        IKeyboard keyboard = page.Page.Keyboard;
        await Expect(page.Field).ToBeFocusedAsync();
        await keyboard.TypeAsync("First line");
        await keyboard.PressAsync("Shift+Enter");
        await keyboard.TypeAsync("second line");
        await keyboard.PressAsync("Enter");
        await page.AnswerAsync();
        await Expect(page.Page.Locator(".bubble")).ToHaveTextAsync("First line\nsecond line");
        await Expect(page.Field).ToBeFocusedAsync();

        // Arrow up edits the last question, Escape leaves it, Enter sends it again.
        await keyboard.PressAsync("ArrowUp");
        ILocator edit = page.Page.GetByLabel("Edit the question");
        await Expect(edit).ToBeFocusedAsync();
        await keyboard.PressAsync("Escape");
        await Expect(edit).ToHaveCountAsync(0);
        await page.Field.FocusAsync();
        await keyboard.PressAsync("ArrowUp");
        await Expect(edit).ToBeFocusedAsync();
        await keyboard.TypeAsync(", changed");
        await keyboard.PressAsync("Enter");
        await Expect(page.Page.Locator(".bubble")).ToHaveTextAsync("First line\nsecond line, changed");
        await page.AnswerAsync();
        await Expect(page.Page.Locator(".question .branches")).ToHaveTextAsync("2/2");

        // Every stop of the focus can be seen and has a name, and the way leads around, from wherever it begins.
        var names = new List<string>();
        for (int stop = 0; stop < 60; stop++)
        {
            await keyboard.PressAsync("Tab");
            string name = await page.Page.EvaluateAsync<string>(
                """
                () => {
                  const at = document.activeElement;
                  if (at === document.body) return '';
                  if (at.dataset.seen) return 'ROUND';
                  at.dataset.seen = 'yes';
                  const style = getComputedStyle(at.closest('.editor:focus-within textarea') ? at.closest('.editor') : at);
                  const seen = style.outlineStyle !== 'none' || at.tagName === 'TEXTAREA';
                  return (seen ? '' : 'UNSEEN ') + (at.ariaLabel || at.textContent || at.alt || 'UNNAMED');
                }
                """);
            names.Add(name);
            if (name == "ROUND")
                break;
        }

        Assert.Equal("ROUND", names[^1]);
        Assert.DoesNotContain(names, name => name.StartsWith("UN", StringComparison.Ordinal));
        Assert.Superset(new HashSet<string> { "New conversation", "Server", "Settings", "Answer again", "Ask further", "Add pictures" },
            names.ToHashSet());

        // A dialog keeps the focus, and gives it back.
        await page.Button("Settings").FocusAsync();
        await keyboard.PressAsync("Enter");
        await Expect(page.Page.GetByRole(AriaRole.Dialog)).ToBeVisibleAsync();
        await keyboard.PressAsync("Escape");
        await Expect(page.Button("Settings")).ToBeFocusedAsync();
    }

    [Fact]
    public async Task A_key_is_asked_for_and_forgotten_with_the_tab()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options with { ApiKeys = ["open-sesame"] });
        await using OpenedPage page = await browser.OpenAsync(served.Address, Settings);
        ILocator dialog = page.Page.GetByRole(AriaRole.Dialog), field = dialog.GetByLabel("API key");
        await Expect(dialog).ToContainTextAsync("An API key is needed");
        await field.FillAsync("guess");
        await field.PressAsync("Enter");
        await Expect(dialog).ToContainTextAsync("not one of this server's");
        await field.FillAsync("open-sesame");
        await field.PressAsync("Enter");
        await Expect(dialog).ToHaveCountAsync(0);
        await page.AskAsync("Say something.");
        await Expect((await page.AnswerAsync()).Locator(".facts")).ToContainTextAsync("tokens");
        Assert.Equal("open-sesame", await page.Page.EvaluateAsync<string>("sessionStorage.getItem('skylight.key')"));
        Assert.DoesNotContain("sesame", await page.Page.EvaluateAsync<string>("JSON.stringify(localStorage)"), StringComparison.Ordinal);

        // A key that is taken away in the middle of a conversation is asked for at the next question.
        await page.Page.EvaluateAsync("sessionStorage.clear()");
        await page.Page.ReloadAsync();
        await Expect(dialog).ToBeVisibleAsync();
        await dialog.GetByText("Cancel").ClickAsync();
        await page.AskAsync("And now?");
        await Expect(page.Page.Locator(".failure")).ToContainTextAsync("The server wants an API key");
        await field.FillAsync("open-sesame");
        await field.PressAsync("Enter");
        await Expect(page.Page.Locator(".failure")).ToHaveCountAsync(0);
        await Expect((await page.AnswerAsync(2)).Locator(".facts")).ToContainTextAsync("tokens");
    }

    [Fact]
    public async Task The_server_shows_what_it_does()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await served.AskAsync(ServedModel.Request(tokens: 5));
        await using OpenedPage page = await browser.OpenAsync(new Uri(served.Address, "/#server"));
        await Expect(page.Page.Locator(".server .state")).ToHaveTextAsync("Takes requests");
        await Expect(page.Page.Locator(".server .about")).ToContainTextAsync("8,192 tokens");
        await Expect(page.Page.GetByRole(AriaRole.Row, new PageGetByRoleOptions { Name = "status 200 (answered)" })).ToContainTextAsync("1");
        await Expect(page.Page.GetByLabel("Cache").Locator(".hint")).ToContainTextAsync($"of {served.Model.Load.PageCount:N0} pages");
        // It looks again by itself.
        await served.AskAsync(ServedModel.Request(tokens: 5));
        await Expect(page.Page.GetByRole(AriaRole.Row, new PageGetByRoleOptions { Name = "status 200 (answered)" })).ToContainTextAsync("2");
    }

    [Fact]
    public async Task A_conversation_outlives_the_page_and_can_be_exported_and_deleted()
    {
        await using ServedModel served = await ServedModel.StartAsync(s_options);
        await using OpenedPage page = await browser.OpenAsync(served.Address, Settings);
        await page.HandOverAsync("paste", ("cat.png", "image/png", Sample("cat.png")));
        await Expect(page.Thumbnails).ToHaveCountAsync(1);
        await page.AskAsync("What is this?");
        string text = await (await page.AnswerAsync()).Locator(".markdown").InnerTextAsync();
        await page.Page.ReloadAsync();
        await Expect(page.Answers.Locator(".markdown")).ToHaveTextAsync(text);
        await Expect(page.Page.Locator(".question img")).ToBeVisibleAsync();

        await page.Page.Locator(".sidebar li").HoverAsync();
        IDownload download = await page.Page.RunAndWaitForDownloadAsync(() => page.Button("Export “What is this?” as JSON").ClickAsync());
        Assert.Equal("what-is-this.json", download.SuggestedFilename);
        using var folder = new TemporaryFolder();
        await download.SaveAsAsync(folder["export.json"]);
        JsonElement exported = JsonDocument.Parse(await File.ReadAllBytesAsync(folder["export.json"],
            TestContext.Current.CancellationToken)).RootElement;
        Assert.Equal("What is this?", exported.GetProperty("conversations")[0].GetProperty("title").GetString());
        Assert.Equal($"data:image/png;base64,{Convert.ToBase64String(Sample("cat.png"))}",
            exported.GetProperty("pictures").EnumerateObject().Single().Value.GetString());

        await page.Page.Locator(".sidebar a.new").ClickAsync();
        await Expect(page.Page.Locator(".welcome")).ToBeVisibleAsync();
        await page.Page.Locator(".sidebar li").HoverAsync();
        await page.Button("Delete “What is this?”").ClickAsync();
        await page.Page.GetByRole(AriaRole.Dialog).GetByText("Delete", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await Expect(page.Page.Locator(".sidebar li")).ToHaveCountAsync(0);
        await page.Page.ReloadAsync();
        await Expect(page.Page.Locator(".welcome")).ToBeVisibleAsync();
        await Expect(page.Page.Locator(".sidebar li")).ToHaveCountAsync(0);
        Assert.Equal("0 0 0", await page.Page.EvaluateAsync<string>(
            """
            () => new Promise(resolve => {
              const open = indexedDB.open('skylight');
              open.onsuccess = () => {
                const names = ['summaries', 'contents', 'pictures'];
                const transaction = open.result.transaction(names);
                const counts = names.map(name => transaction.objectStore(name).count());
                transaction.oncomplete = () => resolve(counts.map(count => count.result).join(' '));
              };
            })
            """));
    }

    /// <summary>The model has seen the sample so many times, as it does when it is asked without the page.</summary>
    private static async Task SawAsync(ServedModel served, int pictures)
    {
        string metrics = await served.Client.GetStringAsync("/metrics");
        JsonElement usage = (await served.AskAsync(ServedModel.PictureRequest(ServedModel.DataUrl("cat.png")))).GetProperty("usage");
        int each = usage.GetProperty("prompt_tokens_details").GetProperty("image_tokens").GetInt32();
        Assert.True(each >= 256);
        Assert.Contains($"\nskylight_image_tokens_total {pictures * each}\n", metrics, StringComparison.Ordinal);
    }

    private static byte[] Sample(string name) => File.ReadAllBytes(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", name));
}
