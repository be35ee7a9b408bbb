#!/bin/sh
# Measures generation in turn with a prebuilt llama.cpp, which is fetched (nothing of it is kept in the repository) and which `Skylight.Bench model` loads
# into its own process with the same random weights (BF16, or Q8_0 and Q4_0 with --dtype q8 and q4); the variant of its code that was loaded is printed.
# Usage: bench/baselines/llama_cpp.sh [npm|llamasharp|debian] [arguments of 'model', or parity and its arguments]
#   parity without arguments makes a small checkpoint of random weights and compares all kinds of files that `skylight quantize` makes of it
#   LLAMA_CPP_VARIANT=zen4 leaves only libggml-cpu-zen4.so of npm's or Debian's, whichever would be taken (sapphirerapids is the one with AMX)
#   npm         @node-llama-cpp/linux-x64, which picks its variant by the processor (the default)
#   llamasharp  LLamaSharp.Backend.Cpu of NuGet; LLAMASHARP_VARIANT=avx512|avx2|avx|noavx, as LLamaSharp would pick it
#   debian      libllama0 and libggml0 by apt, from sid, for a system whose C library is as new (on an older one: in a chroot of sid)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
source=npm
case "${1:-}" in npm | llamasharp | debian) source=$1; shift ;; esac
verb=model
case "${1:-}" in parity) verb=parity; shift ;; esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
case $source in
npm)
    (cd "$folder" && npm pack --silent @node-llama-cpp/linux-x64@3.22.1 >/dev/null && tar xzf ./*.tgz)
    libraries=$folder/package/bins/linux-x64
    ;;
llamasharp)
    cat >"$folder/fetch.csproj" <<'PROJECT'
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup>
  <ItemGroup><PackageReference Include="LLamaSharp.Backend.Cpu" Version="0.30.0" /></ItemGroup>
</Project>
PROJECT
    dotnet restore "$folder/fetch.csproj" --packages "$folder/packages" >/dev/null
    libraries=$folder/packages/llamasharp.backend.cpu/0.30.0/LLamaSharpRuntimes/linux-x64/native/${LLAMASHARP_VARIANT:-avx512}
    ;;
debian)
    (cd "$folder" && apt-get download libllama0 libggml0 >/dev/null && for package in ./*.deb; do dpkg-deb -x "$package" .; done)
    libraries=$folder/usr/lib/x86_64-linux-gnu
    # Where the library looks for the code for the processor is compiled in: it is found beside the others instead.
    ln -s "$libraries"/ggml/backends0/*.so "$libraries/"
    export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    ;;
esac
if [ -n "${LLAMA_CPP_VARIANT:-}" ]; then
    [ -f "$libraries/libggml-cpu-$LLAMA_CPP_VARIANT.so" ] || { echo "$source has no variant $LLAMA_CPP_VARIANT" >&2; exit 2; }
    find "$libraries" -name 'libggml-cpu-*.so' ! -name "libggml-cpu-$LLAMA_CPP_VARIANT.so" -delete
fi
run() { dotnet run -c Release --project "$root/bench/Skylight.Bench" -- "$@"; }
if [ $verb = model ] || [ $# -gt 0 ]; then
    run $verb --llama-cpp "$libraries" "$@"
    exit
fi
skylight() { dotnet run -c Release --project "$root/src/Skylight.Cli" -- "$@"; }
mkdir "$folder/tokenizer"
gunzip -c "$root/tests/golden/tokenizer/tokenizer.json.gz" >"$folder/tokenizer/tokenizer.json"
skylight init "$folder/random" --like tiny --dtype float32 --tokenizer "$folder/tokenizer"
status=0
for type in f32 f16 bf16 q8 q4; do
    skylight quantize "$folder/random" --type $type --output "$folder/$type" >/dev/null 2>&1
    echo "--type $type:"
    run parity --llama-cpp "$libraries" --model "$(ls "$folder/$type"/random-*.gguf)" --mmproj "$(ls "$folder/$type"/mmproj-*.gguf)" || status=1
done
exit $status
