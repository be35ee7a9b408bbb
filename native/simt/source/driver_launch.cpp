// The driver's C ABI: modules, functions, launches.
#include <cstring>

#include "configuration.hpp"
#include "driver.hpp"
#include "module.hpp"
#include "scheduler.hpp"

using namespace simt;

namespace {

constexpr unsigned largest_shared = 227 * 1024;
constexpr unsigned default_shared = 48 * 1024;

std::string text(const Dim3& value) {
    return '(' + std::to_string(value.x) + ", " + std::to_string(value.y) + ", " + std::to_string(value.z) + ')';
}

// What a launch keeps until its turn: a copy of every parameter.
struct Parameters {
    std::vector<std::vector<std::max_align_t>> values;
    std::vector<void*> pointers;

    Parameters(const Kernel& kernel, void** given) {
        for (std::size_t index = 0; index < kernel.parameter_bytes.size(); index++) {
            // Aligned for the strictest parameter there is, a tensor map of 64 bytes.
            values.emplace_back((kernel.parameter_bytes[index] + 64 + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t) + 1);
            const auto raw = reinterpret_cast<std::uintptr_t>(values.back().data());
            void* aligned = reinterpret_cast<void*>((raw + 63) / 64 * 64);
            std::memcpy(aligned, given[index], kernel.parameter_bytes[index]);
            pointers.push_back(aligned);
        }
        pointers.push_back(nullptr);
    }
    Parameters(const Parameters&) = delete;
    Parameters& operator=(const Parameters&) = delete;
};

int launch(Kernel* kernel, const Dim3& grid, const Dim3& block, const Dim3& cluster, unsigned shared_bytes, void* stream_handle, void** parameters,
           bool dependent = false) {
    Stream* stream = context().stream(stream_handle);
    if (kernel == nullptr || !is_kernel(kernel)) return refuse(CUDA_ERROR_INVALID_HANDLE, "a launch of what is no function of a loaded module");
    const std::string name = "launch of '" + kernel->name + "'";
    if (stream == nullptr) return refuse(CUDA_ERROR_INVALID_HANDLE, name + " on what is no stream");
    if (grid.volume() == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
        return refuse(CUDA_ERROR_INVALID_VALUE, name + ": a grid of " + text(grid) + " blocks");
    if (block.volume() == 0 || block.volume() > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64)
        return refuse(CUDA_ERROR_INVALID_VALUE, name + ": blocks of " + text(block) + " threads; there may be 1 to 1024");
    if (block.volume() > kernel->maximum_threads)
        return refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, name + ": blocks of " + text(block) + " threads, but __launch_bounds__ says at most " +
                                                              std::to_string(kernel->maximum_threads));
    if (shared_bytes > kernel->maximum_dynamic_shared)
        return refuse(CUDA_ERROR_INVALID_VALUE, name + ": " + std::to_string(shared_bytes) + " bytes of shared memory, but the function allows " +
                                                    std::to_string(kernel->maximum_dynamic_shared) + " (cuFuncSetAttribute raises it to " +
                                                    std::to_string(largest_shared) + ")");
    if (cluster.volume() == 0 || cluster.volume() > 8 || grid.x % cluster.x != 0 || grid.y % cluster.y != 0 || grid.z % cluster.z != 0)
        return refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, name + ": clusters of " + text(cluster) + " blocks in a grid of " + text(grid) +
                                                           ": at most 8 blocks, and they must divide the grid");
    if (!kernel->parameter_bytes.empty() && parameters == nullptr) return refuse(CUDA_ERROR_INVALID_VALUE, name + " without its parameters");
    for (std::size_t index = 0; index < kernel->parameter_bytes.size(); index++)
        if (parameters[index] == nullptr) return refuse(CUDA_ERROR_INVALID_VALUE, name + ": parameter " + std::to_string(index) + " is null");
    auto kept = std::make_shared<Parameters>(*kernel, parameters);
    return enqueue(*stream, [=]() -> Result {
        if (!is_kernel(kernel)) return refuse(CUDA_ERROR_INVALID_HANDLE, name + ": its module was unloaded before its turn");
        Launch job;
        job.kernel = kernel;
        job.grid = grid;
        job.block = block;
        job.cluster = cluster;
        job.shared_bytes = shared_bytes;
        job.dependent = dependent;
        job.parameters = kept->pointers.data();
        return run(job);
    });
}

}  // namespace

SIMT_EXPORT int cuModuleLoadData(void** handle, const void* image) {
    SIMT_CONTEXT();
    if (handle == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::string message;
    int code = CUDA_SUCCESS;
    *handle = load_module(image, code, message);
    return *handle != nullptr ? CUDA_SUCCESS : refuse(code, message);
}

SIMT_EXPORT int cuModuleLoadDataEx(void** handle, const void* image, unsigned count, int* options, void** values) {
    if (count > 0 && (options == nullptr || values == nullptr)) return CUDA_ERROR_INVALID_VALUE;
    const int result = cuModuleLoadData(handle, image);
    if (result == CUDA_SUCCESS) return result;
    // What the translator said goes into the error log that the caller gives, and its length in place of the buffer's.
    char* log = nullptr;
    std::size_t bytes = 0;
    for (unsigned index = 0; index < count; index++) {
        if (options[index] == CU_JIT_ERROR_LOG_BUFFER) log = static_cast<char*>(values[index]);
        if (options[index] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) bytes = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(values[index]));
    }
    if (log != nullptr && bytes > 0) {
        std::strncpy(log, last_report().c_str(), bytes - 1);
        log[bytes - 1] = '\0';
    }
    return result;
}

SIMT_EXPORT int cuModuleUnload(void* handle) {
    SIMT_CONTEXT();
    if (const Result result = drain_all(); result != 0) return result;
    return unload_module(static_cast<Module*>(handle)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

SIMT_EXPORT int cuModuleGetFunction(void** function, void* handle, const char* name) {
    SIMT_CONTEXT();
    if (function == nullptr || handle == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
    auto& kernels = static_cast<Module*>(handle)->kernels;
    const auto entry = kernels.find(name);
    if (entry == kernels.end()) return refuse(CUDA_ERROR_NOT_FOUND, "the module has no kernel '" + std::string(name) + "'");
    *function = entry->second.get();
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuFuncSetAttribute(void* function, int attribute, int value) {
    SIMT_CONTEXT();
    auto* kernel = static_cast<Kernel*>(function);
    if (!is_kernel(kernel)) return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == 8) {  // dynamic shared memory
        if (value < 0 || static_cast<unsigned>(value) > largest_shared)
            return refuse(CUDA_ERROR_INVALID_VALUE, "cuFuncSetAttribute: " + std::to_string(value) + " bytes of shared memory; a block may have " + std::to_string(largest_shared));
        kernel->maximum_dynamic_shared = std::max(default_shared, static_cast<unsigned>(value));
    }
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuFuncGetAttribute(int* value, int attribute, void* function) {
    SIMT_CONTEXT();
    const auto* kernel = static_cast<const Kernel*>(function);
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!is_kernel(kernel)) return CUDA_ERROR_INVALID_HANDLE;
    switch (attribute) {
        case 0: *value = static_cast<int>(kernel->maximum_threads); break;
        case 5: case 6: *value = 90; break;  // PTX and binary version
        case 8: *value = static_cast<int>(kernel->maximum_dynamic_shared); break;
        default: *value = 0; break;  // registers, local and static shared memory: the emulator has none to count
    }
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                               unsigned shared_bytes, void* stream, void** parameters, void** extra) {
    SIMT_CONTEXT();
    if (extra != nullptr) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuLaunchKernel: parameters as one buffer (extra) are not emulated");
    return launch(static_cast<Kernel*>(function), Dim3{grid_x, grid_y, grid_z}, Dim3{block_x, block_y, block_z}, Dim3{1, 1, 1}, shared_bytes, stream, parameters);
}

SIMT_EXPORT int cuLaunchKernelEx(const CUlaunchConfig* config, void* function, void** parameters, void** extra) {
    SIMT_CONTEXT();
    if (config == nullptr || (config->attribute_count != 0 && config->attributes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
    if (extra != nullptr) return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuLaunchKernelEx: parameters as one buffer (extra) are not emulated");
    Dim3 cluster{1, 1, 1};
    bool dependent = false;
    for (unsigned index = 0; index < config->attribute_count; index++) {
        const CUlaunchAttribute& attribute = config->attributes[index];
        if (attribute.id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) cluster = Dim3{attribute.value.cluster.x, attribute.value.cluster.y, attribute.value.cluster.z};
        if (attribute.id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) dependent = attribute.value.programmatic_stream_serialization != 0;
    }
    if (dependent && configuration().capability < 90)
        return refuse(CUDA_ERROR_INVALID_VALUE, "cuLaunchKernelEx: programmatic stream serialization needs compute capability 9.0");
    return launch(static_cast<Kernel*>(function), Dim3{config->grid_x, config->grid_y, config->grid_z}, Dim3{config->block_x, config->block_y, config->block_z},
                  cluster, config->shared_bytes, config->stream, parameters, dependent);
}

SIMT_EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, std::size_t shared_bytes) {
    SIMT_CONTEXT();
    const auto* kernel = static_cast<const Kernel*>(function);
    if (blocks == nullptr || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
    if (!is_kernel(kernel)) return CUDA_ERROR_INVALID_HANDLE;
    if (static_cast<unsigned>(threads) > kernel->maximum_threads || shared_bytes > largest_shared) {
        *blocks = 0;
        return CUDA_SUCCESS;
    }
    const int by_threads = 2048 / ((threads + 31) / 32 * 32);
    const int by_shared = static_cast<int>(228 * 1024 / (shared_bytes + 1024));
    *blocks = std::min({by_threads, by_shared, 32});
    return CUDA_SUCCESS;
}
