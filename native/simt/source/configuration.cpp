#include "configuration.hpp"

#include <cstdlib>
#include <cstring>

#include "report.hpp"

namespace simt {

namespace {

bool parse_unsigned(const std::string& text, std::uint64_t& value) {
    if (text.empty()) return false;
    char* end = nullptr;
    value = std::strtoull(text.c_str(), &end, 10);
    return *end == '\0';
}

bool set(Configuration& target, const std::string& name, const std::string& value, std::string& message) {
    std::uint64_t number = 0;
    if (name == "schedule") {
        if (value == "forward") target.schedule = Schedule::forward;
        else if (value == "reverse") target.schedule = Schedule::reverse;
        else if (value.rfind("seed:", 0) == 0 && parse_unsigned(value.substr(5), number)) {
            target.schedule = Schedule::seeded;
            target.seed = number;
        } else {
            message = "schedule is forward, reverse or seed:<number>, not '" + value + "'";
            return false;
        }
    } else if (name == "async") {
        if (value != "late" && value != "immediate") {
            message = "async is late or immediate, not '" + value + "'";
            return false;
        }
        target.asynchronous_late = value == "late";
    } else if (name == "checks") {
        if (value != "on" && value != "off") {
            message = "checks is on or off, not '" + value + "'";
            return false;
        }
        target.checks = value == "on";
    } else if (name == "visibility" && (value == "on" || value == "off")) {
        target.visibility = value == "on";
    } else if (name == "counters") {
        if (value != "on" && value != "off") {
            message = "counters is on or off, not '" + value + "'";
            return false;
        }
        target.counters = value == "on";
    } else if (name == "pools" && (value == "on" || value == "off")) {
        target.pools = value == "on";
    } else if (name == "rounding" && (value == "same" || value == "own")) {
        target.warpgroup_rounding = value == "own";
    } else if (name == "memory" && parse_unsigned(value, number)) {
        target.memory = number;
    } else if (name == "capability" && parse_unsigned(value, number) && number >= 10 && number < 1000) {
        target.capability = static_cast<int>(number);
    } else if (name == "workers" && parse_unsigned(value, number) && number <= 64) {
        target.workers = static_cast<unsigned>(number);
    } else if (name == "compiler") {
        target.compiler = value;
    } else {
        message = "no setting '" + name + "' with value '" + value +
                  "': there are schedule, async, checks, visibility (on, off), counters, memory (bytes), pools (on, off), rounding (same, own), capability (90 for 9.0), workers (up to 64) and compiler";
        return false;
    }
    return true;
}

Configuration from_environment() {
    Configuration result;
    const std::pair<const char*, const char*> variables[] = {
        {"SKYLIGHT_SIMT_SCHEDULE", "schedule"}, {"SKYLIGHT_SIMT_ASYNC", "async"},     {"SKYLIGHT_SIMT_CHECKS", "checks"},
        {"SKYLIGHT_SIMT_MEMORY", "memory"},     {"SKYLIGHT_SIMT_WORKERS", "workers"}, {"SKYLIGHT_SIMT_COMPILER", "compiler"},
        {"SKYLIGHT_SIMT_COUNTERS", "counters"}, {"SKYLIGHT_SIMT_CAPABILITY", "capability"}, {"SKYLIGHT_SIMT_POOLS", "pools"},
        {"SKYLIGHT_SIMT_ROUNDING", "rounding"}, {"SKYLIGHT_SIMT_VISIBILITY", "visibility"},
    };
    for (const auto& [variable, name] : variables) {
        const char* value = std::getenv(variable);
        std::string message;
        if (value != nullptr && !set(result, name, value, message)) report(std::string(variable) + ": " + message);
    }
    return result;
}

}  // namespace

Configuration& configuration() {
    static Configuration instance = from_environment();
    return instance;
}

bool configure(const std::string& name, const std::string& value, std::string& message) {
    return set(configuration(), name, value, message);
}

}  // namespace simt
