#!/usr/bin/env bash
# Makes this machine ready to build w2vc: checks Rust, finds LLVM 22, MLIR 22 and a C++ compiler, and installs by apt what
# is missing, nothing else. Quiet when nothing is missing.
#
#   scripts/setup.sh          what building and testing all of it need
#   scripts/setup.sh cpu      what programs for the CPU need: no MLIR
#   scripts/setup.sh demo     the same, and espeak-ng, the voice of the demo
#
# LLVM and MLIR are looked for in $LLVM_SYS_221_PREFIX, else in /usr/lib/llvm-22.
set -euo pipefail

rust_needed="1.95" # what everything was tried with; the dependencies alone ask for 1.88
llvm_prefix="${LLVM_SYS_221_PREFIX:-/usr/lib/llvm-22}"

say() { printf '%s\n' "$*" >&2; }

# ---- Rust -----------------------------------------------------------------------------------------------------------
PATH="$PATH:$HOME/.cargo/bin"
if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    say "setup: Rust is missing. Install Rust $rust_needed or newer from https://rustup.rs and run this again."
    exit 1
fi
rust_found=$(rustc --version | awk '{ print $2 }')
if [ "$(printf '%s\n' "$rust_needed" "$rust_found" | sort -V | head -n 1)" != "$rust_needed" ]; then
    say "setup: rustc is $rust_found, but $rust_needed or newer is needed. Update with: rustup update stable"
    exit 1
fi

# ---- What is missing ------------------------------------------------------------------------------------------------
have_llvm() {
    local config="$llvm_prefix/bin/llvm-config"
    [ -x "$config" ] || return 1
    case "$("$config" --version 2>/dev/null)" in 22.*) ;; *) return 1 ;; esac
    # The compiler links libLLVM shared and compiles one C file against LLVM's headers.
    [ -e "$("$config" --includedir)/llvm-c/Core.h" ] || return 1
    "$config" --link-shared --libfiles >/dev/null 2>&1
}

# The code generator for the GPU links MLIR; its Rust binding is made from MLIR's headers by libclang, and its tables are
# read through LLVM's TableGen, which is linked with all of LLVM's archives, Polly's too, and these ask for zlib and zstd.
have_mlir() {
    [ -e "$llvm_prefix/include/mlir-c/IR.h" ] && [ -e "$llvm_prefix/lib/libMLIR.so" ] &&
        [ -e "$llvm_prefix/lib/libMLIRCAPIIR.a" ]
}
have_libclang() { compgen -G "$llvm_prefix/lib/libclang*.so*" >/dev/null; }
have_header() { echo "#include <$1>" | cc -E - >/dev/null 2>&1; }

packages=() # by their Debian names
have_llvm || packages+=(llvm-22-dev)
if [ "${1:-}" != cpu ] && [ "${1:-}" != demo ]; then
    have_mlir || packages+=(libmlir-22-dev)
    [ -e "$llvm_prefix/lib/libPolly.a" ] || packages+=(libpolly-22-dev)
    have_libclang || packages+=(libclang-22-dev)
    have_header zlib.h || packages+=(zlib1g-dev)
    have_header zstd.h || packages+=(libzstd-dev)
fi
# cc links Rust programs; libstdc++'s link-time name comes with g++ alone.
if ! command -v cc >/dev/null || ! command -v g++ >/dev/null; then packages+=(g++ libc6-dev); fi
if [ "${1:-}" = demo ] && ! command -v espeak-ng >/dev/null; then packages+=(espeak-ng); fi

[ ${#packages[@]} -gt 0 ] || exit 0

# ---- Install --------------------------------------------------------------------------------------------------------
by_hand() {
    say "setup: $1"
    say
    say "Please install by hand, then run this again:"
    local p
    for p in "${packages[@]}"; do
        case "$p" in
        llvm-22-dev)
            say "  - LLVM 22 with headers, llvm-config and the shared library libLLVM (Debian's package: llvm-22-dev;"
            say "    packages for other releases of Debian and Ubuntu: https://apt.llvm.org, releases and sources:"
            say "    https://github.com/llvm/llvm-project/releases)."
            say "    If it is not in /usr/lib/llvm-22:  export LLVM_SYS_221_PREFIX=<the folder that holds bin/llvm-config>"
            ;;
        libmlir-22-dev) say "  - MLIR 22, headers and libraries, where LLVM 22 is (Debian's packages: libmlir-22-dev)" ;;
        libpolly-22-dev) say "  - Polly 22, where LLVM 22 is (Debian's package: libpolly-22-dev)" ;;
        libclang-22-dev) say "  - libclang 22 (Debian's package: libclang-22-dev)" ;;
        zlib1g-dev | libzstd-dev) say "  - the headers of Debian's package $p" ;;
        g++) say "  - a C++ compiler that answers to cc and g++ (Debian's package: g++)" ;;
        libc6-dev) say "  - the C library's headers (Debian's package: libc6-dev)" ;;
        espeak-ng) say "  - espeak-ng (only for the demo)" ;;
        esac
    done
    exit 1
}

command -v apt-get >/dev/null || by_hand "this system has no apt-get, so nothing was installed."

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
        by_hand "packages are missing, and this is neither root nor is there sudo. As root: apt-get install ${packages[*]}"
    as_root=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# $1: what is being done; the rest: the command. Its output is shown only if it fails.
quietly() {
    say "setup: $1"
    shift
    if ! "$@" </dev/null >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        return 1
    fi
}

not_offered() {
    local p
    for p in "${packages[@]}"; do
        case "$(LC_ALL=C apt-cache policy "$p" 2>/dev/null)" in
        *'Candidate: ('* | '') printf '%s ' "$p" ;;
        esac
    done
}

# A fresh machine has empty lists, and an old list may lack LLVM 22. A failing third-party source is not our business:
# what counts is whether the packages can be had afterwards.
quietly "reading the package lists" "${as_root[@]}" apt-get update || true
missing=$(not_offered)
[ -z "$missing" ] || by_hand "apt has no ${missing% } on this system (Debian 12 has LLVM 22 in bookworm-security)."
quietly "installing ${packages[*]} (about a minute)" \
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" ||
    by_hand "apt-get could not install ${packages[*]}; its last words are above."

if ! have_llvm; then
    by_hand "the packages are installed, but there is no working LLVM 22 in $llvm_prefix."
fi
