using System.Globalization;
using System.Text;
using Skylight.Cli.Demo.Digits;
using Skylight.Images;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Cli.Demo;

/// <summary>
/// <c>skylight demo --write-data</c>: the demo's examples as files, as anybody would bring them: JSONL with messages or
/// with questions and answers, and pictures as PNG.
/// </summary>
internal sealed class DemoData
{
    /// <summary>Where the pictures lie, from the folder of the files.</summary>
    public const string PictureFolder = "pictures";

    // Each file has a stream of its own: a file of another length changes no other.
    private const ulong FirstStream = 0xDA7A_0000;

    private readonly DigitTask _task;
    private readonly DemoDataSizes _sizes;
    private readonly ulong _seed;
    private readonly string _folder;
    private readonly Dictionary<string, string> _pictures = new(StringComparer.Ordinal);

    private DemoData(DigitDataset digits, ulong seed, DemoDataSizes sizes, string folder)
    {
        _task = new DigitTask(digits);
        (_sizes, _seed, _folder) = (sizes, seed, folder);
        Directory.CreateDirectory(Path.Combine(folder, PictureFolder));
    }

    /// <summary>Writes all files into a folder that appears whole or not at all.</summary>
    /// <param name="directory">Must be empty or not exist.</param>
    /// <param name="digits">What the pictures are made of; the test is of held-out digits, all else of training
    /// digits.</param>
    /// <param name="seed">What is trained on follows from it. Validation and test do not, so that runs are measured on
    /// the same problems.</param>
    /// <param name="sizes">Rows of each file.</param>
    /// <param name="cancellationToken">Stops between two rows; nothing stays.</param>
    /// <returns>How many pictures there are.</returns>
    public static int Write(string directory, DigitDataset digits, ulong seed, DemoDataSizes sizes,
        CancellationToken cancellationToken)
    {
        int pictures = 0;
        NewFolder.Write(directory, folder => pictures = new DemoData(digits, seed, sizes, folder).Write(cancellationToken));
        return pictures;
    }

    private int Write(CancellationToken cancellationToken)
    {
        WriteRows("captions", _sizes.Captions, _seed, 0, cancellationToken, (ref random, row) =>
        {
            DigitExample caption = _task.Caption(ref random, DigitSplit.Training);
            row.Conversation(caption.Prompt, caption.Answer, Picture(caption));
        });
        WriteRows("arithmetic", _sizes.Arithmetic, _seed, 1, cancellationToken, (ref random, row) =>
        {
            DigitExample sum = DigitTask.Arithmetic(ref random);
            row.Conversation(sum.Prompt, Thought(sum), picture: null);
        });
        WriteRows("cold-start", _sizes.ColdStart, _seed, 2, cancellationToken, (ref random, row) =>
        {
            DigitExample trace = _task.Problem(ref random, DigitSplit.Training);
            row.Conversation(trace.Prompt, Thought(trace), Picture(trace));
        });
        WriteProblems("problems", _sizes.Problems, DigitSplit.Training, _seed, 3, cancellationToken);
        WriteProblems("validation", _sizes.Validation, DigitSplit.Training, seed: 0, 4, cancellationToken);
        WriteProblems("test", _sizes.Test, DigitSplit.HeldOut, seed: 0, 5, cancellationToken);
        return _pictures.Count;
    }

    private void WriteProblems(string name, int count, DigitSplit split, ulong seed, ulong stream,
        CancellationToken cancellationToken) =>
        WriteRows(name, count, seed, stream, cancellationToken, (ref random, row) =>
        {
            DigitExample problem = _task.Problem(ref random, split);
            row.Problem(problem.Prompt, problem.Answer, Picture(problem),
                problem.Question!.Value.ToString().ToLowerInvariant());
        });

    private void WriteRows(string name, int count, ulong seed, ulong stream, CancellationToken cancellationToken,
        RowMaker make)
    {
        var random = new CounterRandom(seed, FirstStream + stream);
        using var file = new FileStream(Path.Combine(_folder, $"{name}.jsonl"), FileMode.CreateNew, FileAccess.Write);
        for (int index = 1; index <= count; index++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            using var row = new DemoDataRow(file, string.Create(CultureInfo.InvariantCulture, $"{name}-{index}"));
            make(ref random, row);
        }
    }

    private delegate void RowMaker(ref CounterRandom random, DemoDataRow row);

    private static string Thought(DigitExample example) => $"{SpecialTokens.ThinkStart}\n{example.Completion}";

    /// <summary>The file of a picture; rows with the same picture share it.</summary>
    private string Picture(DigitExample example)
    {
        byte[] pixels = example.Picture!.Pixels;
        string content = Encoding.Latin1.GetString(pixels);
        if (_pictures.TryGetValue(content, out string? known))
            return known;
        string path = string.Create(CultureInfo.InvariantCulture, $"{PictureFolder}/{_pictures.Count + 1:D5}.png");
        File.WriteAllBytes(Path.Combine(_folder, path),
            PngEncoder.EncodeGray(pixels, DigitPicture.Width, DigitPicture.Height));
        _pictures.Add(content, path);
        return path;
    }
}
