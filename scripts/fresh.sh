#!/usr/bin/env bash
# Proves that the two commands work on a machine that has only Rust, git and make. Makes a bare root of Debian by
# debootstrap, copies the last commit into it, and runs `make demo` and `make test` there: in one root in this order, in a
# second root in the other order, since what one command installs may hide what the other one forgets. Needs root.
#
#   scripts/fresh.sh                           both orders: about an hour on two cores, 12 GB of disk
#   scripts/fresh.sh --order demo,test         one order; any targets of the Makefile will do: --order test-cpu
#   scripts/fresh.sh --setup-only              scripts/setup.sh in both orders, then whether LLVM's and MLIR's bindings
#                                              build with what it installed: about 5 minutes
#   scripts/fresh.sh --suite trixie            another release (trixie: Debian 13, noble: Ubuntu 24.04)
#
#   --dir DIR      where roots, packages and logs go (/var/tmp/w2vc-fresh). Packages and bare roots are kept for the next time
#   --keep         keep the used roots too; otherwise those that passed are removed
#   --mirror URL   where debootstrap reads from
#
# From this machine come: the Rust toolchain (mounted read-only), the crates that cargo has downloaded before (copied), the
# certificates, and how apt reaches its archives. Nothing else: no variables of the environment, no other software.
# The kernel, /dev and /proc are this machine's. Exit code 0: every order passed.
set -euo pipefail
cd "$(dirname "$0")/.."

orders=(demo,test test,demo)
suite=bookworm
dir=/var/tmp/w2vc-fresh
mirror=
keep=
setup_only=

say() { printf 'fresh: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
    --order) orders=("${2:?--order needs targets, as in demo,test}") && shift ;;
    --suite) suite="${2:?--suite needs a name}" && shift ;;
    --dir) dir="${2:?--dir needs a folder}" && shift ;;
    --mirror) mirror="${2:?--mirror needs an address}" && shift ;;
    --keep) keep=1 ;;
    --setup-only) setup_only=1 ;;
    -h | --help)
        sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        say "unknown option $1; scripts/fresh.sh --help lists them"
        exit 2
        ;;
    esac
    shift
done

[ "$(id -u)" -eq 0 ] || die "debootstrap, chroot and mount need root: run it with sudo -E"
rust=$(rustc --print sysroot) || die "rustc is missing"
cargo_home="${CARGO_HOME:-$HOME/.cargo}"
if ! command -v debootstrap >/dev/null; then
    say "installing debootstrap"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null || die "cannot install debootstrap"
fi
[ -z "$(git status --porcelain --untracked-files=no)" ] || say "note: what is not committed is left out"
mkdir -p "$dir/debs"
dir=$(cd "$dir" && pwd)

# ---- The bare root --------------------------------------------------------------------------------------------------
sources() { # the release with its updates, as its installer sets them up
    case "$suite" in
    noble)
        local s
        for s in noble noble-updates noble-security; do echo "deb $mirror $s main universe"; done
        ;;
    *)
        echo "deb $mirror $suite main"
        echo "deb $mirror $suite-updates main"
        echo "deb http://deb.debian.org/debian-security $suite-security main"
        ;;
    esac
}

bare_root() { # makes $dir/bare-$suite, once
    local bare="$dir/bare-$suite" like=() keyring
    case "$suite" in
    noble) : "${mirror:=http://archive.ubuntu.com/ubuntu}" && like=(gutsy) && keyring=ubuntu-archive-keyring.gpg ;;
    *) : "${mirror:=http://deb.debian.org/debian}" && keyring=debian-archive-keyring.gpg ;;
    esac
    [ ! -d "$bare" ] || return 0
    say "making a bare root of $suite"
    rm -rf "$bare.part"
    # git and make are the README's; ca-certificates is what Rust's installer was fetched with.
    # Without --no-check-gpg: a missing keyring stops here.
    debootstrap --variant=minbase --include=ca-certificates,git,make --cache-dir="$dir/debs" \
        --keyring="${KEYRING:-/usr/share/keyrings/$keyring}" "$suite" "$bare.part" "$mirror" "${like[@]}" >"$dir/debootstrap.log" 2>&1 ||
        die "debootstrap failed, see $dir/debootstrap.log"
    sources >"$bare.part/etc/apt/sources.list"
    # How this machine reaches the archives: proxies, ages of lists.
    apt-config dump | grep -E '^Acquire::(http|https|Check)[-:A-Za-z]* ' >"$bare.part/etc/apt/apt.conf.d/90host" || true
    cp /etc/resolv.conf /etc/hosts "$bare.part/etc/"
    cp /etc/ssl/certs/ca-certificates.crt "$bare.part/etc/ssl/certs/"
    mv "$bare.part" "$bare"
}

new_root() { # $1: its folder
    rm -rf --one-file-system "$1"
    cp -a "$dir/bare-$suite" "$1"
    mkdir -p "$1/opt/rust" "$1/root/.cargo/bin" "$1/root/w2vc"
    local tool
    for tool in "$rust"/bin/*; do ln -s "/opt/rust/bin/${tool##*/}" "$1/root/.cargo/bin/"; done
    if [ -d "$cargo_home/registry/cache" ]; then
        mkdir -p "$1/root/.cargo/registry"
        cp -a "$cargo_home"/registry/{cache,index} "$1/root/.cargo/registry/"
    fi
    git archive HEAD | tar -x -C "$1/root/w2vc"
}

# Runs commands in a root, with its own mounts and processes: both end with the command. $1: the root; $2: a bash script.
inside() {
    unshare --mount --pid --fork bash -c '
        set -e
        mount --make-rprivate /
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount --bind "$3" "$1/opt/rust" && mount -o remount,bind,ro "$1/opt/rust"
        mount --bind "$4" "$1/var/cache/apt/archives"
        exec chroot "$1" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb \
            PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c "cd /root/w2vc && $2"
    ' inside "$1" "$2" "$rust" "$dir/debs" </dev/null
}

# ---- One order ------------------------------------------------------------------------------------------------------
# The crate that is built on all of it, unoptimised and without running anything: reading MLIR's headers by libclang and
# linking TableGen, which happens for a macro of melior's, are where an incomplete LLVM is found out.
bindings="cargo check --config 'profile.dev.package.\"*\".opt-level=0' --package w2vc-cuda"

# $1: words of scripts/setup.sh instead of targets
command_for() {
    if [ -z "$setup_only" ]; then
        echo "make $1"
    else
        case "$1" in
        demo) echo "scripts/setup.sh demo" ;;
        *cpu) echo "scripts/setup.sh cpu" ;;
        bindings) echo "$bindings" ;;
        *) echo "scripts/setup.sh" ;;
        esac
    fi
}

results=()
failed=0
run_order() { # $1: targets with commas between them
    local root="$dir/$suite-${1//,/-}" target passed=1 begun status log
    local targets=("${1//,/ }")
    # shellcheck disable=SC2206 # split at blanks
    targets=(${targets[0]})
    case "$setup_only,$1" in 1,*test | 1,*test,*) targets+=(bindings) ;; esac
    new_root "$root"
    for target in "${targets[@]}"; do
        log="$dir/$suite-${1//,/-}.$target.log"
        say "$suite, order $1: $target (log: $log)"
        begun=$SECONDS
        status=0
        inside "$root" "$(command_for "$target")" >"$log" 2>&1 || status=$?
        results+=("$(printf '%-10s %-14s %-10s %3d min %2d s  %s' "$suite" "$1" "$target" $(((SECONDS - begun) / 60)) \
            $(((SECONDS - begun) % 60)) "$([ $status -eq 0 ] && echo passed || echo "FAILED ($status)")")")
        if [ $status -ne 0 ]; then
            passed=
            failed=1
            tail -n 20 "$log" >&2
            break
        fi
    done
    if [ -n "$passed" ] && [ -z "$keep" ]; then rm -rf --one-file-system "$root"; else say "the root is kept: $root"; fi
}

bare_root
for order in "${orders[@]}"; do run_order "$order"; done
printf '\n%-10s %-14s %-10s %12s  %s\n' suite order target time result
printf '%s\n' "${results[@]}"
exit $failed
