"""What a user of the package does; the argument is a file of states."""

import json
import sys
import threading
import time
import wave
from dataclasses import asdict

import numpy as np
from w2vc_tiny import Model, ModelError

model = Model("run", threads=1)
found = model.transcribe("data/5.wav", timestamps="word")
print(found.text)
words = [asdict(word) for word in found.words]
for word in words:
    del word["letters"]
print(json.dumps(words))

# The same at 16 kHz, as an array: every sample twice is a recording of its own, the same by file and by array.
with wave.open("data/5.wav") as file:
    half = np.frombuffer(file.readframes(file.getnframes()), np.int16)
array = np.repeat(half, 2)
with wave.open("repeated.wav", "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(16000)
    file.writeframes(array.tobytes())
by_file, by_array = model.transcribe("repeated.wav", timestamps="char"), model.transcribe(array, timestamps="char")
assert by_file == by_array, (by_file, by_array)
assert by_array == model.transcribe(array.astype(np.float64) / 32768, timestamps="char")
assert all(word.letters for word in by_array.words)

logits = model.logits(array)
assert logits.dtype == np.float32 and logits.shape == ((len(array) - 400) // 320 + 1, len(model.tokens)), logits.shape
assert model.logits(np.zeros(10, np.float32)).shape == (0, len(model.tokens))
states = model.features(array, 1)
assert states.shape == (logits.shape[0], 32)
assert np.load(sys.argv[1]).shape[1] == 32

stream = model.stream()
events = list(stream.events(array[at : at + 1000] for at in range(0, len(array), 1000)))
assert events and events[-1].final and events[-1].words, events

results = [None] * 6
def work(place):
    results[place] = model.transcribe(array).text
threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert set(results) == {by_array.text}

# Who closes a model that others are in waits for nobody, and takes nothing from them.
busy = Model("run", threads=1)
def use(place):
    try:
        while True:
            results[place] = busy.transcribe(array).text
    except ModelError as told:
        assert "closed" in str(told), told
threads = [threading.Thread(target=use, args=(i,)) for i in range(6)]
[thread.start() for thread in threads]
time.sleep(0.2)
busy.close()
[thread.join() for thread in threads]
assert set(results) == {by_array.text}

for wrong, error in [
    (lambda: model.transcribe("nowhere.wav"), ModelError),
    (lambda: model.transcribe(array.reshape(2, -1)), ValueError),
    (lambda: model.transcribe(array, sample_rate=8000), ValueError),
    (lambda: model.transcribe(array, timestamps="syllable"), ModelError),
    (lambda: model.transcribe(np.array([np.nan] * 1000)), ModelError),
    (lambda: model.features(array, 99), ModelError),
    (lambda: Model("nowhere"), ModelError),
    (lambda: Model("run", beem=3), ModelError),
]:
    try:
        wrong()
    except error as told:
        assert str(told)
    else:
        raise AssertionError("nothing was refused")
model.close()
model.close()
print("all well")
