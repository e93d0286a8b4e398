#!/usr/bin/env bash
# Makes a folder in which run.sh can emulate a processor with AVX-512: Bochs 3.0 as in Debian, with bochs.patch,
# and a CD image with Debian's kernel and a small Linux. Usage: scripts/avx512/setup.sh WORK
#
# For Debian; tried on 12. Everything is fetched by apt, which checks signatures and sums, with lists of packages of its
# own in WORK; the system's lists and sources stay as they are. What lies finished in WORK is not made again.
# Installed by apt-get, if missing: g++ make patch xz-utils (to build), cpio kmod xorriso (for the image).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${1:?usage: setup.sh WORK}"
work=$(cd "$1" && pwd)

version=3.0+dfsg-1
mirror=http://deb.debian.org/debian
key=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'setup: %s\n' "$*" >&2; }

# ---- What is missing ------------------------------------------------------------------------------------------------
packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); } # COMMAND PACKAGE
PATH="$PATH:/usr/sbin:/sbin"
need g++ g++
need make make
need patch patch
need xz xz-utils
need cpio cpio
need depmod kmod
need xorriso xorriso
if [ ${#packages[@]} != 0 ]; then
    say "installing ${packages[*]}"
    sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get install -y "${packages[@]}"
fi

# ---- Packages -------------------------------------------------------------------------------------------------------
# apt with lists of its own.
own() {
    local command=$1
    shift
    "$command" -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User="$(id -un)" \
        -o APT::Architecture=amd64 -o APT::Get::List-Cleanup=true "$@"
}
if [ ! -e "$work/apt/fetched" ]; then
    mkdir -p "$work/apt"/{lists/partial,cache/archives/partial,packages,source}
    # The kernel and the firmware are Debian 12's, whatever runs here.
    cat >"$work/apt/sources.list" <<END
deb [signed-by=$key] $mirror bookworm main
deb [signed-by=$key] http://deb.debian.org/debian-security bookworm-security main
deb-src [signed-by=$key] $mirror trixie main
END
    own apt-get -qq update
    kernel=$(own apt-cache depends linux-image-cloud-amd64 |
        awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
    wanted=("$kernel" busybox-static isolinux syslinux-common bochsbios vgabios)
    say "fetching ${wanted[*]}"
    (cd "$work/apt/packages" && rm -f ./*.deb && own apt-get -qq download "${wanted[@]/%/\/bookworm*}")
    # Only what upstream wrote: Debian changes nothing that matters here.
    say "fetching the source of bochs $version"
    (cd "$work/apt/source" && own apt-get -qq source --download-only --tar-only "bochs=$version")
    touch "$work/apt/fetched"
fi
if [ ! -d "$work/root" ]; then
    rm -rf "$work/root.new"
    for package in "$work"/apt/packages/*.deb; do dpkg-deb -x "$package" "$work/root.new"; done
    mv "$work/root.new" "$work/root"
fi

# ---- Bochs ----------------------------------------------------------------------------------------------------------
# Built again when the patch is another.
if [ ! -x "$work/bochs" ] || ! cmp -s "$here/bochs.patch" "$work/built.patch"; then
    say "building Bochs; see $work/build.log"
    rm -rf "$work/source" "$work/bochs"
    mkdir "$work/source"
    tar xf "$work"/apt/source/bochs_*.orig.tar.xz -C "$work/source" --strip-components=1
    patch -d "$work/source" -p0 <"$here/bochs.patch" >"$work/build.log"
    (
        cd "$work/source"
        CFLAGS=-O3 CXXFLAGS=-O3 ./configure --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex \
            --enable-all-optimizations --enable-repeat-speedups --enable-fast-function-calls \
            --enable-handlers-chaining --enable-large-ramfile --enable-pci --enable-cpp=no --disable-smp \
            --disable-debugger --disable-plugins --disable-docbook --with-nogui
        make -j"$(nproc)"
    ) >>"$work/build.log" 2>&1 || {
        tail -n 20 "$work/build.log" >&2
        exit 1
    }
    cp "$work/source/bochs" "$work/bochs"
    cp "$here/bochs.patch" "$work/built.patch"
fi

# ---- The CD ---------------------------------------------------------------------------------------------------------
if [ ! -e "$work/boot.iso" ] || ! cmp -s "$here/init" "$work/tree/init"; then
    kernel=$(basename "$work"/root/boot/vmlinuz-*)
    kernel=${kernel#vmlinuz-}
    say "making a CD image with Linux $kernel"
    tree=$work/tree iso=$work/iso
    rm -rf "$tree" "$iso"
    mkdir -p "$tree"/{bin,proc,sys,dev,w,out,lib,lib64,mod,tmp,etc} "$iso"
    cp "$work/root/bin/busybox" "$tree/bin/"
    cp "$here/init" "$tree/init"
    chmod +x "$tree/init"
    # The two drivers of the disks, with what they need before them.
    depmod -b "$work/root" "$kernel"
    for module in sd_mod ata_piix; do
        modprobe -d "$work/root" -S "$kernel" --show-depends $module
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        cp "$file" "$tree/mod/"
        basename "$file"
    done >"$tree/mod/order"
    (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$iso/initrd.gz"
    cp "$work/root/boot/vmlinuz-$kernel" "$iso/vmlinuz"
    cp "$work/root/usr/lib/ISOLINUX/isolinux.bin" "$work/root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$iso/"
    cat >"$iso/isolinux.cfg" <<'END'
DEFAULT linux
PROMPT 0
TIMEOUT 1
LABEL linux
 KERNEL vmlinuz
 APPEND initrd=initrd.gz console=ttyS0 mitigations=off nopti nokaslr lsm= random.trust_cpu=on idle=halt quiet panic=-1
END
    xorriso -as mkisofs -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
        -boot-info-table "$iso" 2>"$work/iso.log"
fi
say "ready: WORK=$work $here/run.sh OUT 'COMMAND' FILE..."
