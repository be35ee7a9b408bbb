// How a kernel tells the host that its data is wrong (a token id outside of the vocabulary). The host looks when
// results are read, and throws; until then the kernel goes on, without touching memory through what it found wrong.
#pragma once

// Zero-filled by the host; the first report since then is kept.
struct Status {
    int tag;          // which message of which op; 0 for none
    int value;        // what was found
    long long index;  // where
};

// `tag` is never 0. A report that was won is complete when the kernel has ended.
__device__ __forceinline__ void report_status(Status* status, int tag, long long index, int value) {
    if (atomicCAS(&status->tag, 0, tag) == 0) {
        status->value = value;
        status->index = index;
    }
}
