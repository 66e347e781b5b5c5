#!/bin/sh
# The study of RESULTS.md on generated problems: arithmetic.sh BACKBONE.gguf FOLDER [SEED..]
#
# Every step is skipped where its output is there, and goes on where it was interrupted; answers are
# cached. OLLM_TRAIN names the trainer (ollm-train by default). Takes hours on two cores.
set -eu
[ $# -ge 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
train=${OLLM_TRAIN:-ollm-train}
model=$(realpath "$1")
mkdir -p "$2"
cd "$2"
shift 2
seeds=${*:-0 1 2}

# make FILE COMMAND..: unless the file is there.
make() {
    file=$1
    shift
    [ -e "$file" ] || "$@"
}

# run FILE COMMAND..: into the folder of the file, on from its checkpoint.
run() {
    file=$1 folder=$(dirname "$1")
    shift
    if [ -e "$file" ]; then return; fi
    if [ -e "$folder/checkpoint.safetensors" ]; then set -- "$@" --resume; fi
    echo "== $folder" >&2
    "$@" -o "$folder"
}

# Problems: to learn from, to learn choosing from, to stop by, to report.
problems="$train problems --kind arithmetic"
make fit.jsonl $problems -n 2400 --seed 1 -o fit.jsonl
make rl.jsonl $problems -n 600 --seed 2 --exclude fit.jsonl -o rl.jsonl
make valid.jsonl $problems -n 200 --seed 3 --exclude fit.jsonl --exclude rl.jsonl -o valid.jsonl
make test.jsonl $problems -n 1000 --seed 4 --exclude fit.jsonl --exclude rl.jsonl --exclude valid.jsonl -o test.jsonl

# The backbone that all share.
run lora0/merged.gguf "$train" lora -m "$model" --data fit.jsonl --valid valid.jsonl --valid-limit 60 \
    --epochs 2 --lr 1e-3 --eval-every 40 --seed 0
backbone=lora0/merged.gguf
learn="-m $backbone --valid valid.jsonl"
answers="--tokens 64"

for seed in $seeds; do
    plugin=sft$seed/plugin.safetensors
    run $plugin "$train" sft $learn --data fit.jsonl --valid-limit 100 --hold all --control-epochs 2 --epochs 6 \
        --policy-epochs 1 --batch 1024 --eval-every 100 --seed $seed

    # Latents: 25 to 600 problems, each answered by all ten.
    for count in 25 50 100 300 600; do
        run rl$seed-$count/plugin.safetensors "$train" rl $learn --data rl.jsonl --limit $count --plugin $plugin $answers
    done
    run rl$seed-300-price/plugin.safetensors "$train" rl $learn --data rl.jsonl --limit 300 --plugin $plugin $answers \
        --token-cost 0.008
    # Tokens: steps of 128 answers.
    for steps in 24 156; do
        run token$seed-$steps/plugin.safetensors "$train" rl $learn --learn control --data rl.jsonl --plugin $plugin \
            $answers --steps $steps --eval-every 6 --patience 100 --lr "${TOKEN_LR:-1e-3}" --seed $seed
    done
    # What is right of 3,000 answers of the control, learned by the control.
    make right$seed.jsonl "$train" sample -m $backbone --data rl.jsonl --plugin token$seed-24/start.safetensors \
        --samples 5 --temperature 1 --right $answers --seed $seed -o right$seed.jsonl

    table="-m $backbone --data test.jsonl --train rl.jsonl --train-limit 300 --plugin $plugin $answers --seed $seed"
    set -- --rl rl$seed-300/plugin.safetensors --also "RL policy with a price=rl$seed-300-price/plugin.safetensors" \
        --also "token RL, 3,000 rollouts=token$seed-24/plugin.safetensors" \
        --also "token RL, 20,000 rollouts=token$seed-156/plugin.safetensors"
    make accuracy$seed.json "$train" accuracy $table "$@" --json > accuracy$seed.json
done
