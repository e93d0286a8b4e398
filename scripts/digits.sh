#!/usr/bin/env bash
# Makes synthetic spoken digits with espeak-ng: every clip is one voice saying six to ten digits, about 2 to 8 s.
#
#   scripts/digits.sh [FOLDER]                 default: demo/data
#
# FOLDER/{train,valid,test}/NNNN.wav           the clips, as espeak-ng writes them (22.05 kHz, 16 bit, mono)
# FOLDER/{train,labelled,valid,test}.tsv       path TAB text, paths relative to FOLDER; labelled is a part of train
#
# The voice variants of test and valid are in no other split, so the clips that are transcribed in the end have both
# unheard voices and unheard digit sequences. The same SEED gives the same files with the same espeak-ng.
set -euo pipefail

out="${1:-demo/data}"
seed="${SEED:-1}"
train_clips="${TRAIN_CLIPS:-120}"
labelled_clips="${LABELLED_CLIPS:-60}"
valid_clips="${VALID_CLIPS:-10}"
test_clips="${TEST_CLIPS:-10}"

digits=(ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE)
accents=(en-us en-gb en-us en-gb-x-rp)
train_variants=(m1 m2 m3 m5 m6 m7 f1 f2 f4)
test_variants=(m4 f3)
valid_variants=(m8 f5)

if ! command -v espeak-ng >/dev/null; then
    echo "digits: espeak-ng is missing; run scripts/setup.sh demo" >&2
    exit 1
fi

# A generator of our own: bash and awk give other numbers in other versions. Sets `drawn` to 0 <= drawn < $1.
# (Not by $(...): a subshell would lose the state.)
state=$(((seed * 2654435761 + 12345) & 0x7fffffff))
draw() {
    state=$(((state * 1103515245 + 12345) & 0x7fffffff))
    drawn=$(((state >> 12) % $1))
}

# One clip: $1 the file; the rest the voice variants to choose from. Sets `text`.
speak() {
    local file="$1" accent variant speed pitch gap count word spoken="" i
    shift
    local variants=("$@")
    draw ${#accents[@]} && accent="${accents[drawn]}"
    draw ${#variants[@]} && variant="${variants[drawn]}"
    draw 61 && speed=$((120 + drawn)) # words per minute
    draw 41 && pitch=$((30 + drawn))  # of 0..99
    draw 5 && gap=$((2 * drawn))      # extra pause between words, 10 ms each
    draw 5 && count=$((6 + drawn))
    text=""
    for ((i = 0; i < count; i++)); do
        draw 10 && word="${digits[drawn]}"
        text+="${text:+ }$word"
        spoken+="${spoken:+ }${word,,}"
        draw 4
        if [ "$drawn" = 0 ] && [ "$((i + 1))" -lt "$count" ]; then spoken+=","; fi # a longer pause now and then
    done
    espeak-ng -v "$accent+$variant" -s "$speed" -p "$pitch" -g "$gap" -w "$file" "$spoken"
}

# $1: the split; $2: clips; the rest: voice variants.
split() {
    local name="$1" clips="$2" i file
    shift 2
    mkdir -p "$out/$name"
    for ((i = 1; i <= clips; i++)); do
        file=$(printf '%s/%04d.wav' "$name" "$i")
        speak "$out/$file" "$@"
        printf '%s\t%s\n' "$file" "$text"
        if [ -t 2 ] || [ $((i % 20)) = 0 ] || [ "$i" = "$clips" ]; then
            printf '\rdigits: %-5s %d/%d' "$name" "$i" "$clips" >&2
        fi
    done >"$out/$name.tsv"
    printf '\n' >&2
}

rm -rf "$out"/train "$out"/valid "$out"/test "$out"/{train,labelled,valid,test}.tsv
mkdir -p "$out"
split train "$train_clips" "${train_variants[@]}"
split valid "$valid_clips" "${valid_variants[@]}"
split test "$test_clips" "${test_variants[@]}"
head -n "$labelled_clips" "$out/train.tsv" >"$out/labelled.tsv"

# 44 bytes of header, then two bytes for each of 22050 samples a second.
for name in train labelled valid test; do
    cut -f 1 "$out/$name.tsv" | (cd "$out" && xargs stat -c %s) |
        awk -v n="$name" '{ s += ($1 - 44) / 44100 }
            END { printf "digits: %-8s %3d clips, %.1f minutes\n", n, NR, s / 60 }' >&2
done
