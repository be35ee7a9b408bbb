using Skylight.Chat;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Training;

/// <summary>
/// Makes samples for training from messages, by the code that makes prompts: no weights and no cache are needed. Any
/// number of callers may use it at once.
/// </summary>
/// <param name="encoder">Tokenizer, chat template and the way with pictures of the model that is trained.</param>
public sealed class SampleBuilder(ConversationEncoder encoder)
{
    /// <summary>A builder for a model.</summary>
    /// <param name="configuration">The model's sizes and its way with pictures.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="template">How messages become a prompt; by default the one that belongs to the model.</param>
    /// <exception cref="TokenizerException">The tokenizer does not belong to the model.</exception>
    public SampleBuilder(ModelConfiguration configuration, ITokenizer tokenizer, ChatTemplate? template = null)
        : this(new ConversationEncoder(configuration, tokenizer, template))
    {
    }

    /// <summary>Whether answers begin by thinking.</summary>
    public ThinkingMode Thinking { get; init; }

    /// <summary>The most tiles of a picture; by default what the model's configuration says.</summary>
    public int? MaximumTiles { get; init; }

    /// <summary>Whether only the last answer of a conversation is learnt, not all of them.</summary>
    public bool LastAnswerOnly { get; init; }

    /// <summary>
    /// A sample whose loss is on the assistant's answers: each of their tokens has the weight 1, that which ends the
    /// turn included, and what others say between two answers 0. Who wants the mean over a batch divides the weights by
    /// their sum (<see cref="WithMeanWeights"/>).
    /// </summary>
    /// <param name="messages">The conversation, oldest message first; the last one is the assistant's. Earlier answers
    /// are learnt without their thinking, as prompts have them, unless the template keeps it.</param>
    /// <param name="cancellationToken">Stops, also while a picture is read.</param>
    /// <exception cref="ArgumentException">The messages cannot be used.</exception>
    /// <exception cref="ContextLengthException">They are longer than the context; the message has the numbers.</exception>
    /// <exception cref="Images.ImageException">A picture cannot be decoded, or is too large.</exception>
    public async Task<TrainingSample> SampleAsync(IReadOnlyList<Message> messages,
        CancellationToken cancellationToken = default)
    {
        PreparedConversation conversation = await encoder.ConversationAsync(messages, Thinking, MaximumTiles,
            cancellationToken).ConfigureAwait(false);
        IEnumerable<(int Start, int End)> answers = LastAnswerOnly ? conversation.Answers.TakeLast(1) : conversation.Answers;
        int first = answers.First().Start, end = conversation.Answers[^1].End;
        float[] weights = new float[end - first];
        foreach ((int start, int stop) in answers)
            weights.AsSpan(start - first, stop - start).Fill(1);
        // Nothing behind the last answer is read by anything that is learnt.
        TokenSequence sequence = conversation.Sequence with { Tokens = conversation.Sequence.Tokens[..end] };
        return new TrainingSample(sequence, first, weights);
    }

    /// <summary>The prompt that a conversation makes, for rollouts.</summary>
    /// <param name="messages">The conversation, oldest message first.</param>
    /// <param name="cancellationToken">Stops, also while a picture is read.</param>
    /// <exception cref="ArgumentException">The messages cannot be used.</exception>
    /// <exception cref="ContextLengthException">They are longer than the context; the message has the numbers.</exception>
    /// <exception cref="Images.ImageException">A picture cannot be decoded, or is too large.</exception>
    public Task<PreparedPrompt> PromptAsync(IReadOnlyList<Message> messages,
        CancellationToken cancellationToken = default) =>
        encoder.PromptAsync(messages, Thinking, MaximumTiles, cancellationToken: cancellationToken);

    /// <summary>The samples with weights that add up to 1: the loss is the mean over all tokens that are learnt.</summary>
    /// <exception cref="ArgumentException">No token has a weight.</exception>
    public static IReadOnlyList<TrainingSample> WithMeanWeights(IReadOnlyList<TrainingSample> samples)
    {
        ArgumentNullException.ThrowIfNull(samples);
        double sum = samples.Sum(sample => sample.Weights.Sum(weight => (double)weight));
        if (!(sum > 0))
            throw new ArgumentException("No token of the samples has a weight: there is nothing to learn.", nameof(samples));
        return [.. samples.Select(
            sample => sample with { Weights = [.. sample.Weights.Select(weight => (float)(weight / sum))] })];
    }
}
