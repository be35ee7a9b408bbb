#!/usr/bin/env bash
# kill -9 at random moments of the demo's training (each kill followed by a resume of the same run) and of saving checkpoints, so many times each.
#   bench/reliability/kill.sh [KILLS [SEED]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
kills=${1:-200} seed=${2:-1}
dotnet build src/Skylight.Cli -c Release -v quiet
dotnet build bench/Skylight.Fuzz -c Release -v quiet
program=bench/Skylight.Fuzz/bin/Release/net10.0/Skylight.Fuzz.dll
dotnet "$program" kill-training src/Skylight.Cli/bin/Release/net10.0/Skylight.Cli.dll --kills "$kills" --seed "$seed" --folder build/kill-training
dotnet "$program" kill-saving --kills "$kills" --seed "$seed" --folder build/kill-saving
