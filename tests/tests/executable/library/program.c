#include "w2vc.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static w2vc_model *model;
static float samples[32000];
static char *texts[8];

static void *work(void *place) {
    char **text = (char **)place;
    *text = w2vc_transcribe(model, samples, 32000, "char");
    return NULL;
}

int main(int count, char **words) {
    pthread_t threads[8];
    w2vc_stream *stream;
    size_t frames = 0, classes = 0;
    float *logits;
    char *json;
    int i;
    /* The loader found the library by a path that begins in the folder that is left here. */
    if (count < 4 || chdir(words[1])) return 2;
    words++;
    model = w2vc_open(words[1], "{\"threads\": 2}");
    if (!model) return puts(w2vc_error()), 1;
    json = w2vc_transcribe_file(model, words[2], "word");
    puts(json ? json : w2vc_error());
    w2vc_free(json);

    if (w2vc_transcribe_file(model, "nowhere.wav", NULL)) return 3;
    puts(w2vc_error());
    if (w2vc_open(words[1], "{\"beem\": 3}")) return 4;
    puts(w2vc_error());
    if (w2vc_transcribe(NULL, samples, 1, NULL) || w2vc_stream_push(NULL, samples, 1) != -1) return 5;
    puts(w2vc_error());

    for (i = 0; i < 32000; i++) samples[i] = (float)((i * 37) % 200 - 100) / 200.0f;
    for (i = 0; i < 8; i++) pthread_create(&threads[i], NULL, work, &texts[i]);
    for (i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    for (i = 0; i < 8; i++)
        if (!texts[i] || strcmp(texts[i], texts[0])) return puts("they differ"), 6;
    puts("8 threads agree");
    for (i = 0; i < 8; i++) w2vc_free(texts[i]);

    logits = w2vc_logits(model, samples, 32000, &frames, &classes);
    if (!logits || frames != 99 || classes == 0) return 7;
    w2vc_free_floats(logits);
    logits = w2vc_features(model, samples, 32000, 1, &frames, &classes);
    if (!logits || frames != 99 || classes != 32) return 8;
    w2vc_free_floats(logits);

    stream = w2vc_stream_new(model);
    w2vc_close(model);
    for (i = 0; i < 10; i++) {
        if (w2vc_stream_push(stream, samples + 3200 * i, 3200)) return 9;
        json = w2vc_stream_poll(stream);
        if (!json) return 10;
        w2vc_free(json);
    }
    json = w2vc_stream_finish(stream);
    puts(json ? (strcmp(json, "[]") ? json : "\"final\" without a text") : w2vc_error());
    w2vc_free(json);
    w2vc_stream_free(stream);
    return 0;
}
