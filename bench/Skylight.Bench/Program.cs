using Skylight.Bench;
using Skylight.Bench.Kernels;
using Skylight.Bench.Models;
using Skylight.Bench.Soak;
using Skylight.Bench.Training;

string verb = args.Length > 0 ? args[0] : "";
switch (verb)
{
    case "dots":
        return DotsBenchmark.Run(args.Length > 1 ? args[1] : null);
    case "formats":
        return FormatsBenchmark.Run(args.Length > 1 ? args[1] : null);
    case "gemm":
        return GemmBenchmark.Run();
    case "gemv":
        return GemvBenchmark.Run();
    case "ops":
        return OpBenchmark.Run(args.Length > 1 ? args[1] : null);
    case "cache":
        return CacheBenchmark.Run(args.AsSpan(1));
    case "model":
        return ModelBenchmark.Run(args.AsSpan(1));
    case "parity":
        return LlamaCppParity.Run(args.AsSpan(1));
    case "sweep":
        return await SweepBenchmark.RunAsync(args[1..]);
    case "accuracy":
        return AccuracyBenchmark.Run(args.AsSpan(1));
    case "kernels":
        return KernelBenchmark.Run(args.AsSpan(1));
    case "records":
        return RecordsVerb.Run(args.AsSpan(1));
    case "generation":
        return GenerationBenchmark.Run(args.AsSpan(1));
    case "counters":
        return EmulatorCounts.Run(args.Length > 1 ? args[1] : null);
    case "tokenizer":
        return TokenizerBenchmark.Run(args.AsSpan(1));
    case "constraints":
        return ConstraintBenchmark.Run();
    case "speculation":
        return SpeculationBenchmark.Run();
    case "training":
        return await TrainingBenchmark.RunAsync(args[1..]);
    case "soak":
        return await SoakRun.RunAsync(args[1..]);
    default:
        Console.Error.WriteLine(
            $"""
            {(verb.Length == 0 ? "No benchmark named." : $"There is no benchmark '{verb}'.")}
            Usage: dotnet run -c Release --project bench/Skylight.Bench -- BENCHMARK
              dots   products in bfloat16, bytes and codes, beside the peaks of the processor's dot products → bench/results/cpu-dots.json
                     (dots MxNxK: only this shape; nothing is written)
              formats  products with weights in every format that stays quantised, beside formats with a scale in each block → bench/results/cpu-formats.json
                     (formats ROWS: only so many rows of activations, 1, 8 or 512; nothing is written)
              gemm   float32 matrix products, beside the machine's FMA peak and OpenBLAS → bench/results/cpu-gemm.json
              gemv   bfloat16 matrix–vector product, beside the machine's read bandwidth → bench/results/cpu-gemv.json
              ops    every op at its real shapes, beside the machine's roofline → bench/results/cpu-ops.json
                     (ops NAME: only workloads whose name contains NAME; nothing is written)
              cache  attention of all layers over key-value caches of bfloat16 and int8, one token and parts of prompts → bench/results/cpu-cache.json
                     (--like internvl3-1b --context 4096,16384 --rows 1,512 --output PATH)
              model  generation with a real model's shape and random weights: decoding, prompts, pictures, time by op, memory
                     (--like internvl3-1b --batch 1,8 --prompt 64,512 --tiles 0,1 --depth 4096,16384 --dtype bfloat16 --kv-cache-dtype auto --seconds 12 --llama-cpp FOLDER --output bench/results/cpu-model.json)
              parity whether GGUF files give the same tokens in llama.cpp and here: texts, greedy continuations, a question about a picture; exit code 1 if not
                     (--llama-cpp FOLDER --model FILE.gguf --mmproj FILE.gguf --picture FILE --tokens 48; --base DIR in place of --mmproj: no picture)
              sweep  decoding and prompts by batch and context, and training steps by batch → bench/results/cpu-sweep.json, docs/sweep.svg, docs/sweep-dark.svg
                     (--like internvl3-1b --dtype bfloat16 --batch 1,2,4,8,16,32 --context 512,1024,2048,4096,8192,16384 --tokens 32768 --train 1,2,4 --output PATH; --plot PATH: only draws)
              accuracy  log-probabilities in bfloat16 and float32 beside PyTorch's of the same weights, which torch_cpu.py has written
                     (--model DIR --reference FILE.json --output bench/results/cpu-accuracy.json)
              accuracy  --like internvl3-1b: those over key-value caches of each type, random weights → bench/results/cpu-cache-accuracy.json
                     (--key-bias 0 --output PATH)
              tokenizer  loading, encoding and decoding on one thread → bench/results/cpu-tokenizer.json
                     (tokenizer TEXT [TOKENIZER]: a file of text, and another tokenizer.json; nothing is written)
              kernels  every op at the shapes of real models on a card, beside cuBLAS and the card's roofline → bench/results/cuda-kernels.json
                     (--filter NAME: only workloads whose name contains NAME, written only with --output PATH; --device cuda:0;
                     --dry-run: what would run, without a card; with --compile also registers and spills, by NVRTC)
              records  keeps what `kernels` has measured better than before on a card, and writes the table → bench/records
                     (records RESULTS.json --idea TEXT --log FILE; without results: the table alone)
              generation  first token and decoding on a card, end to end, random weights → bench/results/cuda-generation.json
                     (--like internvl3-1b --device cuda:0 --batch 1,8,32 --prompt 512 --tiles 0,1 --output PATH; --like tiny --device simt: everything runs, nothing is timed)
              constraints  answers held to a form: a mask for each token, cold and warm, and steps of a batch with and without
                     a form in it → bench/results/cpu-constraints.json
              speculation  answers with and without guessed tokens: passes, how many guesses are right, tokens/s → bench/results/cpu-speculation.json
              training  recipes as `skylight train` runs them, random weights: tokens/s of rollouts and updates, memory beside its plan → bench/results/cpu-training.json
                     (--like demo,internvl3-1b --device cpu --case NAME --steps 5 --tokenizer FILE --output PATH; with a device or
                     a case, only written with --output)
              soak   many clients of a server, cancelling and with requests that poison themselves: answers lost or mixed, memory over time
                     (--minutes 10 --clients 64 --output PATH, which is bench/results/soak.json by default; exit code 1 if anything was lost, mixed or left)
              counters every op at the catalog's small shapes on the emulator: bytes moved, bank conflicts, no times → bench/results/simt-counters.json
                     (counters NAME: only workloads whose name contains NAME; nothing is written)
            """);
        return 2;
}
