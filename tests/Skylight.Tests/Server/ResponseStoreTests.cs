using Skylight.Chat;
using Skylight.Server;
using Skylight.Tensors;

namespace Skylight.Tests.Server;

/// <summary>Responses in memory: never more than was allowed, the oldest go first, and turns are counted once.</summary>
public sealed class ResponseStoreTests
{
    [Fact]
    public void The_oldest_go_first_by_number()
    {
        var store = new ResponseStore(2, 1 << 20);
        foreach (string id in (string[])["a", "b", "c"])
            Assert.True(store.TryAdd(new StoredResponse(id, new byte[10], [Turn(100)])));
        Assert.Null(store.Find("a"));
        Assert.NotNull(store.Find("b"));
        Assert.Equal(2, store.Held.Responses);
        Assert.True(store.Remove("b"));
        Assert.False(store.Remove("b"));
        Assert.True(store.Remove("c"));
        Assert.Equal((0, 0L), store.Held);
    }

    [Fact]
    public void A_conversation_is_counted_once_however_many_responses_go_on_from_it()
    {
        var store = new ResponseStore(100, 1 << 20);
        StoredTurn picture = Turn(600_000);
        for (int turn = 0; turn < 20; turn++)
            Assert.True(store.TryAdd(new StoredResponse($"{turn}", new byte[10],
                [picture, .. Enumerable.Range(0, turn).Select(_ => Turn(1000))])));
        Assert.Equal(20, store.Held.Responses);
        // Another picture does not fit beside it: what holds the first goes.
        Assert.True(store.TryAdd(new StoredResponse("next", new byte[10], [Turn(600_000)])));
        Assert.Equal(1, store.Held.Responses);
        Assert.Equal(0, picture.Uses);
        Assert.False(store.TryAdd(new StoredResponse("large", new byte[10], [Turn(2 << 20)])));
        Assert.NotNull(store.Find("next"));
        Assert.False(new ResponseStore(0, 1 << 20).TryAdd(new StoredResponse("a", [], [])));
    }

    [Fact]
    public void Whatever_is_kept_and_forgotten_the_count_is_right()
    {
        const long Most = 20_000;
        var store = new ResponseStore(30, Most);
        var random = new CounterRandom(3, 1);
        var turns = new List<StoredTurn>();
        for (int step = 0; step < 3000; step++)
        {
            if (random.Next(4) == 0)
                store.Remove($"{random.Next(Math.Max(1, step))}");
            if (random.Next(3) > 0)
                turns.Add(Turn(random.Next(2000)));
            StoredTurn[] chain = [.. turns.Skip(random.Next(turns.Count + 1)).Take(4).Distinct()];
            store.TryAdd(new StoredResponse($"{step}", new byte[random.Next(100)], chain));
            StoredResponse[] held = [.. Enumerable.Range(0, step + 1).Select(id => store.Find($"{id}")).OfType<StoredResponse>()];
            long bytes = held.Sum(response => response.OwnBytes)
                + held.SelectMany(response => response.Turns).Distinct().Sum(turn => turn.Bytes);
            Assert.Equal((held.Length, bytes), store.Held);
            Assert.True(bytes <= Most && held.Length <= 30);
        }
    }

    private static StoredTurn Turn(long bytes) => new([Message.User("x")], bytes);
}
