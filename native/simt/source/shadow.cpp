#include "shadow.hpp"

#include <sys/mman.h>

#include <new>

#include "cuda_abi.hpp"
#include "report.hpp"
#include "scheduler.hpp"

namespace simt {

namespace {

constexpr std::size_t window_bytes = Worker::window_stride;
constexpr std::size_t window_words = window_bytes / 4;

template <class T>
T* map_zeroed(std::size_t count) {
    void* mapping = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(mapping);
}

template <class T>
void unmap(T*& pointer, std::size_t count) {
    if (pointer != nullptr) munmap(pointer, count * sizeof(T));
    pointer = nullptr;
}

}  // namespace

SharedShadow::~SharedShadow() {
    unmap(words_, blocks_ * window_words);
    unmap(bytes_, blocks_ * window_bytes);
    unmap(readers_, blocks_ * window_words);
}

void SharedShadow::reserve(unsigned blocks) {
    if (blocks <= blocks_) return;
    unmap(words_, blocks_ * window_words);
    unmap(bytes_, blocks_ * window_bytes);
    unmap(readers_, blocks_ * window_words);
    blocks_ = 0;
    words_ = map_zeroed<Word>(blocks * window_words);
    bytes_ = map_zeroed<Cell>(blocks * window_bytes);
    readers_ = map_zeroed<Readers>(blocks * window_words);
    blocks_ = blocks;
}

void SharedShadow::begin_cluster(Worker& worker) {
    if (worker.now > 0xF0000000u) {  // epochs are about to wrap: start again with an empty shadow
        const unsigned blocks = blocks_;
        unmap(words_, blocks_ * window_words);
        unmap(bytes_, blocks_ * window_bytes);
        unmap(readers_, blocks_ * window_words);
        blocks_ = 0;
        reserve(blocks);
        worker.now = 0;
    }
    started_ = ++worker.now;
    active_readers_ = 0;
    worker.started = started_;
}

bool SharedShadow::unordered(const Record& earlier, const Record& mine, Access access) const {
    if (earlier.epoch <= started_) return false;
    if (earlier.warp == mine.warp) return earlier.lane != mine.lane && earlier.epoch >= mine.epoch;
    const Warp& warp = *current_thread().warp;
    if (earlier.epoch <= warp.known[earlier.warp]) return false;
    return access == Access::read || earlier.epoch > warp.overwritable[earlier.warp];
}

void SharedShadow::touch(Cell& cell, Access access, const Record& mine, unsigned offset, const Site& site) {
    const bool both_atomic = access == Access::atomic && cell.write.atomic;
    if (!both_atomic && unordered(cell.write, mine, access)) report_race(cell.write, true, access, offset, site);
    if (access == Access::read) {
        // Two readers are enough: the first one not yet ordered before the others, and the latest of another thread.
        if (!unordered(cell.first_read, mine, access)) cell.first_read = mine;
        else cell.last_read = mine;
        return;
    }
    if (unordered(cell.first_read, mine, access)) report_race(cell.first_read, false, access, offset, site);
    if (unordered(cell.last_read, mine, access)) report_race(cell.last_read, false, access, offset, site);
    cell.write = mine;
    cell.first_read.epoch = 0;
    cell.last_read.epoch = 0;
}

void SharedShadow::touch(unsigned rank, unsigned offset, unsigned bytes, Access access, const Site& site, Proxy proxy) {
    const Thread& thread = current_thread();
    const bool asynchronous = proxy == Proxy::asynchronous;
    const Record mine{thread.warp->epoch, static_cast<std::uint16_t>(thread.warp->slot), static_cast<std::uint8_t>(thread.lane),
                      access == Access::atomic, asynchronous, site.address};
    Word* words = words_ + rank * window_words;
    const unsigned end = offset + bytes;
    while (offset < end) {
        Word& word = words[offset / 4];
        if (word.pending == started_)
            fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(access == Access::read ? "read" : "write") + " of shared memory at offset " +
                                                       std::to_string(offset) + " while the asynchronous copy issued at " +
                                                       describe(call_site(word.pending_address)) + " may still be filling it: no wait covers that copy",
                         site);
        if (active_readers_ > 0 && access != Access::read) check_readers(rank, offset, access, site);
        const unsigned stop = std::min(end, offset / 4 * 4 + 4);
        if (word.split != started_ && stop - offset == 4) {
            touch(word.cell, access, mine, offset, site);
            if (asynchronous && access == Access::read) check_fenced(word.cell.write, offset, site);
            offset = stop;
            continue;
        }
        Cell* cells = bytes_ + rank * window_bytes + offset / 4 * 4;
        if (word.split != started_) {
            for (int index = 0; index < 4; index++) cells[index] = word.cell;
            word.split = started_;
        }
        for (; offset < stop; offset++) {
            touch(cells[offset % 4], access, mine, offset, site);
            if (asynchronous && access == Access::read) check_fenced(cells[offset % 4].write, offset, site);
        }
    }
}

void SharedShadow::check_readers(unsigned rank, unsigned offset, Access access, const Site& site) const {
    const Readers& readers = readers_[rank * window_words + offset / 4];
    if (readers.stamp != started_ || readers.count == 0) return;
    fail_current(CUDA_ERROR_LAUNCH_FAILED, std::string(access == Access::write ? "write" : "atomic update") + " of shared memory at offset " +
                                               std::to_string(offset) + " while the asynchronous operation issued at " +
                                               describe(call_site(readers.address)) + " may still be reading it: no wait covers that operation",
                 site);
}

void SharedShadow::check_fenced(const Record& write, unsigned offset, const Site& site) const {
    if (write.epoch <= started_ || write.asynchronous) return;
    const Warp& warp = *current_thread().warp;
    if (warp.known[warp.known.size() / 2 + write.warp] >= write.epoch) return;
    fail_current(CUDA_ERROR_LAUNCH_FAILED, "shared memory at offset " + std::to_string(offset) + ", written by ordinary stores at " +
                                               describe(call_site(write.address)) +
                                               ", is read by the tensor cores or the copy engine without a fence_proxy_async in between", site);
}

void SharedShadow::begin_read(unsigned rank, unsigned offset, unsigned bytes, const Site& site) {
    for (unsigned word = offset / 4; word < (offset + bytes + 3) / 4; word++) {
        Readers& readers = readers_[rank * window_words + word];
        if (readers.stamp != started_) readers = {started_, 0, nullptr};
        readers.count++;
        readers.address = site.address;
        active_readers_++;
    }
}

void SharedShadow::end_read(unsigned rank, unsigned offset, unsigned bytes) {
    for (unsigned word = offset / 4; word < (offset + bytes + 3) / 4; word++) {
        readers_[rank * window_words + word].count--;
        active_readers_--;
    }
}

void SharedShadow::begin_fill(unsigned rank, unsigned offset, unsigned bytes, const Site& site) {
    Word* words = words_ + rank * window_words;
    for (unsigned word = offset / 4; word < (offset + bytes + 3) / 4; word++) {
        words[word].pending = started_;
        words[word].pending_address = site.address;
    }
}

void SharedShadow::end_fill(unsigned rank, unsigned offset, unsigned bytes) {
    Word* words = words_ + rank * window_words;
    for (unsigned word = offset / 4; word < (offset + bytes + 3) / 4; word++) words[word].pending = 0;
}

void SharedShadow::report_race(const Record& earlier, bool earlier_writes, Access access, unsigned offset, const Site& site) const {
    const Warp& warp = this_worker->warps[earlier.warp];
    const Thread& other = warp.block->first_thread[warp.first_thread + earlier.lane];
    const char* names[] = {"read", "write", "atomic update"};
    fail_current(CUDA_ERROR_LAUNCH_FAILED,
                 std::string("race on shared memory at offset ") + std::to_string(offset) + ": this " + names[static_cast<int>(access)] +
                     " and the " + (earlier.atomic ? "atomic update" : earlier_writes ? "write" : "read") + " by " + describe(*this_worker->launch, other) +
                     " at " + describe(call_site(earlier.address)) + " are not ordered by any barrier",
                 site);
}

}  // namespace simt
