// What simtConfigure and the SKYLIGHT_SIMT_* variables set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace simt {

enum class Schedule { forward, reverse, seeded };

struct Configuration {
    Schedule schedule = Schedule::forward;
    std::uint64_t seed = 0;
    bool asynchronous_late = true;  // asynchronous operations complete at the last legal moment, otherwise at once
    bool checks = true;             // bounds, alignment and races
    bool visibility = false;        // what blocks of one launch read of each other
    bool counters = false;          // count what kernels do
    std::size_t memory = std::size_t{4} << 30;
    bool pools = true;     // whether the device says that it has memory pools
    bool warpgroup_rounding = false;  // wgmma rounds in its own way, otherwise as mma.sync
    int capability = 90;   // ten times the compute capability that the device says it has
    unsigned workers = 0;  // 0: one per processor, at most 8
    std::string compiler;  // empty: $CXX, c++, g++, clang++
};

// The configuration in force, read from the environment on first use.
Configuration& configuration();

// Sets one value by name. False with a message when the name or the value is not understood.
bool configure(const std::string& name, const std::string& value, std::string& message);

}  // namespace simt
