// NVRTC's C ABI on the system's C++ compiler. A "cubin" is a header and a shared object for this process.
#include <dlfcn.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda_abi.hpp"
#include "embedded.hpp"
#include "entries.hpp"
#include "image.hpp"
#include "module.hpp"
#include "process.hpp"

namespace simt {

namespace {

enum : int {
    NVRTC_SUCCESS = 0,
    NVRTC_ERROR_INVALID_INPUT = 3,
    NVRTC_ERROR_INVALID_PROGRAM = 4,
    NVRTC_ERROR_INVALID_OPTION = 5,
    NVRTC_ERROR_COMPILATION = 6,
    NVRTC_ERROR_INTERNAL_ERROR = 11,
};

constexpr int architectures[] = {50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90};

struct Source {
    std::string name;
    std::string text;
};

struct Program {
    Source source;
    std::vector<Source> headers;
    std::string log;
    std::string cubin;
    std::string ptx;
};

struct Options {
    std::vector<std::string> flags;
    std::string standard = "-std=c++17";
    std::string invalid;
    int architecture = 52;  // as NVRTC's own default
    bool exact = false;
    bool ptx = true;
};

bool starts_with(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

void add_architecture(Options& options, const std::string& value) {
    std::string digits = value;
    for (const char* prefix : {"sm_", "compute_"})
        if (starts_with(digits, prefix)) digits.erase(0, std::strlen(prefix));
    const bool features = !digits.empty() && digits.back() == 'a';
    if (features) digits.pop_back();
    bool known = false;
    for (const int architecture : architectures) known |= digits == std::to_string(architecture);
    if (!known) {
        options.invalid = "invalid value '" + value + "' for --gpu-architecture (-arch)";
        return;
    }
    options.architecture = std::stoi(digits);
    options.exact = features;
    options.ptx = starts_with(value, "compute_");
    options.flags.push_back("-D__CUDA_ARCH__=" + digits + "0");
    if (features) options.flags.push_back("-D__CUDA_ARCH_FEAT_SM" + digits + "_ALL=1");
}

Options translate(int count, const char* const* given) {
    Options options;
    bool architecture = false;
    for (int index = 0; index < count; index++) {
        const std::string option = given[index];
        const auto value = [&](const char* name) -> std::string {
            const std::string prefix = std::string(name) + "=";
            if (starts_with(option, prefix.c_str())) return option.substr(prefix.size());
            if (option == name && index + 1 < count) return given[++index];
            return "";
        };
        if (starts_with(option, "-D") && option.size() > 2) {
            options.flags.push_back(option);
        } else if (option == "-D" || starts_with(option, "--define-macro")) {
            options.flags.push_back("-D" + value(option == "-D" ? "-D" : "--define-macro"));
        } else if (starts_with(option, "-I") && option.size() > 2) {
            options.flags.push_back(option);
        } else if (starts_with(option, "--include-path")) {
            options.flags.push_back("-I" + value("--include-path"));
        } else if (starts_with(option, "--gpu-architecture") || starts_with(option, "-arch")) {
            add_architecture(options, value(option[1] == '-' ? "--gpu-architecture" : "-arch"));
            architecture = true;
        } else if (starts_with(option, "--std") || starts_with(option, "-std")) {
            options.standard = "-std=" + value(option[1] == '-' ? "--std" : "-std");
        } else if (option == "--use_fast_math" || option == "-use_fast_math") {
            options.flags.push_back("-D__USE_FAST_MATH__=1");  // arithmetic stays exact
        }
    }
    if (!architecture) options.flags.push_back("-D__CUDA_ARCH__=520");
    return options;
}

// The path of this library, against which kernels are linked.
bool own_path(std::string& directory, std::string& file) {
    Dl_info information;
    if (dladdr(reinterpret_cast<const void*>(&own_path), &information) == 0 || information.dli_fname == nullptr) return false;
    const std::string path = information.dli_fname;
    const auto slash = path.rfind('/');
    directory = slash == std::string::npos ? "." : path.substr(0, slash);
    file = path.substr(slash == std::string::npos ? 0 : slash + 1);
    if (directory[0] != '/')
        if (char* absolute = realpath(directory.c_str(), nullptr)) {
            directory = absolute;
            std::free(absolute);
        }
    return true;
}

// A name that stays inside of the compilation's directory.
std::string safe_name(const std::string& name) {
    std::string safe;
    for (std::size_t start = 0; start <= name.size();) {
        const auto slash = std::min(name.find('/', start), name.size());
        const std::string part = name.substr(start, slash - start);
        if (!part.empty() && part != "." && part != "..") safe += (safe.empty() ? "" : "/") + part;
        start = slash + 1;
    }
    return safe.empty() ? "program.cu" : safe;
}

// The instruction wrappers are replaced by the emulator's own.
std::string header_text(const Source& header) {
    const auto folder = header.name.rfind("ptx/");
    if (folder == std::string::npos || (folder != 0 && header.name[folder - 1] != '/')) return header.text;
    const std::string name = header.name.substr(folder);
    if (const EmbeddedFile* own = find_embedded(name)) return std::string(own->text);
    return "#error \"the emulator has no host bodies for " + name + ": add them to native/simt/include\"\n";
}

int compile(Program& program, int count, const char* const* given) {
    program.log.clear();
    program.cubin.clear();
    program.ptx.clear();
    const Options options = translate(count, given);
    if (!options.invalid.empty()) {
        program.log = "nvrtc: error: " + options.invalid + "\n";
        return NVRTC_ERROR_INVALID_OPTION;
    }
    const std::string compiler = find_compiler();
    if (compiler.empty()) {
        program.log = "no C++ compiler: none of c++, g++ and clang++ is on the PATH; install one or name it in CXX\n";
        return NVRTC_ERROR_INTERNAL_ERROR;
    }
    std::string library_directory, library;
    if (!own_path(library_directory, library)) {
        program.log = "the emulator cannot find its own file\n";
        return NVRTC_ERROR_INTERNAL_ERROR;
    }
    const TemporaryDirectory directory;
    const std::string root = directory.path() + "/";
    const std::string source = safe_name(program.source.name);
    for (const EmbeddedFile* file = embedded_begin(); file != embedded_end(); file++)
        if (file->name.find('/') == std::string_view::npos) write_file(root + std::string(file->name), std::string(file->text));
    for (const Source& header : program.headers) write_file(root + safe_name(header.name), header_text(header));
    write_file(root + source, program.source.text);

    std::vector<std::string> preprocess = {compiler, "-x", "c++", options.standard, "-E", "-I.", "-include", "simt.hpp"};
    preprocess.insert(preprocess.end(), options.flags.begin(), options.flags.end());
    preprocess.insert(preprocess.end(), {source, "-o", "program.ii"});
    if (run_process(preprocess, directory.path(), program.log) != 0) return NVRTC_ERROR_COMPILATION;
    std::string preprocessed = read_file(root + "program.ii");
    const std::vector<EntryPoint> entries = find_entry_points(preprocessed);
    write_file(root + "program.ii", preprocessed + entry_table(entries));

    // Instrumented for ThreadSanitizer, whose run-time functions the emulator has; nothing that merges accesses or splits them (the
    // copy of a 16-byte struct is one access, as it is on a GPU); no instruction of this very machine, because the object may be
    // cached on a shared disk.
    std::vector<std::string> translate_step = {
        compiler, "-x", "c++-cpp-output", options.standard, "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-fsanitize=thread", "-fno-exceptions",
        "-fno-rtti", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-math-errno", "-fno-omit-frame-pointer", "-Wno-unknown-pragmas",
        "-fdebug-prefix-map=" + directory.path() + "=.", "-c", "program.ii", "-o", "program.o"};
    if (compiler.find("clang") == std::string::npos) {
        for (const char* flag : {"-fno-gnu-unique", "-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-fno-store-merging", "-fno-tree-sra",
                                 "--param", "tsan-instrument-func-entry-exit=0"})
            translate_step.push_back(flag);
    } else {
        for (const char* flag : {"-fno-vectorize", "-fno-slp-vectorize", "-mllvm", "-tsan-instrument-func-entry-exit=0"}) translate_step.push_back(flag);
    }
    if (run_process(translate_step, directory.path(), program.log) != 0) return NVRTC_ERROR_COMPILATION;
    const std::vector<std::string> link = {compiler, "-shared", "-nostdlib", "program.o", "-o", "program.so", "-L" + library_directory, "-l:" + library,
                                           "-lm", "-lc", "-lgcc", "-Wl,--no-undefined"};
    if (run_process(link, directory.path(), program.log) != 0) return NVRTC_ERROR_COMPILATION;
    const std::string object = read_file(root + "program.so");
    if (object.empty()) {
        program.log += "the compiler wrote no object\n";
        return NVRTC_ERROR_COMPILATION;
    }
    ImageHeader header{};
    std::memcpy(header.magic, image_magic, sizeof header.magic);
    std::memcpy(header.fingerprint, fingerprint().data(), sizeof header.fingerprint);
    std::strncpy(header.name, source.c_str(), sizeof header.name - 1);
    header.bytes = object.size();
    header.architecture = options.architecture;
    header.exact = options.exact;
    header.ptx = options.ptx;
    // As NVRTC: no cubin for an architecture compute_…. The PTX here is no text; it knows its own length.
    std::string& image = options.ptx ? program.ptx : program.cubin;
    image.assign(reinterpret_cast<const char*>(&header), sizeof header);
    image += object;
    return NVRTC_SUCCESS;
}

}  // namespace

}  // namespace simt

using namespace simt;

SIMT_EXPORT int nvrtcVersion(int* major, int* minor) {
    if (major == nullptr || minor == nullptr) return NVRTC_ERROR_INVALID_INPUT;
    *major = 12;
    *minor = 4;
    return NVRTC_SUCCESS;
}

SIMT_EXPORT int nvrtcGetNumSupportedArchs(int* count) {
    if (count == nullptr) return NVRTC_ERROR_INVALID_INPUT;
    *count = static_cast<int>(std::size(architectures));
    return NVRTC_SUCCESS;
}

SIMT_EXPORT int nvrtcGetSupportedArchs(int* supported) {
    if (supported == nullptr) return NVRTC_ERROR_INVALID_INPUT;
    std::copy(std::begin(architectures), std::end(architectures), supported);
    return NVRTC_SUCCESS;
}

SIMT_EXPORT int nvrtcCreateProgram(void** program, const char* source, const char* name, int count, const char* const* headers,
                                   const char* const* names) {
    if (program == nullptr || source == nullptr || count < 0 || (count > 0 && (headers == nullptr || names == nullptr)))
        return NVRTC_ERROR_INVALID_INPUT;
    auto made = std::make_unique<Program>();
    made->source = {name == nullptr || *name == '\0' ? "default_program" : name, source};
    for (int index = 0; index < count; index++) made->headers.push_back({names[index], headers[index]});
    *program = made.release();
    return NVRTC_SUCCESS;
}

SIMT_EXPORT int nvrtcDestroyProgram(void** program) {
    if (program == nullptr || *program == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
    delete static_cast<Program*>(*program);
    *program = nullptr;
    return NVRTC_SUCCESS;
}

SIMT_EXPORT int nvrtcCompileProgram(void* handle, int count, const char* const* options) {
    if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
    if (count < 0 || (count > 0 && options == nullptr)) return NVRTC_ERROR_INVALID_INPUT;
    auto& program = *static_cast<Program*>(handle);
    try {
        return compile(program, count, options);
    } catch (const std::exception& error) {
        program.log += std::string(error.what()) + "\n";
        return NVRTC_ERROR_INTERNAL_ERROR;
    }
}

// Each text or image comes as a size and a copy.
#define SIMT_PROGRAM_RESULT(size_name, get_name, member, terminator)                                \
    SIMT_EXPORT int size_name(void* handle, std::size_t* bytes) {                                   \
        if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;                                  \
        if (bytes == nullptr) return NVRTC_ERROR_INVALID_INPUT;                                     \
        *bytes = static_cast<Program*>(handle)->member.size() + (terminator);                       \
        return NVRTC_SUCCESS;                                                                       \
    }                                                                                               \
    SIMT_EXPORT int get_name(void* handle, char* target) {                                          \
        if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;                                  \
        if (target == nullptr) return NVRTC_ERROR_INVALID_INPUT;                                    \
        const std::string& text = static_cast<Program*>(handle)->member;                            \
        std::memcpy(target, text.c_str(), text.size() + (terminator));                              \
        return NVRTC_SUCCESS;                                                                       \
    }
SIMT_PROGRAM_RESULT(nvrtcGetCUBINSize, nvrtcGetCUBIN, cubin, 0)
SIMT_PROGRAM_RESULT(nvrtcGetPTXSize, nvrtcGetPTX, ptx, 1)
SIMT_PROGRAM_RESULT(nvrtcGetProgramLogSize, nvrtcGetProgramLog, log, 1)

SIMT_EXPORT const char* nvrtcGetErrorString(int result) {
    switch (result) {
        case NVRTC_SUCCESS: return "NVRTC_SUCCESS";
        case NVRTC_ERROR_INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
        case NVRTC_ERROR_INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
        case NVRTC_ERROR_INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
        case NVRTC_ERROR_COMPILATION: return "NVRTC_ERROR_COMPILATION";
        case NVRTC_ERROR_INTERNAL_ERROR: return "NVRTC_ERROR_INTERNAL_ERROR";
        default: return "NVRTC_ERROR unknown";
    }
}
