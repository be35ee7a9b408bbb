using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints.Gguf;

/// <summary>Each type of block beside the values that gguf-py reads.</summary>
public class GgufBlocksTests
{
    private const int Rows = 4, Inputs = 512;

    public static TheoryData<string> Types => [.. Enum.GetNames<GgufType>().Where(name => name != "F32")];

    [Theory]
    [MemberData(nameof(Types))]
    public void Values_are_those_of_gguf_py_to_the_bit(string name)
    {
        using SafetensorsFile golden = SafetensorsFile.Open(Golden.PathOf("quant/types.safetensors"));
        float[] expected = golden.ReadFloat32(name + ".values");
        WithTensor(Enum.Parse<GgufType>(name), golden.Bytes(name + ".raw").ToArray(), tensor =>
        {
            float[] values = new float[Rows * Inputs];
            tensor.ReadFloat32(0, values);
            Assert.Equal(expected.Select(BitConverter.SingleToUInt32Bits), values.Select(BitConverter.SingleToUInt32Bits));

            // Any rows alone, and as bfloat16.
            float[] row = new float[2 * Inputs];
            tensor.ReadFloat32(Inputs, row);
            Assert.Equal(expected.Skip(Inputs).Take(row.Length), row);
            BFloat16[] rounded = new BFloat16[Rows * Inputs];
            tensor.ReadBFloat16(0, rounded);
            Assert.Equal(expected.Select(value => (BFloat16)value), rounded);
            Assert.Equal(name, tensor.TypeName);
        });
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Codes_are_what_the_format_says(string name)
    {
        using SafetensorsFile golden = SafetensorsFile.Open(Golden.PathOf("quant/types.safetensors"));
        byte[] raw = golden.Bytes(name + ".raw").ToArray();
        WithTensor(Enum.Parse<GgufType>(name), raw, tensor =>
        {
            Assert.Equal(raw.Length, tensor.StoredBytes);
            if (tensor.Format is not { } format)
            {
                Assert.Contains(name, (string[])["F16", "BF16"]);
                return;
            }

            int blocks = format.BlocksOf(Inputs);
            sbyte[] codes = new sbyte[Rows * Inputs];
            float[] scales = new float[Rows * blocks], minimums = new float[format.HasMinimum ? Rows * blocks : 0];
            int supers = format.SuperScalesOf(Inputs), each = format.HasMinimum ? 2 : 1;
            float[] superScales = new float[Rows * supers];
            tensor.ReadCodes(0, Rows, codes, scales, minimums, superScales);
            int least = -format.CodeBias, most = least + (1 << format.CodeBits) - 1;
            Assert.All(codes, code => Assert.InRange(code, least, most));
            Assert.Equal(name.EndsWith("_K", StringComparison.Ordinal) || name == "IQ4_XS", supers > 0);
            for (int block = 0; block < scales.Length && supers > 0; block++)
            {
                int super = block * format.BlockSize / format.SuperBlockSize * each;
                AssertMultiple(scales[block], superScales[super]);
                if (format.HasMinimum)
                    AssertMultiple(minimums[block], superScales[super + 1]);
            }

            float[] expected = golden.ReadFloat32(name + ".values");
            for (int i = 0; i < expected.Length; i++)
            {
                int block = i / format.BlockSize;
                float value = scales[block] * codes[i];
                Assert.Equal(expected[i], format.HasMinimum ? value + minimums[block] : value);
            }
        });
    }

    private static void AssertMultiple(float number, float unit)
    {
        float count = unit == 0 ? 0 : number / unit;
        Assert.InRange(count, -128, 127);
        Assert.Equal(number, MathF.Round(count) * unit);
        Assert.Equal(unit, (float)(Half)unit);
    }

    [Theory]
    [InlineData("Q4_0", 0, "scale of output 2, block 1 is ")]
    [InlineData("Q8_0", 0, "scale of output 2, block 1 is ")]
    [InlineData("Q5_1", 2, "minimum of output 2, block 1 is ")]
    public void A_scale_that_is_no_number_is_refused_by_name(string name, int at, string message)
    {
        using SafetensorsFile golden = SafetensorsFile.Open(Golden.PathOf("quant/types.safetensors"));
        foreach (Half bad in (Half[])[Half.NaN, Half.PositiveInfinity, Half.NegativeInfinity])
        {
            byte[] raw = golden.Bytes(name + ".raw").ToArray();
            GgufType type = Enum.Parse<GgufType>(name);
            BitConverter.TryWriteBytes(
                raw.AsSpan((2 * Inputs / type.BlockSize() + 1) * type.BlockBytes() + at), bad);
            WithTensor(type, raw, tensor =>
            {
                var error = Assert.Throws<CheckpointException>(() => tensor.ReadFloat32(0, new float[Rows * Inputs]));
                Assert.Contains(message, error.Message, StringComparison.Ordinal);
                Assert.Equal("w", error.Tensor);
                tensor.ReadFloat32(0, new float[2 * Inputs]);
            });
        }
    }

    private static void WithTensor(GgufType type, byte[] raw, Action<CheckpointTensor> use)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("x.gguf", new GgufWriter().Text("general.architecture", "x")
            .Floats("first", [1, 2, 3], 3).Tensor("w", type, raw, Rows, Inputs).ToBytes());
        using GgufFile file = GgufFile.Open(path);
        use(GgufTensor.Of(file, file.Entries[1]));
    }
}
