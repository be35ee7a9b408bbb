using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Skylight.Chat;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests;

/// <summary>Holds the arrows of docs/design.md, and what every file of the repository promises.</summary>
public partial class ArchitectureTests
{
    private const int MostLines = 600, MostColumns = 130;

    /// <summary>The projects that are cut into rooms; the compiler holds the arrow between them.</summary>
    private static readonly string[] ProjectsOfRooms = ["Skylight.Runtime", "Skylight"];

    /// <summary>Which rooms a room may use. A new room adds its line here and in docs/design.md.</summary>
    private static readonly Dictionary<string, string[]> Arrows = new()
    {
        ["Tensors"] = [],
        ["Graphs"] = ["Tensors"],
        ["Execution"] = ["Graphs", "Tensors"],
        ["Cpu"] = ["Execution", "Graphs", "Tensors"],
        ["Ops"] = ["Cpu", "Execution", "Graphs", "Tensors"],
        ["Models"] = ["Checkpoints", "Ops", "Execution", "Graphs", "Tensors"],
        ["Checkpoints"] = ["Models", "Execution", "Graphs", "Tensors"],
        ["Constraints"] = ["Text"],
        ["Generation"] = ["Constraints", "Models", "Ops", "Execution", "Graphs", "Tensors"],
        ["Text"] = [],
        ["Images"] = [],
        ["Hub"] = ["Checkpoints"],
        ["Quantization"] = ["Chat", "Checkpoints", "Cpu", "Execution", "Generation", "Graphs", "Models", "Ops", "Tensors", "Text"],
        ["Chat"] = ["Checkpoints", "Constraints", "Cpu", "Execution", "Generation", "Hub", "Images", "Models", "Tensors", "Text"],
    };

    /// <summary>Which projects a project of src may use.</summary>
    private static readonly Dictionary<string, string[]> ProjectArrows = new()
    {
        ["Skylight.Runtime"] = [],
        ["Skylight"] = ["Skylight.Runtime"],
        ["Skylight.Training"] = ["Skylight"],
        ["Skylight.Cuda"] = ["Skylight.Runtime"],
        ["Skylight.Extensions.AI"] = ["Skylight"],
        ["Skylight.Server"] = ["Skylight"],
        ["Skylight.ImageSharp"] = ["Skylight"],
        ["Skylight.Cli"] = ["Skylight", "Skylight.Workloads", "Skylight.Training", "Skylight.Cuda",
            "Skylight.Extensions.AI", "Skylight.Server", "Skylight.ImageSharp"],
    };

    public static TheoryData<string, string> Rooms => [.. from project in ProjectsOfRooms
        from folder in Directory.EnumerateDirectories(Repository.PathOf("src", project))
        let room = Path.GetFileName(folder)
        where room is not ("bin" or "obj") && Repository.Files(folder, "*.cs").Any()
        select new TheoryDataRow<string, string>(project, room)];

    private static readonly Assembly[] AssembliesOfRooms = [typeof(Op).Assembly, typeof(ChatModel).Assembly];

    public static TheoryData<string> Projects =>
        [.. Repository.Files(Repository.PathOf("src"), "*.csproj").Select(file => Path.GetFileNameWithoutExtension(file))];

    [Theory]
    [MemberData(nameof(Rooms))]
    public void Room_uses_only_rooms_below_it(string project, string room)
    {
        Assert.True(Arrows.ContainsKey(room),
            $"src/{project}/{room} has no arrows: add it to the map in {nameof(ArchitectureTests)} and to docs/design.md.");
        string[] violations = [.. Repository.Files(Repository.PathOf("src", project, room), "*.cs")
            .SelectMany(file => RoomsUsedBy(File.ReadAllText(file), room).Except(Arrows[room])
                .Select(used => $"{Repository.Relative(file)} uses {used}"))];
        Assert.Empty(violations);
    }

    [Theory]
    [MemberData(nameof(Rooms))]
    public void Namespace_is_that_of_the_folder(string project, string room)
    {
        string root = Repository.PathOf("src", project);
        string[] violations = [.. Repository.Files(Path.Combine(root, room), "*.cs")
            .Where(file =>
                !File.ReadLines(file)
                    .Any(line =>
                        line == $"namespace Skylight.{Path.GetRelativePath(root, Path.GetDirectoryName(file)!).Replace(Path.DirectorySeparatorChar, '.')};"))
            .Select(Repository.Relative)];
        Assert.Empty(violations);
    }

    [Theory]
    [InlineData("using Skylight.Ops;\nnamespace Skylight.Cpu;", "Ops")]
    [InlineData("namespace Skylight.Cpu;\nclass X { int page = Ops.PagedAttention.PageSize; }", "Ops")]
    [InlineData("namespace Skylight.Cpu;\nclass X { object op = new global::Skylight.Ops.Add(); }", "Ops")]
    [InlineData("namespace Skylight.Cpu;\nusing static Skylight.Models.ImageTile;", "Models")]
    [InlineData("namespace Skylight.Cpu;\nclass X { object t = new Skylight.Training.ModelTrainer(); }", "Training")]
    public void A_use_is_found(string source, string used) => Assert.Equal([used], RoomsUsedBy(source, "Cpu"));

    [Theory]
    [InlineData("/// <summary>See <c>Skylight.Ops.Add</c>.</summary>\nnamespace Skylight.Cpu;")]
    [InlineData("namespace Skylight.Cpu;\nclass X { int Length => batch.Text.Length; } // Skylight.Ops")]
    public void A_comment_or_a_property_is_no_use(string source) => Assert.Empty(RoomsUsedBy(source, "Cpu"));

    [Theory]
    [MemberData(nameof(Projects))]
    public void Project_uses_only_projects_below_it(string project)
    {
        Assert.True(ProjectArrows.ContainsKey(project),
            $"src/{project} has no arrows: add it to the map in {nameof(ArchitectureTests)} and to docs/design.md.");
        IEnumerable<string> used = XDocument.Load(Repository.PathOf("src", project, project + ".csproj"))
            .Descendants("ProjectReference")
            .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value.Replace('\\', '/')));
        Assert.Empty(used.Except(ProjectArrows[project]));
    }

    /// <summary>What lies above lives on what is public; only tests and benchmarks look inside.</summary>
    [Theory]
    [MemberData(nameof(Projects))]
    public void Internals_are_open_to_tests_and_benchmarks_only(string project)
    {
        IEnumerable<string> friends = XDocument.Load(Repository.PathOf("src", project, project + ".csproj"))
            .Descendants("InternalsVisibleTo")
            .Select(friend => friend.Attribute("Include")!.Value);
        Assert.Empty(friends.Except(["Skylight.Tests", "Skylight.Bench", "Skylight.Fuzz"]));
    }

    /// <summary>What lies in the system's temporary folder is removed whatever happens, which one class sees to.</summary>
    [Fact]
    public void Only_one_class_of_the_tests_and_nothing_of_the_product_makes_temporary_folders()
    {
        string[] violations = [.. Repository.Files(Repository.PathOf("tests"), "*.cs")
            .Concat(Repository.Files(Repository.PathOf("src"), "*.cs"))
            .Where(file => Path.GetFileName(file) != $"{nameof(TemporaryFolder)}.cs"
                && MakesTemporaryFiles().IsMatch(File.ReadAllText(file))).Select(Repository.Relative)];
        Assert.Equal(["tests/Skylight.Tests/Cli/SkylightProgram.cs"], violations);
    }

    // The one other use is the working directory of a program.
    [GeneratedRegex(@"Directory\.CreateTempSubdirectory|Path\.GetTemp(FileName|Path)\(")]
    private static partial Regex MakesTemporaryFiles();

    /// <summary>
    /// A slim machine without OpenSSL runs everything but the server, HTTPS and with it downloads: hashes are of
    /// System.IO.Hashing, members that come twice are found by JsonMembers.
    /// </summary>
    [Fact]
    public void Only_the_server_and_downloads_need_OpenSSL()
    {
        string[] violations = [.. Repository.Files(Repository.PathOf("src"), "*.cs")
            .Where(file =>
                File.ReadLines(file).Any(line => line.Contains("System.Security.Cryptography", StringComparison.Ordinal)
                    || line.Contains("AllowDuplicateProperties =", StringComparison.Ordinal)))
            .Select(Repository.Relative)];
        Assert.Equal(["src/Skylight.Server/ModelService.cs", "src/Skylight/Hub/ContentCheck.cs"],
            violations.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Training_does_not_know_a_device()
    {
        string[] violations = [.. Repository.Files(Repository.PathOf("src", "Skylight.Training"), "*.cs")
            .Where(file => RoomsUsedBy(File.ReadAllText(file), "Training").Intersect(["Cpu", "Cuda"]).Any())
            .Select(Repository.Relative)];
        Assert.Empty(violations);
    }

    [Fact]
    public void No_source_file_is_too_long()
    {
        string[] violations = [.. Repository.Files(Repository.PathOf("src"), "*.cs")
            .Select(file => (Name: Repository.Relative(file), Lines: File.ReadLines(file).Count()))
            .Where(file => file.Lines > MostLines).Select(file => $"{file.Name}: {file.Lines} lines")];
        Assert.Empty(violations);
    }

    /// <summary>What is longer is a text: a message, a pattern, data; or a sample, which is as its page shows it.</summary>
    [Fact]
    public void Lines_are_read_without_scrolling()
    {
        string[] violations = [.. Repository.Files(Repository.PathOf("src"), "*.cs")
            .Concat(Repository.Files(Repository.PathOf("tests"), "*.cs"))
            .Where(file => !file.EndsWith("Sample.cs", StringComparison.Ordinal))
            .SelectMany(file => LongLines(File.ReadAllText(file)).Select(line => $"{Repository.Relative(file)}: {line}"))];
        Assert.Empty(violations);
    }

    /// <summary>Kernels as <c>kernels/.clang-format</c> has them, comments included.</summary>
    [Fact]
    public void Lines_of_kernels_have_120_columns()
    {
        string[] violations = [.. Repository.Files(Repository.PathOf("kernels"), "*.cu*").SelectMany(file => File
            .ReadLines(file).Where(line => line.Length > 120).Select(line => $"{Repository.Relative(file)}: {line.Trim()}"))];
        Assert.Empty(violations);
    }

    private static IEnumerable<string> LongLines(string text)
    {
        bool isText = false;
        foreach (string line in text.Split('\n'))
        {
            bool isLong = line.Length > MostColumns && !isText && !line.Contains('"', StringComparison.Ordinal);
            isText ^= line.Split("\"\"\"").Length % 2 == 0;
            if (isLong)
                yield return line.Trim();
        }
    }

    [Fact]
    public void Nothing_names_a_package_registry_or_a_place_on_one_machine()
    {
        string[] violations = [.. Repository.Files(Repository.Root).Where(IsText)
            .SelectMany(file => Places().Matches(File.ReadAllText(file))
                .Select(match => $"{Repository.Relative(file)}: {match.Value}"))];
        Assert.Empty(violations);
    }

    /// <summary>What goes around the guard meets exceptions that nobody documents.</summary>
    [Fact]
    public void Only_the_guard_enters_System_Text_Json() => Assert.Empty(ViolationsOf(RawJson(), "JsonText.cs"));

    /// <summary>
    /// What goes around it waits for pipes, reads devices without end, and puts U+FFFD where bytes are not UTF-8.
    /// </summary>
    [Fact]
    public void Only_the_bounded_reader_opens_files_that_others_made() =>
        Assert.Empty(ViolationsOf(RawFiles(), "BoundedFile.cs"));

    [Theory]
    [InlineData("using JsonDocument d = JsonDocument.Parse(bytes);")]
    [InlineData("JsonElement e = JsonElement.ParseValue(ref json);")]
    [InlineData("JsonObject o = (JsonObject)JsonNode.Parse(text)!;")]
    [InlineData("var x = JsonSerializer.Deserialize(text, Context.Default.X);")]
    [InlineData("var x = document.RootElement.Deserialize(Context.Default.X);")]
    [InlineData("var json = new Utf8JsonReader(bytes);")]
    public void A_way_around_the_guard_is_found(string source) => Assert.Matches(RawJson(), source);

    [Theory]
    [InlineData("byte[] b = File.ReadAllBytes(path);")]
    [InlineData("foreach (string line in System.IO.File.ReadLines(path))")]
    [InlineData("using var s = File.OpenRead(path);")]
    [InlineData("var s = new FileStream(path, FileMode.Open, FileAccess.Read);")]
    [InlineData("using var r = new StreamReader(path);")]
    public void A_way_around_the_bounded_reader_is_found(string source) => Assert.Matches(RawFiles(), source);

    [Theory]
    [InlineData(
        "using JsonDocument d = JsonText.Parse(bytes); JsonElement e = JsonText.ParseValue(ref json); X x = " +
        "JsonText.Deserialize(bytes, type);")]
    [InlineData(
        "var s = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite); using FileStream f = " +
        "BoundedFile.Open(path);")]
    public void The_guards_are_no_way_around_them(string source)
    {
        Assert.DoesNotMatch(RawJson(), source);
        Assert.DoesNotMatch(RawFiles(), source);
    }

    [Fact]
    public void Every_project_has_a_lock_file()
    {
        IEnumerable<string> unlocked = Repository.Files(Repository.Root, "*.csproj")
            .Where(file => !File.Exists(Path.Combine(Path.GetDirectoryName(file)!, "packages.lock.json")));
        Assert.Empty(unlocked.Select(Repository.Relative));
    }

    /// <summary>A workload gives an op its tests; a backward op gets them through the op that makes it.</summary>
    [Fact]
    public void Every_op_has_a_workload_or_belongs_to_the_gradient_of_one_that_has()
    {
        var reached = new HashSet<Type>(Catalog.All.Select(workload => workload.Op.GetType()));
        foreach (Workload workload in Catalog.All.Where(workload => workload.Tiny))
            reached.UnionWith(OpsOfGradient(workload));
        IEnumerable<Type> ops = typeof(Op).Assembly.GetTypes()
            .Where(type => type.IsSubclassOf(typeof(Op)) && !type.IsAbstract);
        Assert.Empty(ops.Except(reached).Select(type => type.Name));
    }

    private static HashSet<Type> OpsOfGradient(Workload workload)
    {
        var graph = new Graph();
        Value[] inputs = [
            .. workload.Inputs.Select((operand, index) => operand.Persistent || operand.Type.Storage == Storage.Weight
            ? graph.Persistent(new PersistentTensor($"persistent{index}", operand.Type))
            : graph.Input($"input{index}", operand.Type))];
        Value[] wanted = [.. inputs.Where((_, index) => workload.Inputs[index].Differentiable)];
        foreach (Value output in graph.AddNode(workload.Op, inputs)
            .Where(output => output.Type.DataType == DataType.Float32 && wanted.Length > 0))
        {
            try
            {
                Value loss = output.Shape.ElementCount == 1 ? output : graph.Add(new Sum(), output);
                graph.Differentiate(loss, wanted, graph.Add(new One()), new Add());
            }
            catch (GraphException)
            {
                // A by-product that says it has no gradient; what else it lacks, the gradient tests find.
            }
        }

        return [.. graph.Nodes.Select(node => node.Op.GetType())];
    }

    /// <summary>The rooms (and other projects) that a source file names: in full, or as <c>Room.Type</c>.</summary>
    private static IEnumerable<string> RoomsUsedBy(string source, string room)
    {
        string code = Comment().Replace(source, "");
        IEnumerable<string> full = FullName().Matches(code).Select(match => match.Groups[1].Value);
        IEnumerable<string> relative = RelativeName().Matches(code)
            .Where(match =>
                AssembliesOfRooms.Any(assembly =>
                    assembly.GetType($"Skylight.{match.Groups[1].Value}.{match.Groups[2].Value}") is not null))
            .Select(match => match.Groups[1].Value);
        return full.Concat(relative).Where(used => used != room).Distinct().Order();
    }

    private static string[] ViolationsOf(Regex forbidden, string guard) =>
        [.. Repository.Files(Repository.PathOf("src"), "*.cs")
        .Where(file => Path.GetFileName(file) != guard)
        .SelectMany(file => forbidden.Matches(Comment().Replace(File.ReadAllText(file), ""))
            .Select(match => $"{Repository.Relative(file)}: {match.Value}"))];

    private static bool IsText(string file) => Path.GetExtension(file) is
        ".cs" or ".csproj" or ".props" or ".targets" or ".sln" or ".json" or ".config" or ".md" or ".txt" or ".yml"
            or ".html" or ".cu" or ".cuh" or ".cpp" or ".h" or ""
        || Path.GetFileName(file).Equals("NuGet.Config", StringComparison.OrdinalIgnoreCase);

    [GeneratedRegex(@"//.*|/\*[\s\S]*?\*/")]
    private static partial Regex Comment();

    [GeneratedRegex(@"\bSkylight\.([A-Z]\w*)")]
    private static partial Regex FullName();

    [GeneratedRegex(@"(?<![\w.])([A-Z]\w*)\.([A-Z]\w*)")]
    private static partial Regex RelativeName();

    [GeneratedRegex(
        @"\bJson(Document|Element|Node|Object|Array|Value)\.(Try)?Parse\w*|(?<!\bJsonText)\.Deserialize\w*|\bnew Utf8JsonReader\b|\bReadFromJson\w*")]
    private static partial Regex RawJson();

    [GeneratedRegex(
        @"\bFile\.(ReadAll\w*|ReadLines\w*|OpenRead|OpenText)\b|\bnew FileStream\([^;]*\bFileMode\.Open\b|\bnew StreamReader\((?!assembly\.|\s*Console\.)")]
    private static partial Regex RawFiles();

    // The brackets keep this line from finding itself.
    [GeneratedRegex(
        @"nuget[.]org|pkgs[.]dev[.]azure|pypi[.]org|registry[.]npmjs|(?<![\w./])/(?:[w]ork|[h]ome|[r]oot|[U]sers)/\w+",
        RegexOptions.IgnoreCase)]
    private static partial Regex Places();
}
