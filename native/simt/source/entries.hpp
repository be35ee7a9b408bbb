// Finding the kernels in a preprocessed source.
#pragma once

#include <string>
#include <vector>

namespace simt {

struct EntryPoint {
    std::string name;
    std::string bounds;  // what stands in __launch_bounds__(…), empty when there is none
};

// Finds every `extern "C" __global__` function, and blanks the words __global__ and __launch_bounds__(…), which mean nothing to a
// C++ compiler, without moving anything.
std::vector<EntryPoint> find_entry_points(std::string& source);

// The table of entry points, to be appended to the source.
std::string entry_table(const std::vector<EntryPoint>& entries);

}  // namespace simt
