"""A speech model compiled by w2vc: recordings to text, with times; layers' states; live speech.

>>> import {package}
>>> model = {package}.Model("run2")
>>> model.transcribe("a.wav").text                              # doctest: +SKIP
>>> for word in model.transcribe(array, timestamps="word").words:  # doctest: +SKIP
...     print(word.start, word.end, word.text, word.confidence)
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Union

import numpy as np

__all__ = ["Event", "Letter", "Model", "ModelError", "Segment", "Stream", "Transcript", "Word", "__version__"]

__version__ = "{version}"

#: Samples per second that arrays must have.
SAMPLE_RATE = 16_000

Audio = Union[str, "os.PathLike[str]", np.ndarray, Sequence[float]]


class ModelError(RuntimeError):
    """What the model could not do, in words."""


@dataclass(frozen=True)
class Letter:
    """A letter and when it is said, in seconds; ``confidence`` is between 0 and 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Word:
    """A word and when it is said, in seconds. ``letters`` is empty unless ``timestamps="char"``."""

    text: str
    start: float
    end: float
    confidence: float
    letters: List[Letter] = field(default_factory=list)


@dataclass(frozen=True)
class Segment:
    """What is shown at a time, as a subtitle. ``words`` is empty unless ``timestamps`` were asked for."""

    text: str
    start: float
    end: float
    confidence: float
    words: List[Word] = field(default_factory=list)


@dataclass(frozen=True)
class Transcript:
    """What was heard in a recording of ``duration`` seconds."""

    text: str
    duration: float
    segments: List[Segment]

    @property
    def words(self) -> List[Word]:
        """The words of all segments; none unless ``timestamps`` were asked for."""
        return [word for segment in self.segments for word in segment.words]


@dataclass(frozen=True)
class Event:
    """What a stream tells: the text of utterance ``id`` so far, or once ``final`` for good, with its words."""

    id: int
    text: str
    start: float
    end: float
    final: bool
    words: List[Word] = field(default_factory=list)


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(Path(__file__).with_name("_model.so")))
    handle, text, floats, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_float), ctypes.c_size_t
    sizes = ctypes.POINTER(size)
    for name, result, arguments in [
        ("w2vc_error", text, []),
        ("w2vc_open", handle, [text, text]),
        ("w2vc_close", None, [handle]),
        ("w2vc_about", handle, [handle]),
        ("w2vc_transcribe", handle, [handle, floats, size, text]),
        ("w2vc_transcribe_file", handle, [handle, text, text]),
        ("w2vc_logits", floats, [handle, floats, size, sizes, sizes]),
        ("w2vc_features", floats, [handle, floats, size, size, sizes, sizes]),
        ("w2vc_stream_new", handle, [handle]),
        ("w2vc_stream_push", ctypes.c_int, [handle, floats, size]),
        ("w2vc_stream_poll", handle, [handle]),
        ("w2vc_stream_finish", handle, [handle]),
        ("w2vc_stream_free", None, [handle]),
        ("w2vc_free", None, [handle]),
        ("w2vc_free_floats", None, [floats]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


def _failed() -> ModelError:
    said = _library.w2vc_error()
    return ModelError(said.decode() if said else "unknown")


def _taken(address: Optional[int]) -> Any:
    """The JSON at an address, which is freed."""
    if not address:
        raise _failed()
    try:
        return json.loads(ctypes.string_at(address))
    finally:
        _library.w2vc_free(address)


def _samples(audio: Any, sample_rate: int) -> np.ndarray:
    """Mono samples as the model takes them."""
    array = np.asarray(audio)
    if sample_rate != SAMPLE_RATE:
        raise ValueError(f"samples at {sample_rate} Hz: resample to {SAMPLE_RATE} Hz, or give the path of a file")
    if array.ndim != 1:
        raise ValueError(f"an array of shape {array.shape}: give mono samples in one dimension")
    if array.dtype == np.int16:
        array = array.astype(np.float32) / 32768
    elif array.dtype.kind not in "f" and array.size:
        raise ValueError(f"samples of type {array.dtype}: give int16, or floats in [-1, 1]")
    return np.ascontiguousarray(array, dtype=np.float32)


def _pointer(samples: np.ndarray) -> Any:
    return samples.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def _word(word: dict) -> Word:
    letters = [Letter(**letter) for letter in word.get("letters", [])]
    return Word(word["text"], word["start"], word["end"], word["confidence"], letters)


def _segment(segment: dict) -> Segment:
    words = [_word(word) for word in segment.get("words", [])]
    return Segment(segment["text"], segment["start"], segment["end"], segment["confidence"], words)


def _event(event: dict) -> Event:
    words = [_word(word) for word in event.get("words", [])]
    return Event(event["id"], event["text"], event["start"], event["end"], event["type"] == "final", words)


class Model:
    """A model with weights. It may be used from several threads; what they ask at a time is computed together.

    ``weights`` is a run, a Hugging Face folder or a file of weights. ``options`` are the flags of ``OUT transcribe`` and ``OUT
    listen`` by their names: ``threads``, ``device``, ``set`` (a list), ``lm``, ``lm_weight``, ``lexicon``, ``hotwords``, ``beam``,
    ``chunk``, ``left``, ``right``, and so on.

    A process that was forked after a model was opened cannot use it: open it there, or start processes by "spawn".
    """

    def __init__(self, weights: Union[str, "os.PathLike[str]"], **options: Any) -> None:
        self._handle: Optional[int] = None
        self._lock = threading.Lock()
        self._calls = 0
        self._closing: Optional[int] = None
        plain = {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in options.items()}
        self._handle = _library.w2vc_open(os.fsencode(weights), json.dumps(plain).encode())
        if not self._handle:
            raise _failed()
        #: What :meth:`about` gives: name, version, sample_rate, frame_seconds, tokens, delay_seconds.
        self.about: dict = _taken(_library.w2vc_about(self._handle))

    @property
    def name(self) -> str:
        """The name of the model that was compiled."""
        return self.about["name"]

    @property
    def tokens(self) -> List[str]:
        """What the classes of :meth:`logits` stand for."""
        return self.about["tokens"]

    @property
    def frame_seconds(self) -> float:
        """Seconds from one row of :meth:`logits` to the next."""
        return self.about["frame_seconds"]

    def transcribe(
        self, audio: Audio, *, timestamps: Optional[str] = None, sample_rate: int = SAMPLE_RATE
    ) -> Transcript:
        """Transcribes a file of any format, or mono samples (floats in [-1, 1] or int16) at 16 kHz.

        ``timestamps``: ``"word"`` or ``"char"`` for words, and letters, with times and confidences.
        """
        times = timestamps.encode() if timestamps else None
        if isinstance(audio, (str, os.PathLike)):
            with self._open() as handle:
                found = _taken(_library.w2vc_transcribe_file(handle, os.fsencode(audio), times))
        else:
            samples = _samples(audio, sample_rate)
            with self._open() as handle:
                found = _taken(_library.w2vc_transcribe(handle, _pointer(samples), samples.size, times))
        segments = [_segment(segment) for segment in found["segments"]]
        return Transcript(found["text"], found["duration"], segments)

    def logits(self, audio: Any, *, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
        """What the model gives for mono samples: f32 [frames, classes]."""
        return self._array(_library.w2vc_logits, audio, sample_rate)

    def features(self, audio: Any, layer: int, *, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
        """What a layer gives for mono samples (0: the input of the first): f32 [frames, width].

        The first call takes memory for the weights once more.
        """
        if layer < 0:
            raise ValueError(f"layer {layer}: layers are counted from 0")
        return self._array(_library.w2vc_features, audio, sample_rate, ctypes.c_size_t(layer))

    def stream(self) -> Stream:
        """A stream of speech, for texts while it is spoken."""
        return Stream(self)

    def close(self) -> None:
        """Frees the model, after calls that other threads have in it. Streams of it stay sound."""
        with self._lock:
            handle, self._handle = self._handle, None
            if self._calls:
                # The last of them frees it.
                handle, self._closing = None, handle or self._closing
        if handle:
            _library.w2vc_close(handle)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """The handle, which is not freed meanwhile."""
        with self._lock:
            handle = self._handle
            if not handle:
                raise ModelError("the model is closed")
            self._calls += 1
        try:
            yield handle
        finally:
            with self._lock:
                self._calls -= 1
                last = None
                if not self._calls:
                    last, self._closing = self._closing, None
            if last:
                _library.w2vc_close(last)

    def _array(self, function: Any, audio: Any, sample_rate: int, *more: Any) -> np.ndarray:
        samples = _samples(audio, sample_rate)
        rows, width = ctypes.c_size_t(), ctypes.c_size_t()
        sizes = ctypes.byref(rows), ctypes.byref(width)
        with self._open() as handle:
            found = function(handle, _pointer(samples), samples.size, *more, *sizes)
            if not found:
                raise _failed()
        try:
            if rows.value == 0:
                return np.zeros((0, width.value), np.float32)
            return np.ctypeslib.as_array(found, (rows.value, width.value)).copy()
        finally:
            _library.w2vc_free_floats(found)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def __repr__(self) -> str:
        return f"<{__name__}.Model {self.name!r}{'' if self._handle else ', closed'}>"


class Stream:
    """Speech while it is spoken.

    >>> stream = model.stream()                                  # doctest: +SKIP
    >>> for block in microphone:                                 # doctest: +SKIP
    ...     stream.push(block)
    ...     for event in stream.poll():
    ...         print(event.text, end="\\n" if event.final else "\\r")
    >>> last = stream.finish()                                   # doctest: +SKIP
    """

    def __init__(self, model: Model) -> None:
        self._lock = threading.Lock()
        self._handle: Optional[int] = None
        with model._open() as handle:
            self._handle = _library.w2vc_stream_new(handle)
            if not self._handle:
                raise _failed()

    def push(self, samples: Any, *, sample_rate: int = SAMPLE_RATE) -> None:
        """Adds mono samples at 16 kHz; returns at once."""
        block = _samples(samples, sample_rate)
        with self._lock:
            if _library.w2vc_stream_push(self._handle, _pointer(block), block.size) != 0:
                raise _failed()

    def poll(self) -> List[Event]:
        """Computes what can be computed by now, and gives what is new."""
        with self._lock:
            return [_event(event) for event in _taken(_library.w2vc_stream_poll(self._handle))]

    def finish(self) -> List[Event]:
        """Says that no more samples come; gives the last events."""
        with self._lock:
            return [_event(event) for event in _taken(_library.w2vc_stream_finish(self._handle))]

    def events(self, blocks: Any) -> Iterator[Event]:
        """The events of blocks of samples, as these come."""
        for block in blocks:
            self.push(block)
            yield from self.poll()
        yield from self.finish()

    def close(self) -> None:
        """Frees the stream."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle:
            _library.w2vc_stream_free(handle)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()
