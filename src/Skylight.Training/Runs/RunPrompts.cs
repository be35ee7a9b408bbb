using Skylight.Chat;
using Skylight.Images;
using Skylight.Models;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;

namespace Skylight.Training.Runs;

/// <summary>
/// How a run puts examples to its model: the recipe's system message, template, thinking mode and tiles, for training
/// and for evaluation alike.
/// </summary>
internal sealed class RunPrompts
{
    private const string Place = "{question}";

    private readonly PromptSettings _settings;
    private readonly int _mostTiles;

    public RunPrompts(PromptSettings settings, ModelConfiguration configuration, ITokenizer tokenizer,
        ImageDecoders decoders)
    {
        (_settings, _mostTiles) = (settings, configuration.Preprocessing.MaximumTiles);
        Template = ConversationEncoder.TemplateOf(configuration, settings.ChatTemplate);
        if (settings.System is { } system)
            Template = Template with { SystemMessage = system.Length == 0 ? null : system };
        int context = configuration.Language.MaxPositions;
        if (settings.MaximumSequence > context)
            throw new RecipeException(
                $"'prompt.max_sequence' is {settings.MaximumSequence}, but the checkpoint's context has {context} tokens.");
        Encoder = new ConversationEncoder(configuration, tokenizer,
            Template)
        { MaximumTokens = settings.MaximumSequence ?? context, ImageDecoders = decoders };
        Samples = new SampleBuilder(Encoder) { Thinking = settings.Thinking, MaximumTiles = settings.MaximumTiles };
    }

    /// <summary>How messages become tokens.</summary>
    public ChatTemplate Template { get; }

    /// <summary>Messages to tokens and tiles, up to the longest sequence.</summary>
    public ConversationEncoder Encoder { get; }

    /// <summary>Makes samples and prompts.</summary>
    public SampleBuilder Samples { get; }

    /// <summary>What the prompt holds of the assistant's turn already.</summary>
    public static string SuffixOf(PreparedPrompt prompt) => prompt.OpensThinking ? $"{SpecialTokens.ThinkStart}\n" : "";

    /// <summary>Whether prompts open a think block.</summary>
    public bool Opens(ThinkingMode thinking) =>
        (thinking == ThinkingMode.Default ? Template : Template.WithThinking(thinking == ThinkingMode.On)).OpensThinking;

    /// <summary>A whole conversation, its answer included.</summary>
    public IReadOnlyList<Message> Conversation(TrainingExample example) => Dressed(example.Messages);

    /// <summary>The conversation up to the answer.</summary>
    public IReadOnlyList<Message> Prompt(TrainingExample example) => Dressed(example.Prompt);

    /// <summary>Makes the prompt of an evaluation.</summary>
    /// <exception cref="ContextLengthException">It is longer than the longest sequence.</exception>
    /// <exception cref="Images.ImageException">A picture cannot be decoded.</exception>
    public Task<PreparedPrompt> EvaluationPromptAsync(TrainingExample example, ThinkingMode thinking,
        CancellationToken cancellationToken) =>
        Encoder.PromptAsync(Prompt(example), thinking,
            Evaluator.MaximumTilesOf(_settings.MaximumTiles ?? _mostTiles, example.Images.Count),
            cancellationToken: cancellationToken);

    /// <summary>Writes the template around the last question.</summary>
    private IReadOnlyList<Message> Dressed(IReadOnlyList<Message> messages)
    {
        if (_settings.Template == Place)
            return messages;
        int last = messages.Count - 1;
        while (last >= 0 && messages[last].Role != ChatRole.User)
            last--;
        if (last < 0)
            return messages;
        int at = _settings.Template.IndexOf(Place, StringComparison.Ordinal);
        string before = _settings.Template[..at], after = _settings.Template[(at + Place.Length)..];
        List<MessagePart> parts = [.. messages[last].Parts];
        int first = parts.FindIndex(part => part is TextPart), end = parts.FindLastIndex(part => part is TextPart);
        if (first < 0)
        {
            parts.Add(new TextPart(before + after));
        }
        else
        {
            parts[first] = new TextPart(before + ((TextPart)parts[first]).Text);
            parts[end] = new TextPart(((TextPart)parts[end]).Text + after);
        }

        return [.. messages.Select((message, index) => index == last ? message with { Parts = parts } : message)];
    }
}
