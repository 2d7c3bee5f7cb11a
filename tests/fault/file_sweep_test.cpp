// SPDX-License-Identifier: MIT
// The sweep over calls on files that serve as heap and on views of them (decisions 1, 2): whatever
// the system refuses, what is charged is what was charged before, or what the call that was carried
// out costs.
#include "bridge/shared_files.hpp"
#include "bridge/translate.hpp"
#include "fault/host_world.hpp"
#include "prim/file_view.hpp"

#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

constexpr page_count all = 256;

// A world whose host governs this process, with a memfd of 1 MiB.
class file_world : public host_world {
public:
    int fd = -1;
    long got = 0;
    page_count charged_before = 0;

    file_world() {
        must(outcome_of(bridge::the_state.adopt(memory(), owner)), "adopt");
        // The table's own memory comes at the first file.
        begin_file();
        end_file();
    }
    static bridge::state& state() { return bridge::the_state; }
    page_count charged() {
        host->books().tree().drain();
        return host->books().tree().charged(owner);
    }
    page_count more() { return charged() - charged_before; }

    void begin_file() {
        fd = static_cast<int>(bridge::create_memory_file(state(), "data", MFD_CLOEXEC));
        if (fd < 0 || bridge::resize_file(state(), fd, bytes_of(all)) != 0) {
            throw std::string("no memfd");
        }
        charged_before = charged();
    }
    void end_file() {
        ::close(fd);
        bridge::after_removal(state());
    }
    long map(page_count first, page_count pages, int prot) {
        return bridge::map_memory(state(), 0, bytes_of(pages), prot, MAP_SHARED, fd,
                                  static_cast<std::int64_t>(bytes_of(first)));
    }
    void begin_view(page_count pages, int prot) {
        begin_file();
        got = map(0, pages, prot);
        if (got < 0) {
            throw std::string("no view");
        }
        charged_before = charged();
    }
    void end_view(page_count pages) {
        if (bridge::unmap_memory(state(), static_cast<address>(got), bytes_of(pages)) != 0) {
            throw std::string("munmap");
        }
        end_file();
    }
    // The books hold more than the map of pages: what of it is right is what the scripts ask.
    std::string invariants(strictness) {
        if (const char* wrong = memory().space().map().check_invariants(); wrong != nullptr) {
            return std::string("region map: ") + wrong;
        }
        const telemetry::image_record& image = host->image();
        return telemetry::operations_of(image).is_quiet() ? ""
                                                          : "an operation was begun and not done";
    }
    outcome result(long r) { return {r >= 0, text_of("errno %ld", -r)}; }
    std::string costs(page_count pages) {
        const page_count now = more();
        return now == pages ? std::string() : text_of("%lu pages charged, not %lu", now, pages);
    }
};

using file_script = script<file_world>;

// A file that could not be looked at (fstat) is none of ours: carried out and not charged.
bool was_not_recognised(file_world& w) {
    return prim::faulty::failed_call() == SYS_newfstatat && w.more() == 0;
}

std::vector<file_script> file_scripts() {
    std::vector<file_script> list;
    {
        file_script s;
        s.name = "map_a_view";
        s.prepare = [](file_world& w) { w.begin_file(); };
        s.run = [](file_world& w) {
            w.got = w.map(16, 32, PROT_READ | PROT_WRITE);
            return w.result(w.got);
        };
        s.done = [](file_world& w) { return was_not_recognised(w) ? std::string() : w.costs(32); };
        s.revert = [](file_world& w) { w.end_view(32); };
        list.push_back(s);
    }
    {
        file_script s;
        s.name = "open_a_view";
        s.prepare = [](file_world& w) { w.begin_view(64, PROT_NONE); };
        s.run = [](file_world& w) {
            return w.result(bridge::protect_memory(file_world::state(), static_cast<address>(w.got),
                                                   bytes_of(20), PROT_READ | PROT_WRITE));
        };
        s.done = [](file_world& w) { return w.costs(20); };
        s.revert = [](file_world& w) { w.end_view(64); };
        list.push_back(s);
    }
    {
        file_script s;
        s.name = "unmap_the_last_view";
        s.prepare = [](file_world& w) {
            w.begin_view(64, PROT_READ);
            ::close(w.fd);
        };
        s.run = [](file_world& w) {
            return w.result(bridge::unmap_memory(file_world::state(), static_cast<address>(w.got),
                                                 bytes_of(64)));
        };
        s.done = [](file_world& w) {
            bridge::after_removal(file_world::state()); // what could not be told then can be now
            return w.charged() + 64 == w.charged_before ? "" : "not given back";
        };
        list.push_back(s);
    }
    {
        file_script s;
        s.name = "fallocate";
        s.prepare = [](file_world& w) { w.begin_file(); };
        s.run = [](file_world& w) {
            return w.result(bridge::allocate_file(file_world::state(), w.fd, 0, 0, bytes_of(100)));
        };
        s.done = [](file_world& w) { return was_not_recognised(w) ? std::string() : w.costs(100); };
        s.revert = [](file_world& w) { w.end_file(); };
        list.push_back(s);
    }
    {
        file_script s;
        s.name = "make_longer_under_a_view";
        s.prepare = [](file_world& w) {
            w.begin_view(all, PROT_READ | PROT_WRITE);
            static_cast<void>(bridge::resize_file(file_world::state(), w.fd, bytes_of(10)));
            w.charged_before = w.charged();
        };
        s.run = [](file_world& w) {
            return w.result(bridge::resize_file(file_world::state(), w.fd, bytes_of(50)));
        };
        s.done = [](file_world& w) { return was_not_recognised(w) ? std::string() : w.costs(40); };
        s.revert = [](file_world& w) { w.end_view(all); };
        list.push_back(s);
    }
    {
        file_script s;
        s.name = "move_a_view";
        s.prepare = [](file_world& w) { w.begin_view(16, PROT_READ | PROT_WRITE); };
        s.run = [](file_world& w) {
            const long r = bridge::remap_memory(file_world::state(), static_cast<address>(w.got),
                                                bytes_of(16), bytes_of(64), MREMAP_MAYMOVE, 0);
            w.got = r < 0 ? w.got : r;
            return w.result(r);
        };
        s.done = [](file_world& w) { return w.costs(48); };
        s.revert = [](file_world& w) { w.end_view(64); };
        list.push_back(s);
    }
    return list;
}

class file_sweep : public testing::TestWithParam<std::size_t> {};

TEST_P(file_sweep, single_faults) {
    const file_script s = file_scripts()[GetParam()];
    report("single", s.name, sweep_single(s));
}

INSTANTIATE_TEST_SUITE_P(fault, file_sweep, testing::Range<std::size_t>(0, file_scripts().size()),
                         [](const auto& tested) { return file_scripts()[tested.param].name; });

} // namespace
} // namespace memreeve::test
