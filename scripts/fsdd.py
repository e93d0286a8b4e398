#!/usr/bin/env python3
"""Joins single spoken digits of the Free Spoken Digit Dataset into utterances, ready for training.

    python3 scripts/fsdd.py RECORDINGS OUT [--seed 1] [--leave-out nicolas,yweweler]

RECORDINGS holds {digit}_{speaker}_{take}.wav (8 kHz, 16 bit, mono). An utterance is takes of one speaker, joined
to 4 to 10 s; its text is the digits as words. By the data set's own convention takes 0 to 4 are the test split.
Of the others takes 5 to 7 are the validation split and the rest are for training. No take is in two splits.

OUT/{train,valid,test}/*.wav        the utterances
OUT/train.tsv                       path TAB text, paths relative to OUT; pretraining ignores the texts
OUT/labelled-{0.5,2,8}m.tsv         the first utterances of train, at least so many minutes, speakers in turn
OUT/valid.tsv  OUT/test.tsv
OUT/parts.tsv               name, utterances, minutes and words of each part

With --leave-out the named speakers are in no part but test, which then holds all their takes and nobody else's.
Every take is used once per pass; `--passes` makes more training audio from the same takes, joined in another order.
Standard library only; the same arguments give the same files.
"""

import argparse
import itertools
import random
import re
import shutil
import sys
import wave
from pathlib import Path

WORDS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split()
SHORTEST, LONGEST = 4.0, 10.0  # seconds
RATE = 8000
LABELLED_MINUTES = ("0.5", "2", "8")


def read(path):
    """The samples of a recording as bytes."""
    with wave.open(str(path), "rb") as f:
        form = (f.getframerate(), f.getnchannels(), f.getsampwidth())
        if form != (RATE, 1, 2):
            sys.exit(f"{path}: expected {RATE} Hz, mono, 16 bit, found {form[0]} Hz, {form[1]} channels, {8 * form[2]} bit")
        return f.readframes(f.getnframes())


def seconds(samples):
    return len(samples) / (2 * RATE)


def split_of(take):
    return "test" if take < 5 else "valid" if take < 8 else "train"


def find(recordings, left_out):
    """{split: {speaker: [(digit, samples)]}}; the test is of `left_out` alone where there are any."""
    found = {"train": {}, "valid": {}, "test": {}}
    for path in sorted(recordings.glob("*.wav")):
        name = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if name is None:
            sys.exit(f"{path}: not named digit_speaker_take.wav")
        digit, speaker, take = int(name[1]), name[2], int(name[3])
        split = "test" if speaker in left_out else split_of(take)
        if split != "test" or not left_out or speaker in left_out:
            found[split].setdefault(speaker, []).append((digit, read(path)))
    strange = left_out - set(found["test"])
    if strange:
        sys.exit(f"{recordings}: no recordings of {', '.join(sorted(strange))}")
    if not found["train"]:
        sys.exit(f"{recordings}: no recordings of the training split here")
    return found


def cut(takes, draw):
    """Utterances as (digits, samples), cut where a random length is reached; the last may be too short."""
    utterances, digits, samples, wanted = [], [], b"", draw.uniform(SHORTEST, LONGEST)
    for digit, sound in takes:
        if digits and (seconds(samples) >= wanted or seconds(samples) + seconds(sound) > LONGEST):
            utterances.append((digits, samples))
            digits, samples, wanted = [], b"", draw.uniform(SHORTEST, LONGEST)
        digits, samples = digits + [digit], samples + sound
    return utterances + [(digits, samples)]


def join(takes, draw):
    """All takes in random order, as utterances of 4 to 10 s: cut at random until every piece is of such a length."""
    takes = takes[:]
    draw.shuffle(takes)
    for _ in range(1000):
        utterances = cut(takes, draw)
        if all(SHORTEST <= seconds(samples) <= LONGEST for _, samples in utterances):
            return utterances
    sys.exit(f"{len(takes)} takes of one speaker do not divide into utterances of {SHORTEST:.0f} to {LONGEST:.0f} s")


def in_turn(lists):
    """One element of each list in turn, so that the first utterances are of all speakers."""
    return [u for row in itertools.zip_longest(*lists) for u in row if u is not None]


def write(path, samples):
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(RATE)
        f.writeframes(samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--passes", type=int, default=1, help="how often each training take is used")
    parser.add_argument("--leave-out", default="", metavar="SPEAKERS", help="comma between them; tested alone")
    options = parser.parse_args()
    left_out = {name for name in options.leave_out.split(",") if name}
    draw = random.Random(options.seed)
    lines = {}
    for split, speakers in find(options.recordings, left_out).items():
        folder = options.out / split
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        utterances = []
        for _ in range(options.passes if split == "train" else 1):
            utterances += in_turn([[(s, *u) for u in join(takes, draw)] for s, takes in sorted(speakers.items())])
        lines[split] = []
        for i, (speaker, digits, samples) in enumerate(utterances):
            name = f"{split}/{i:04d}-{speaker}.wav"
            write(options.out / name, samples)
            lines[split].append((name, " ".join(WORDS[d] for d in digits), seconds(samples)))
    for minutes in LABELLED_MINUTES:
        total, part = 0.0, []
        for line in lines["train"]:
            if total >= 60 * float(minutes):
                break
            part.append(line)
            total += line[2]
        lines[f"labelled-{minutes}m"] = part
    table = open(options.out / "parts.tsv", "w")
    for name, part in lines.items():
        with open(options.out / f"{name}.tsv", "w") as f:
            f.writelines(f"{path}\t{text}\n" for path, text, _ in part)
        words = sum(len(text.split()) for _, text, _ in part)
        minutes = sum(s for *_, s in part) / 60
        table.write(f"{name}\t{len(part)}\t{minutes:.2f}\t{words}\n")
        print(f"{name:14} {len(part):4} utterances  {minutes:6.2f} minutes  {words:5} words")


if __name__ == "__main__":
    main()
