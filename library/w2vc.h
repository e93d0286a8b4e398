/* A speech model compiled by w2vc, as a library.
 *
 * Every function may be called from any thread, for the same handle too, but for those that free it. Texts are UTF-8. A function that fails gives NULL or
 * -1, and w2vc_error() says why, in the thread that called. Nothing is printed, but for notes on the standard error stream.
 *
 *     w2vc_model *model = w2vc_open("run2", NULL);
 *     char *json = model ? w2vc_transcribe_file(model, "a.wav", "word") : NULL;
 *     puts(json ? json : w2vc_error());
 *     w2vc_free(json);
 *     w2vc_close(model);
 */
#ifndef W2VC_H
#define W2VC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A model with weights. */
typedef struct w2vc_model w2vc_model;
/* Speech while it is spoken. */
typedef struct w2vc_stream w2vc_stream;

/* The version of w2vc that made this library. */
const char *w2vc_version(void);

/* Why the last call of this thread failed; valid until this thread's next call. "" where it did not. */
const char *w2vc_error(void);

/* Opens weights: a run, a Hugging Face folder or a file of weights. `options` is a JSON object or NULL. Its members are the
 * flags of the commands by their names: threads, device, set, lm, lm_weight, word_score, unk_score, beam, lexicon, hotwords,
 * chunk, left, right, ... */
w2vc_model *w2vc_open(const char *weights, const char *options);

/* Frees a model. Streams of it stay sound and keep it until they are freed. NULL is allowed. No other call with this model may
 * be under way or begin: join threads first. */
void w2vc_close(w2vc_model *model);

/* A JSON object: name, version, sample_rate, frame_seconds, tokens, delay_seconds. Free it by w2vc_free. */
char *w2vc_about(const w2vc_model *model);

/* Transcribes mono samples at 16 kHz in [-1, 1]. Gives a JSON object: recording, duration, text, segments; with `times` "word"
 * segments have words, with "char" these have letters; NULL for segments alone. Free it by w2vc_free. */
char *w2vc_transcribe(const w2vc_model *model, const float *samples, size_t count, const char *times);

/* Transcribes a file of any format that `transcribe` reads. */
char *w2vc_transcribe_file(const w2vc_model *model, const char *path, const char *times);

/* Logits of mono samples at 16 kHz: rows of *classes values, *frames of them. Free them by w2vc_free_floats. */
float *w2vc_logits(const w2vc_model *model, const float *samples, size_t count, size_t *frames, size_t *classes);

/* What a layer gives (0: the input of the first), as `features` does: rows of *width values. The first call takes memory for
 * the weights once more. Free them by w2vc_free_floats. */
float *w2vc_features(const w2vc_model *model, const float *samples, size_t count, size_t layer, size_t *frames, size_t *width);

/* Begins a stream. */
w2vc_stream *w2vc_stream_new(const w2vc_model *model);

/* Adds mono samples at 16 kHz; returns at once. 0, or -1. */
int w2vc_stream_push(w2vc_stream *stream, const float *samples, size_t count);

/* Computes what can be computed by now. Gives a JSON array of events, {"type": "partial"|"final", id, start, end, text, words};
 * "[]" where there is nothing new. Where it fails samples stay, so that it may be called again; what it had found by then comes
 * with the next call. Free it by w2vc_free. */
char *w2vc_stream_poll(w2vc_stream *stream);

/* Says that no more samples come; gives the last events. */
char *w2vc_stream_finish(w2vc_stream *stream);

/* Frees a stream, finished or not. NULL is allowed. No other call with this stream may be under way. */
void w2vc_stream_free(w2vc_stream *stream);

/* Free what functions gave. NULL is allowed. */
void w2vc_free(char *text);
void w2vc_free_floats(float *values);

#ifdef __cplusplus
}
#endif
#endif
