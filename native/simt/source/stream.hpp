// Streams, events and graphs. Work put on a stream waits until somebody synchronises with it ("late") or runs at once: both are
// legal, and a missing synchronisation shows in the first.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "state.hpp"

namespace simt {

using Task = std::function<Result()>;

struct Graph {
    std::vector<Task> tasks;  // in the order of capture, which is one legal order
};

struct Stream {
    std::deque<Task> queue;
    std::shared_ptr<Graph> capture;  // set while capturing
    bool capture_origin = false;
    bool capture_invalidated = false;
};

struct Event {
    std::uint64_t recorded = 0;   // number of the newest record
    std::uint64_t completed = 0;  // number of the newest record that has run
    Stream* stream = nullptr;     // where the newest record was put
    std::shared_ptr<Graph> capture;
};

// The emulated device's one context: everything the exported functions share.
struct Context {
    std::recursive_mutex lock;
    bool initialized = false;
    Result broken = 0;  // the error of a failed kernel: every later call returns it
    std::vector<std::unique_ptr<Stream>> streams;
    std::vector<std::unique_ptr<Event>> events;
    std::vector<std::unique_ptr<std::shared_ptr<Graph>>> graphs;
    Stream default_stream;

    // Null for a handle that is no stream; the default stream for null, 1 (legacy) and 2 (per thread).
    Stream* stream(void* handle);
    Event* event(void* handle);
    std::shared_ptr<Graph>* graph(void* handle);
};

Context& context();

// Puts work on a stream, or into the graph the stream captures.
Result enqueue(Stream& stream, Task task);

// Runs what waits on a stream, or on all of them.
Result drain(Stream& stream);
Result drain_all();

// Runs the oldest waiting task. False when there is none.
bool step(Stream& stream, Result& result);

// Runs one task with the bookkeeping of errors.
Result perform(const Task& task);

bool any_capture();

}  // namespace simt
