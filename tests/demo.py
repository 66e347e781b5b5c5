#!/usr/bin/env python3
"""What choosing an option gives: the same model and problems, answered by the control, by the policy, and by a vote of all options.

usage: demo.py TARGET_DIR MODEL

TARGET_DIR holds ollm-run and ollm-convert, MODEL is the backbone. The backbone is adapted once, by the adapter that ships, into a file
beside it. Only the standard library is needed (Python 3.9 or newer).
"""

import json
import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parent.parent / "convert/trainer/plugins/arithmetic"
ADAPTED = "SmolLM2-135M-Instruct-arithmetic.gguf"
TOKENS = "64"
# How each answers, and what of ollm-run that is.
WAYS = {
    "control": ["--latent", "fixed:0", "--hold", "all"],
    "policy": ["--latent", "policy"],
    "vote of all": ["search", "--strategy", "vote", "--hold", "all"],
}


def adapted(convert, model):
    """The backbone with the adapter in its matrices: made once, and again where the adapter is newer."""
    adapter, output = PLUGINS / "adapter.gguf", model.parent / ADAPTED
    if not output.exists() or output.stat().st_mtime < adapter.stat().st_mtime:
        subprocess.run([convert, "merge", model, adapter, "-o", output, "--force"], check=True)
    return output


def final_answer(text):
    """The number behind the last ####."""
    return text.rpartition("####")[2].strip() if "####" in text else ""


def asked_of(model, question):
    """The arguments of ollm-run that every way shares."""
    return ["-m", model, "--plugin", PLUGINS / "plugin.gguf", "--chat", "-p", question, "-n", TOKENS]


def ask(run, model, question, way):
    """The final answer, and the tokens that it took."""
    command = way[:1] if way[0] == "search" else []
    common = [*asked_of(model, question), "--json"]
    asked = subprocess.run([run, *command, *common, *way[len(command) :]], check=True, stdout=subprocess.PIPE, text=True)
    if command:
        found = json.loads(asked.stdout)
        return found["answer"] or "", found["generated"]
    lines = [json.loads(line) for line in asked.stdout.splitlines()]
    return final_answer("".join(line.get("text", "") for line in lines)), lines[-1]["generated"]


def main():
    target, model = Path(sys.argv[1]), Path(sys.argv[2])
    run, model = target / "ollm-run", adapted(target / "ollm-convert", model)
    problems = [json.loads(line) for line in (PLUGINS / "problems.jsonl").read_text().splitlines()]
    first = problems[0]["question"]
    print(f"\n{first} The policy chooses an option; beside each token, what the others would have said:\n", flush=True)
    shown = ["--latent", "policy", "--show-options=2"]
    subprocess.run([run, *asked_of(model, first), *shown], check=True)
    print("\nThe same model answers by its control, by the option that the policy chooses, and by a vote of all options:\n")
    right, tokens = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0)
    print("  ".join([f"{'':34}", f"{'':>6}", *(f"{name:>13}" for name in WAYS)]))
    for problem in problems:
        question, expected = problem["question"], final_answer(problem["answer"])
        cells = []
        for name, way in WAYS.items():
            answer, spent = ask(run, model, question, way)
            right[name] += answer == expected
            tokens[name] += spent
            cells.append(f"{answer[:11]:>11} {'+' if answer == expected else '-'}")
        print("  ".join([f"{question[:34]:34}", f"{expected:>6}", *cells]), flush=True)
    print()
    for name in WAYS:
        count = len(problems)
        print(f"{name:14} {right[name]:3} of {count} right, {tokens[name] / count:6.1f} tokens a problem")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
