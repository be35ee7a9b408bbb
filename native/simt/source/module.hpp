// Loaded kernel objects.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "state.hpp"

namespace simt {

struct Module {
    std::string name;  // of the source, for reports
    std::string path;  // of the file that is loaded: addr2line reads it
    int file = -1;     // the descriptor behind it
    void* handle = nullptr;
    std::uintptr_t low = 0;   // where the file's offset 0 is mapped
    std::uintptr_t high = 0;  // end of the last segment
    std::map<std::string, std::unique_ptr<Kernel>> kernels;

    Module() = default;
    ~Module();
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;

    bool contains(std::uintptr_t address) const noexcept { return address - low < high - low; }
};

// Loads the bytes a compilation gave. Null with a message when they are not such bytes or come from another emulator build.
Module* load_module(const void* image, int& code, std::string& message);
bool unload_module(Module* module);

// Whether a handle is an entry point of a loaded module.
bool is_kernel(const Kernel* kernel);

// The module whose code or data an address lies in; null when there is none.
const Module* find_module(const void* address);

// What identifies this build of the emulator: a hash of its headers and of its binary interface. Compiled kernels carry it.
const std::string& fingerprint();

}  // namespace simt
