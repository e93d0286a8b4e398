#!/usr/bin/env bash
# From nothing to a transcribing model: set up, build, make spoken digits, compile models/tiny.ron for this CPU,
# pretrain, fine-tune on a labelled part, transcribe clips it never saw. Everything it makes is in demo/.
#
# The settings below can be given in the environment, e.g. PRETRAIN_UPDATES=50 make demo.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"

: "${PRETRAIN_UPDATES:=1000}"
: "${FINETUNE_UPDATES:=600}"
: "${TRAIN_CLIPS:=120}"   # unlabelled: pretraining hears all of them
: "${LABELLED_CLIPS:=60}" # of these, fine-tuning reads the texts
: "${TEST_CLIPS:=10}"
export TRAIN_CLIPS LABELLED_CLIPS TEST_CLIPS

demo=demo
data="$demo/data"
started=$SECONDS

step() { printf '\n==> %s   [%d:%02d]\n' "$1" $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)); }
# Shows a command before it runs, so that it can be typed again.
run() {
    printf '$ %s\n' "$*" >&2
    "$@"
}

step "Setting up"
scripts/setup.sh demo

step "Building the compiler"
run cargo build --release --package w2vc-runtime --package w2vc

step "Making spoken digits with espeak-ng"
run scripts/digits.sh "$data"

step "Compiling models/tiny.ron for this CPU"
run target/release/w2vc compile models/tiny.ron --target cpu -o "$demo/tiny"

rm -rf "$demo/pretrained" "$demo/finetuned"
step "Pretraining on $TRAIN_CLIPS clips without their texts"
run "$demo/tiny" pretrain --data "$data/train" --valid "$data/valid.tsv" --out "$demo/pretrained" \
    --set "updates=$PRETRAIN_UPDATES"

step "Fine-tuning on $LABELLED_CLIPS clips with their texts"
run "$demo/tiny" finetune --data "$data/labelled.tsv" --valid "$data/valid.tsv" --init "$demo/pretrained" \
    --out "$demo/finetuned" --set "updates=$FINETUNE_UPDATES"

step "Transcribing $TEST_CLIPS clips of voices and digit sequences it never heard"
run "$demo/tiny" transcribe --weights "$demo/finetuned" "$data"/test/*.wav >"$demo/heard.tsv"
echo
awk -f scripts/score.awk "$data/test.tsv" "$demo/heard.tsv"

cat <<END

Done in $(((SECONDS - started) / 60)) minutes and $(((SECONDS - started) % 60)) seconds on $(nproc) cores.
Try it on your own recording:  $demo/tiny transcribe --weights $demo/finetuned FILE.wav
END
