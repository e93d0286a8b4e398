#!/usr/bin/env python3
"""Prints the tables of docs/results.md from what scripts/results.sh left: mean, least and greatest error over seeds.

    python3 scripts/results_table.py OUT_FOLDER

Reads OUT_FOLDER/{same,apart}/*.score (split, kind, labels, seed of pretraining, seed, word errors, words, letter errors,
letters) and data/parts.tsv. Runs that are not finished are left out; the number of runs is in the table. Standard library
only.
"""

import sys
from collections import defaultdict
from pathlib import Path

TITLES = {"same": "Same speakers in training and test", "apart": "Speakers of the test left out of all training"}


def rates(rows):
    """Word and letter error rates in percent, one pair per run."""
    return [(100 * int(r[5]) / int(r[6]), 100 * int(r[7]) / int(r[8])) for r in rows]


def summary(values):
    return f"{sum(values) / len(values):.1f} | {min(values):.1f} to {max(values):.1f}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    for split, title in TITLES.items():
        runs = defaultdict(list)
        for path in sorted((out / split).glob("*.score")):
            row = path.read_text().rstrip("\n").split("\t")
            if len(row) != 9:
                sys.exit(f"{path}: 9 fields expected; remove it and run scripts/results.sh again")
            runs[row[2], row[1]].append(row)
        if not runs:
            continue
        parts = [line.split("\t") for line in (out / split / "data/parts.tsv").read_text().splitlines()]
        minutes = {name.removeprefix("labelled-"): float(m) for name, _, m, _ in parts}
        print(f"{title}\n")
        print("| labels, minutes | start | runs | words wrong, mean % | range | letters wrong, mean % | range |")
        print("|-|-|-|-|-|-|-|")
        for labels, kind in sorted(runs, key=lambda key: (minutes[key[0]], key[1])):
            found = rates(runs[labels, kind])
            words, letters = zip(*found)
            print(f"| {minutes[labels]:.2f} | {kind} | {len(found)} | {summary(words)} | {summary(letters)} |")
        print("\nEach run, words wrong in %:\n")
        for labels, kind in sorted(runs, key=lambda key: (minutes[key[0]], key[1])):
            rows = runs[labels, kind]
            each = ", ".join(f"{w:.1f} (seed {r[4]})" for (w, _), r in zip(rates(rows), rows))
            print(f"- {minutes[labels]:.2f} minutes, {kind}: {each}")
        print()


if __name__ == "__main__":
    main()
