#!/usr/bin/env bash
# Checks and times the compiled programs on a GPU, and writes everything into a folder. Usage: run.sh [OUT_FOLDER]
#
# Needs the NVIDIA driver. compute-sanitizer, and python3 with torch and transformers, are used where they are found.
# DEVICE=cuda:N chooses a GPU, cuda:N:sm_80 also its code; DEVICE=emulator or emulator:sm_90a runs the checks alone,
# without one. PYTHON=... chooses a python3.
# PARTS: some of "checks memcheck times torch", where one command may not take as long as all of them.
# RUNS: runs by the clock of each measurement. BATCHES: clips of 15 s each; 6 are the 1.4 million samples that the paper
# gives each GPU.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-gpu-results}
: "${DEVICE:=cuda:0}" "${PARTS:=checks memcheck times torch}" "${RUNS:=20}" "${BATCHES:=6 48}" "${PYTHON:=python3}"
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
faults=0

say() { echo "$*" | tee -a "$out/run.txt"; }

fault() {
    say "FAILED: $*"
    faults=$((faults + 1))
}

wants() { [[ " $PARTS " == *" $1 "* ]]; }

have() { command -v "$1" >/dev/null 2>&1; }

say "w2vc GPU bundle, $(date -u +%Y-%m-%dT%H:%M:%SZ), device $DEVICE"

# ---- the machine
if have nvidia-smi && nvidia-smi >"$out/nvidia-smi.txt" 2>&1; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.sm,power.limit,compute_cap \
        --format=csv >"$out/gpu.txt" 2>&1
    tail -n +2 "$out/gpu.txt" | while read -r line; do say "GPU: $line"; done
else
    say "nvidia-smi: not there, or it sees no GPU"
fi

# ---- checks
check() {
    rm -f "$out"/check.*
    timeout 1800 "$here/w2vc-gpu-check" --device "$DEVICE" --report "$out/check.json" >"$out/check.txt" 2>"$out/check.err"
    local status=$?
    grep FAILED "$out/check.txt"
    case $status in
        0) say "checks: $(tail -n 1 "$out/check.txt")" ;;
        1) fault "checks: $(tail -n 1 "$out/check.txt" "$out/check.err" | tr '\n' ' ')" ;;
        124) fault "the checks took more than half an hour; the last was: $(tail -n 1 "$out/check.txt")" ;;
        *)
            say "the checks could not be run: $(tail -n 1 "$out/check.err")"
            exit "$status"
            ;;
    esac
}
wants checks && check

if [[ $DEVICE == emulator* ]]; then
    say "memory checker and times: left out, they need a GPU"
    exit $((faults > 0))
fi

# ---- a memory checker
memcheck() {
    rm -f "$out"/memcheck*
    if ! have compute-sanitizer; then
        say "memcheck: left out, there is no compute-sanitizer"
        return
    fi
    timeout 1800 compute-sanitizer --tool memcheck --target-processes all --error-exitcode 9 --log-file "$out/memcheck.txt" \
        "$here/w2vc-gpu-check" --device "$DEVICE" --report "$out/memcheck.json" >"$out/memcheck-run.txt" 2>&1 ||
        fault "compute-sanitizer ended with $?; see $out/memcheck.txt"
    say "memcheck: $(tail -n 1 "$out/memcheck.txt")"
}
wants memcheck && memcheck

# ---- times
bench() { # EXECUTABLE PROGRAM BATCH ARGUMENTS...
    local name=$1-$2-$3
    if timeout 900 "$here/$1" bench --device "$DEVICE" --program "$2" --seconds 15 --batch "$3" --runs "$RUNS" --profile --json \
        "${@:4}" >"$out/bench-$name.json" 2>"$out/bench-$name.err"; then
        say "bench $name: done"
    else
        fault "bench $name: $(tail -n 1 "$out/bench-$name.err")"
        rm -f "$out/bench-$name.json"
    fi
}
benches() {
    local executable batch
    rm -f "$out"/bench-*
    for executable in base-bf16 base-fp32; do
        for batch in $BATCHES; do
            bench $executable pretrain "$batch" --update
            bench $executable finetune "$batch" --update
            bench $executable transcribe "$batch"
        done
        bench $executable transcribe 1
    done
}
wants times && benches

# ---- PyTorch
pytorch() {
    rm -f "$out"/torch.*
    if ! "$PYTHON" -c 'import torch, transformers; assert torch.cuda.is_available()' 2>"$out/torch.err"; then
        say "PyTorch: left out: $(tail -n 1 "$out/torch.err")"
        return
    fi
    timeout 3600 "$PYTHON" "$here/torch_base.py" --out "$out/torch.json" --runs "$RUNS" --batches "${BATCHES// /,}" \
        2>"$out/torch.err" || fault "torch_base.py: $(tail -n 1 "$out/torch.err")"
    say "PyTorch: done"
}
wants torch && pytorch

have "$PYTHON" && "$PYTHON" "$here/report.py" "$out" >"$out/report.md" && cat "$out/report.md"
say "results are in $out; $faults failed"
exit $((faults > 0))
