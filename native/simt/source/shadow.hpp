// Who touched which bytes of shared memory last, and whether two accesses are ordered.
//
// Every warp has an epoch that advances at each synchronisation, and knows for every other warp the newest epoch that is ordered
// before its own next access (barriers join this knowledge). Two accesses of different threads, one of them a write, race unless
// the earlier one's epoch is known to the later one's warp; within a warp, unless an epoch has passed between them.
#pragma once

#include <cstdint>

#include "state.hpp"

namespace simt {

enum class Access : std::uint8_t {
    read,
    write,
    atomic,
    begun_write  // to global memory by the copy engine, which ends with a write later
};

// Which path an access takes: that of ordinary loads and stores, or that of tensor cores and the bulk copy engine. An ordinary write
// is visible on the second only after fence.proxy.async.
enum class Proxy : std::uint8_t { generic, asynchronous };

class SharedShadow {
public:
    SharedShadow() = default;
    ~SharedShadow();
    SharedShadow(const SharedShadow&) = delete;
    SharedShadow& operator=(const SharedShadow&) = delete;

    // Room for the windows of `blocks` blocks. Throws std::bad_alloc.
    void reserve(unsigned blocks);

    // Forgets everything before a new cluster starts.
    void begin_cluster(Worker& worker);

    // Notes an access of the running thread to bytes of a window and reports a race with an earlier one.
    void touch(unsigned rank, unsigned offset, unsigned bytes, Access access, const Site& site, Proxy proxy = Proxy::generic);

    // An asynchronous operation begins or ends to read these bytes; a write in between is reported.
    void begin_read(unsigned rank, unsigned offset, unsigned bytes, const Site& site);
    void end_read(unsigned rank, unsigned offset, unsigned bytes);

    // An asynchronous copy begins or ends to fill these bytes; an access in between is reported.
    void begin_fill(unsigned rank, unsigned offset, unsigned bytes, const Site& site);
    void end_fill(unsigned rank, unsigned offset, unsigned bytes);

private:
    struct Record {
        std::uint32_t epoch;  // 0, or one of an earlier cluster: no access
        std::uint16_t warp;
        std::uint8_t lane;
        bool atomic : 1;
        bool asynchronous : 1;  // written on the asynchronous path
        const void* address;
    };
    struct Cell {
        Record write, first_read, last_read;
    };
    struct Word {
        Cell cell;
        std::uint32_t split;    // this cluster's stamp: its bytes are followed one by one
        std::uint32_t pending;  // this cluster's stamp: an asynchronous copy has yet to fill it
        const void* pending_address;
    };

    void touch(Cell& cell, Access access, const Record& mine, unsigned offset, const Site& site);
    struct Readers {
        std::uint32_t stamp;  // this cluster's, or the count is 0
        std::uint32_t count;
        const void* address;
    };

    void check_readers(unsigned rank, unsigned offset, Access access, const Site& site) const;
    void check_fenced(const Record& write, unsigned offset, const Site& site) const;
    bool unordered(const Record& earlier, const Record& mine, Access access) const;
    [[noreturn]] void report_race(const Record& earlier, bool earlier_writes, Access access, unsigned offset, const Site& site) const;

    Word* words_ = nullptr;
    Cell* bytes_ = nullptr;
    Readers* readers_ = nullptr;
    std::uint64_t active_readers_ = 0;  // words that are being read
    unsigned blocks_ = 0;
    std::uint32_t started_ = 0;
};

}  // namespace simt
