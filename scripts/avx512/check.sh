#!/usr/bin/env bash
# Compiles for AVX-512 and checks on an emulated processor that it computes what AVX2 computes here. Needs a processor
# with AVX2, and the folder that setup.sh made.
#
#   WORK=FOLDER scripts/avx512/check.sh W2VC [OUT]        OUT: WORK/check unless given
#
# W2VC is the built compiler, with w2vc-runner beside it. The table and its verdict also go to OUT/table.md; exit code 1
# if something is beyond its bound. PARTS: some of "compile fixtures training int8 refusals"; a part reads what compile
# left in OUT, and int8 also what training left. RECORDINGS: those of the Free Spoken Digit Dataset, instead of
# espeak-ng's digits. PYTHON: a python3 with numpy.
set -euo pipefail
: "${WORK:?the folder that setup.sh made}" "${PYTHON:=python3}" "${PARTS:=compile fixtures training int8 refusals}"
w2vc=$(realpath "${1:?usage: check.sh W2VC [OUT]}")
WORK=$(realpath "$WORK")
export WORK
out=$(realpath -m "${2:-$WORK/check}")
cd "$(dirname "$0")/../.."
scripts=$PWD/scripts
emulated=$scripts/avx512/run.sh
files=$out/files # what the commands find in their working folder, here and there
faults=0

say() { printf 'check: %s\n' "$*" >&2; }
fault() {
    say "FAILED: $*"
    faults=$((faults + 1))
}
wants() { [[ " $PARTS " == *" $1 "* ]]; }

# ---- Executables, fixtures, clips -----------------------------------------------------------------------------------
compile() { # MODEL LEVEL ARGUMENTS...
    local level
    case $2 in v4-vnni*) level=x86-64-v4-vnni ;; *) level=x86-64-${2:0:2} ;; esac
    local precision=fp32
    case $2 in *int8) precision=int8 ;; esac
    "$w2vc" compile "${@:3}" --target cpu --cpu $level --precision $precision -o "$files/$1-$2"
}
# The sizes of tests/fixtures; transformers has no penalty on the features and no such epsilon.
small=(hidden=32 layers=3 ffn=64 channels=16 pos_kernel=16 pos_groups=4 codes=8 code_dim=8 proj_dim=16 num_negatives=20
    feature_l2=0 feature_grad_mult=1 perplexity_eps=0)
prepare() {
    rm -rf "$files"
    mkdir -p "$files"
    local level
    for level in v3 v4 v3-int8 v4-int8 v4-vnni-int8; do
        compile base_like $level models/base.ron "${small[@]/#/--set=}" --set heads=4
        compile large_like $level models/large.ron "${small[@]/#/--set=}" --set heads=2
        compile tiny $level models/tiny.ron
    done
    ln -s "$PWD/tests/fixtures" "$files/fixtures"
    cp "$scripts/avx512/cases.sh" "$files/"
    if [ -n "${RECORDINGS:-}" ]; then
        "$PYTHON" "$scripts/fsdd.py" "$RECORDINGS" "$out/fsdd"
        take train 3
        take valid 1
        take test 2
    else
        TRAIN_CLIPS=3 LABELLED_CLIPS=3 VALID_CLIPS=1 TEST_CLIPS=2 "$scripts/digits.sh" "$files/data"
    fi
}
take() { # SPLIT CLIPS: the first clips of the recordings
    mkdir -p "$files/data/$1"
    head -n "$2" "$out/fsdd/$1.tsv" >"$files/data/$1.tsv"
    cut -f 1 "$files/data/$1.tsv" | (cd "$out/fsdd" && xargs cp -t "$files/data/$1")
}

# ---- Running --------------------------------------------------------------------------------------------------------
here() { # PART LEVEL
    rm -rf "${out:?}/$1/$2"
    (cd "$files" && sh cases.sh "$1" "$2" "$out/$1/$2") >"$out/$1.$2.log" || fault "$1, $2, here: see $out/$1.$2.log"
}
there() { # PART LEVEL FILE...: every file is one in the working folder
    rm -rf "${out:?}/$1/$2"
    "$emulated" "$out/$1/$2" "sh cases.sh $1 $2 /out" "$files/cases.sh" "${@:3}" ||
        fault "$1, $2, emulated: see $out/$1/$2/log"
    grep -q -m 1 avx512f "$out/$1/$2/cpuinfo" || fault "the emulated processor has no AVX-512"
}
fixtures() {
    here fixtures v3
    there fixtures v4 "$files"/{base_like-v4,large_like-v4,fixtures}
}
training() {
    here training v3
    there training v4 "$files"/{tiny-v4,data}
}
int8() {
    rm -rf "$files/weights"
    cp -r "$out/training/v3/finetuned" "$files/weights"
    rm -rf "$files/weights/checkpoints"
    here int8 v3
    here int8 v3-int8
    local level
    for level in v4-int8 v4-vnni-int8; do
        there int8 $level "$files"/{base_like,large_like,tiny}-$level "$files"/{fixtures,data,weights}
    done
}

# On processors that lack something; what is compiled for AVX2 must run on the one that has it.
refusals() {
    local transcribe='transcribe --threads 1 --weights fixtures/base_like/ctc fixtures/clips/a.wav'
    refused avx512f corei7_haswell_4770 base_like-v4 "$transcribe" \
        "./base_like-v3 $transcribe --logits /out/a.safetensors" "$files/base_like-v3"
    refused avx512vnni corei7_skylake_x base_like-v4-vnni-int8 "$transcribe" true
    mkdir -p "$out/refusals/here"
    # shellcheck disable=SC2086
    (cd "$files" && ./base_like-v3 $transcribe --logits "$out/refusals/here/a.safetensors") >/dev/null
}
refused() { # FEATURE PROCESSOR EXECUTABLE ARGUMENTS THEN FILE...: THEN is a command to run afterwards
    local log=$out/refusals/$1/log
    rm -rf "$out/refusals/$1"
    CPU=$2 ADD='' "$emulated" "$out/refusals/$1" "./$3 $4; echo code \$?; $5" "$files"/{"$3",fixtures} "${@:6}" ||
        fault "without $1: see $log"
    if ! grep -q "lacks.* $1" "$log" || ! grep -qx 'code 8' "$log"; then fault "not refused without $1: see $log"; fi
}

for part in compile fixtures training int8 refusals; do
    if wants $part; then
        say "$part"
        case $part in compile) prepare ;; *) $part ;; esac
    fi
done

# ---- The verdict ----------------------------------------------------------------------------------------------------
rows() { # PART GOT EXPECTED BOUND
    "$PYTHON" "$scripts/avx512/compare.py" "$1: $2, $3" "$out/$1/$2" "$out/$1/$3" "$4" ||
        fault "$1: $2 is too far from $3"
}
parity() { # LEVEL: against transformers
    local file model case
    for file in tests/fixtures/*/*_expected.safetensors; do
        model=$(basename "$(dirname "$file")") case=$(basename "$file" _expected.safetensors)
        [ "$case" != transcribe ] || continue
        if "$PYTHON" "$scripts/check_parity.py" "$out/fixtures/$1/$model.$case.safetensors" "$file" \
            >"$out/fixtures/$1/$model.$case.parity"; then
            echo "- $1, $model, $case: $(tail -n 1 "$out/fixtures/$1/$model.$case.parity")"
        else
            fault "$1, $model, $case: see $out/fixtures/$1/$model.$case.parity"
        fi
    done
}
verdict() {
    "$PYTHON" "$scripts/avx512/compare.py" head
    if wants fixtures; then rows fixtures v4 v3 1e-5; fi
    if wants training; then rows training v4 v3 1e-5; fi
    if wants int8; then
        rows int8 v4-int8 v3-int8 1e-2
        rows int8 v4-int8 v3 0.1
        rows int8 v4-vnni-int8 v3 0.05
    fi
    if wants refusals; then rows refusals avx512f here 0; fi
    if wants fixtures; then
        printf '\nAgainst what transformers computes:\n\n'
        parity v3
        parity v4
    fi
    if wants refusals; then
        printf '\nRefused:\n\n'
        { grep -h '^error' "$out"/refusals/*/log || true; } | sed 's/; the executable.*//; s/^error: /- /'
    fi
}
if [ "$PARTS" != compile ]; then
    verdict >"$out/table.md"
    cat "$out/table.md"
fi
say "$faults failed; everything is in $out"
exit $((faults > 0))
