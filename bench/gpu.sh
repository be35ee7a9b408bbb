#!/usr/bin/env bash
# Everything a GPU must show, in one command. Two halves, so that the machine with the GPU needs neither .NET nor a network:
#   bench/gpu.sh publish [FOLDER]   here: publishes the command and the benchmarks, self-contained, with checkpoints and dumps, into FOLDER (gpu-run)
#   FOLDER/gpu.sh [RESULTS]         there (an NVIDIA driver and NVRTC are enough): parity, verify, kernel benchmarks, and PyTorch's where it is found
#   bench/gpu.sh                    both, on a machine that has .NET and a GPU
# Results: RESULTS/*.json and *.log (default: results beside the script). Exit code 1 when parity or verify fails; the rest runs all the same.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The lock files of the checkout are for builds of every system: a publish for one of them keeps its own.
publish() {
    local folder=${1:-$here/../gpu-run} repository=$here/.. golden
    mkdir -p "$folder/golden"
    for project in src/Skylight.Cli bench/Skylight.Bench; do
        dotnet publish "$repository/$project" -c Release -r linux-x64 --self-contained -p:PublishSingleFile=true \
            -p:EnableCompressionInSingleFile=true -p:DebugType=none -p:NuGetLockFilePath=obj/publish.lock.json -o "$folder/$(basename "$project")" || return 1
    done
    cp "$here/gpu.sh" "$here/baselines/torch_baselines.py" "$folder/"
    golden=${SKYLIGHT_GOLDEN:-$repository/../shared/golden}
    if [ -d "$golden" ]; then
        for style in "$golden"/*-style; do cp -r "$style" "$folder/golden/"; done
    else
        echo "gpu.sh: no reference dumps at $golden (SKYLIGHT_GOLDEN names them); verify will not run" >&2
    fi
    git -C "$repository" rev-parse HEAD >"$folder/commit" 2>/dev/null || echo unknown >"$folder/commit"
    du -sh "$folder"
}

measure() {
    local results=${1:-$here/results} failed=0 style dump
    mkdir -p "$results"
    export SKYLIGHT_COMMIT DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
    SKYLIGHT_COMMIT=$(cat "$here/commit" 2>/dev/null || echo unknown)
    local skylight=$here/Skylight.Cli/Skylight.Cli bench=$here/Skylight.Bench/Skylight.Bench
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv | tee "$results/gpu.csv"

    echo "== parity"
    "$skylight" kernels check --device cuda:0 --json >"$results/parity.json" 2> >(tee "$results/parity.log" >&2) || failed=1
    for style in "$here"/golden/*-style; do
        [ -d "$style" ] || continue
        for checkpoint in "$style"/hf "$style"/original; do
            echo "== verify $(basename "$style")/$(basename "$checkpoint")"
            "$skylight" verify "$checkpoint" "$style/golden.safetensors" --device cuda:0 2>&1 | tee "$results/verify-$(basename "$style")-$(basename "$checkpoint").log"
            [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
        done
    done

    echo "== kernels"
    "$bench" kernels --output "$results/cuda-kernels.json" 2>&1 | tee "$results/kernels.log"
    if command -v python3 >/dev/null && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        echo "== PyTorch"
        python3 "$here/torch_baselines.py" "$results/torch.json" 2>&1 | tee "$results/torch.log"
    fi
    [ "$failed" -eq 0 ] && echo "gpu.sh: parity and verify hold" || echo "gpu.sh: parity or verify FAILED (see above and $results)"
    return "$failed"
}

case "${1:-}" in
publish) publish "${2:-}" ;;
*) if [ -x "$here/Skylight.Cli/Skylight.Cli" ]; then measure "${1:-}"; else
    publish "$here/../gpu-run" && "$here/../gpu-run/gpu.sh" "${1:-$here/../gpu-run/results}"
fi ;;
esac
