using Skylight.Bench;

string verb = args.Length > 0 ? args[0] : "";
switch (verb)
{
    case "gemm":
        return GemmBenchmark.Run();
    case "gemv":
        return GemvBenchmark.Run();
    default:
        Console.Error.WriteLine(
            $"""
            {(verb.Length == 0 ? "No benchmark named." : $"There is no benchmark '{verb}'.")}
            Usage: dotnet run -c Release --project bench/Skylight.Bench -- BENCHMARK
              gemm   float32 matrix products, beside the machine's FMA peak and OpenBLAS → bench/results/cpu-gemm.json
              gemv   bfloat16 matrix–vector product, beside the machine's read bandwidth → bench/results/cpu-gemv.json
            """);
        return 2;
}
