#include "stream.hpp"

#include "configuration.hpp"
#include "cuda_abi.hpp"
#include "report.hpp"

namespace simt {

namespace {

constexpr std::size_t longest_queue = 4096;

template <class T>
T* find(std::vector<std::unique_ptr<T>>& list, void* handle) {
    for (auto& entry : list)
        if (entry.get() == handle) return entry.get();
    return nullptr;
}

}  // namespace

Context& context() {
    static Context& instance = *new Context();
    return instance;
}

Stream* Context::stream(void* handle) {
    const auto value = reinterpret_cast<std::uintptr_t>(handle);
    return value <= 2 ? &default_stream : find(streams, handle);
}

Event* Context::event(void* handle) { return find(events, handle); }

std::shared_ptr<Graph>* Context::graph(void* handle) { return find(graphs, handle); }

Result perform(const Task& task) {
    if (context().broken != 0) return context().broken;
    const Result result = task();
    if (result != 0) context().broken = result;
    return result;
}

bool step(Stream& stream, Result& result) {
    if (stream.queue.empty()) return false;
    const Task task = std::move(stream.queue.front());
    stream.queue.pop_front();
    result = perform(task);
    return true;
}

Result drain(Stream& stream) {
    Result result = 0;
    while (step(stream, result)) {
    }
    return context().broken;
}

Result drain_all() {
    drain(context().default_stream);
    for (std::size_t index = 0; index < context().streams.size(); index++) drain(*context().streams[index]);
    return context().broken;
}

Result enqueue(Stream& stream, Task task) {
    if (stream.capture != nullptr) {
        stream.capture->tasks.push_back(std::move(task));
        return 0;
    }
    if (&stream == &context().default_stream) {
        // The legacy default stream waits for all others.
        const Result result = drain_all();
        if (result != 0) return result;
        return perform(task);
    }
    stream.queue.push_back(std::move(task));
    if (!configuration().asynchronous_late || stream.queue.size() > longest_queue) return drain(stream);
    return 0;
}

bool any_capture() {
    for (const auto& stream : context().streams)
        if (stream->capture != nullptr) return true;
    return false;
}

}  // namespace simt
