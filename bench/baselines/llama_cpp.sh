#!/bin/sh
# Measures generation in turn with llama.cpp: fetches the prebuilt library that npm's @node-llama-cpp/linux-x64 carries (nothing of it is kept in the
# repository), and gives it to `Skylight.Bench model`, which loads it into its own process with the same random weights.
# Usage: bench/baselines/llama_cpp.sh [arguments of 'model']
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm pack --silent @node-llama-cpp/linux-x64@3.22.1 >/dev/null && tar xzf ./*.tgz)
dotnet run -c Release --project "$root/bench/Skylight.Bench" -- model --llama-cpp "$folder/package/bins/linux-x64" "$@"
