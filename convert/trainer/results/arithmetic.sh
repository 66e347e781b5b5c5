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
problems="$train problems --kind arithmetic --operands 2..3"
make fit.jsonl $problems -n 6000 --seed 1 -o fit.jsonl
make rl.jsonl $problems -n 600 --seed 2 --exclude fit.jsonl -o rl.jsonl
make valid.jsonl $problems -n 200 --seed 3 --exclude fit.jsonl --exclude rl.jsonl -o valid.jsonl
make test.jsonl $problems -n 1000 --seed 4 --exclude fit.jsonl --exclude rl.jsonl --exclude valid.jsonl -o test.jsonl
make more.jsonl $problems -n 2400 --seed 5 --exclude fit.jsonl --exclude rl.jsonl --exclude valid.jsonl --exclude test.jsonl \
    -o more.jsonl
make rl3000.jsonl sh -c 'cat rl.jsonl more.jsonl > rl3000.jsonl'

# The backbone that all share.
run lora0/merged.gguf "$train" lora -m "$model" --data fit.jsonl --valid valid.jsonl --valid-limit 60 \
    --epochs 1 --lr 1e-3 --eval-every 75 --merged-type q8_0 --seed 0
backbone=lora0/merged.gguf
learn="-m $backbone --valid valid.jsonl"
answers="--tokens 64"

for seed in $seeds; do
    plugin=sft$seed/plugin.safetensors
    run $plugin "$train" sft $learn --data fit.jsonl --valid-limit 100 --hold all --control-epochs 1 --epochs 3 \
        --policy-epochs 1 --batch 1024 --eval-every 100 --seed "$seed"

    # Latents: 25 to 600 problems, each answered by all ten.
    for count in 300 600 25 50 100; do
        run "rl$seed-$count/plugin.safetensors" "$train" rl $learn --data rl.jsonl --limit $count --plugin $plugin $answers \
            --patience 10
    done
    run "rl$seed-600-price/plugin.safetensors" "$train" rl $learn --data rl.jsonl --limit 600 --plugin $plugin $answers \
        --token-cost 0.008 --patience 10

    # When, not only which: what each latent earns, by the state.
    for price in 0 0.004 0.006 0.008; do
        for count in 600 1600 2200; do
            run "regression$seed-$count-$price/plugin.safetensors" "$train" rl $learn --data rl3000.jsonl --limit $count \
                --plugin $plugin $answers --token-cost $price --start regression --steps 0
        done
    done

    # Tokens: steps of 128 answers of the control, 3,000 and 10,000 in all.
    for steps in 24 78; do
        run "token$seed-$steps/plugin.safetensors" "$train" rl $learn --learn control --data rl.jsonl --plugin $plugin \
            $answers --steps $steps --eval-every 6 --patience 100 --lr 1e-3 --seed "$seed"
    done

    # The control learns what is right of its 3,000 answers.
    make "right$seed.jsonl" "$train" sample -m $backbone --data rl.jsonl --plugin $plugin --latents 0 --samples 5 \
        --right $answers --seed "$seed" -o "right$seed.jsonl"
    run "rft$seed/control.safetensors" "$train" sft $learn --data "right$seed.jsonl" --valid-limit 100 \
        --init-from "sft$seed/control.safetensors" --control-epochs 4 --epochs 0 --policy-epochs 0 --batch 256 \
        --eval-every 20 --seed "$seed"

    set -- -m $backbone --data test.jsonl --train rl.jsonl --train-limit 600 --plugin $plugin $answers --seed "$seed" \
        --rl "rl$seed-600/plugin.safetensors" --also "RL policy with a price=rl$seed-600-price/plugin.safetensors" \
        --also "token RL, 3,000 rollouts=token$seed-24/plugin.safetensors" \
        --also "token RL, 10,000 rollouts=token$seed-78/plugin.safetensors" \
        --also "rejection sampling=rft$seed/control.safetensors"
    table() {
        file=$1
        shift
        [ -e "$file" ] || { "$train" accuracy "$@" > "$file.part" && mv "$file.part" "$file"; }
    }
    table "accuracy$seed.json" "$@" --json --svg "accuracy$seed.svg" --tokens-svg "tokens$seed.svg"
    table "accuracy$seed.txt" "$@"
    table "votes$seed.txt" "$@" --against "all latents, vote"
    table "choosing$seed.txt" "$@" --against "RL policy, held"
    table "price$seed.txt" "$@" --token-cost 0.008 --against "RL policy with a price"
    table "rollouts$seed.txt" -m $backbone --data test.jsonl --train rl.jsonl --train-limit 600 --plugin $plugin $answers \
        --seed "$seed" --rl "rl$seed-300/plugin.safetensors" \
        --also "RL policy, 250 rollouts=rl$seed-25/plugin.safetensors" \
        --also "RL policy, 1,000 rollouts=rl$seed-100/plugin.safetensors" \
        --also "token RL, 3,000 rollouts=token$seed-24/plugin.safetensors" \
        --also "token RL, 10,000 rollouts=token$seed-78/plugin.safetensors" \
        --also "rejection sampling=rft$seed/control.safetensors" --against "RL policy, held"
    table "regression$seed.txt" -m $backbone --data test.jsonl --train rl.jsonl --train-limit 600 --plugin $plugin $answers \
        --seed "$seed" --rl "regression$seed-2200-0/plugin.safetensors" --token-cost 0.008 --against "regression, 22,000" \
        --also "regression, 6,000=regression$seed-600-0.008/plugin.safetensors" \
        --also "regression, 22,000=regression$seed-2200-0.008/plugin.safetensors"
    for field in reward degenerate kl; do
        make "$field$seed.svg" "$train" curves "latents=rl$seed-25" "latents=rl$seed-50" "latents=rl$seed-100" \
            "latents=rl$seed-300" "latents=rl$seed-600" "tokens (control)=token$seed-78" --field $field -o "$field$seed.svg"
    done
done
