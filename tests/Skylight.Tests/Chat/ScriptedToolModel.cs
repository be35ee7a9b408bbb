using Skylight.Chat;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tests.Extensions;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Chat;

/// <summary>
/// A model whose weights are written by hand: where its answer begins it calls a tool, of its own accord, and once what a
/// tool gave is in the conversation it answers "Done" and ends. Attention averages over the conversation; a channel of
/// the average says whether there is a result in it.
/// </summary>
internal static class ScriptedToolModel
{
    /// <summary>What it says when it has read a result.</summary>
    public const string Answer = "Done";

    private const int LineBreak = 0, Result = 1, HasResult = 2, Said = 3, Closed = 4, Any = 5;

    public static ChatModel Create(ChatModelOptions? options = null)
    {
        var model = new VisionLanguageModel(ExtensionModel.Configuration, new CpuDevice());
        model.Initialize(5);
        foreach (PersistentTensor parameter in model.Parameters.All)
        {
            if (!parameter.Name.EndsWith("norm.weight", StringComparison.Ordinal))
                PersistentTensors.Write(model.Device, parameter, new float[parameter.Type.Shape.ElementCount]);
        }

        LanguageConfiguration language = ExtensionModel.Configuration.Language;
        int hidden = language.HiddenSize, vocabulary = language.VocabularySize;
        int opens = Token(SpecialTokens.ToolCallStart), closes = Token(SpecialTokens.ToolCallEnd), lineBreak = Token("\n"),
            done = Token(Answer), end = TokenizerFixture.Real.StopTokenIds()[0];
        // Of the tag of a result, a token that the prompt has nowhere else.
        int result = Token("_response");
        float[] embedding = new float[vocabulary * hidden], head = new float[vocabulary * hidden];
        for (int token = 0; token < vocabulary; token++)
            embedding[token * hidden + Any] = 0.1f;
        embedding[lineBreak * hidden + LineBreak] = 1;
        embedding[result * hidden + Result] = 1;
        embedding[done * hidden + Said] = 1;
        embedding[closes * hidden + Closed] = 1;
        head[opens * hidden + LineBreak] = 10;
        head[closes * hidden + LineBreak] = 5;
        head[done * hidden + HasResult] = 1;
        head[end * hidden + Said] = 5000;
        head[end * hidden + Closed] = 5000;
        // Where nothing else is meant JSON is closed as soon as it may be.
        head[Token("}") * hidden + Any] = 1;
        head[Token("\"") * hidden + Any] = 0.9f;
        Write("language.embedding.weight", embedding);
        Write("language.head.weight", head);
        float[] values = new float[(language.QuerySize + 2 * language.KeyValueSize) * hidden];
        values[(language.QuerySize + language.KeyValueSize) * hidden + Result] = 1;
        Write("language.layers.0.attention.qkv.weight", values);
        float[] output = new float[hidden * language.QuerySize];
        output[HasResult * language.QuerySize] = 2000;
        Write("language.layers.0.attention.output.weight", output);
        return new ChatModel("scripted", model, TokenizerFixture.Real, options ?? new ChatModelOptions { CacheTokens = 8192 });

        void Write(string name, float[] content) =>
            PersistentTensors.Write(model.Device, model.Parameters[name], content);
    }

    private static int Token(string text) => ((ITokenizer)TokenizerFixture.Real).TokenId(text)
        ?? Assert.Single(TokenizerFixture.Real.Encode(text));
}
