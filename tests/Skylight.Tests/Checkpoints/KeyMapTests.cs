using Skylight.Checkpoints;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints;

public class KeyMapTests
{
    [Theory]
    [InlineData("vit300m-style")]
    [InlineData("vit6b-style")]
    [InlineData("qwen3-style")]
    public void BothGoldenNamingsHoldTheSameParametersBitForBit(string style)
    {
        string huggingFace = Golden.PathOf($"{style}/hf"), original = Golden.PathOf($"{style}/original");
        using CheckpointReader left = CheckpointReader.Open(huggingFace), right = CheckpointReader.Open(original);
        Assert.Equal(CheckpointNaming.HuggingFace, left.DetectNaming());
        Assert.Equal(CheckpointNaming.Original, right.DetectNaming());
        KeyMap leftMap = KeyMap.For(ModelConfiguration.Load(huggingFace), left.DetectNaming()),
            rightMap = KeyMap.For(ModelConfiguration.Load(original), right.DetectNaming());
        left.Verify(leftMap);
        right.Verify(rightMap);

        Assert.Equal(leftMap.Entries.Select(entry => (entry.ParameterName, entry.Shape)),
            rightMap.Entries.Select(entry => (entry.ParameterName, entry.Shape)));
        foreach (KeyMapEntry entry in leftMap.Entries)
        {
            float[] first = new float[entry.Shape.ElementCount], second = new float[entry.Shape.ElementCount];
            left.ReadParameter(entry, first);
            right.ReadParameter(rightMap[entry.ParameterName], second);
            Assert.True(first.AsSpan().SequenceEqual(second), entry.ParameterName);
            Assert.Contains(first, value => value != 0);
        }
    }

    [Theory]
    [InlineData("vit300m-style")]
    [InlineData("vit6b-style")]
    [InlineData("qwen3-style")]
    public void EveryGoldenGradientIsSomePieceOfAParameter(string style)
    {
        using SafetensorsFile golden = SafetensorsFile.Open(Golden.PathOf($"{style}/golden.safetensors"));
        KeyMap map = KeyMap.For(ModelConfiguration.Load(Golden.PathOf($"{style}/hf")), CheckpointNaming.HuggingFace);
        SafetensorsEntry[] gradients = [
            .. golden.Entries.Where(entry => entry.Name.StartsWith("sft.grad.", StringComparison.Ordinal))];
        Assert.NotEmpty(gradients);
        foreach (SafetensorsEntry gradient in gradients)
        {
            Assert.True(map.TryFindTensor(gradient.Name["sft.grad.".Length..], out _, out KeyMapPiece? piece),
                gradient.Name);
            Assert.Equal(piece.OnDiskShape, gradient.Shape);
        }
    }

    [Theory]
    [InlineData(false, NormKind.LayerNorm, LanguageModelKind.Qwen2)]
    [InlineData(true, NormKind.RmsNorm, LanguageModelKind.Qwen2)]
    [InlineData(false, NormKind.RmsNorm, LanguageModelKind.Qwen3)]
    [InlineData(true, NormKind.LayerNorm, LanguageModelKind.Qwen3)]
    public void PiecesCoverEveryParameterOnceInEveryNaming(bool tied, NormKind norm, LanguageModelKind kind)
    {
        foreach (CheckpointNaming naming in Enum.GetValues<CheckpointNaming>())
        {
            KeyMap map = KeyMap.For(CheckpointFixture.Small(tied, norm, kind), naming);
            var tensors = new HashSet<string>();
            foreach (KeyMapEntry entry in map.Entries)
            {
                int row = 0;
                foreach (KeyMapPiece piece in entry.Pieces)
                {
                    Assert.Equal(row, piece.RowOffset);
                    Assert.Equal((long)piece.RowCount * piece.RowWidth, piece.OnDiskShape.ElementCount);
                    Assert.True(tensors.Add(piece.TensorName), piece.TensorName);
                    Assert.DoesNotContain(piece.TensorName, character => character is '#' or '{' or '}');
                    Assert.True(map.TryFindTensor(piece.TensorName, out KeyMapEntry? found, out _));
                    Assert.Same(entry, found);
                    row += piece.RowCount;
                }

                Assert.Equal(entry.Shape.ElementCount, (long)row * entry.Pieces[0].RowWidth);
            }

            Assert.Equal(naming, KeyMap.DetectNaming("x", tensors));
            Assert.Equal(!tied, map.Entries.Any(entry => entry.ParameterName == "language.head.weight"));
        }
    }

    [Fact]
    public void ParameterIsTakenApartIntoTheTensorsOthersKnow()
    {
        KeyMapEntry entry = KeyMap.For(CheckpointFixture.Small(),
            CheckpointNaming.HuggingFaceNested)["language.layers.2.attention.qkv.weight"];
        Assert.Equal(new Shape(24 + 12 + 12, 24), entry.Shape);
        Assert.Equal(
            [("model.language_model.layers.2.self_attn.q_proj.weight", new Shape(24, 24)),
                ("model.language_model.layers.2.self_attn.k_proj.weight", new Shape(12, 24)),
                ("model.language_model.layers.2.self_attn.v_proj.weight", new Shape(12, 24))],
            entry.Pieces.Select(piece => (piece.TensorName, piece.OnDiskShape)));
        float[] gradient = [.. Enumerable.Range(0, 48 * 24).Select(i => (float)i)];
        Assert.Equal(24 * 24, entry.Pieces[1].Of<float>(gradient)[0]);
        Assert.Equal(12 * 24, entry.Pieces[1].Of<float>(gradient).Length);
        Assert.Equal(36 * 24, entry.Pieces[2].Of<float>(gradient.AsSpan())[0]);
    }

    [Fact]
    public void NamesFollowThePublishedForms()
    {
        AssertName("vision.class_embedding", "vision_model.embeddings.class_embedding",
            "vision_tower.embeddings.cls_token", "model.vision_tower.embeddings.cls_token", "v.class_embd");
        AssertName("connector.linear2.bias", "mlp1.3.bias", "multi_modal_projector.linear_2.bias",
            "model.multi_modal_projector.linear_2.bias", "mm.model.mlp.3.bias");
        AssertName("language.norm.weight", "language_model.model.norm.weight", "language_model.model.norm.weight",
            "model.language_model.norm.weight", "output_norm.weight");
        AssertName("language.head.weight", "language_model.lm_head.weight", "language_model.lm_head.weight",
            "lm_head.weight", "output.weight");

        static void AssertName(string ours, params string[] onDisk) =>
            Assert.Equal(onDisk, Enum.GetValues<CheckpointNaming>()
                .Select(naming => KeyMap.For(CheckpointFixture.Small(), naming)[ours].Pieces.Single().TensorName));
    }

    [Fact]
    public void EntriesRunInTheOrderOfTheModel()
    {
        string[] names = [.. KeyMap.For(CheckpointFixture.Small(), CheckpointNaming.Original)
            .Entries.Select(entry => entry.ParameterName)];
        Assert.Equal("vision.class_embedding", names[0]);
        Assert.Equal("language.head.weight", names[^1]);
        Assert.True(Array.IndexOf(names, "vision.layers.0.scale2") < Array.IndexOf(names, "vision.layers.1.norm1.weight"));
        Assert.True(Array.IndexOf(names, "vision.layers.1.scale2") < Array.IndexOf(names, "connector.norm.weight"));
        Assert.True(
            Array.IndexOf(names, "language.layers.2.mlp.down.weight") < Array.IndexOf(names, "language.norm.weight"));
    }

    [Fact]
    public void UnknownNamingIsReportedWithExamples()
    {
        CheckpointException error = Assert.Throws<CheckpointException>(
            () => KeyMap.DetectNaming("folder", ["transformer.h.0.weight"]));
        Assert.Contains("'vision_model.'", error.Message);
        Assert.Contains("transformer.h.0.weight", error.Message);
        Assert.Contains("no tensor at all",
            Assert.Throws<CheckpointException>(() => KeyMap.DetectNaming("folder", [])).Message);
    }
}
