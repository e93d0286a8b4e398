#!/usr/bin/env bash
# Measures what docs/results.md shows: pretraining on real digits without labels, then fine-tuning on few labels, against
# the same model from scratch. Usage: scripts/results.sh FSDD_RECORDINGS OUT_FOLDER. Finished parts are not done again.
set -euo pipefail
recordings=$1
out=$2
cd "$(dirname "$0")/.."
: "${W2VC:=target/release/w2vc}"
: "${UPDATES:=1000}"
: "${TOKENS:=240000}"
data="$out/fsdd"
mkdir -p "$out"
[ -d "$data" ] || python3 scripts/fsdd.py "$recordings" "$data"
[ -x "$out/tiny" ] || "$W2VC" compile models/tiny.ron -o "$out/tiny"
[ -x "$out/scratch" ] || "$W2VC" compile models/scratch.ron -o "$out/scratch"
[ -d "$out/pretrained" ] || "$out/tiny" pretrain --data "$data/train.tsv" --valid "$data/valid.tsv" --out "$out/pretrained"

# One table row: executable, labels, name, further arguments of finetune.
row() {
    local exe=$1 labels=$2 name=$3
    shift 3
    local run="$out/$name-$labels"
    [ -d "$run" ] || "$exe" finetune --threads 1 --data "$data/labelled-$labels.tsv" --valid "$data/valid.tsv" --out "$run" \
        --set updates="$UPDATES" --set max_tokens="$TOKENS" --set validate_every=100 --set save_every=100 "$@" >"$run.log" 2>&1
    (cd "$data" && "$exe" transcribe --weights "$run" $(cut -f1 test.tsv)) >"$run.heard"
    printf '%s\t%s\t' "$labels" "$name"
    awk -f scripts/score.awk "$data/test.tsv" "$run.heard" | grep -i 'error' | tr '\n' ' '
    echo
}
out=$(realpath "$out")
data="$out/fsdd"
for labels in 0.5m 2m 8m; do
    row "$out/tiny" "$labels" pretrained --init "$out/pretrained" --set freeze_updates=50 &
    row "$out/scratch" "$labels" scratch --set freeze_updates=0
    wait
done
