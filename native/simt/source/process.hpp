// Running the C++ compiler.
#pragma once

#include <string>
#include <vector>

namespace simt {

// Runs a program in a directory and waits; its error output is appended to `output`. The exit status, or -1 when it cannot start.
int run_process(const std::vector<std::string>& command, const std::string& directory, std::string& output);

// The C++ compiler: the configured one, $CXX, or the first of c++, g++ and clang++ that is on the path. Empty when there is none.
std::string find_compiler();

// A directory of its own for one compilation, removed with all its files at the end.
class TemporaryDirectory {
public:
    TemporaryDirectory();  // throws std::runtime_error
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& text);  // makes the directories; throws std::runtime_error

}  // namespace simt
