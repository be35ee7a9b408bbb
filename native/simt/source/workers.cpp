// The operating system threads that run blocks. They are started on first use and live as long as the process.
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "configuration.hpp"
#include "fault.hpp"
#include "scheduler.hpp"
#include "visibility.hpp"

namespace simt {

void run_worker(Worker& worker, Launch& launch);

namespace {

class Pool {
public:
    // Never destroyed: its threads are still waiting when static objects are.
    static Pool& instance() {
        static Pool& pool = *new Pool();
        return pool;
    }

    void run(Launch& launch) {
        unsigned wanted = configuration().workers;
        if (wanted == 0) wanted = std::min(8u, std::max(1u, std::thread::hardware_concurrency()));
        wanted = static_cast<unsigned>(std::min<std::uint64_t>(wanted, launch.clusters));
        std::unique_lock<std::mutex> lock(mutex_);
        while (started_ < wanted) start(started_++);
        launch_ = &launch;
        tickets_ = wanted;
        running_ = wanted;
        turn_++;
        wake_.notify_all();
        done_.wait(lock, [this] { return running_ == 0; });
        launch_ = nullptr;
    }

private:
    void start(unsigned number) {
        // Signals of the host program are not for these threads; faults of kernels are.
        sigset_t blocked, previous;
        sigfillset(&blocked);
        for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&blocked, fault);
        pthread_sigmask(SIG_SETMASK, &blocked, &previous);
        std::thread([this, number] { loop(number); }).detach();
        pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    }

    void loop(unsigned number) {
        Worker worker;
        worker.number = number;
        prepare_fault_stack();
        std::uint64_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return turn_ != seen; });
            seen = turn_;
            if (tickets_ == 0) continue;
            tickets_--;
            Launch* launch = launch_;
            lock.unlock();
            run_worker(worker, *launch);
            lock.lock();
            if (--running_ == 0) done_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    Launch* launch_ = nullptr;
    unsigned started_ = 0, tickets_ = 0, running_ = 0;
    std::uint64_t turn_ = 0;
};

}  // namespace

Result run(Launch& launch) {
    install_fault_handler();
    launch.clusters = launch.grid.volume() / launch.cluster.volume();
    const Configuration& settings = configuration();
    if (settings.schedule != Schedule::forward && launch.clusters <= (std::uint64_t{1} << 26)) {
        launch.order.resize(launch.clusters);
        for (std::uint64_t turn = 0; turn < launch.clusters; turn++) launch.order[turn] = launch.clusters - 1 - turn;
        if (settings.schedule == Schedule::seeded) {
            std::uint64_t state = settings.seed;
            for (std::uint64_t turn = launch.clusters; turn > 1; turn--) {
                state = state * 6364136223846793005ULL + 1442695040888963407ULL;
                std::swap(launch.order[turn - 1], launch.order[(state >> 33) % turn]);
            }
        }
    }
    if (settings.visibility) begin_visibility();
    Pool::instance().run(launch);
    if (settings.counters) {
        KernelCounters counters{};
        counters.launches = 1;
        counters.blocks = launch.grid.volume();
        merge_counters(launch.kernel->name, counters);
    }
    return launch.result;
}

}  // namespace simt
