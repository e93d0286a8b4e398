"""Transcribes recordings: python -m PACKAGE.example WEIGHTS RECORDING..."""

import sys

from . import Model


def main() -> None:
    """Prints each word of each recording with its times and how sure the model is of it."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    with Model(sys.argv[1]) as model:
        for path in sys.argv[2:]:
            found = model.transcribe(path, timestamps="word")
            print(f"{path}: {found.text}")
            for word in found.words:
                print(f"  {word.start:7.2f} {word.end:7.2f}  {word.confidence:4.0%}  {word.text}")


if __name__ == "__main__":
    main()
