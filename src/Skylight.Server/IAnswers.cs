using System.Text;
using Skylight.Chat;
using Skylight.Generation;

namespace Skylight.Server;

/// <summary>Answers to a request in the form of an endpoint, whole or in pieces.</summary>
internal interface IAnswers
{
    /// <summary>What complete answers took.</summary>
    IEnumerable<Usage> Usages { get; }

    /// <summary>Why they ended.</summary>
    string Ends { get; }

    /// <summary>How many calls of tools were begun that are none.</summary>
    int BrokenToolCalls { get; }

    /// <summary>Takes a piece of an answer.</summary>
    void Add(int choice, GenerationUpdate update);

    /// <summary>All of it as JSON.</summary>
    byte[] ToJson();

    /// <summary>Writes how a stream begins.</summary>
    void Open(EventStream stream);

    /// <summary>Writes a piece of an answer into a stream.</summary>
    /// <returns>Whether there was anything in it.</returns>
    bool Write(EventStream stream, int choice, GenerationUpdate update);

    /// <summary>Writes the usage at the end of a stream.</summary>
    void WriteUsage(EventStream stream);

    /// <summary>Writes the mark of a complete stream.</summary>
    void Close(EventStream stream) => stream.End();

    /// <summary>Writes why a stream goes no further.</summary>
    void Fail(EventStream stream, ApiException error) => stream.AddError(error);
}

/// <summary>What has come of an answer.</summary>
internal sealed class CollectedAnswer
{
    public StringBuilder Thinking { get; } = new();

    public StringBuilder Text { get; } = new();

    public List<TokenDetail> Tokens { get; } = [];

    public ToolCallCollector Calls { get; } = new();

    /// <summary>How many calls of tools were begun that are none.</summary>
    public int BrokenToolCalls { get; private set; }

    public FinishReason? End { get; private set; }

    public Usage? Usage { get; private set; }

    public void Add(GenerationUpdate update)
    {
        (update.Kind == UpdateKind.Thinking ? Thinking : Text).Append(update.Text);
        Tokens.AddRange(update.Tokens);
        Calls.Add(update.ToolCall);
        BrokenToolCalls += update.BrokenToolCall is null ? 0 : 1;
        End ??= update.FinishReason;
        Usage ??= update.Usage;
    }

    /// <summary>Why some answers ended, in words for a log.</summary>
    public static string EndsOf(IEnumerable<CollectedAnswer> answers) =>
        string.Join(", ", answers.Select(answer => answer.End?.ToString() ?? "nothing").Distinct());

    /// <summary>OpenAI's word for an end.</summary>
    public static string Reason(FinishReason end) => end switch
    {
        FinishReason.Length => "length",
        FinishReason.ToolCalls => "tool_calls",
        _ => "stop",
    };
}
