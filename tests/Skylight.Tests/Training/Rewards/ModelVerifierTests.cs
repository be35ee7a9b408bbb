using System.Collections.Concurrent;
using Skylight.Chat;
using Skylight.Models;
using Skylight.Tests.Chat;
using Skylight.Training.Rewards;
using static Skylight.Tests.Training.Rewards.RewardTesting;

namespace Skylight.Tests.Training.Rewards;

public sealed class ModelVerifierTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_model_is_asked_only_where_the_rule_says_no()
    {
        var model = new Judge((_, _, response) => response.Contains("dozen", StringComparison.Ordinal));
        await using var verifier = new ModelVerifier(model);
        RewardRequest[] requests =
        [
            Request(@"<think>so</think>\boxed{12}", "12"), // the rule accepts
            Request("<think>12?</think>\na dozen ", "12"), // the model accepts
            Request("<think>so</think>ten", "12"), // neither
            Request("<think>a dozen", "12"), // never answered
            Request("a dozen", "12", finished: false), // never ended
        ];
        Assert.Equal([1, 1, 0, 0, 0], (await verifier.ScoreAsync(requests, Token)).Select(row => row.Single()));
        Assert.Equal(["a dozen", "ten"], model.Asked.Select(asked => asked.Response));
        Assert.Equal(new VerifierUsage(1, 0, 2, 0, 2, 200, 6), verifier.Usage);
        Assert.Equal(200e-6 * 2 + 6e-6 * 10, verifier.Usage.Cost(2, 10), 15);

        await using var alone = new ModelVerifier(new Judge((_, _, _) => false),
            new ModelVerifierOptions { UseRule = false, RewardUnfinished = true });
        Assert.Equal(0, await alone.ScoreAsync(Request(@"\boxed{12}", "12", finished: false)));
        Assert.Equal(1, alone.Usage.Judged);
    }

    [Fact]
    public async Task Options_are_shown_and_the_answer_is_said_with_its_text()
    {
        var model = new Judge((_, _, _) => true);
        await using var verifier = new ModelVerifier(model);
        Assert.Equal(1,
            await verifier.ScoreAsync(
                Request("The younger one", "Manet", options: ["Monet", " Manet "]) with { Question = "Who?" }));
        (string question, string[] answers, string _) = Assert.Single(model.Asked);
        Assert.Equal("Who?\nA. Monet\nB. Manet", question);
        Assert.Equal(["B. Manet"], answers);
    }

    [Fact]
    public async Task Equal_responses_are_judged_once_and_remembered()
    {
        var model = new Judge((_, _, _) => true);
        await using var verifier = new ModelVerifier(model);
        RewardRequest[] group = [Request("ten", "12"), Request("<think>other way</think>ten", "12"),
            Request("ten", "13"), Request("ten", "12") with { Question = "?" }];
        await verifier.ScoreAsync(group, Token);
        Assert.Equal(3, model.Asked.Count);
        await verifier.ScoreAsync(group, Token);
        Assert.Equal(3, model.Asked.Count);
        Assert.Equal(new VerifierUsage(0, 5, 3, 0, 3, 300, 9), verifier.Usage);

        await using var without = new ModelVerifier(model, new ModelVerifierOptions { CacheEntries = 0 });
        await without.ScoreAsync(group, Token);
        await without.ScoreAsync(group, Token);
        Assert.Equal(9, model.Asked.Count);
    }

    [Theory]
    [InlineData("0123456789", 10, "0123456789")]
    [InlineData("0123456789", 9, "[…] 123456789")]
    [InlineData("0\U0001F600456789", 7, "[…] 456789")] // no half of a character
    public async Task Of_a_long_response_the_end_is_judged(string response, int most, string shown)
    {
        var model = new Judge((_, _, _) => true);
        await using var verifier = new ModelVerifier(model, new ModelVerifierOptions { MaximumCharacters = most });
        await verifier.ScoreAsync(Request("<think>so</think>" + response, "12"));
        Assert.Equal(shown, Assert.Single(model.Asked).Response);
    }

    [Fact]
    public async Task A_request_that_makes_no_sense_is_its_own_fault()
    {
        await using var rewards = new RewardSet([new RewardTerm(new ModelVerifier(new Judge((_, _, _) => true)), 1)],
            RewardFailure.Zero);
        RewardBreakdown[] found = await rewards.ScoreAsync(
            [Request("ten", "12") with { Answers = ["12", null!] }, Request("ten", "12")], Token);
        Assert.Equal([0, 1], found.Select(reward => reward.Total));
        Assert.Equal("verifier: one of the row's answers is null.", found[0].Fault);
    }

    [Fact]
    public void The_cache_keeps_what_was_used_last_and_no_more_than_it_may()
    {
        var cache = new VerdictCache(2);
        UInt128 a = VerdictCache.KeyOf("q", ["a"], "r"), b = VerdictCache.KeyOf("q", ["b"], "r"),
            c = VerdictCache.KeyOf("q", ["c"], "r");
        cache.Add(a, true);
        cache.Add(b, false);
        Assert.True(cache.TryGet(a, out bool isCorrect) && isCorrect);
        cache.Add(c, true);
        Assert.Equal(2, cache.Count);
        Assert.False(cache.TryGet(b, out _));
        Assert.True(cache.TryGet(a, out _) && cache.TryGet(c, out _));
        Assert.NotEqual(VerdictCache.KeyOf("ab", ["c"], ""), VerdictCache.KeyOf("a", ["bc"], ""));
        Assert.NotEqual(VerdictCache.KeyOf("a", ["b", "c"], ""), VerdictCache.KeyOf("a", ["b"], "c"));
    }

    [Fact]
    public async Task Only_so_many_are_judged_at_once_also_by_two_batches()
    {
        int running = 0, most = 0;
        var model = new Judge(async (_, _, _) =>
        {
            int now = Interlocked.Increment(ref running);
            for (int seen = most; now > seen; seen = most)
                Interlocked.CompareExchange(ref most, now, seen);
            await Task.Delay(5);
            Interlocked.Decrement(ref running);
            return true;
        });
        await using var verifier = new ModelVerifier(model, new ModelVerifierOptions { MaximumRequests = 3 });
        RewardRequest[] Batch(string name) => [.. Enumerable.Range(0, 20).Select(index => Request($"{name}{index}", "12"))];
        await Task.WhenAll(verifier.ScoreAsync(Batch("a"), Token).AsTask(), verifier.ScoreAsync(Batch("b"), Token).AsTask());
        Assert.Equal(40, model.Asked.Count);
        Assert.InRange(most, 2, 3);
    }

    [Theory]
    [InlineData("neither", "the verifier model says neither yes nor no but 'perhaps'.")]
    [InlineData("down", "the verifier endpoint host answers 500 (4 attempts).")]
    [InlineData("throws", "FormatException: broken.")]
    [InlineData("timeout", "TaskCanceledException")]
    public async Task A_model_that_gives_no_verdict_follows_the_policy(string kind, string why)
    {
        Judge Model() => new((_, _, response) => response != "ten" ? true : kind switch
        {
            "neither" => null,
            "down" => throw new VerifierException("the verifier endpoint host answers 500 (4 attempts).", 4),
            "throws" => throw new FormatException("broken"),
            _ => throw new TaskCanceledException(),
        });
        RewardRequest[] requests = [Request("a dozen", "12", "d:1"), Request("ten", "12", "d:2"),
            Request("ten", "12", "d:2"), Request("dozen", "12", "d:3")];
        RewardSet Set(RewardFailure policy) => new([new RewardTerm(new ModelVerifier(Model()), 0.8, "accuracy")], policy);

        RewardException stopped = await Assert.ThrowsAsync<RewardException>(
            () => Set(RewardFailure.Stop).ScoreAsync(requests, Token));
        Assert.Contains($"Reward 'accuracy', sample 'd:2': {why}", stopped.Message, StringComparison.Ordinal);
        RewardSet zero = Set(RewardFailure.Zero);
        RewardBreakdown[] found = await zero.ScoreAsync(requests, Token);
        Assert.Equal([0.8, 0, 0, 0.8], found.Select(reward => reward.Total));
        Assert.Equal([false, true, true, false], found.Select(reward => reward.Fault is not null));
        Assert.Equal((2, 2), (zero.VerifierUsage!.Judged, zero.VerifierUsage.Faults));
        Assert.Equal(kind == "down" ? 6 : 3, zero.VerifierUsage.Requests);
        // A fault is not remembered as a verdict.
        await zero.ScoreAsync([requests[1]], Token);
        Assert.Equal(3, zero.VerifierUsage.Faults);
        Assert.Equal([false, true, true, false],
            (await Set(RewardFailure.Skip).ScoreAsync(requests, Token)).Select(reward => reward.IsSkipped));
    }

    /// <summary>
    /// An endpoint that is down fails many questions at once: those that fail after the first one stopped the rest say
    /// nothing new.
    /// </summary>
    [Fact]
    public async Task Faults_after_the_one_that_stops_do_not_hide_it()
    {
        var model = new Judge(async (_, _, response, cancellationToken) =>
        {
            if (response == "bad")
                throw new VerifierException("down.");
            var stopped = new TaskCompletionSource();
            await using CancellationTokenRegistration registration = cancellationToken.Register(stopped.SetResult);
            await stopped.Task;
            throw new VerifierException("down too.");
        });
        await using var rewards = new RewardSet([new RewardTerm(new ModelVerifier(model), 1)]);
        RewardRequest[] requests = [Request("slow", "12", "d:1"), Request("bad", "12", "d:2"),
            Request("slower", "12", "d:3")];
        RewardException fault = await Assert.ThrowsAsync<RewardException>(
            () => rewards.ScoreAsync(requests, Token).WaitAsync(TimeSpan.FromSeconds(60), Token));
        Assert.Contains("sample 'd:2': down.", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_first_fault_that_stops_ends_the_other_questions()
    {
        var model = new Judge(async (_, _, response, cancellationToken) =>
        {
            if (response == "bad")
                throw new VerifierException("down.");
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return true;
        });
        await using var rewards = new RewardSet([new RewardTerm(new ModelVerifier(model), 1)]);
        RewardRequest[] requests = [Request("slow", "12", "d:1"), Request("bad", "12", "d:2"),
            Request("slower", "12", "d:3")];
        RewardException stopped = await Assert.ThrowsAsync<RewardException>(
            () => rewards.ScoreAsync(requests, Token).WaitAsync(TimeSpan.FromSeconds(60), Token));
        Assert.Equal("d:2", stopped.SampleId);

        using var cancel = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await using var verifier = new ModelVerifier(model);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => verifier.ScoreAsync([requests[0]], cancel.Token).AsTask());
        Assert.Equal(0, verifier.Usage.Faults);
    }

    [Fact]
    public async Task A_set_finds_the_verifier_within_all_of_and_disposes_it()
    {
        var model = new Judge((_, _, _) => true);
        var rewards = new RewardSet([new RewardTerm(new AllOfReward([new FormatReward(), new ModelVerifier(model)]), 1)]);
        Assert.Equal([1, 0],
            (await rewards.ScoreAsync([Request("<think>so</think>a dozen", "12"), Request("a dozen", "12")], Token))
                .Select(reward => reward.Total));
        Assert.Equal(1, rewards.VerifierUsage!.Judged);
        await rewards.DisposeAsync();
        Assert.True(model.IsDisposed);
    }

    [Fact]
    public async Task A_checkpoint_judges_in_this_process_and_is_loaded_once()
    {
        using var temporary = new TemporaryFolder();
        string folder = temporary["judge"];
        Directory.CreateDirectory(folder);
        TinyChatModel.WriteCheckpoint(folder);
        int loads = 0;
        ChatModel? opened = null;
        var context = new RewardContext
        {
            Folder = Path.GetDirectoryName(folder),
            OpenCheckpoint = async (path, cancellationToken) =>
            {
                loads++;
                Assert.Equal(folder, path);
                return opened = await ChatModel.LoadAsync(path, new ChatModelOptions { CacheTokens = 4096 },
                    cancellationToken: cancellationToken);
            },
        };
        var options = new Dictionary<string, string>
        {
            ["checkpoint"] = Path.GetFileName(folder),
            ["max_tokens"] = "4",
            ["max_characters"] = "1000000",
        };
        var verifier = (ModelVerifier)RewardCatalog.Create("verifier", options, context);
        Assert.Equal(1, await verifier.ScoreAsync(Request(@"\boxed{12}", "12")));
        Assert.Equal(0, loads);
        await using var rewards = new RewardSet([new RewardTerm(verifier, 1)], RewardFailure.Zero);
        RewardBreakdown[] found = await rewards.ScoreAsync(
            [Request("a dozen", "12"), Request("ten", "12"), Request(new string('x', 200_000), "12")], Token);
        // A random model says neither yes nor no.
        Assert.Contains("says neither yes nor no but '", found[0].Fault, StringComparison.Ordinal);
        Assert.Contains("the verifier's checkpoint cannot judge: The conversation has", found[2].Fault,
            StringComparison.Ordinal);
        Assert.Equal((1, 3, 3), (loads, verifier.Usage.Faults, verifier.Usage.Requests));
        Assert.InRange(verifier.Usage.CompletionTokens, 2, 8);
        await rewards.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(
            () => opened!.CompleteAsync([Message.User("x")], cancellationToken: Token));
    }

    [Fact]
    public async Task A_checkpoint_that_cannot_be_loaded_is_not_read_for_every_sample()
    {
        int loads = 0;
        await using var verifier = new ModelVerifier(new ChatModelVerifier(_ =>
        {
            loads++;
            throw new IOException("the disk is gone");
        }));
        Assert.Contains("the verifier's checkpoint cannot judge: the disk is gone",
            await verifier.FaultAsync(Request("ten", "12")), StringComparison.Ordinal);
        Assert.Contains("the disk is gone", await verifier.FaultAsync(Request("ten", "12")), StringComparison.Ordinal);
        Assert.Equal(1, loads);
    }

    private sealed class Judge(Func<string, string[], string, CancellationToken, Task<bool?>> judge) : IVerifierModel,
        IDisposable
    {
        public Judge(Func<string, string[], string, bool?> judge)
            : this((question, answers, response, _) => Task.FromResult(judge(question, answers, response)))
        {
        }

        public Judge(Func<string, string[], string, Task<bool>> judge)
            : this(async (question, answers, response, _) => await judge(question, answers, response))
        {
        }

        public ConcurrentQueue<(string Question, string[] Answers, string Response)> Asked { get; } = [];

        public bool IsDisposed { get; private set; }

        public async ValueTask<VerifierVerdict> JudgeAsync(string question, IReadOnlyList<string> answers,
            string response, CancellationToken cancellationToken)
        {
            Asked.Enqueue((question, [.. answers], response));
            bool? verdict = await judge(question, [.. answers], response, cancellationToken);
            return new VerifierVerdict(verdict, verdict?.ToString() ?? "perhaps", 1, 100, 3);
        }

        public void Dispose() => IsDisposed = true;
    }
}
