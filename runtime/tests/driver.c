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
int cuLaunchKernel(void *f, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared,
                   void *s, void **params, void **extra) {
    return call(capturing ? "record" : "launch"), 0;
}
int cuStreamBeginCapture_v2(void *s, int mode) { return capturing = 1, 0; }
int cuStreamEndCapture(void *s, void **g) { return capturing = 0, *g = HANDLE, 0; }
int cuGraphInstantiateWithFlags(void **e, void *g, unsigned long long f) { return *e = HANDLE, 0; }
int cuGraphDestroy(void *g) { return 0; }
int cuGraphLaunch(void *e, void *s) { return call("replay"), 0; }
int cuGraphExecDestroy(void *e) { return 0; }
