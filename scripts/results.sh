#!/usr/bin/env bash
# Measures what docs/results.md shows: pretraining on real digits without labels, then fine-tuning on few labels, against
# the same model from scratch; several seeds, and again with two of the four speakers left out of all training.
#
#   scripts/results.sh FSDD_RECORDINGS OUT_FOLDER
#   SEEDS="1 2" LABELS=2m SPLIT=same scripts/results.sh FSDD_RECORDINGS OUT_FOLDER
#
# Prints the tables at the end. What is finished is not done again, and what broke off is gone on with, so the command can be
# stopped and given again. One pretraining takes 4 minutes of one core, and a fine-tuning of the pretrained model 75 s (AMD
# EPYC with AVX-512); there are 2 of the former and 60 fine-tunings.
#
#   SEEDS           of fine-tuning (1 2 3 4 5)
#   PRETRAIN_SEEDS  of pretraining (1); every one is fine-tuned with every seed
#   SPLIT           same: all speakers everywhere; apart: LEAVE_OUT's are tested and nothing else (same apart)
#   LABELS          amounts (2m 0.5m 8m)
#   KINDS           (pretrained scratch)
#   LEAVE_OUT       (nicolas,yweweler)
#   JOBS            runs at a time, one thread each (2)
#   UPDATES, TOKENS updates of a fine-tuning, and samples of audio in each (1000, 240000)
#   FINETUNE        more arguments of every fine-tuning, as --set lr=3e-3 (none)
#   PRECISION       what the models compute with: fp32, bf16 (fp32)
#   W2VC            the compiler (target/release/w2vc)
set -euo pipefail
[ $# = 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
recordings=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."
: "${PRECISION:=fp32}" "${W2VC:=target/release/w2vc}" "${UPDATES:=1000}" "${TOKENS:=240000}" "${JOBS:=2}" "${LEAVE_OUT:=nicolas,yweweler}"
: "${SEEDS:=1 2 3 4 5}" "${PRETRAIN_SEEDS:=1}" "${SPLIT:=same apart}" "${LABELS:=2m 0.5m 8m}" "${KINDS:=pretrained scratch}" "${FINETUNE:=}"

# Trains unless that is done: log, run folder, then the command. Goes on with a run that broke off.
train() {
    local log=$1 run=$2 resume=()
    shift 2
    if grep -qs 'updates done' "$log"; then return; fi
    if compgen -G "$run/checkpoints/step-*" >/dev/null; then resume=(--resume); fi
    if ! "$@" --threads 1 --out "$run" "${resume[@]}" >>"$log" 2>&1; then
        echo "failed, see $log" >&2
        return 1
    fi
}

# Pretrains: split, seed.
pretrain() {
    local at="$out/$1"
    train "$at/pretrain-$2.log" "$at/pretrain-$2" \
        "$out/tiny" pretrain --data "$at/data/train.tsv" --valid "$at/data/valid.tsv" --set seed="$2"
}

# Fine-tunes, transcribes and scores: split, kind, labels, seed of pretraining (- for none), seed.
finetune() {
    local split=$1 kind=$2 labels=$3 from=$4 seed=$5
    local at="$out/$split" data="$out/$split/data" exe="$out/scratch" own=(--set freeze_updates=0)
    local run="$at/$kind-$labels-$from-$seed"
    if [ "$kind" = pretrained ]; then
        exe="$out/tiny"
        own=(--init "$at/pretrain-$from" --set freeze_updates=50)
    fi
    train "$run.log" "$run" "$exe" finetune --data "$data/labelled-$labels.tsv" --valid "$data/valid.tsv" \
        --set seed="$seed" --set updates="$UPDATES" --set max_tokens="$TOKENS" \
        --set validate_every=100 --set save_every=100 "${own[@]}" $FINETUNE
    if [ ! -s "$run.heard" ]; then
        (cd "$data" && "$exe" transcribe --threads 1 --weights "$run" $(cut -f1 test.tsv)) >"$run.new"
        mv "$run.new" "$run.heard"
    fi
    awk -f scripts/score.awk "$data/test.tsv" "$run.heard" >"$run.scored"
    awk -v OFS='\t' -v head="$split	$kind	$labels	$from	$seed" -F '[( ]+' \
        '/^word error rate/ {w = $6 OFS $8} /^letter error rate/ {print head, w, $6, $8}' "$run.scored" >"$run.score"
}

# One line of the list of jobs.
job() { "$@"; }

for split in $SPLIT; do
    if [ ! -f "$out/$split/data/parts.tsv" ]; then
        others=()
        if [ "$split" = apart ]; then others=(--leave-out "$LEAVE_OUT"); fi
        python3 scripts/fsdd.py "$recordings" "$out/$split/data" "${others[@]}"
    fi
done
for model in tiny scratch; do
    [ -x "$out/$model" ] || "$W2VC" compile "models/$model.ron" --precision "$PRECISION" -o "$out/$model"
done
export out UPDATES TOKENS FINETUNE
export -f train pretrain finetune job
run_all() { xargs -P "$JOBS" -L 1 bash -euo pipefail -c 'job "$@"' job; }
case " $KINDS " in *" pretrained "*)
    for split in $SPLIT; do
        for seed in $PRETRAIN_SEEDS; do echo pretrain "$split" "$seed"; done
    done | run_all
esac
for split in $SPLIT; do
    for labels in $LABELS; do
        for seed in $SEEDS; do
            for kind in $KINDS; do
                [ "$kind" = pretrained ] && from=$PRETRAIN_SEEDS || from=-
                for p in $from; do echo finetune "$split" "$kind" "$labels" "$p" "$seed"; done
            done
        done
    done
done | run_all
python3 scripts/results_table.py "$out"
