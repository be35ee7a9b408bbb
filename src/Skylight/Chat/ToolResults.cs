using Skylight.Text;

namespace Skylight.Chat;

/// <summary>
/// Puts what tools gave in the order of the calls: the model's form has no ids, and it would take one result for
/// another.
/// </summary>
internal static class ToolResults
{
    /// <summary>The messages in the order in which the model is to read them.</summary>
    /// <exception cref="ConversationException">A result belongs to no call, a call has two, or some of the calls have
    /// none.</exception>
    public static IReadOnlyList<Message> Ordered(IReadOnlyList<Message> messages)
    {
        Message[] ordered = [.. messages];
        for (int first = 0; first < ordered.Length; first++)
        {
            if (ordered[first].Role != ChatRole.Tool)
                continue;
            int end = first + 1;
            while (end < ordered.Length && ordered[end].Role == ChatRole.Tool)
                end++;
            Span<Message> results = ordered.AsSpan(first..end);
            if (!results.ToArray().Any(result => result.ToolCallId is null))
                Order(results, first == 0 ? [] : CallsOf(ordered[first - 1]), first);
            first = end;
        }

        return ordered;
    }

    private static string[] CallsOf(Message message) =>
        [.. message.Parts.OfType<ToolCallPart>().Select(part => part.Call.Id)];

    private static void Order(Span<Message> results, string[] calls, int at)
    {
        int[] places = new int[results.Length];
        for (int index = 0; index < results.Length; index++)
        {
            string id = results[index].ToolCallId!;
            places[index] = Array.IndexOf(calls, id);
            if (places[index] < 0)
                throw new ConversationException(
                    $"Message {at + index} is what a tool gave for the call '{Shortened(id)}', and the message of the " +
                    "assistant before it has no call of that id.", "messages");
            if (Array.IndexOf(places, places[index], 0, index) >= 0)
                throw new ConversationException(
                    $"Message {at + index} is what a tool gave for the call '{Shortened(id)}', which has its result " +
                    "already.", "messages");
        }

        if (results.Length < calls.Length)
            throw new ConversationException(
                $"The call '{Shortened(calls.First(id => !places.Contains(Array.IndexOf(calls, id))))}' in message " +
                $"{at - 1} has no result, and others have: a message from the tool must follow for each call.", "messages");
        places.AsSpan().Sort(results);
    }

    private static string Shortened(string id) => id.Length <= 60 ? id : id[..60] + "…";
}
