// The driver's C ABI: streams, events, capture and graphs.
#include <algorithm>

#include "driver.hpp"

using namespace simt;

SIMT_EXPORT int cuStreamCreate(void** handle, unsigned) {
    SIMT_CONTEXT();
    if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
    context().streams.push_back(std::make_unique<Stream>());
    *handle = context().streams.back().get();
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuStreamDestroy_v2(void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr || stream == &context().default_stream) return CUDA_ERROR_INVALID_HANDLE;
    const Result result = drain(*stream);
    for (auto& event : context().events)
        if (event->stream == stream) event->stream = nullptr;
    auto& streams = context().streams;
    streams.erase(std::find_if(streams.begin(), streams.end(), [&](const auto& entry) { return entry.get() == stream; }));
    return result;
}

SIMT_EXPORT int cuStreamSynchronize(void* handle) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture != nullptr) {
        stream->capture_invalidated = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return stream == &context().default_stream ? drain_all() : drain(*stream);
}

// Runs the stream of the event until its newest record at the time of the call has run.
static Result wait_for(Event& event, std::uint64_t record) {
    while (event.completed < record && event.stream != nullptr) {
        Result result = 0;
        if (!step(*event.stream, result)) break;
        if (result != 0) return result;
    }
    return context().broken;
}

SIMT_EXPORT int cuStreamWaitEvent(void* stream_handle, void* event_handle, unsigned) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(stream_handle);
    Event* event = context().event(event_handle);
    if (stream == nullptr || event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture != nullptr) {  // the stream joins the capture; tasks already stand in a legal order
        if (stream->capture == nullptr) stream->capture = event->capture;
        return CUDA_SUCCESS;
    }
    if (event->recorded == event->completed) return CUDA_SUCCESS;
    const std::uint64_t record = event->recorded;
    return enqueue(*stream, [event_handle, record]() -> Result {
        Event* target = context().event(event_handle);
        return target == nullptr ? Result{CUDA_SUCCESS} : wait_for(*target, record);
    });
}

SIMT_EXPORT int cuEventCreate(void** handle, unsigned) {
    SIMT_CONTEXT();
    if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
    context().events.push_back(std::make_unique<Event>());
    *handle = context().events.back().get();
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuEventDestroy_v2(void* handle) {
    SIMT_CONTEXT();
    Event* event = context().event(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    auto& events = context().events;
    events.erase(std::find_if(events.begin(), events.end(), [&](const auto& entry) { return entry.get() == event; }));
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuEventRecord(void* event_handle, void* stream_handle) {
    SIMT_CONTEXT();
    Event* event = context().event(event_handle);
    Stream* stream = context().stream(stream_handle);
    if (stream == nullptr || event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    event->capture = stream->capture;
    if (stream->capture != nullptr) return CUDA_SUCCESS;
    event->stream = stream;
    const std::uint64_t record = ++event->recorded;
    return enqueue(*stream, [event_handle, record]() -> Result {
        if (Event* target = context().event(event_handle)) target->completed = std::max(target->completed, record);
        return CUDA_SUCCESS;
    });
}

SIMT_EXPORT int cuEventSynchronize(void* handle) {
    SIMT_CONTEXT();
    Event* event = context().event(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    return wait_for(*event, event->recorded);
}

// Each question lets the event's stream do one more task, so that a program that polls gets there.
SIMT_EXPORT int cuEventQuery(void* handle) {
    SIMT_CONTEXT();
    Event* event = context().event(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (event->completed == event->recorded) return CUDA_SUCCESS;
    Result result = 0;
    if (event->stream != nullptr) step(*event->stream, result);
    if (result != 0) return result;
    return event->completed == event->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

// Always 0: the time of an emulation says nothing about a GPU.
SIMT_EXPORT int cuEventElapsedTime(float* milliseconds, void* start, void* end) {
    SIMT_CONTEXT();
    if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Event* first = context().event(start);
    Event* last = context().event(end);
    if (first == nullptr || last == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (first->recorded == 0 || last->recorded == 0) return CUDA_ERROR_INVALID_HANDLE;
    if (first->completed != first->recorded || last->completed != last->recorded) return CUDA_ERROR_NOT_READY;
    *milliseconds = 0;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuStreamBeginCapture_v2(void* handle, int) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (stream == &context().default_stream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
    stream->capture = std::make_shared<Graph>();
    stream->capture_origin = true;
    stream->capture_invalidated = false;
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuStreamEndCapture(void* handle, void** graph) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *graph = nullptr;
    if (stream->capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
    if (!stream->capture_origin) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    const std::shared_ptr<Graph> captured = stream->capture;
    bool invalidated = false;
    for (auto& other : context().streams)
        if (other->capture == captured) {
            invalidated |= other->capture_invalidated;
            other->capture.reset();
            other->capture_origin = other->capture_invalidated = false;
        }
    for (auto& event : context().events)
        if (event->capture == captured) event->capture.reset();
    if (invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    context().graphs.push_back(std::make_unique<std::shared_ptr<Graph>>(captured));
    *graph = context().graphs.back().get();
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuStreamIsCapturing(void* handle, int* status) {
    SIMT_CONTEXT();
    Stream* stream = context().stream(handle);
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *status = stream->capture == nullptr ? 0 : stream->capture_invalidated ? 2 : 1;
    return CUDA_SUCCESS;
}

// An executable graph is a second reference to the same tasks: they hold copies of their parameters.
SIMT_EXPORT int cuGraphInstantiateWithFlags(void** executable, void* graph_handle, unsigned long long) {
    SIMT_CONTEXT();
    std::shared_ptr<Graph>* graph = context().graph(graph_handle);
    if (graph == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (executable == nullptr) return CUDA_ERROR_INVALID_VALUE;
    context().graphs.push_back(std::make_unique<std::shared_ptr<Graph>>(*graph));
    *executable = context().graphs.back().get();
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuGraphLaunch(void* executable, void* stream_handle) {
    SIMT_CONTEXT();
    std::shared_ptr<Graph>* graph = context().graph(executable);
    Stream* stream = context().stream(stream_handle);
    if (graph == nullptr || stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const std::shared_ptr<Graph> tasks = *graph;
    return enqueue(*stream, [tasks]() -> Result {
        for (const Task& task : tasks->tasks)
            if (const Result result = task(); result != 0) return result;
        return CUDA_SUCCESS;
    });
}

static int destroy_graph(void* handle) {
    auto& graphs = context().graphs;
    const auto entry = std::find_if(graphs.begin(), graphs.end(), [&](const auto& candidate) { return candidate.get() == handle; });
    if (entry == graphs.end()) return CUDA_ERROR_INVALID_HANDLE;
    graphs.erase(entry);
    return CUDA_SUCCESS;
}

SIMT_EXPORT int cuGraphExecDestroy(void* executable) {
    SIMT_CONTEXT();
    return destroy_graph(executable);
}

SIMT_EXPORT int cuGraphDestroy(void* graph) {
    SIMT_CONTEXT();
    return destroy_graph(graph);
}
