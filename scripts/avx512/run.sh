#!/usr/bin/env bash
# Runs a command on an emulated processor with AVX-512, under a small Linux, from the folder that setup.sh made.
#
#   WORK=FOLDER scripts/avx512/run.sh OUT "COMMAND" [NAME=]FILE_OR_FOLDER...
#
# Inside, the files lie in the working folder /w, which is in PATH, under their base names or NAME; the libraries that
# an executable needs come along. What COMMAND writes to /out comes back in OUT, with log (its output), rc (its exit
# code), cpuinfo, dmesg, serial (the console) and bochs.log. The exit code is COMMAND's, or 125 if none came back.
#
# CPU      Bochs's model: corei7_skylake_x (default: AVX-512), corei7_haswell_4770 (AVX2), or another of its list
# ADD      features to add; avx512vnni by default with skylake_x; empty: none
# EXCLUDE  features to take away
# MEGS     memory (default 2048; Bochs is slow with more)
# OUT_MB   room for results (default 512)
# LIMIT    seconds (default 5400)
set -euo pipefail
: "${WORK:?the folder that setup.sh made}"
: "${CPU:=corei7_skylake_x}" "${MEGS:=2048}" "${OUT_MB:=512}" "${LIMIT:=5400}"
# The model skylake_x has no VNNI, but Bochs can add it.
case $CPU in *skylake_x*) : "${ADD=avx512vnni}" ;; *) : "${ADD=}" ;; esac
WORK=$(cd "$WORK" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
command=$2
shift 2
rm -f "$out"/{rc,log,cpuinfo,dmesg,serial,bochs.log,screen}
job=$(mktemp -d "$WORK/job.XXXXXX")
trap 'rm -rf "$job"' EXIT

# ---- The disks: one with the files, as a tar, one empty for the results ---------------------------------------------
mkdir -p "$job/tree/w"
printf '%s\n' "$command" >"$job/tree/w/.command"
libraries() { # of an executable, at their places
    { ldd "$1" 2>/dev/null || true; } | { grep -oE '/[^ ]+' || true; } | while read -r library; do
        mkdir -p "$job/tree$(dirname "$library")"
        [ -e "$job/tree$library" ] || cp -L "$library" "$job/tree$library"
    done
}
for file in "$@"; do
    name=$(basename "$file")
    case $file in *=*) name=${file%%=*} file=${file#*=} ;; esac
    mkdir -p "$job/tree/w/$(dirname "$name")"
    cp -rL "$file" "$job/tree/w/$name"
    if [ -f "$file" ] && [ -x "$file" ]; then libraries "$file"; fi
done
cylinder=516096 # bytes: 16 heads of 63 sectors; Bochs wants whole ones
tar cf "$job/in.img" -C "$job/tree" .
truncate -s %$cylinder "$job/in.img"
truncate -s "${OUT_MB}M" "$job/out.img"
truncate -s %$cylinder "$job/out.img"
cp "$WORK/boot.iso" "$job/" # Bochs locks it

# ---- The machine ----------------------------------------------------------------------------------------------------
features=
[ -z "$ADD" ] || features+=", add_features=\"$ADD\""
[ -z "${EXCLUDE-}" ] || features+=", exclude_features=\"$EXCLUDE\""
cat >"$job/bochsrc" <<END
cpu: model=$CPU, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1$features
memory: guest=$MEGS, host=$((MEGS < 2048 ? MEGS : 2048))
romimage: file=$WORK/root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$WORK/root/usr/share/vgabios/vgabios.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata0-master: type=disk, path=$job/in.img, mode=flat
ata0-slave: type=disk, path=$job/out.img, mode=flat
ata1-master: type=cdrom, path=$job/boot.iso, status=inserted
boot: cdrom
display_library: nogui
com1: enabled=1, mode=file, dev=$job/serial
clock: sync=none, time0=1700000000
log: $job/bochs.log
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
END
start=$SECONDS
timeout "$LIMIT" "$WORK/bochs" -q -f "$job/bochsrc" >"$out/screen" 2>&1 </dev/null || true
for file in serial bochs.log; do
    if [ -e "$job/$file" ]; then cp "$job/$file" "$out/"; fi
done
tar xf "$job/out.img" -C "$out" --strip-components=1 2>/dev/null || true
rc=$(cat "$out/rc" 2>/dev/null || echo 125)
echo "run.sh: exit code $rc after $((SECONDS - start)) s on $CPU; results are in $out" >&2
exit "$rc"
