#!/usr/bin/env bash
# From launch to the first byte of an answer, with the files in the page cache: `skylight generate` about a text and about a picture of one tile, in a checkpoint of
# random weights. Arms in turn, medians and best: `dotnet run --no-build`, the portable build (compiled at run time), the tool's package for this kind of machine
# (compiled beforehand but for the kernels), and published ahead of time for this machine; the tool with --dtype q8 and q4 too, and with packed weights that an
# earlier start has kept (-kept). Needs the built solution; Linux; writes bench/results/start.json. START_WITH is put before each command, "chrt -r 50" say;
# START_ARMS names the arms, where not all are wanted; with START_BUILT=1 what an earlier run has published is measured.
#   bench/start.sh [MODEL [ROUNDS]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD model=${1:-internvl3-1b} rounds=${2:-5}
runtime=linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
work=$root/build/start
mkdir -p "$work"
portable=$root/src/Skylight.Cli/bin/Release/net10.0/Skylight.Cli.dll
checkpoint=$(mktemp -d)
trap 'rm -rf "$checkpoint"' EXIT

publish=(-c Release -r "$runtime" -v quiet -p:NuGetLockFilePath=obj/publish.lock.json)
arms=(run portable tool aot tool-kept tool-q8 tool-q8-kept tool-q4 tool-q4-kept aot-kept aot-q8-kept aot-q4-kept)
# shellcheck disable=SC2206
[ -z "${START_ARMS:-}" ] || arms=($START_ARMS)
[ -n "${START_BUILT:-}" ] ||
    dotnet publish src/Skylight.Cli "${publish[@]}" --self-contained false --artifacts-path "$work/tool-artifacts" -o "$work/tool" >/dev/null
if [ -z "${START_BUILT:-}" ] && [[ " ${arms[*]}" == *" aot"* ]] && { command -v clang >/dev/null || command -v gcc >/dev/null; }; then
    dotnet publish src/Skylight.Cli "${publish[@]}" -p:PublishAot=true -p:PackAsTool=false -p:TreatWarningsAsErrors=false --artifacts-path "$work/aot-artifacts" -o "$work/aot" \
        -p:CppCompilerAndLinker="$(command -v clang >/dev/null && echo clang || echo gcc)" \
        $([ "$runtime" = linux-x64 ] && echo -p:IlcInstructionSet=native) >/dev/null
fi
gunzip -c tests/golden/tokenizer/tokenizer.json.gz >"$checkpoint/tokenizer.json"
dotnet "$portable" init "$checkpoint/model" --like "$model" --tokenizer "$checkpoint/tokenizer.json" >/dev/null
cat "$checkpoint"/model/*.safetensors >/dev/null

arm() {
    case $1 in
        run) echo dotnet run --project "$root/src/Skylight.Cli" -c Release --no-build -- ;;
        portable) echo dotnet "$portable" ;;
        tool*) echo "$work/tool/Skylight.Cli" ;;
        aot*) echo "$work/aot/Skylight.Cli" ;;
    esac
}

# Seconds from launch to the first byte.
first() {
    local begin=$EPOCHREALTIME end
    end=$(${START_WITH:-} "$@" 2>/dev/null | { IFS= read -r -N1 _ && echo "$EPOCHREALTIME"; cat >/dev/null; })
    awk -v b="$begin" -v e="$end" 'BEGIN { if (e == "") exit 1; printf "%.2f\n", e - b }'
}

# What other runs have kept is not touched.
export SKYLIGHT_CACHE=$checkpoint/cache
[ -x "$work/aot/Skylight.Cli" ] || mapfile -t arms < <(printf '%s\n' "${arms[@]}" | grep -v '^aot')
for name in "${arms[@]}"; do
    # shellcheck disable=SC2046
    case $name in
        tool-kept | aot-kept) SKYLIGHT_WEIGHTS=all $(arm "$name") generate "$checkpoint/model" --max-tokens 1 --prompt x >/dev/null ;;
        *-kept) $(arm "$name") generate "$checkpoint/model" --max-tokens 1 --prompt x --dtype "$(cut -d- -f2 <<<"$name")" >/dev/null ;;
    esac
done
declare -A seconds
for ((round = 0; round < rounds; round++)); do
    for name in "${arms[@]}"; do
        for question in text picture; do
            options=(--prompt "What is two plus two?")
            [ "$question" = text ] || options=(--prompt "What is in the picture?" --image "$root/tests/Skylight.Tests/Images/samples/cat.png" --max-tiles 1)
            case $name in *-q8*) options+=(--dtype q8) ;; *-q4*) options+=(--dtype q4) ;; esac
            case $name in tool-kept | aot-kept) export SKYLIGHT_WEIGHTS=all ;; *-kept) export SKYLIGHT_WEIGHTS=rounded ;; *) export SKYLIGHT_WEIGHTS=off ;; esac
            # shellcheck disable=SC2046
            value=$(first $(arm "$name") generate "$checkpoint/model" --max-tokens 1 "${options[@]}")
            echo "$name $question $value" >&2
            seconds[$name $question]+="$value "
        done
    done
done

commit="$(git rev-parse --short HEAD)$([ -z "$(git status --porcelain -uno)" ] || echo ' with changes')"
{
    echo '{'
    echo "  \"benchmark\": \"start\", \"command\": \"bench/start.sh $model $rounds\", \"commit\": \"$commit\","
    echo "  \"machine\": \"$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), family $(sed -n 's/^cpu family\s*: //p' /proc/cpuinfo | head -1), model $(sed -n 's/^model\s*: //p' /proc/cpuinfo | head -1), $(nproc) threads\", \"dotnet\": \"$(dotnet --version)\","
    echo "  \"load_average_at_end\": $(cut -d' ' -f1 /proc/loadavg), \"model\": \"$model\", \"rounds\": $rounds,"
    echo '  "seconds_to_first_token": {'
    separator=''
    for name in "${arms[@]}"; do
        printf '%s    "%s": {' "$separator" "$name"
        comma=''
        for question in text picture; do
            tr ' ' '\n' <<<"${seconds[$name $question]}" | sed '/^$/d' | sort -n | awk -v q="$question" -v c="$comma" \
                '{ v[NR] = $1 } END { printf "%s \"%s\": { \"median\": %.2f, \"best\": %.2f }", c, q, (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1] }'
            comma=,
        done
        printf ' }'
        separator=$',\n'
    done
    printf '\n  }\n}\n'
} >bench/results/start.json
cat bench/results/start.json
