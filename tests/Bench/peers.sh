#!/usr/bin/env bash
# Installs and builds what the benchmark compares with: Debian's oneDNN, PyTorch, FastAPI and simdjson, and the native programs that tell
# the limits.
# Does what it can and says what it could not; a peer that is missing is a column that says so.
#
# What is built goes into obj beside this script; the program runs the copy of it that lies beside the program.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$here/obj
# Debian's own Python: another one on the PATH would not see Debian's PyTorch.
python=/usr/bin/python3
mkdir -p "$folder"

missing=()
command -v g++ >/dev/null || missing+=(g++)
[ -e /usr/include/oneapi/dnnl/dnnl.hpp ] || missing+=(libdnnl-dev)
[ -e /usr/include/simdjson.h ] || missing+=(libsimdjson-dev)
"$python" -c 'import torch, numpy' 2>/dev/null || missing+=(python3-torch python3-numpy)
"$python" -c 'import fastapi, uvicorn, uvloop, httptools' 2>/dev/null || missing+=(python3-fastapi uvicorn python3-uvloop python3-httptools)

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${missing[*]}"
        log=$(mktemp)
        { apt-get -o DPkg::Lock::Timeout=300 update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}"
        } >"$log" 2>&1 || tail -3 "$log"
        rm -f "$log"
    else
        echo "not installed, and only root on Debian can: ${missing[*]}"
    fi
fi

# build SOURCE TARGET COMPILER OPTION...: the target, where it is older than the source or missing
build() {
    local source=$here/Native/$1 target=$folder/$2
    shift 2
    [ "$target" -nt "$source" ] && return
    echo "building ${target##*/}"
    # To a file of its own first: another run may have the old one loaded.
    "$@" -march=native -Wall -o "$target.$$" && mv "$target.$$" "$target" || { rm -f "$target.$$"; echo "could not build ${target##*/}"; }
}

# library NAME LINKER-OPTION...: Native/NAME.cpp becomes libbench_NAME.so
library() {
    local name=$1; shift
    build "$name.cpp" "libbench_$name.so" g++ -std=c++20 -O3 -fopenmp -fPIC -shared "$here/Native/$name.cpp" "$@"
}

if command -v g++ >/dev/null; then
    library limits -pthread
    [ ! -e /usr/include/oneapi/dnnl/dnnl.hpp ] || library onednn -ldnnl
    [ ! -e /usr/include/simdjson.h ] || library simdjson -lsimdjson
fi
if command -v gcc >/dev/null; then
    build echo.c bench_echo gcc -O3 "$here/Native/echo.c" -pthread
fi
exit 0
