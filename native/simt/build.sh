#!/bin/sh
# Builds libskylight_simt.so with the C++ compiler alone: build.sh LIBRARY. CMakeLists.txt has the same compiler flags.
# Used by builds on machines without CMake, and by the skylight command where no library lies beside it.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
library=$1
compiler=
for name in "${CXX:-c++}" g++ clang++; do
    if command -v "$name" >/dev/null 2>&1; then
        compiler=$name
        break
    fi
done
if [ -z "$compiler" ]; then
    echo "There is no C++ compiler: none of ${CXX:-c++}, g++ and clang++ is on the PATH." >&2
    exit 1
fi

objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
export root objects compiler
# One compiler for each source, as many at a time as there are processors.
ls "$root"/source/*.cpp | tr '\n' '\0' | xargs -0 -n 1 -P "$(getconf _NPROCESSORS_ONLN)" sh -c '
    exec "$compiler" -std=c++17 -O3 -g1 -fvisibility=hidden -fPIC -pthread "-DSIMT_INCLUDE_DIRECTORY=\"$root/include\"" -c "$1" -o "$objects/$(basename "$1").o"' sh
"$compiler" -shared -pthread "$objects"/*.o -o "$library" -Wl,-soname,libskylight_simt.so -ldl
