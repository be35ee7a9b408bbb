using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Skylight.Chat;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Extensions.AI;
using Skylight.Server;
using Skylight.Training.Data;
using Skylight.Training.Runs;

// PackagesHost CHECKPOINT DATA PARQUET OUTPUT: a host of every package, in one program. It answers through IChatClient,
// over HTTP, reads a row of PARQUET and trains a step on rows of DATA.
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

// Where there is no card this says why; nothing else of the program minds.
Console.WriteLine(CudaDevices.Find().Problem is { } problem ? $"CUDA: {problem.Split('\n')[0]}" : "CUDA: ready");
Console.WriteLine($"vectors of {CpuVectors.Bits} bits");
