// SPDX-License-Identifier: MIT
// Two threads of one process, with one memory manager, against two processes with one each.
// Slices of 12 ms, one thread, two threads and two processes in turn; the best decile of each.
#include "vm_regions.hpp"
#include "vm_rows.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>

namespace memreeve::bench {

namespace {

constexpr std::uint64_t slice_ns = 12'000'000;
constexpr std::uint64_t head_start_ns = 1'000'000; // until both are awake
constexpr double least_control = 1.3;

std::uint64_t wall_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(t.tv_nsec);
}

enum job : std::uint32_t { leave, empty_call, cycles, queries, job_count };

// What the driver and a worker, thread or process, share.
struct desk {
    std::atomic<std::uint32_t> wanted{leave};
    std::atomic<std::uint64_t> begin{0}; // the slice
    std::atomic<double> per_second{0};
};

// A worker: waits for a byte, works through one slice, answers by a byte.
struct worker {
    desk* at = nullptr;
    int to = -1, from = -1; // the driver's ends
    int its_to = -1, its_from = -1;

    void open(desk& d) {
        int there[2], back[2];
        must(pipe(there) == 0 && pipe(back) == 0, "pipe");
        at = &d;
        to = there[1];
        its_from = there[0];
        from = back[0];
        its_to = back[1];
    }
    void ask(job what, std::uint64_t begin) const {
        at->wanted = what;
        at->begin = begin;
        must(write(to, "", 1) == 1, "asking a worker");
    }
    double answer() const {
        char byte = 0;
        must(read(from, &byte, 1) == 1, "a worker");
        return at->per_second;
    }
};

void work(const worker& me, const population& live, std::size_t first) {
    std::size_t next = first;
    for (char byte = 0; read(me.its_from, &byte, 1) == 1;) {
        const auto what = static_cast<job>(me.at->wanted.load());
        if (what == leave) {
            return;
        }
        const std::uint64_t begin = me.at->begin;
        std::uint64_t now = wall_ns();
        for (; now < begin; now = wall_ns()) {
        }
        std::uint64_t done = 0;
        for (const std::uint64_t since = now; now - since < slice_ns; now = wall_ns()) {
            switch (what) {
            case empty_call:
                for (int i = 0; i < 64; ++i) {
                    use(syscall(SYS_getppid));
                }
                done += 64;
                break;
            case cycles:
                for (int i = 0; i < 8; ++i) {
                    cycle(live.h, 0);
                }
                done += 8;
                break;
            default:
                live.query(256, next);
                done += 256;
                break;
            }
        }
        me.at->per_second = static_cast<double>(done) * 1e9 / static_cast<double>(now - begin);
        must(write(me.its_to, "", 1) == 1, "answering");
    }
}

double best_decile(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() - 1 - v.size() / 10];
}

// Throughput of what the two do, per second: of both together and of the first alone.
struct both {
    std::vector<double> together, first;

    void run(const worker (&two)[2], job one, job other) {
        const std::uint64_t begin = wall_ns() + head_start_ns;
        two[0].ask(one, begin);
        two[1].ask(other, begin);
        const double a = two[0].answer();
        const double b = two[1].answer();
        first.push_back(a);
        together.push_back(a + b);
    }
};

} // namespace

void measure_threads(report& out, unsigned rounds) {
    constexpr const char* metrics[] = {"vm_cycle_2threads", "vm_query_2threads",
                                       "vm_query_2threads_churn"};
    if (!out.wants({metrics[0], metrics[1], metrics[2]})) {
        return;
    }
    constexpr unsigned regions = 1000;
    auto* const desks = static_cast<desk*>(
        mmap(nullptr, 4 * small, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    must(desks != MAP_FAILED, "mmap");
    const auto desk_at = [&](unsigned i) -> desk& {
        return *reinterpret_cast<desk*>(reinterpret_cast<char*>(desks) + i * page);
    };
    worker processes[2];
    worker threads[2];
    pid_t pids[2]{};
    for (unsigned i = 0; i < 2; ++i) { // before there are threads
        processes[i].open(desk_at(i));
        pids[i] = fork();
        must(pids[i] >= 0, "fork");
        if (pids[i] == 0) {
            const population live(regions);
            work(processes[i], live, i * regions / 2);
            _exit(0);
        }
    }
    const population live(regions);
    std::vector<std::thread> started;
    for (unsigned i = 0; i < 2; ++i) {
        threads[i].open(desk_at(2 + i));
        started.emplace_back([&threads, &live, i] { work(threads[i], live, i * regions / 2); });
    }

    std::vector<double> alone;
    both control, by_threads[job_count], by_processes[job_count], churn_threads, churn_processes;
    for (unsigned r = 0; r < 3 * rounds; ++r) {
        threads[0].ask(empty_call, wall_ns() + head_start_ns);
        alone.push_back(threads[0].answer());
        control.run(processes, empty_call, empty_call);
        for (const job what : {cycles, queries}) {
            by_threads[what].run(threads, what, what);
            by_processes[what].run(processes, what, what);
        }
        churn_threads.run(threads, queries, cycles);
        churn_processes.run(processes, queries, cycles);
    }
    for (unsigned i = 0; i < 2; ++i) {
        threads[i].ask(leave, 0);
        processes[i].ask(leave, 0);
        started[i].join();
        int status = 0;
        waitpid(pids[i], &status, 0);
    }
    const double scaling = best_decile(control.together) / best_decile(alone);
    std::fprintf(stdout, "# two processes make %.2f times the system calls of one thread\n",
                 scaling);
    if (scaling < least_control) {
        const std::string why = "the machine gives two processes " + std::to_string(scaling) +
                                " times the system calls of one: less than 1.3";
        for (const char* metric : metrics) {
            out.skipped(metric, why.c_str());
        }
        return;
    }
    const auto share = [](const std::vector<double>& of, const std::vector<double>& ceiling) {
        return best_decile(of) / best_decile(ceiling);
    };
    out.value(metrics[0], share(by_threads[cycles].together, by_processes[cycles].together),
              "share", "two processes", 3 * rounds, 0.85);
    out.value(metrics[1], share(by_threads[queries].together, by_processes[queries].together),
              "share", "two processes", 3 * rounds, 0.95);
    out.value(metrics[2], share(churn_threads.first, churn_processes.first), "share",
              "queries beside a process that makes cycles", 3 * rounds, 0.95);
}

} // namespace memreeve::bench
