using System.Runtime.InteropServices;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Silk.NET.Core.Contexts;
using Skylight.Chat;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Extensions.AI;
using Skylight.Graphs;
using Skylight.Images;
using Skylight.ImageSharp;
using Skylight.Ops;
using Skylight.Server;
using Skylight.Tensors;
using Skylight.Training.Data;
using Skylight.Training.Runs;

// PackagesHost CHECKPOINT DATA PARQUET OUTPUT PICTURE [EMULATOR]: a host of every package, in one program. It answers
// through IChatClient, over HTTP, reads a row of PARQUET, trains a step on rows of DATA, decodes PICTURE, and computes on
// a CUDA device whose library it finds itself.
// .ci/packages builds it from the packages alone: with a compiler at run time, trimmed, and ahead of time.
(string checkpoint, string data, string parquet, string output) = (args[0], args[1], args[2], args[3]);

WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
builder.Logging.ClearProviders();
builder.Services.AddSkylight(options => options.ModelDirectory = checkpoint);
builder.Services.AddSkylightChatClient();
await using WebApplication app = builder.Build();
app.Urls.Add("http://127.0.0.1:0");
ChatModel model = await app.Services.GetRequiredService<SkylightModelProvider>().GetAsync();
app.MapSkylight(model);
await app.StartAsync();

var client = app.Services.GetRequiredService<IChatClient>();
ChatResponse answer = await client.GetResponseAsync("sum?", new ChatOptions { MaxOutputTokens = 8, Seed = 1 });
Console.WriteLine($"IChatClient: {answer.Usage?.OutputTokenCount} tokens, {answer.FinishReason}");

using var http = new HttpClient { BaseAddress = new Uri(app.Urls.First()) };
using var question = new StringContent("""{"messages": [{"role": "user", "content": "sum?"}], "max_tokens": 8}""",
    Encoding.UTF8, "application/json");
using HttpResponseMessage reply = await http.PostAsync(new Uri("v1/chat/completions", UriKind.Relative), question);
Console.WriteLine(
    $"HTTP: {(int)reply.StatusCode}, " +
    $"{((await reply.Content.ReadAsStringAsync()).Contains("\"finish_reason\"", StringComparison.Ordinal) ? "an answer" : "no answer")}");

using (ExampleFiles rows = await ExampleFiles.OpenAsync(parquet))
    Console.WriteLine($"Parquet: {rows.Count} rows, the first is {(await rows.ReadAsync(0)).Id}");

Recipe recipe = RecipeFile.Parse(
    $$"""
    method: sft
    learning_rate: {connector: 1e-4}
    data: {{data}}
    steps: 1
    batch: 2
    """,
    "from-packages", []);
await using (
    TrainingRun run = await TrainingRun.OpenAsync(recipe, checkpoint, output, new TrainingRunOptions(new CpuDevice())))
    Console.WriteLine($"training: {(await run.RunAsync()).Steps} step");

RgbImage picture = ImageDecoders.Standard.WithImageSharp().Decode(File.ReadAllBytes(args[4]));
Console.WriteLine($"picture: {picture.Width} × {picture.Height}, the first pixel {string.Join(' ', picture.Pixels[..3].ToArray())}");

if (args.Length > 5)
{
    using var library = new OwnLibrary(args[5]);
    using var device = new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.FromSimulated(library) });
    using DeviceMemory memory = device.Allocate(3 * sizeof(float));
    var numbers = new Tensor(memory, 0, TensorType.Float32(3));
    device.Upload(MemoryMarshal.AsBytes<float>([1, 2, 3]), numbers);
    var graph = new Graph();
    Value input = graph.Input("numbers", numbers.Type), square = graph.Add(new Multiply(), input, input);
    device.CreateKernel(square.Producer!).Run(new KernelArguments([numbers, numbers], [numbers], null));
    float[] squares = new float[3];
    device.Download(numbers, MemoryMarshal.AsBytes(squares.AsSpan()));
    Console.WriteLine($"own INativeContext: {string.Join(' ', squares)}");
}

// Where there is no card this says why; nothing else of the program minds.
Console.WriteLine(CudaDevices.Find().Problem is { } problem ? $"CUDA: {problem.Split('\n')[0]}" : "CUDA: ready");
Console.WriteLine($"vectors of {CpuVectors.Bits} bits");

/// <summary>A host's own way to a library: here a path.</summary>
internal sealed class OwnLibrary(string path) : INativeContext
{
    private readonly nint _handle = NativeLibrary.Load(path);

    public nint GetProcAddress(string proc, int? slot = null) => NativeLibrary.GetExport(_handle, proc);

    public bool TryGetProcAddress(string proc, out nint addr, int? slot = null) =>
        NativeLibrary.TryGetExport(_handle, proc, out addr);

    public void Dispose() => NativeLibrary.Free(_handle);
}
