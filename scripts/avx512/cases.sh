#!/bin/sh
# What is run both here and on the emulated processor (there by busybox). Usage: sh cases.sh PART LEVEL OUT
#
# In the working folder: MODEL-LEVEL, the executables; fixtures, those of tests; data, clips of digits; for the part
# int8 also weights, of tiny. PART: fixtures, training or int8. Exit code 1 if a command failed; its log is in OUT.
part=$1 level=$2 out=$3
failed=0
mkdir -p "$out"

run() { # NAME COMMAND...
    name=$1
    shift
    if "$@" >"$out/$name.txt" 2>&1; then
        echo "$level $name: done"
    else
        echo "$level $name: FAILED with $?: $(tail -n 1 "$out/$name.txt")"
        failed=1
    fi
}

everywhere="--set dropout=0.1 --set attention_dropout=0.1 --set activation_dropout=0.1"
pretraining="$everywhere --set input_dropout=0.1 --set feature_dropout=0.1"
finetuning="$everywhere --set final_dropout=0.1"

# One step of each case of the fixtures, and transcripts. With dropout nothing is expected but the other level's.
fixtures() {
    for model in base_like large_like; do
        for case in pretrain pretrain_gumbel finetune finetune_masked; do
            case $case in
                pretrain*) weights=pretrain dropout=$pretraining ;;
                *) weights=ctc dropout=$finetuning ;;
            esac
            set -- "./$model-$level" step --threads 1 --weights "fixtures/$model/$weights" \
                --batch "fixtures/$model/${case}_batch.safetensors"
            run "$model.$case" "$@" --no-dropout --out "$out/$model.$case.safetensors"
            # shellcheck disable=SC2086
            run "$model.$case.dropout" "$@" $dropout --set layerdrop=0.2 --out "$out/$model.$case.dropout.safetensors"
        done
        transcribe $model "fixtures/$model/ctc" fixtures/clips/*.wav
    done
}

transcribe() { # MODEL WEIGHTS CLIP...
    model=$1 weights=$2
    shift 2
    run "$model.transcribe" "./$model-$level" transcribe --threads 1 --weights "$weights" \
        --logits "$out/$model.transcribe.safetensors" "$@"
}

# A few updates from random weights, with every dropout: pretraining on pieces of 2 s, two at a time, then fine-tuning.
training() {
    common="--threads 1 --data data/train.tsv --valid data/valid.tsv --set updates=3 --set log_every=1"
    common="$common --set save_every=3 --set validate_every=3 --set loaders=1 --set mask_min=1 --set layerdrop=0.1"
    # shellcheck disable=SC2086
    run pretrain "./tiny-$level" pretrain $common $pretraining --set warmup=2 --set max_samples=32000 \
        --set max_batch=2 --out "$out/pretrained"
    # shellcheck disable=SC2086
    run finetune "./tiny-$level" finetune $common $finetuning --set freeze_updates=1 --set max_batch=1 \
        --init "$out/pretrained" --out "$out/finetuned"
    transcribe tiny "$out/finetuned" data/test/*.wav
}

int8() {
    transcribe base_like fixtures/base_like/ctc fixtures/clips/*.wav
    transcribe large_like fixtures/large_like/ctc fixtures/clips/*.wav
    transcribe tiny weights data/test/*.wav
}

case $part in
    fixtures | training | int8) $part ;;
    *)
        echo "cases.sh: there is no part $part" >&2
        exit 2
        ;;
esac
exit $failed
