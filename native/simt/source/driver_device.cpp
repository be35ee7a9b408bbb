// The driver's C ABI: the device, its context, errors, and the emulator's own functions.
#include <cstring>

#include "configuration.hpp"
#include "driver.hpp"
#include "memory.hpp"
#include "module.hpp"

namespace simt {

bool& context_is_current() {
    static thread_local bool current = false;
    return current;
}

namespace {

constexpr const char* device_name = "Skylight SIMT emulator";
void* const context_handle = reinterpret_cast<void*>(&context());

// Attribute numbers of CUdevice_attribute; what is not listed is 0.
int attribute_value(int attribute) {
    switch (attribute) {
        case 1: return 1024;              // threads per block
        case 2: case 3: return 1024;      // block width and height
        case 4: return 64;                // block depth
        case 5: return 2147483647;        // grid width
        case 6: case 7: return 65535;     // grid height and depth
        case 8: return 48 * 1024;         // shared memory per block
        case 9: return 64 * 1024;         // constant memory
        case 10: return 32;               // warp size
        case 12: case 82: return 65536;   // registers per block and multiprocessor
        case 16: return 4;                // multiprocessors
        case 31: return 1;                // concurrent kernels
        case 38: return 1 << 20;          // L2 cache
        case 39: return 2048;             // threads per multiprocessor
        case 40: return 1;                // copy engines
        case 41: return 1;                // unified addressing
        case 75: return configuration().capability / 10;
        case 76: return configuration().capability % 10;
        case 81: return 228 * 1024;       // shared memory per multiprocessor
        case 97: return 227 * 1024;       // shared memory per block, opt-in
        case 106: return 32;              // blocks per multiprocessor
        case 111: return 1024;            // shared memory reserved per block
        case 115: return configuration().pools ? 1 : 0;  // memory pools
        case 120: return 1;               // clusters
        default: return 0;
    }
}

struct ErrorText {
    int code;
    const char* name;
    const char* text;
};

constexpr ErrorText errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {CUDA_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {CUDA_ERROR_INVALID_ADDRESS_SPACE, "CUDA_ERROR_INVALID_ADDRESS_SPACE", "operation not supported on global/shared address space"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {CUDA_ERROR_INVALID_CLUSTER_SIZE, "CUDA_ERROR_INVALID_CLUSTER_SIZE", "cluster misconfiguration"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const ErrorText* find_error(int code) {
    for (const ErrorText& error : errors)
        if (error.code == code) return &error;
    return nullptr;
}

}  // namespace

}  // namespace simt

using namespace simt;

SIMT_EXPORT int cuInit(unsigned flags) {
    const std::lock_guard<std::recursive_mutex> lock(context().lock);
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    context().initialized = true;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDriverGetVersion(int* version) {
    if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *version = 12040;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDeviceGetCount(int* count) {
    SIMT_DRIVER();
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = 1;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDeviceGet(int* device, int ordinal) {
    SIMT_DRIVER();
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    *device = 0;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDeviceGetName(char* name, int length, int device) {
    SIMT_DRIVER();
    if (name == nullptr || length <= 0) return CUDA_ERROR_INVALID_VALUE;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    std::strncpy(name, device_name, static_cast<std::size_t>(length) - 1);
    name[length - 1] = '\0';
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDeviceTotalMem_v2(std::size_t* bytes, int device) {
    SIMT_DRIVER();
    if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = configuration().memory;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDeviceGetAttribute(int* value, int attribute, int device) {
    SIMT_DRIVER();
    if (value == nullptr || attribute <= 0) return CUDA_ERROR_INVALID_VALUE;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *value = attribute_value(attribute);
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDevicePrimaryCtxRetain(void** handle, int device) {
    SIMT_DRIVER();
    if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *handle = context_handle;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
    SIMT_DRIVER();
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    return drain_all();
}

SIMT_EXPORT int cuCtxSetCurrent(void* handle) {
    SIMT_DRIVER();
    if (handle != nullptr && handle != context_handle) return CUDA_ERROR_INVALID_CONTEXT;
    context_is_current() = handle != nullptr;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuCtxGetCurrent(void** handle) {
    SIMT_DRIVER();
    if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *handle = context_is_current() ? context_handle : nullptr;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuStreamGetCtx(void* handle, void** owner) {
    SIMT_CONTEXT();
    if (owner == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (context().stream(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    *owner = context_handle;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuCtxGetDevice(int* device) {
    SIMT_CONTEXT();
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *device = 0;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuCtxSynchronize() {
    SIMT_CONTEXT();
    if (any_capture()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return drain_all();
}

SIMT_EXPORT int cuGetErrorName(int code, const char** text) {
    const ErrorText* error = find_error(code);
    if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *text = error == nullptr ? nullptr : error->name;
    return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

SIMT_EXPORT int cuGetErrorString(int code, const char** text) {
    const ErrorText* error = find_error(code);
    if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *text = error == nullptr ? nullptr : error->text;
    return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

// The emulator's own functions.

// The newest finding in words, empty when there is none. The text stays valid until the thread's next call.
SIMT_EXPORT const char* simtLastReport() {
    static thread_local std::string text;
    text = last_report();
    return text.c_str();
}

// Makes the context usable again after a failed kernel: work that still waits is dropped, memory and modules stay.
SIMT_EXPORT int simtReset() {
    const std::lock_guard<std::recursive_mutex> lock(context().lock);
    context().broken = 0;
    context().default_stream.queue.clear();
    for (auto& stream : context().streams) {
        stream->queue.clear();
        stream->capture.reset();
    }
    for (auto& event : context().events) event->completed = event->recorded;
    clear_report();
    return CUDA_SUCCESS;
}

// Sets schedule (forward, reverse, seed:N), async (late, immediate), checks (on, off), counters (on, off), memory (bytes), pools (on, off), capability, workers or compiler.
SIMT_EXPORT int simtConfigure(const char* name, const char* value) {
    const std::lock_guard<std::recursive_mutex> lock(context().lock);
    if (name == nullptr || value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::string message;
    return configure(name, value, message) ? CUDA_SUCCESS : refuse(CUDA_ERROR_INVALID_VALUE, message);
}

// Forgets all counts. Counting is on only after simtConfigure("counters", "on").
SIMT_EXPORT int simtCountersReset() {
    clear_counters();
    return CUDA_SUCCESS;
}

// The counts of a kernel's launches since the last reset, of all kernels for null; work that still waits on a stream is not in them.
SIMT_EXPORT int simtCountersRead(const char* kernel, KernelCounters* counters) {
    const std::lock_guard<std::recursive_mutex> lock(context().lock);
    if (counters == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!configuration().counters) return refuse(CUDA_ERROR_NOT_READY, "nothing is counted: call simtConfigure(\"counters\", \"on\") before the launch");
    const std::string name = kernel == nullptr ? "" : kernel;
    return read_counters(name, *counters) ? CUDA_SUCCESS : refuse(CUDA_ERROR_NOT_FOUND, "no launch of '" + name + "' has been counted");
}

// Names this build of the emulator: a module compiled by another one is refused, so this belongs into the key of a cache of modules.
SIMT_EXPORT const char* simtFingerprint() { return fingerprint().c_str(); }
