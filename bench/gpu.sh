#!/usr/bin/env bash
# Everything a GPU must show, in one command. Two halves, so that the machine with the GPU needs neither .NET nor a network:
#   bench/gpu.sh publish [FOLDER]   here: publishes the command and the benchmarks, self-contained, with checkpoints and dumps, into FOLDER (gpu-run),
#                                   and packs it as FOLDER.tar.xz, a quarter of the size
#   FOLDER/gpu.sh [RESULTS]         there (an NVIDIA driver and NVRTC are enough; tar xf unpacks): parity, verify, equality of bits with both kinds of
#                                   matrix instructions, a generated answer, benchmarks of kernels, generation and GRPO steps, and PyTorch's where it is found
#   bench/gpu.sh                    both, on a machine that has .NET and a GPU
# Results: RESULTS/*.json and *.log (default: results beside the script). What is a record is kept by: Skylight.Bench -- records RESULTS/cuda-kernels.json --idea TEXT --log RESULTS/kernels.log. Exit code 1 when parity, verify, bits or generation fails (larger shapes do not count); the rest runs all the same.
# Variables: SKYLIGHT_GPU_PARTS, what is run (parity verify bits generate generation kernels torch training larger clusters: all, in this order); SKYLIGHT_GPU_MODELS, the
# shapes that are measured (internvl3-1b internvl3-8b; skylight init --help names the others): all parts take the first, larger is generation and training with the rest; SKYLIGHT_GPU_DEVICE (cuda:0);
# SKYLIGHT_GPU_SECONDS, after which nothing more is begun and what runs is ended (540), and SKYLIGHT_GPU_COMMAND_SECONDS for each program (150). So the script itself can be tried without a GPU:
#   SKYLIGHT_GPU_DEVICE=simt SKYLIGHT_GPU_MODELS=tiny SKYLIGHT_GPU_SECONDS=3600 SKYLIGHT_GPU_COMMAND_SECONDS=1800 SKYLIGHT_GPU_PARTS="verify bits generate generation training" FOLDER/gpu.sh
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The lock files and outputs of the checkout are for builds of every system: a publish for one of them keeps its own. Both programs lie in one folder: most of
# it is the runtime, which they share.
publish() {
    local folder=${1:-$here/../gpu-run} repository=$here/.. golden
    rm -rf "$folder/bin" "$folder/golden"
    mkdir -p "$folder/golden"
    folder=$(cd "$folder" && pwd)
    for project in src/Skylight.Cli bench/Skylight.Bench; do
        dotnet publish "$repository/$project" -c Release -r linux-x64 --self-contained --artifacts-path "$repository/build/gpu" -p:DebugType=none -p:PublishDocumentationFiles=false \
            -p:PublishReferencesDocumentationFiles=false -p:NuGetLockFilePath=obj/publish.lock.json -o "$folder/bin" || return 1
    done
    cp "$here/gpu.sh" "$here/baselines/torch_baselines.py" "$folder/"
    golden=$repository/tests/golden
    cp -r "$golden"/*-style "$golden/tokenizer/tokenizer.json.gz" "$repository/tests/Skylight.Tests/Images/samples/square-512.jpg" "$folder/golden/" || return 1
    # What is stored compressed is unpacked here: xz packs it better, and the other machine has it ready.
    find "$folder/golden" -name '*.gz' | sed 's/\(\.planes\)\{0,1\}\.gz$//' | while read -r file; do
        "$golden/unpack" "$file" >"$file" && rm -f "$file.gz" "$file.planes.gz" || return 1
    done || return 1
    git -C "$repository" rev-parse HEAD >"$folder/commit" 2>/dev/null || echo unknown >"$folder/commit"
    tar -C "$(dirname "$folder")" -cJf "$folder.tar.xz" "$(basename "$folder")" || return 1
    du -sh "$folder" "$folder.tar.xz"
}

# Seconds that are left; and a command that is ended when they are over, or after its own share: one that hangs does not take the others' time.
end=$((SECONDS + ${SKYLIGHT_GPU_SECONDS:-540})) each=${SKYLIGHT_GPU_COMMAND_SECONDS:-150}
remaining() { echo $((end - SECONDS)); }
within() {
    local left
    left=$(remaining)
    [ "$left" -gt 1 ] || return 124
    timeout --foreground --signal=INT --kill-after=5 "$((left < each ? left : each))" "$@"
}

# What was asked for and must hold, but for which no time is left, does not hold.
wants() {
    [[ " ${SKYLIGHT_GPU_PARTS:-parity verify bits generate generation kernels torch training larger clusters} " == *" $1 "* ]] || return 1
    [ "$(remaining)" -gt 5 ] && return 0
    echo "gpu.sh: no time is left for $1" >&2
    [[ " parity verify bits generate generation " != *" $1 "* ]] || failed=1
    return 1
}

measure() {
    local results=${1:-$here/results} failed=0 style checkpoint name model run first
    local skylight=$here/bin/Skylight.Cli bench=$here/bin/Skylight.Bench device=${SKYLIGHT_GPU_DEVICE:-cuda:0} models=${SKYLIGHT_GPU_MODELS:-internvl3-1b internvl3-8b}
    first=${models%% *}
    mkdir -p "$results"
    export SKYLIGHT_COMMIT DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
    SKYLIGHT_COMMIT=$(cat "$here/commit" 2>/dev/null || echo unknown)
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv | tee "$results/gpu.csv"

    if wants parity; then
        echo "== parity"
        within "$skylight" kernels check --device "$device" --json >"$results/parity.json" 2> >(tee "$results/parity.log" >&2) || failed=1
    fi
    if wants verify; then
        for style in "$here"/golden/*-style; do
            [ -d "$style" ] || continue
            for checkpoint in "$style"/hf "$style"/original; do
                # Of some models the weights are there in one naming.
                compgen -G "$checkpoint/*.safetensors" >/dev/null || continue
                name=$(basename "$style")-$(basename "$checkpoint")
                echo "== verify $name"
                within "$skylight" verify "$checkpoint" "$style/golden.safetensors" --device "$device" 2>&1 | tee "$results/verify-$name.log"
                [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
            done
        done
    fi
    if wants bits; then
        # A card whose two kinds of instructions both keep their promise.
        for run in on off; do
            echo "== bits, $first, warpgroups $run"
            bits "$results/bits-$first-$run" "$run" || failed=1
        done
    fi
    if wants generate && [ -f "$here/golden/tokenizer.json" ]; then
        echo "== generate (random weights: the words mean nothing, but there must be some, twice the same)"
        generate "$results" || failed=1
    fi
    if wants generation; then
        generation "$first" || failed=1
    fi
    if wants kernels; then
        echo "== kernels"
        each=240 within "$bench" kernels --device "$device" --output "$results/cuda-kernels.json" 2>&1 | tee "$results/kernels.log"
    fi
    if wants torch && command -v python3 >/dev/null && within python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        echo "== PyTorch"
        within python3 "$here/torch_baselines.py" "$results/torch.json" 2>&1 | tee "$results/torch.log"
    fi
    if wants training; then
        training "$first"
    fi
    if wants larger; then
        for model in ${models#"$first"}; do
            generation "$model"
            training "$model"
        done
    fi
    if wants clusters; then
        echo "== kernels, each block for itself"
        for run in matmul/record vocabulary_head/record vocabulary_head_backward/record; do
            SKYLIGHT_CLUSTERS=off each=60 within "$bench" kernels --device "$device" --filter "$run" --output "$results/cuda-${run%/*}-without-clusters.json" 2>&1 |
                tee "$results/${run%/*}-without-clusters.log"
        done
    fi
    [ "$failed" -eq 0 ] && echo "gpu.sh: what was run of parity, verify, bits and generation holds" || echo "gpu.sh: parity, verify, bits or generation FAILED (see above and $results)"
    return "$failed"
}

# First tokens and decoding of a shape, with random weights; and GRPO steps. Both use what measure has.
generation() {
    echo "== generation, $1"
    within "$bench" generation --like "$1" --device "$device" --output "$results/cuda-generation-$1.json" 2>&1 | tee "$results/generation-$1.log"
    return "${PIPESTATUS[0]}"
}

training() {
    echo "== GRPO steps, $1"
    within "$bench" training --like "$1" --device "$device" --case "grpo, connector" --steps 4 --tokenizer "$here/golden/tokenizer.json" \
        --output "$results/cuda-training-$1.json" 2>&1 | tee "$results/training-$1.log"
}

# The same tokens in every way of computing them, of a model of random weights that lies outside of the results. Uses what measure has.
bits() {
    local code=0
    if [ "$2" = on ]; then
        scratch=$(mktemp -d) || return 1
        trap 'rm -rf "$scratch"' EXIT
        within "$skylight" init "$scratch/model" --like "$first" >/dev/null || return 1
    fi
    SKYLIGHT_WARPGROUPS=$2 within "$skylight" kernels bits "$scratch/model" --device "$device" --json >"$1.json" 2> >(tee "$1.log" >&2) || code=1
    [ "$2" = on ] || rm -rf "$scratch"
    return "$code"
}

# A question about a picture through everything that users run: the same answer twice. Uses what measure has.
generate() {
    local answers
    rm -rf "$1/random-model"
    within "$skylight" init "$1/random-model" --like "$first" --tokenizer "$here/golden/tokenizer.json" || return 1
    for run in 1 2; do
        within "$skylight" generate "$1/random-model" --device "$device" --prompt "What is in the picture?" --image "$here/golden/square-512.jpg" \
            --max-tokens 32 --temperature 1 --seed 1 --json >"$1/generate-$run.json" 2> >(tee "$1/generate-$run.log" >&2) || return 1
        cat "$1/generate-$run.json"
    done
    rm -rf "$1/random-model"
    # Times are last, and differ.
    answers=$(sed 's/,"secondsToFirstToken.*//' "$1/generate-1.json" "$1/generate-2.json" | sort -u | wc -l)
    [ "$answers" -eq 1 ] || { echo "gpu.sh: the two answers differ" >&2; return 1; }
}

case "${1:-}" in
publish) publish "${2:-}" ;;
*) if [ -x "$here/bin/Skylight.Cli" ]; then measure "${1:-}"; else
    publish "$here/../gpu-run" && "$here/../gpu-run/gpu.sh" "${1:-$here/../gpu-run/results}"
fi ;;
esac
