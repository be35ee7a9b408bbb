// The driver's C ABI: memory, copies, fills.
#include <algorithm>
#include <cstring>

#include "configuration.hpp"
#include "driver.hpp"
#include "memory.hpp"

using namespace simt;

namespace {

std::uintptr_t number(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

Result check_range(const char* call, const char* role, CUdeviceptr address, std::size_t bytes) {
    if (memory().covers(static_cast<std::uintptr_t>(address), bytes)) return CUDA_SUCCESS;
    return refuse(CUDA_ERROR_INVALID_VALUE, std::string(call) + ": the " + role + " of " + std::to_string(bytes) + " bytes at " +
                                                hexadecimal(pointer(address)) + " is not inside one allocation: " + memory().describe(pointer(address)));
}

// A copy whose place was freed between the call and its turn is a fault of the device.
Result run_copy(const char* call, void* target, const void* source, std::size_t bytes, bool check_target, bool check_source) {
    const void* wrong = check_target && !memory().covers(number(target), bytes)   ? target
                        : check_source && !memory().covers(number(source), bytes) ? source
                                                                                  : nullptr;
    if (wrong != nullptr)
        return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, std::string(call) + " of " + std::to_string(bytes) + " bytes at " + hexadecimal(wrong) + ", " +
                                                      memory().describe(wrong) + ": it was freed before the copy's turn on its stream");
    std::memmove(target, source, bytes);
    return CUDA_SUCCESS;
}

bool is_pinned(const void* host) {
    const Allocation* allocation = memory().contains(number(host)) ? memory().find(number(host)) : nullptr;
    return allocation != nullptr && allocation->host;
}

int allocate(CUdeviceptr* address, std::size_t bytes) {
    if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    std::uintptr_t found = memory().allocate(bytes);
    if (found == 0) {
        const Result result = drain_all();  // frees that wait on a stream
        if (result != 0) return result;
        found = memory().allocate(bytes);
    }
    *address = found;
    return found != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace

SIMT_EXPORT int cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
    SIMT_CONTEXT();
    if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *total = configuration().memory;
    *free = *total - std::min(*total, memory().used());
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuMemAlloc_v2(CUdeviceptr* address, std::size_t bytes) {
    SIMT_CONTEXT();
    if (any_capture()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return allocate(address, bytes);
}

SIMT_EXPORT int cuMemFree_v2(CUdeviceptr address) {
    SIMT_CONTEXT();
    if (address == 0) return CUDA_SUCCESS;
    if (any_capture()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    const Result result = drain_all();
    if (result != 0) return result;
    if (memory().release(static_cast<std::uintptr_t>(address), false)) return CUDA_SUCCESS;
    return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFree: " + hexadecimal(pointer(address)) + " is not the start of a live allocation: " + memory().describe(pointer(address)));
}

SIMT_EXPORT int cuMemAllocAsync(CUdeviceptr* address, std::size_t bytes, void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (!configuration().pools) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuMemAllocAsync on a device without memory pools");
    if (stream->capture != nullptr) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuMemAllocAsync on a capturing stream: the emulator has no memory nodes in graphs");
    return allocate(address, bytes);
}

SIMT_EXPORT int cuMemFreeAsync(CUdeviceptr address, void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (!configuration().pools) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuMemFreeAsync on a device without memory pools");
    if (stream->capture != nullptr) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuMemFreeAsync on a capturing stream: the emulator has no memory nodes in graphs");
    const Allocation* allocation = memory().find(static_cast<std::uintptr_t>(address));
    if (allocation == nullptr || allocation->address != address || allocation->freed || allocation->host)
        return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeAsync: " + hexadecimal(pointer(address)) + " is not the start of a live allocation");
    return enqueue(*stream, [address]() -> Result {
        if (memory().release(static_cast<std::uintptr_t>(address), false)) return CUDA_SUCCESS;
        return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeAsync: " + hexadecimal(pointer(address)) + " was freed twice");
    });
}

SIMT_EXPORT int cuDeviceGetDefaultMemPool(void** pool, int device) {
    SIMT_DRIVER();
    if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    if (!configuration().pools) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuDeviceGetDefaultMemPool on a device without memory pools");
    *pool = &memory();
    return CUDA_SUCCESS;
}

// A pool that keeps nothing has nothing to set or trim.
SIMT_EXPORT int cuMemPoolSetAttribute(void* pool, int, void* value) {
    SIMT_DRIVER();
    return pool == &memory() && value != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIMT_EXPORT int cuMemPoolTrimTo(void* pool, std::size_t) {
    SIMT_DRIVER();
    return pool == &memory() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIMT_EXPORT int cuMemHostAlloc(void** host, std::size_t bytes, unsigned) {
    SIMT_CONTEXT();
    if (host == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    *host = reinterpret_cast<void*>(memory().allocate_host(bytes));
    return *host != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

SIMT_EXPORT int cuMemFreeHost(void* host) {
    SIMT_CONTEXT();
    const Result result = drain_all();
    if (result != 0) return result;
    return memory().release(number(host), true) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIMT_EXPORT int cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void* source, std::size_t bytes, void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (source == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (const Result result = check_range("cuMemcpyHtoDAsync", "target", target, bytes); result != 0) return result;
    if (is_pinned(source)) {
        if (const Result result = check_range("cuMemcpyHtoDAsync", "pinned source", number(source), bytes); result != 0) return result;
        return enqueue(*stream, [=]() -> Result { return run_copy("cuMemcpyHtoDAsync", pointer(target), source, bytes, true, true); });
    }
    if (stream->capture != nullptr)  // a graph reads the source when it runs
        return enqueue(*stream, [=]() -> Result { return run_copy("cuMemcpyHtoDAsync", pointer(target), source, bytes, true, false); });
    // Pageable memory is read before the call returns.
    auto staged = std::make_shared<std::vector<char>>(static_cast<const char*>(source), static_cast<const char*>(source) + bytes);
    return enqueue(*stream, [=]() -> Result { return run_copy("cuMemcpyHtoDAsync", pointer(target), staged->data(), bytes, true, false); });
}

SIMT_EXPORT int cuMemcpyDtoHAsync_v2(void* target, CUdeviceptr source, std::size_t bytes, void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (target == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (const Result result = check_range("cuMemcpyDtoHAsync", "source", source, bytes); result != 0) return result;
    const bool pinned = is_pinned(target);
    if (pinned)
        if (const Result result = check_range("cuMemcpyDtoHAsync", "pinned target", number(target), bytes); result != 0) return result;
    const Result result = enqueue(*stream, [=]() -> Result { return run_copy("cuMemcpyDtoHAsync", target, pointer(source), bytes, pinned, true); });
    if (result != 0 || pinned || stream->capture != nullptr) return result;
    return drain(*stream);  // into pageable memory: done when the call returns
}

SIMT_EXPORT int cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, std::size_t bytes, void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (const Result result = check_range("cuMemcpyDtoDAsync", "target", target, bytes); result != 0) return result;
    if (const Result result = check_range("cuMemcpyDtoDAsync", "source", source, bytes); result != 0) return result;
    return enqueue(*stream, [=]() -> Result { return run_copy("cuMemcpyDtoDAsync", pointer(target), pointer(source), bytes, true, true); });
}

SIMT_EXPORT int cuMemsetD8Async(CUdeviceptr target, unsigned char value, std::size_t count, void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (count == 0) return CUDA_SUCCESS;
    if (const Result result = check_range("cuMemsetD8Async", "target", target, count); result != 0) return result;
    return enqueue(*stream, [=]() -> Result {
        if (const Result result = check_range("cuMemsetD8Async", "target", target, count); result != 0) return result;
        std::memset(pointer(target), value, count);
        return CUDA_SUCCESS;
    });
}

SIMT_EXPORT int cuMemsetD32Async(CUdeviceptr target, unsigned value, std::size_t count, void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (count == 0) return CUDA_SUCCESS;
    if (target % 4 != 0) return CUDA_ERROR_INVALID_VALUE;
    if (const Result result = check_range("cuMemsetD32Async", "target", target, 4 * count); result != 0) return result;
    return enqueue(*stream, [=]() -> Result {
        if (const Result result = check_range("cuMemsetD32Async", "target", target, 4 * count); result != 0) return result;
        std::fill_n(static_cast<unsigned*>(pointer(target)), count, value);
        return CUDA_SUCCESS;
    });
}
