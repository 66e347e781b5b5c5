#!/usr/bin/env python3
"""What a person gets who asks for a latent: its way of answering; and what searches over latents find.

usage: control.py OLLM_RUN MODEL PLUGIN PROBLEMS.jsonl N FOLDER

Answers the first N generated sums (`ollm-train problems --kind arithmetic`) with every latent held, and by every search below, with
ollm-run. FOLDER keeps what was answered, so that an interrupted run goes on. Prints tables in Markdown: latents by way of answering with
the mutual information of both, and the searches, compared problem by problem (exact McNemar). Only the standard library is needed.
"""

import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

TOKENS = "64"
OPTIONS = 10
SEARCHES = {
    "vote of all latents": ["--strategy", "vote", "--hold", "all"],
    "vote of 13 samples of the control, T = .6": ["--strategy", "vote", "--latent", "fixed:0", "--hold", "all", "--expand", "sample:13:0.6"],
    "best of all latents by mean log-probability": ["--strategy", "best", "--hold", "all", "--score", "logprob"],
    "beam of 4, a choice each line": ["--strategy", "beam", "--branches", "4", "--hold", "line", "--score", "logprob"],
}
WAYS = ["once", "steps", "parts", "other"]


def answered(command, problems, cache):
    """The document of each problem: read from `cache`, as far as that has them, and appended to it."""
    known = [json.loads(line) for line in cache.read_text().splitlines()] if cache.exists() else []
    with open(cache, "a", encoding="utf-8") as sink:
        for number, problem in enumerate(problems[len(known) :], len(known)):
            asked = subprocess.run([*command, "-p", problem["question"]], check=True, stdout=subprocess.PIPE, text=True)
            known.append(json.loads(asked.stdout))
            print(asked.stdout.strip(), file=sink, flush=True)
            if number % 50 == 49:
                print(f"{cache.stem}: {number + 1} of {len(problems)}", file=sys.stderr, flush=True)
    return known[: len(problems)]


def way_of(question, text):
    """How an answer gets to its number, by its first line: at once, from the first two numbers, or from parts: numbers of one digit and zeros."""
    first = text.strip().split("\n")[0]
    if first.startswith("####"):
        return "once"
    numbers, line = ([int(n) for n in re.findall(r"\d+", part)] for part in (question, first.partition("=")[0]))
    if "=" not in first or not line:
        return "other"
    if line == numbers[:2]:
        return "steps"
    return "parts" if all(str(part).rstrip("0")[1:] == "" for part in line) else "other"


def entropy(counts):
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values() if n)


def mutual_information(rows):
    """Bits that a latent, drawn evenly, tells of the way."""
    ways = sum(rows, Counter())
    return entropy(ways) - sum(entropy(row) * sum(row.values()) for row in rows) / sum(ways.values())


def sure(rows):
    """Those bits within each problem would be 0 if the problem alone decided: the share of answers that have their latent's main way."""
    return sum(max(row.values()) for row in rows) / sum(sum(row.values()) for row in rows)


def mcnemar(better, worse):
    """The exact two-sided p-value."""
    n, k = better + worse, min(better, worse)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def number(text):
    found = re.search(r"-?[\d,]+", text or "")
    return found and found.group().replace(",", "")


def main():
    run, model, plugin, problems, count, folder = sys.argv[1:]
    problems = [json.loads(line) for line in Path(problems).read_text().splitlines()][: int(count)]
    right = [number(problem["answer"].rpartition("####")[2]) for problem in problems]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    base = ["-m", model, "--plugin", plugin, "--chat", "--json", "-n", TOKENS]
    found = {}
    for name, flags in SEARCHES.items():
        cache = folder / (re.sub(r"\W+", "-", name) + ".jsonl")
        found[name] = answered([run, "search", *base, *flags], problems, cache)

    rows = [Counter() for _ in range(OPTIONS)]
    for problem, document in zip(problems, found["vote of all latents"]):
        for branch in document["branches"][:OPTIONS]:
            rows[branch["latents"][0]][way_of(problem["question"], branch["text"])] += 1
    print(f"| latent | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for latent, row in enumerate(rows):
        total = sum(row.values())
        print(f"| {latent} | " + " | ".join(f"{row[way] / total:.2f}".removeprefix("0") if row[way] else "" for way in WAYS) + " |")
    ways = sum(rows, Counter())
    print(f"\n{len(problems)} problems: I(latent; way) = {mutual_information(rows):.3f} bits of {entropy(ways):.3f}; "
          f"{sure(rows):.3f} of the answers have the main way of their latent\n")

    def grade(name):
        return [number(document["answer"]) == gold for document, gold in zip(found[name], right)]

    reference = grade("vote of all latents")
    print("| | accuracy | tokens | beside the vote of latents |\n|---|---|---|---|")
    for name, documents in found.items():
        graded = grade(name)
        better = sum(one and not other for one, other in zip(graded, reference))
        worse = sum(other and not one for one, other in zip(graded, reference))
        beside = "" if graded == reference else f"{better}/{worse}, p = {mcnemar(better, worse):.3f}"
        tokens = sum(document["generated"] for document in documents) / len(documents)
        print(f"| {name} | {sum(graded) / len(graded):.3f} | {tokens:.0f} | {beside} |")


if __name__ == "__main__":
    main()
