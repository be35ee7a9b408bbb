#include "module.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>


#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "image.hpp"

namespace simt {

namespace {

std::vector<std::unique_ptr<Module>>& modules() {
    static auto& list = *new std::vector<std::unique_ptr<Module>>();
    return list;
}

// The row of the table at the end of every compiled kernel; simt.hpp has the same.
struct EntryRow {
    const char* name;
    void (*invoke)(void** parameters);
    const unsigned long* parameter_bytes;
    unsigned long parameter_count;
    unsigned long maximum_threads;
};

}  // namespace

Module::~Module() {
    if (handle != nullptr) dlclose(handle);
    if (file >= 0) close(file);
}

namespace {

// Whether the device runs what was compiled for an architecture: machine code within its major version from its minor version on, PTX of any that is
// not newer, and what uses the instructions of one architecture only there.
bool runs(const ImageHeader& header) {
    const int device = configuration().capability;
    if (header.exact) return header.architecture == device;
    if (header.ptx) return header.architecture <= device;
    return header.architecture / 10 == device / 10 && header.architecture <= device;
}

}  // namespace

Module* load_module(const void* image, int& code, std::string& message) {
    ImageHeader header;
    code = CUDA_ERROR_INVALID_IMAGE;
    std::memcpy(&header, image, sizeof header);
    if (std::memcmp(header.magic, image_magic, sizeof header.magic) != 0) {
        message = "the module is not one that this emulator's NVRTC compiled (a cubin of the real NVRTC cannot run here)";
        return nullptr;
    }
    if (fingerprint() != std::string(header.fingerprint, sizeof header.fingerprint)) {
        message = "the module was compiled by another build of the emulator: compile it again";
        return nullptr;
    }
    if (!runs(header)) {
        code = header.ptx ? CUDA_ERROR_INVALID_PTX : CUDA_ERROR_NO_BINARY_FOR_GPU;
        message = std::string(header.ptx ? "PTX of compute_" : "machine code for sm_") + std::to_string(header.architecture) + (header.exact ? "a" : "") +
                  " does not run on a device of compute capability " + std::to_string(configuration().capability / 10) + "." + std::to_string(configuration().capability % 10);
        return nullptr;
    }
    auto module = std::make_unique<Module>();
    module->name.assign(header.name, strnlen(header.name, sizeof header.name));
    // A file that exists in memory only, so that nothing is left behind, with a path that dlopen and addr2line can open.
    const int file = memfd_create("skylight-simt-kernel", MFD_CLOEXEC);
    if (file < 0) {
        message = "memfd_create: " + std::string(std::strerror(errno));
        return nullptr;
    }
    const char* bytes = static_cast<const char*>(image) + sizeof header;
    for (std::size_t written = 0; written < header.bytes;) {
        const ssize_t count = write(file, bytes + written, header.bytes - written);
        if (count <= 0) {
            message = "write: " + std::string(std::strerror(errno));
            close(file);
            return nullptr;
        }
        written += static_cast<std::size_t>(count);
    }
    module->path = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file);
    module->file = file;
    module->handle = dlopen(module->path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module->handle == nullptr) {
        message = "dlopen: " + std::string(dlerror());
        return nullptr;
    }
    auto* rows = static_cast<const EntryRow*>(dlsym(module->handle, "simt_entries"));
    auto* count = static_cast<const unsigned long*>(dlsym(module->handle, "simt_entry_count"));
    if (rows == nullptr || count == nullptr) {
        message = "the module has no table of entry points";
        return nullptr;
    }
    for (unsigned long index = 0; index < *count; index++) {
        auto kernel = std::make_unique<Kernel>();
        kernel->module = module.get();
        kernel->name = rows[index].name;
        kernel->invoke = rows[index].invoke;
        kernel->parameter_bytes.assign(rows[index].parameter_bytes, rows[index].parameter_bytes + rows[index].parameter_count);
        if (rows[index].maximum_threads != 0) kernel->maximum_threads = static_cast<unsigned>(rows[index].maximum_threads);
        module->kernels[kernel->name] = std::move(kernel);
    }
    struct link_map* map = nullptr;
    dlinfo(module->handle, RTLD_DI_LINKMAP, &map);
    module->low = map->l_addr;
    module->high = module->low;
    const auto* elf = reinterpret_cast<const ElfW(Ehdr)*>(bytes);
    const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(bytes + elf->e_phoff);
    for (int segment = 0; segment < elf->e_phnum; segment++)
        if (segments[segment].p_type == PT_LOAD)
            module->high = std::max(module->high, module->low + segments[segment].p_vaddr + segments[segment].p_memsz);
    modules().push_back(std::move(module));
    return modules().back().get();
}

bool unload_module(Module* module) {
    for (auto entry = modules().begin(); entry != modules().end(); ++entry)
        if (entry->get() == module) {
            modules().erase(entry);
            return true;
        }
    return false;
}

const Module* find_module(const void* address) {
    for (const auto& module : modules())
        if (module->contains(reinterpret_cast<std::uintptr_t>(address))) return module.get();
    return nullptr;
}

bool is_kernel(const Kernel* kernel) {
    for (const auto& module : modules())
        for (const auto& entry : module->kernels)
            if (entry.second.get() == kernel) return true;
    return false;
}

}  // namespace simt
