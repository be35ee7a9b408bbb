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
}

/// <summary>What has come of an answer.</summary>
internal sealed class CollectedAnswer
{
    public StringBuilder Thinking { get; } = new();

    public StringBuilder Text { get; } = new();

    public List<TokenDetail> Tokens { get; } = [];

    public FinishReason? End { get; private set; }

    public Usage? Usage { get; private set; }

    public void Add(GenerationUpdate update)
    {
        (update.Kind == UpdateKind.Thinking ? Thinking : Text).Append(update.Text);
        Tokens.AddRange(update.Tokens);
        End ??= update.FinishReason;
        Usage ??= update.Usage;
    }

    /// <summary>Why some answers ended, in words for a log.</summary>
    public static string EndsOf(IEnumerable<CollectedAnswer> answers) =>
        string.Join(", ", answers.Select(answer => answer.End?.ToString() ?? "nothing").Distinct());

    /// <summary>OpenAI's word for an end.</summary>
    public static string Reason(FinishReason end) => end == FinishReason.Length ? "length" : "stop";
}
