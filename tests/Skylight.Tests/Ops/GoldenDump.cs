using Skylight.Checkpoints;

namespace Skylight.Tests.Ops;

/// <summary>A reference dump beside the checkout; tests that need it are skipped where there is none.</summary>
internal sealed class GoldenDump : IDisposable
{
    private readonly SafetensorsFile _file;

    private GoldenDump(SafetensorsFile file) => _file = file;

    public static GoldenDump Open(string style)
    {
        string relative = Path.Combine("shared", "golden", style, "golden.safetensors");
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (!File.Exists(Path.Combine(folder.FullName, "Runtime.sln")))
                continue;
            string path = Path.Combine(folder.Parent!.FullName, relative);
            if (File.Exists(path))
                return new GoldenDump(SafetensorsFile.Open(path));
            break;
        }

        Assert.Skip($"needs ../{relative.Replace('\\', '/')}");
        throw new InvalidOperationException();
    }

    public float[] Floats(string name) => _file.ReadFloat32(name);

    public int[] Integers(string name)
    {
        var values = new int[_file[name].ElementCount];
        _file.ReadInt32(name, values);
        return values;
    }

    public void Dispose() => _file.Dispose();
}
