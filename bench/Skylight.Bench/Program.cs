using Skylight.Bench;

string verb = args.Length > 0 ? args[0] : "";
switch (verb)
{
    case "gemm":
        return GemmBenchmark.Run();
    case "gemv":
        return GemvBenchmark.Run();
    case "ops":
        return OpBenchmark.Run(args.Length > 1 ? args[1] : null);
    default:
        Console.Error.WriteLine(
            $"""
            {(verb.Length == 0 ? "No benchmark named." : $"There is no benchmark '{verb}'.")}
            Usage: dotnet run -c Release --project bench/Skylight.Bench -- BENCHMARK
              gemm   float32 matrix products, beside the machine's FMA peak and OpenBLAS → bench/results/cpu-gemm.json
              gemv   bfloat16 matrix–vector product, beside the machine's read bandwidth → bench/results/cpu-gemv.json
              ops    every op at its real shapes, beside the machine's roofline → bench/results/cpu-ops.json
                     (ops NAME: only workloads whose name contains NAME; nothing is written)
            """);
        return 2;
}
