// Findings in words. The newest is what simtLastReport() returns.
#pragma once

#include <string>

#include "state.hpp"

namespace simt {

// Keeps a message as the last report.
void report(const std::string& message);
std::string last_report();
void clear_report();

// "file:line" of a place in a kernel, with the chain of inlined functions that led there. Runs addr2line: only for reports.
std::string describe(const Site& site);

// "kernel 'name', block (x,y,z), thread (x,y,z)".
std::string describe(const Launch& launch, const Thread& thread);

std::string hexadecimal(const void* address);

}  // namespace simt
