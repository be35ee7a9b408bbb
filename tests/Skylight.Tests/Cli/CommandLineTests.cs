using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Cli;
using Skylight.Cli.Demo.Digits;
using Skylight.Cpu;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cli;

/// <summary>The program as a user starts it: what goes wrong ends in one line that says what to do.</summary>
public sealed class CommandLineTests
{
    [Fact]
    public async Task An_output_folder_that_cannot_be_written_is_refused_before_anything_runs()
    {
        using var folder = new TemporaryFolder();
        string file = folder.Write("file", "not a folder");
        await Fails($"demo --out {file}/below", "The output folder", "cannot be written", "--out");
    }

    [Fact]
    public async Task A_corrupt_digit_file_is_named()
    {
        using var folder = new TemporaryFolder();
        CopyDigits(folder);
        string images = Directory.GetFiles(folder.Path, "train-images*").Single();
        File.WriteAllBytes(images, File.ReadAllBytes(images)[..1000]);
        await Fails($"demo --digits {folder.Path} --out {folder["out"]}", Path.GetFileName(images));
        await Fails($"demo --digits {folder["absent"]} --out {folder["out"]}", "absent", "--digits");
        Assert.False(Directory.Exists(folder["out"]));
    }

    [Fact]
    public async Task A_run_that_is_not_there_or_damaged_cannot_be_resumed()
    {
        using var folder = new TemporaryFolder();
        await Fails($"demo --resume {folder["absent"]}", "absent", "demo.json");
        folder.Write("other/demo.json", """["not", "a", "demo"]""");
        await Fails($"demo --resume {folder["other"]}", "demo.json", "not the state of a demo");
        folder.Write("late/demo.json",
            """{"Tests": [{"Phase": "grpo", "Correct": 1, "Count": 2, "Seconds": 1, "Examples": []}]}""");
        await Fails($"demo --resume {folder["late"]}", "demo.json", "'grpo', which does not come there");
        folder.Write("quick/demo.json", """{"Seed": 1, "Preset": "Quick"}""");
        await Refuses($"demo --resume {folder["quick"]} --seed 5", "seed 1, not 5");
        await Refuses($"demo --resume {folder["quick"]} --tiny", "is a quick run", "--tiny");
        await Refuses($"demo --resume {folder["quick"]} --digits {folder["absent"]}", "has the digits of the program",
            "--digits");
        await Refuses($"demo --resume {folder["quick"]} --out {folder["new"]}", "stays in its folder", "--out");
        folder.Write("broken/demo.json", """{"Seed": 1, "Preset": "Tiny"}""");
        TrainingCheckpoint.Save(folder["broken/runs/pretraining/state"], [], """{"Step": "x"}""");
        (int code, _, string error) = await SkylightProgram.RunAsync(["demo", "--resume", folder["broken"]]);
        Assert.Equal(1, code);
        Assert.StartsWith("skylight: ", error, StringComparison.Ordinal);
        Assert.Contains("is not the state of a run", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_that_holds_a_demo_or_something_of_its_names_is_not_begun_in()
    {
        using var folder = new TemporaryFolder();
        folder.Write("done/demo.json", "{}");
        await Fails($"demo --out {folder["done"]}", "There is a demo", "--resume", "--out");
        folder.Write("mine/model/notes.txt", "x");
        await Fails($"demo --out {folder["mine"]}", "'model'", "--out");
        Assert.Equal(["model"], Directory.EnumerateFileSystemEntries(folder["mine"]).Select(path => Path.GetFileName(path)));
    }

    [Fact]
    public async Task A_device_or_checkpoint_that_does_not_exist_is_named()
    {
        using var folder = new TemporaryFolder();
        await Refuses($"demo --device tpu --out {folder["out"]}", "no device 'tpu'", "cpu");
        await Fails($"verify {folder["absent"]} {folder["golden.safetensors"]}", "golden.safetensors");
        string golden = Golden.PathOf("vit300m-style/golden.safetensors");
        await Fails($"verify {folder["absent"]} {golden}", "absent", "config.json");
        await Fails($"verify {Golden.PathOf("vit300m-style/hf")} {folder.Write("golden.safetensors", "short")}",
            "golden.safetensors");
        await Fails($"verify {Golden.PathOf("vit300m-style/hf")} {Golden.PathOf("vit6b-style/golden.safetensors")}", "");
    }

    [Fact]
    public async Task Verify_succeeds_only_if_everything_holds()
    {
        string golden = Golden.PathOf("vit300m-style/golden.safetensors");
        (int code, string output, _) = await SkylightProgram.RunAsync(
            ["verify", Golden.PathOf("vit300m-style/original"), golden]);
        Assert.Equal(0, code);
        Assert.Contains("sft.grad", output, StringComparison.Ordinal);
        Assert.DoesNotContain("FAILS", output, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Verify_recomputes_a_file_of_losses()
    {
        string losses = Golden.PathOf("losses/losses.json");
        (int code, string output, _) = await SkylightProgram.RunAsync(["verify", "--losses", losses]);
        Assert.Equal(0, code);
        Assert.All(["dapo_kl_k3", "gspo_token", "skipped, on preference pairs: dpo, bco, mpo"],
            part => Assert.Contains(part, output, StringComparison.Ordinal));
        Assert.DoesNotContain("FAILS", output, StringComparison.Ordinal);

        using var folder = new TemporaryFolder();
        string wrong = folder.Write("wrong.json",
            File.ReadAllText(losses).Replace("0.04765741564314504", "0.04766", StringComparison.Ordinal));
        (code, output, _) = await SkylightProgram.RunAsync(["verify", "--losses", wrong]);
        Assert.Equal(1, code);
        Assert.Contains("FAILS", output, StringComparison.Ordinal);

        await Fails($"verify --losses {folder["absent.json"]}", "absent.json", "no such file");
        await Refuses("verify", "Give a checkpoint and a golden dump, or --losses");
        await Refuses($"verify {folder.Path}", "Give a checkpoint and a golden dump");
        await Refuses($"verify {folder.Path} {losses} --losses {losses}", "--losses takes neither");
        await Refuses($"verify --losses {losses} --no-fusion", "--no-fusion");
    }

    [Fact]
    public async Task Devices_are_listed_or_the_reason_why_not()
    {
        (int code, string output, _) = await SkylightProgram.RunAsync(["devices"]);
        Assert.Equal(0, code);
        Assert.StartsWith("cpu ", output, StringComparison.Ordinal);
        // A line each, and one that says where there is more.
        Assert.All(output.Trim().Split('\n'),
            line => Assert.Matches(
                "^(cpu|cuda|cuda:[0-9]+|simt) +[^ ]|^Libraries, and what was tried: skylight devices --verbose$", line));
        Assert.DoesNotContain("Tried", output, StringComparison.Ordinal);
        (code, string verbose, _) = await SkylightProgram.RunAsync(["devices", "--verbose"]);
        Assert.Equal(0, code);
        Assert.All(["driver: ", "NVRTC: ", "cuBLAS: "],
            library => Assert.Contains($"\n         {library}", verbose, StringComparison.Ordinal));
        Assert.DoesNotContain("--verbose", verbose, StringComparison.Ordinal);
        (code, output, _) = await SkylightProgram.RunAsync(["devices", "--json"]);
        Assert.Equal(0, code);
        using JsonDocument list = JsonDocument.Parse(output);
        JsonElement cpu = list.RootElement.GetProperty("cpu");
        Assert.Equal("cpu", cpu.GetProperty("name").GetString());
        Assert.Equal(CpuVectors.Bits, cpu.GetProperty("vectorBits").GetInt32());
        Assert.Equal(CpuVectors.MachineBits, cpu.GetProperty("machineVectorBits").GetInt32());
        foreach (string name in new[] { "cuda", "simt" })
        {
            JsonElement installation = list.RootElement.GetProperty(name);
            bool usable = installation.GetProperty("problem").ValueKind == JsonValueKind.Null;
            Assert.True(usable ? installation.GetProperty("cards").GetArrayLength() > 0
                : installation.GetProperty("problem").GetString()!.Length > 20, output);
        }
    }

    [Fact]
    public async Task The_program_is_called_skylight_and_says_its_version()
    {
        foreach (string[] path in (string[][])[[], ["chat"], ["kernels", "check"]])
        {
            (int status, string help, _) = await SkylightProgram.RunAsync([.. path, "--help"]);
            Assert.Equal(0, status);
            Assert.Contains($"Usage:\n  {string.Join(' ', (string[])["skylight", .. path])} ",
                help.ReplaceLineEndings("\n"), StringComparison.Ordinal);
            Assert.DoesNotContain("Skylight.Cli", help, StringComparison.Ordinal);
        }

        (int code, string version, _) = await SkylightProgram.RunAsync(["--version"]);
        Assert.Equal(0, code);
        // As MinVer makes it: never the 1.0.0 of a project without a version.
        Assert.Matches(@"^(?!1\.0\.0\s)\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9a-f]{40})?\s$", version);
        await Refuses("--version chat", "cannot be combined");
    }

    [Fact]
    public async Task A_command_line_that_makes_no_sense_says_where_help_is()
    {
        await Refuses("demo --sead 3", "'--sead'", "'skylight demo --help'");
        await Refuses("generate model", "'--prompt' is required", "'skylight generate --help'");
        await Refuses("generate model --prompt hi --think maybe", "'maybe'", "'on' 'off'");
        await Refuses("generat model", "'generat'", "'skylight --help'");
        await Refuses("kernels chek", "'chek'", "'skylight kernels --help'");
    }

    /// <summary>What was tried and did not work.</summary>
    private static Task Fails(string arguments, params string[] expected) =>
        Ends(ErrorReporting.Failed, arguments, expected);

    /// <summary>What cannot be meant.</summary>
    private static Task Refuses(string arguments, params string[] expected) =>
        Ends(ErrorReporting.Usage, arguments, expected);

    private static async Task Ends(int expectedCode, string arguments, string[] expected)
    {
        (int code, string output, string error) = await SkylightProgram.RunAsync(arguments.Split(' '));
        Assert.True(code == expectedCode, $"{arguments}: {code}\n{error}");
        Assert.Equal("", output);
        string line = error.Trim();
        Assert.StartsWith("skylight: ", line, StringComparison.Ordinal);
        Assert.DoesNotContain("\n", line, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", line, StringComparison.Ordinal);
        Assert.All(expected, part => Assert.Contains(part, line, StringComparison.Ordinal));
    }

    private static void CopyDigits(TemporaryFolder folder)
    {
        foreach (string file in Directory.GetFiles(DigitDataset.FindBundled()!, "*ubyte*"))
            File.Copy(file, folder[Path.GetFileName(file)]);
    }
}
