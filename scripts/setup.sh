#!/usr/bin/env bash
# Makes this machine ready to build w2vc: checks Rust, looks for LLVM 22, MLIR 22 and a C++ compiler by using each of them
# once, and installs by apt what is missing, nothing else. Quiet when nothing is missing.
#
#   scripts/setup.sh          what building and testing all of it need
#   scripts/setup.sh cpu      what programs for the CPU, and their tests, need: no MLIR
#   scripts/setup.sh demo     the same, and espeak-ng, the voice of the demo
#
# LLVM is looked for in $LLVM_SYS_221_PREFIX, MLIR in $MLIR_SYS_220_PREFIX, TableGen in $TABLEGEN_220_PREFIX, libclang in
# $LIBCLANG_PATH: the variables that the crates read. Those that are not set follow LLVM_SYS_221_PREFIX, as in the
# Makefile, or else /usr/lib/llvm-22, as in .cargo/config.toml.
set -euo pipefail

rust_needed="1.95" # what everything was tried with; the dependencies alone need 1.88
usual=/usr/lib/llvm-22
llvm_prefix="${LLVM_SYS_221_PREFIX:-$usual}"
mlir_prefix="${MLIR_SYS_220_PREFIX:-$llvm_prefix}"
tablegen_prefix="${TABLEGEN_220_PREFIX:-$llvm_prefix}"
libclang_path="${LIBCLANG_PATH:-$llvm_prefix/lib}"

what="${1:-all}"
case "$what" in
all | cpu | demo) ;;
*)
    echo "setup: \`$what' is none of: cpu, demo; without a word it is everything" >&2
    exit 2
    ;;
esac

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
# A file of the right name proves little: a package may be half there, of another version, or a header without its
# library. So every check does with the thing, in small, what the build does.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compiles() { "$@" >/dev/null 2>&1; }

have_compiler() { # cc links Rust programs; libstdc++'s link-time name comes with g++ alone
    printf '#include <stdlib.h>\nint main(void) { return 0; }\n' >"$work/c.c"
    printf '#include <vector>\nint main() { return std::vector<int>().size(); }\n' >"$work/cpp.cpp"
    compiles cc "$work/c.c" -o "$work/c" && compiles "${CXX:-c++}" "$work/cpp.cpp" -o "$work/cpp"
}

# $1: a prefix
is_22() { case "$("$1/bin/llvm-config" --version 2>/dev/null)" in 22.[1-9]*) ;; *) return 1 ;; esac }

have_llvm() { # shared libLLVM, and its headers for one C file
    is_22 "$llvm_prefix" || return 1
    local config="$llvm_prefix/bin/llvm-config" libraries
    libraries=$("$config" --link-shared --libs 2>/dev/null) || return 1
    printf '#include <llvm-c/Core.h>\nint main(void) { LLVMContextDispose(LLVMContextCreate()); return 0; }\n' >"$work/llvm.c"
    # shellcheck disable=SC2086 # several words
    compiles cc -I"$("$config" --includedir)" "$work/llvm.c" -L"$("$config" --libdir)" $libraries -o "$work/llvm"
}

have_mlir() { # the headers, the archives of the C interface, and libMLIR behind them
    is_22 "$mlir_prefix" || return 1
    local lib="$mlir_prefix/lib"
    printf '#include <mlir-c/IR.h>\nint main(void) { mlirContextDestroy(mlirContextCreate()); return 0; }\n' >"$work/mlir.c"
    compiles cc -I"$mlir_prefix/include" "$work/mlir.c" "$lib/libMLIRCAPIIR.a" -L"$lib" -lMLIR -lLLVM -lstdc++ \
        -o "$work/mlir"
}

# LLVM's TableGen is linked with all archives that llvm-config names, Polly's too, which are in a package by themselves.
have_archives() {
    is_22 "$tablegen_prefix" || return 1
    local config="$tablegen_prefix/bin/llvm-config" lib names name
    lib=$("$config" --libdir) && names=$("$config" --link-static --libnames 2>/dev/null) || return 1
    for name in $names; do [ -s "$lib/$name" ] || return 1; done
}

# Prints the packages of the system's libraries that LLVM's archives need and that cannot be linked.
system_libraries_missing() {
    local flags flag
    flags=$("$tablegen_prefix/bin/llvm-config" --link-static --system-libs 2>/dev/null) || flags="-lz -lzstd -lxml2"
    printf 'int main(void) { return 0; }\n' >"$work/links.c"
    # shellcheck disable=SC2086 # several words
    ! compiles cc "$work/links.c" $flags -o "$work/links" || return 0
    for flag in $flags; do
        ! compiles cc "$work/links.c" "$flag" -o "$work/links" || continue
        case "$flag" in
        -lz) echo zlib1g-dev ;;
        -lzstd) echo libzstd-dev ;;
        -lxml2) echo libxml2-dev ;;
        -lffi) echo libffi-dev ;;
        -ltinfo) echo libncurses-dev ;;
        -ledit) echo libedit-dev ;;
        *z3*) echo libz3-dev ;;
        esac
    done
}

# MLIR's Rust binding is made from its headers by libclang, which is loaded, not linked, and needs headers that belong to
# clang (stddef.h). libclang-cpp.so is another library.
have_libclang() {
    cat >"$work/libclang.c" <<'END'
#include <dlfcn.h>
#include <stddef.h>
int main(int count, char **argument) {
    void *library = dlopen(argument[1], RTLD_LAZY);
    if (!library) return 1;
    void *(*index)(int, int) = (void *(*)(int, int))dlsym(library, "clang_createIndex");
    void *(*parse)(void *, const char *, const char *const *, int, void *, unsigned, unsigned) =
        (void *(*)(void *, const char *, const char *const *, int, void *, unsigned, unsigned))dlsym(
            library, "clang_parseTranslationUnit");
    unsigned (*complaints)(void *) = (unsigned (*)(void *))dlsym(library, "clang_getNumDiagnostics");
    if (count != 3 || !index || !parse || !complaints) return 1;
    void *unit = parse(index(0, 0), argument[2], NULL, 0, NULL, 0, 0);
    return !unit || complaints(unit) != 0;
}
END
    printf '#include <stddef.h>\n#include <stdint.h>\n#include <stdlib.h>\n' >"$work/header.h"
    compiles cc "$work/libclang.c" -ldl -o "$work/libclang" || return 1
    local names=("$libclang_path"/libclang.so "$libclang_path"/libclang-*.so "$libclang_path"/libclang.so.*
        "$libclang_path"/libclang-*.so.*) name
    [ -d "$libclang_path" ] || names=("$libclang_path") # the variable may name the file itself
    for name in "${names[@]}"; do
        case "$name" in */libclang-cpp*) continue ;; esac
        if [ -e "$name" ] && compiles "$work/libclang" "$name" "$work/header.h"; then return 0; fi
    done
    return 1
}

have_voice() { compiles espeak-ng -q -v en-us a && compiles espeak-ng -q -v en-gb-x-rp a; }

# apt's is not always the first python3 of the path.
have_python() {
    local python
    for python in python3 /usr/bin/python3; do
        if compiles "$python" -c 'import numpy, pip, venv, ensurepip'; then return 0; fi
    done
    return 1
}

# The variables that name another place than apt installs into.
named() {
    local variable
    for variable in LLVM_SYS_221_PREFIX MLIR_SYS_220_PREFIX TABLEGEN_220_PREFIX LIBCLANG_PATH; do
        case "$(printenv "$variable")" in '' | "$usual" | "$usual/" | "$usual/lib" | "$usual/lib/") ;; *) printf ' %s' "$variable" ;; esac
    done
}
elsewhere=$(named)

packages=() # by their Debian names
find_missing() {
    packages=()
    # Without a compiler the other checks fail. What is there already apt leaves as it is, so installing by these guesses is
    # harmless, but where LLVM is elsewhere they would be wrong.
    have_compiler || packages+=(g++ libc6-dev)
    [ ${#packages[@]} -eq 0 ] || [ -z "$elsewhere" ] || return 0
    have_llvm || packages+=(llvm-22-dev)
    if [ "$what" = all ]; then
        have_mlir || packages+=(libmlir-22-dev)
        have_archives || packages+=(libpolly-22-dev)
        have_libclang || packages+=(libclang-22-dev)
        local p
        for p in $(system_libraries_missing); do packages+=("$p"); done
        compiles strace -V || packages+=(strace)
        # Launchers for the tests of several ranks; nothing that is built needs them.
        compiles mpirun.openmpi --version || packages+=(openmpi-bin)
        compiles mpirun.mpich --version || packages+=(mpich)
        # Who asks a server, and who installs a wheel, in tests.
        compiles curl --version || packages+=(curl)
        have_python || packages+=(python3-numpy python3-pip python3-venv)
    fi
    if [ "$what" = demo ] && ! have_voice; then packages+=(espeak-ng); fi
}

find_missing
if [ ${#packages[@]} -eq 0 ]; then
    # make passes these on; cargo alone takes those that are not set from .cargo/config.toml.
    if [ "$what" = all ] && [ "$llvm_prefix" != "$usual" ] && [ -z "${MAKELEVEL:-}" ]; then
        for v in "MLIR_SYS_220_PREFIX=$mlir_prefix" "TABLEGEN_220_PREFIX=$tablegen_prefix" "LIBCLANG_PATH=$libclang_path"; do
            [ -n "$(printenv "${v%%=*}")" ] || say "setup: for cargo without make also:  export $v"
        done
    fi
    exit 0
fi

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
            say "    Looked for in $llvm_prefix."
            ;;
        libmlir-22-dev)
            say "  - MLIR 22, headers and libraries, where LLVM 22 is (Debian's package: libmlir-22-dev)."
            say "    Looked for in $mlir_prefix (MLIR_SYS_220_PREFIX)."
            ;;
        libpolly-22-dev)
            say "  - all of LLVM's archives, Polly's too (Debian's packages: llvm-22-dev, libpolly-22-dev)."
            say "    Looked for in $tablegen_prefix (TABLEGEN_220_PREFIX)."
            ;;
        libclang-22-dev)
            say "  - libclang 22 with clang's own headers (Debian's package: libclang-22-dev)."
            say "    Looked for in $libclang_path (LIBCLANG_PATH)."
            ;;
        *-dev) say "  - Debian's package $p" ;;
        g++) say "  - a C and C++ compiler that answers to cc and c++ (Debian's package: g++)" ;;
        strace) say "  - strace (only for the tests that kill trainings at system calls)" ;;
        curl | python3-*) say "  - $p (only for the tests of serve and of the Python package)" ;;
        openmpi-bin | mpich) say "  - $p (only for the tests of several ranks)" ;;
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

log="$work/log"
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

# Again after installing: which libraries of the system LLVM's archives need is known when llvm-config is there.
for _ in 1 2 3; do
    case "$elsewhere,${packages[*]}" in
    ' '*-22-dev*) by_hand "not all of LLVM 22 is where the environment says (set:$elsewhere), and apt would not install it there." ;;
    esac
    missing=$(not_offered)
    [ -z "$missing" ] || by_hand "apt has no ${missing% } on this system (Debian 12's security updates and Debian 13 have LLVM 22)."
    quietly "installing ${packages[*]} (a minute or two)" \
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" ||
        by_hand "apt-get could not install ${packages[*]}; its last words are above."
    find_missing
    [ ${#packages[@]} -gt 0 ] || exit 0
done
by_hand "packages are installed, and yet these do not work: ${packages[*]} (to install one anew: apt-get install --reinstall)."
