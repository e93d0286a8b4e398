/* A driver of a GPU that does nothing: memory is the host's, launches are only counted. What it is and what it has comes
   from the environment; every call goes to the file $CALLS. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static void call(const char *name) {
    const char *path = getenv("CALLS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s\n", name);
        fclose(file);
    }
}

static size_t held;
static int capturing;
static int handle;
#define HANDLE ((void *)&handle)

int cuGetErrorName(int e, const char **s) { return *s = e == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR", 0; }
int cuGetErrorString(int e, const char **s) { return *s = "made up", 0; }
int cuDriverGetVersion(int *v) { return *v = number("VERSION", 13000), 0; }
int cuInit(unsigned f) { return number("INIT", 0); }
int cuDeviceGetCount(int *n) { return *n = number("DEVICES", 1), 0; }
int cuDeviceGet(int *d, int n) { return *d = n, 0; }
int cuDeviceGetName(char *s, int n, int d) { return snprintf(s, n, "Nothing %d", d), 0; }
int cuDeviceGetAttribute(int *v, int what, int d) {
    long capability = number("CAPABILITY", 90);
    *v = what == 75 ? capability / 10 : what == 76 ? capability % 10 : what == 97 ? number("SHARED", 232448) : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **c, int d) { return *c = HANDLE, 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return call("release"), 0; }
int cuDevicePrimaryCtxRelease(int d) { return call("release"), 0; }
int cuCtxSetCurrent(void *c) { return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) {
    *total = number("MIB", 1024) << 20;
    *free = *total - held;
    return 0;
}
int cuMemAlloc_v2(uint64_t *p, size_t n) {
    call("alloc");
    if (capturing) return 900;
    held += n;
    return *p = (uint64_t)aligned_alloc(256, (n + 255) / 256 * 256), *p ? 0 : 2;
}
int cuMemFree_v2(uint64_t p) { return call("free"), free((void *)p), 0; }
int cuMemHostAlloc(void **p, size_t n, unsigned f) { return *p = malloc(n), *p ? 0 : 2; }
int cuMemFreeHost(void *p) { return free(p), 0; }
int cuMemsetD8Async(uint64_t p, unsigned char c, size_t n, void *s) { return memset((void *)p, c, n), 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *s) {
    return call("upload"), memcpy((void *)to, from, n), 0;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *s) {
    return call("download"), memcpy(to, (void *)from, n), 0;
}
int cuStreamCreate(void **s, unsigned f) { return *s = HANDLE, 0; }
int cuStreamDestroy_v2(void *s) { return 0; }
int cuStreamSynchronize(void *s) { return capturing ? 900 : number("SYNCHRONIZE", 0); }
int cuStreamWaitEvent(void *s, void *e, unsigned f) { return 0; }
int cuEventCreate(void **e, unsigned f) { return *e = HANDLE, 0; }
int cuEventRecord(void *e, void *s) { return 0; }
int cuEventSynchronize(void *e) { return 0; }
int cuEventElapsedTime(float *ms, void *a, void *b) { return *ms = 2, 0; }
int cuEventDestroy_v2(void *e) { return 0; }
int cuModuleLoadDataEx(void **m, const void *ptx, unsigned n, int *options, void **values) {
    call("load");
    if (capturing) return 900;
    if (strstr(ptx, ".target") == NULL) {
        strncpy(values[0], "ptxas: no target", (size_t)values[1]);
        return 218;
    }
    return *m = HANDLE, 0;
}
int cuModuleGetFunction(void **f, void *m, const char *name) { return *f = HANDLE, 0; }
int cuModuleUnload(void *m) { return 0; }
int cuFuncSetAttribute(void *f, int what, int v) { return 0; }
/* Numbers of a map that this driver knows again: sizes, strides and box of its first two axes. */
struct map { uint64_t magic, address, extents[2], strides[1], box[2]; };
static const uint64_t MAGIC = 0x70616d;
int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address, const uint64_t *extents,
                           const uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave,
                           int swizzle, int promotion, int fill) {
    call("encode");
    int bf16 = type == 9, swizzled = interleave == 0 && swizzle == 3 && promotion == 3 && fill == 0;
    int aligned = (uintptr_t)map % 64 == 0 && (uintptr_t)address % 16 == 0 && strides[0] % 16 == 0;
    if (!bf16 || !swizzled || !aligned || rank != 2 || steps[0] != 1 || steps[1] != 1 || box[0] * 2 > 128) return 1;
    struct map own = {MAGIC, (uint64_t)address, {extents[0], extents[1]}, {strides[0]}, {box[0], box[1]}};
    memset(map, 0, 128);
    memcpy(map, &own, sizeof own);
    return number("ENCODE", 0);
}
int cuLaunchKernel(void *f, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared,
                   void *s, void **params, void **extra) {
    /* The parameter after the slots, the workspace and the size, if the kernel has one. */
    if (getenv("MAP")) {
        const struct map *m = params[4];
        char said[200];
        snprintf(said, sizeof said, "map of %s: %lu x %lu, stride %lu, box %lu x %lu",
                 m->magic == MAGIC && m->address == *(uint64_t *)params[0] ? "slot 0" : "nothing", m->extents[0],
                 m->extents[1], m->strides[0], m->box[0], m->box[1]);
        call(said);
    }
    return call(capturing ? "record" : "launch"), 0;
}
int cuStreamBeginCapture_v2(void *s, int mode) { return capturing = 1, 0; }
int cuStreamEndCapture(void *s, void **g) { return capturing = 0, *g = HANDLE, 0; }
int cuGraphInstantiateWithFlags(void **e, void *g, unsigned long long f) { return *e = HANDLE, 0; }
int cuGraphDestroy(void *g) { return 0; }
int cuGraphLaunch(void *e, void *s) { return call("replay"), 0; }
int cuGraphExecDestroy(void *e) { return 0; }
