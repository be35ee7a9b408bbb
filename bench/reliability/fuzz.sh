#!/usr/bin/env bash
# Coverage-guided fuzzing of everything that is read from outside: assemblies instrumented by SharpFuzz, inputs spoilt by bench/Skylight.Fuzz. A million
# inputs for each target, faults in build/fuzz/failures, figures in bench/results/fuzz.json. Targets run one after the other on one core each way.
#   bench/reliability/fuzz.sh [TARGET|all [INPUTS [SEED]]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=${1:-all} inputs=${2:-1000000} seed=${3:-1}
program=$PWD/build/fuzz/program tool=$PWD/build/fuzz/tool
rm -rf "$program"
mkdir -p build/fuzz
dotnet build bench/Skylight.Fuzz -c Release -v quiet
cp -r bench/Skylight.Fuzz/bin/Release/net10.0 "$program"
[ -x "$tool/sharpfuzz" ] || dotnet tool install SharpFuzz.CommandLine --version 2.3.0 --tool-path "$tool"
for assembly in Skylight.dll Skylight.Training.dll Skylight.Server.dll Skylight.ImageSharp.dll SixLabors.ImageSharp.dll; do
    "$tool/sharpfuzz" "$program/$assembly"
done
output=bench/results/fuzz.json
[ "$target" = all ] || output=build/fuzz/$target.json
exec dotnet "$program/Skylight.Fuzz.dll" fuzz "$target" --inputs "$inputs" --seed "$seed" --failures build/fuzz/failures --output "$output"
