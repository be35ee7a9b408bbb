using System.Text;
using Skylight.Training.Rewards;

namespace Skylight.Fuzz;

/// <summary>What a verifier's endpoint sends: chat completions and refusals.</summary>
internal sealed class VerifierReplyTarget() : FuzzTarget("verifier-reply")
{
    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        .. new[]
        {
            """{"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "<think>\u00e9</think>yes"}, "finish_reason": "length"}], "usage": {"prompt_tokens": 100, "completion_tokens": 3}}""",
            """{"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": null}}""",
            """{"error": "\ud83d\ude00", "message": "of vLLM"}""",
        }.Select(Encoding.UTF8.GetBytes),
    ];

    public override IReadOnlyList<byte[]> Words => FuzzTargets.WordsOf(Seeds);

    public override long AllocationLimit(int inputBytes) => (1 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is InvalidDataException;

    public override void Run(byte[] input)
    {
        if (ChatReply.ErrorOf(input) is null)
            VerifierPrompt.Read(ChatReply.Parse(input).Text);
    }
}
