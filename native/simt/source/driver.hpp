// What the files of the driver's C ABI share.
#pragma once

#include <string>

#include "cuda_abi.hpp"
#include "report.hpp"
#include "stream.hpp"

namespace simt {

// An error that the call itself can name.
inline Result refuse(Result result, const std::string& message) {
    report(message);
    return result;
}

// Whether the calling thread has made the context current.
bool& context_is_current();

}  // namespace simt

// The beginning of every exported function that needs the initialised driver; of one that needs a current context.
#define SIMT_DRIVER()                                                             \
    const std::lock_guard<std::recursive_mutex> driver_lock(simt::context().lock); \
    if (!simt::context().initialized) return CUDA_ERROR_NOT_INITIALIZED;           \
    if (simt::context().broken != 0) return simt::context().broken
#define SIMT_CONTEXT() \
    SIMT_DRIVER();     \
    if (!simt::context_is_current()) return CUDA_ERROR_INVALID_CONTEXT
