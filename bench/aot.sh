#!/usr/bin/env bash
# Decoding on the CPU with docs/samples/AotHost, started by the runtime's compiler and published ahead of time three ways: as the SDK does by itself, with the
# package's setting, and for this machine. Arms in turn, medians; the SDK's own choice once only. Linux with a C compiler; about five minutes. Writes bench/results/cpu-aot.json.
#   bench/aot.sh [MODEL [TOKENS [ROUNDS]]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
model=${1:-internvl3-1b} tokens=${2:-16} rounds=${3:-7}
folder=$PWD/build/aot-bench
.ci/aot "$folder" >/dev/null
dotnet publish build/aot/host -c Release -r "linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')" -v quiet \
    -p:CppCompilerAndLinker="$(command -v clang >/dev/null && echo clang || echo gcc)" -p:SkylightIlcInstructionSet=none -o "$folder/none"
dotnet build docs/samples/AotHost -c Release --no-restore -v quiet -o "$folder/jit" >/dev/null
arms=(jit none default machine)
declare -A runs
for ((round = 0; round < rounds; round++)); do
    for arm in "${arms[@]}"; do
        # Minutes each time, and far from the others.
        [ "$arm" != none ] || [ "$round" -eq 0 ] || continue
        program=("$folder/$arm/AotHost")
        [ "$arm" != jit ] || program=(dotnet "$folder/jit/AotHost.dll")
        line=$("${program[@]}" "$model" "$tokens" 2>/dev/null)
        echo "$arm $line" >&2
        runs[$arm]+="$line"$'\n'
    done
done

median() {
    grep -oE '"seconds": [0-9.]+' <<<"$1" | grep -oE '[0-9.]+' | sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

{
    echo '{'
    echo "  \"benchmark\": \"aot\", \"command\": \"bench/aot.sh $model $tokens $rounds\", \"commit\": \"$(git rev-parse --short HEAD)$([ -z "$(git status --porcelain -uno)" ] || echo ' with changes')\","
    echo "  \"machine\": \"$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(nproc) threads\", \"dotnet\": \"$(dotnet --version)\","
    echo "  \"model\": \"$model\", \"weights\": \"bfloat16, random\", \"prompt_tokens\": 32, \"tokens\": $tokens, \"rounds\": $rounds,"
    echo '  "arms": {'
    jit=$(median "${runs[jit]}")
    separator=''
    for arm in "${arms[@]}"; do
        seconds=$(median "${runs[$arm]}")
        printf '%s    "%s": { "vector_bits": %s, "median_seconds": %s, "tokens_per_second": %s, "times_jit": %s }' "$separator" "$arm" \
            "$(grep -oE '"vector_bits": [0-9]+' <<<"${runs[$arm]}" | head -1 | grep -oE '[0-9]+')" "$seconds" \
            "$(awk "BEGIN { printf \"%.2f\", $tokens / $seconds }")" "$(awk "BEGIN { printf \"%.2f\", $seconds / $jit }")"
        separator=$',\n'
    done
    printf '\n  }\n}\n'
} >bench/results/cpu-aot.json
cat bench/results/cpu-aot.json
