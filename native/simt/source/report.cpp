#include "report.hpp"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <vector>

#include "module.hpp"

namespace simt {

namespace {

std::mutex report_lock;

std::string& report_text() {
    static std::string& text = *new std::string();
    return text;
}

std::string coordinates(const Dim3& index) {
    return '(' + std::to_string(index.x) + ',' + std::to_string(index.y) + ',' + std::to_string(index.z) + ')';
}

// Headers of the emulator and the wrappers of instructions say little: the line that called them is the one to show.
bool is_wrapper(const std::string& place) {
    return place.find("ptx/") != std::string::npos || place.find("simt.hpp") != std::string::npos;
}

std::string read_lines(const std::string& command) {
    std::string text;
    if (FILE* pipe = popen(command.c_str(), "r")) {
        char buffer[512];
        std::size_t count;
        while ((count = fread(buffer, 1, sizeof buffer, pipe)) > 0) text.append(buffer, count);
        pclose(pipe);
    }
    return text;
}

// Drops "./" and the discriminator that addr2line adds.
std::string tidy(std::string place) {
    const auto discriminator = place.find(" (discriminator");
    if (discriminator != std::string::npos) place.erase(discriminator);
    while (place.rfind("./", 0) == 0) place.erase(0, 2);
    return place;
}

}  // namespace

void report(const std::string& message) {
    const std::lock_guard<std::mutex> lock(report_lock);
    report_text() = message;
    if (const char* echo = std::getenv("SKYLIGHT_SIMT_ECHO"); echo != nullptr && *echo == '1') std::fprintf(stderr, "simt: %s\n", message.c_str());
}

std::string last_report() {
    const std::lock_guard<std::mutex> lock(report_lock);
    return report_text();
}

void clear_report() {
    const std::lock_guard<std::mutex> lock(report_lock);
    report_text().clear();
}

std::string hexadecimal(const void* address) {
    char text[32];
    std::snprintf(text, sizeof text, "%p", address);
    return text;
}

std::string describe(const Site& site) {
    if (site.file != nullptr) return tidy(site.file) + ":" + std::to_string(site.line);
    const Module* module = find_module(site.address);
    if (module == nullptr) return "an unknown place";
    // A return address points after the call; one byte less lies in it.
    const auto offset = reinterpret_cast<std::uintptr_t>(site.address) - 1 - module->low;
    std::ostringstream command;
    command << "addr2line -i -f -C -e '" << module->path << "' 0x" << std::hex << offset << " 2>/dev/null";
    std::istringstream lines(read_lines(command.str()));
    std::vector<std::pair<std::string, std::string>> frames;  // innermost first
    std::string function, place;
    while (std::getline(lines, function) && std::getline(lines, place)) frames.emplace_back(function, tidy(place));
    if (frames.empty() || frames.front().second.rfind("??", 0) == 0) return "an unknown line of '" + module->name + "'";
    std::size_t shown = 0;
    while (shown + 1 < frames.size() && is_wrapper(frames[shown].second)) shown++;
    std::string text = frames[shown].second;
    if (shown > 0) text += " (in " + frames[shown - 1].first.substr(0, frames[shown - 1].first.find('(')) + ")";
    for (std::size_t outer = shown + 1; outer < frames.size(); outer++) text += ", called from " + frames[outer].second;
    return text;
}

std::string describe(const Launch& launch, const Thread& thread) {
    return "kernel '" + launch.kernel->name + "', block " + coordinates(thread.block->index) + ", thread " + coordinates(thread.index);
}

}  // namespace simt
