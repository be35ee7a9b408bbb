#include "process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "configuration.hpp"

extern char** environ;

namespace simt {

namespace {

bool is_on_path(const std::string& program) {
    if (program.find('/') != std::string::npos) return access(program.c_str(), X_OK) == 0;
    const char* path = std::getenv("PATH");
    std::istringstream directories(path == nullptr ? "/usr/bin:/bin" : path);
    std::string directory;
    while (std::getline(directories, directory, ':'))
        if (access((directory + "/" + program).c_str(), X_OK) == 0) return true;
    return false;
}

}  // namespace

int run_process(const std::vector<std::string>& command, const std::string& directory, std::string& output) {
    const std::string log = directory + "/compiler.log";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addchdir_np(&actions, directory.c_str());
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    // Messages in English, with plain quotation marks, whatever the host program's language is.
    std::vector<char*> variables;
    for (char** variable = environ; *variable != nullptr; variable++)
        if (std::strncmp(*variable, "LC_ALL=", 7) != 0) variables.push_back(*variable);
    std::string locale = "LC_ALL=C";
    variables.push_back(locale.data());
    variables.push_back(nullptr);
    pid_t child = 0;
    const int error = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), variables.data());
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        output += command[0] + " cannot be started: " + std::strerror(error) + "\n";
        return -1;
    }
    int status = 0;
    pid_t waited;
    do waited = waitpid(child, &status, 0);
    while (waited < 0 && errno == EINTR);
    output += read_file(log);
    if (waited < 0) return 0;  // somebody else in the process collected it: the caller sees by the output file how it went
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string find_compiler() {
    if (!configuration().compiler.empty()) return configuration().compiler;
    if (const char* chosen = std::getenv("CXX"); chosen != nullptr && *chosen != '\0' && is_on_path(chosen)) return chosen;
    for (const char* name : {"c++", "g++", "clang++"})
        if (is_on_path(name)) return name;
    return "";
}

TemporaryDirectory::TemporaryDirectory() {
    const char* parent = std::getenv("TMPDIR");
    path_ = std::string(parent == nullptr || *parent == '\0' ? "/tmp" : parent) + "/skylight-simt-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary directory " + path_ + ": " + std::strerror(errno));
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

void write_file(const std::string& path, const std::string& text) {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path + ": " + std::strerror(errno));
}

}  // namespace simt
