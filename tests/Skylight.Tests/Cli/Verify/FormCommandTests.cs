namespace Skylight.Tests.Cli.Verify;

/// <summary>What the command line says of quantised forms.</summary>
[Collection(nameof(ConsoleOutput))]
public sealed class FormCommandTests
{
    private static string Dump => Golden.PathOf("quant/golden.safetensors");

    [Fact]
    public async Task The_command_line_says_which_forms_there_are()
    {
        (int code, string output, _) = await ConsoleRun.RunAsync("verify", Golden.PathOf("quant/awq"), Dump, "--form", "awq");
        Assert.Equal(0, code);
        Assert.Contains("logits", output, StringComparison.Ordinal);
        await ConsoleRun.FailsAsync(["verify", Golden.PathOf("quant/awq"), Dump], "give --form", "awq, fp8, gguf.Q4_0");
        await ConsoleRun.FailsAsync(["verify", Golden.PathOf("quant/awq"), Dump, "--form", "exl2"], "'exl2'", "awq", "gguf.Q4_K_M");
        await ConsoleRun.FailsAsync(["verify", Golden.PathOf("quant/awq"), Golden.PathOf("vit300m-style/golden.safetensors"),
            "--form", "awq"], "no dump of quantised forms");
        (code, _, string error) = await ConsoleRun.RunAsync("verify", Golden.PathOf("quant/awq"), Dump, "--base",
            Golden.PathOf("quant/float"));
        Assert.Equal(2, code);
        Assert.Contains("--base goes with --form", error, StringComparison.Ordinal);
        (code, _, error) = await ConsoleRun.RunAsync("verify", Golden.PathOf("quant/awq"), Dump, "--form", "awq", "--base",
            Golden.PathOf("quant/float"));
        Assert.Equal(2, code);
        Assert.Contains("is not GGUF", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_GGUF_file_is_described_and_verified_with_the_encoder_of_a_folder()
    {
        string model = Golden.PathOf("quant/model-Q4_K_M.gguf"), folder = Golden.PathOf("quant/float");
        (int code, string output, _) = await ConsoleRun.RunAsync("verify", model, Dump, "--form", "gguf.Q4_K_M", "--base",
            folder);
        Assert.Equal(0, code);
        (code, output, _) = await ConsoleRun.RunAsync("info", model, "--base", folder, "--context", "64");
        Assert.Equal(0, code);
        Assert.Contains("of float32, Q6_K, Q4_K, Gguf naming", output, StringComparison.Ordinal);
        Assert.Contains("on disk: Q4_K, Q6_K", output, StringComparison.Ordinal);
        await ConsoleRun.FailsAsync(["info", model], "no mmproj-*.gguf lies beside it");
        // A toy's tokenizer, which spells no bytes.
        await ConsoleRun.FailsAsync(["generate", model, "--prompt", "x", "--base", folder],
            "needs the token 't', which the vocabulary does not have");
    }

    [Fact]
    public async Task Info_says_the_form_and_what_each_module_takes()
    {
        (int code, string output, _) = await ConsoleRun.RunAsync("info", Golden.PathOf("quant/awq"), "--context", "64");
        Assert.Equal(0, code);
        // 14 weights of 4 bits with a float16 scale and 4 bits of zero a group of 128, and what is not quantised.
        Assert.Contains("0.63 MB in memory, 0.62 MB on disk: AWQ 4-bit, group 128", output, StringComparison.Ordinal);
        Assert.Contains("of float32, AWQ 4-bit, group 128, HuggingFace naming", output, StringComparison.Ordinal);
        (code, output, _) = await ConsoleRun.RunAsync("info", Golden.PathOf("quant/fp8"), "--context", "64");
        Assert.Equal(0, code);
        Assert.Contains("on disk: FP8 E4M3, a scale an output", output, StringComparison.Ordinal);
        Assert.Contains("asks for quantised activations; only weights are", output, StringComparison.Ordinal);
    }
}
