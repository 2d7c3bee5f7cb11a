// SPDX-License-Identifier: MIT
// Everything that is read from outside, fed with random bytes and with broken variants of good files:
// no crash, no hang, nothing out of range. The seed is printed; MEMREEVE_SEED repeats a run.
#include "manager/control_group.hpp"
#include "manager/pressure_stall.hpp"
#include "manager/sensors.hpp"
#include "manager/service_watch.hpp"
#include "support/system_tree.hpp"

#include <cstdio>
#include <random>

namespace memreeve::manager {
namespace {

using test::system_tree;

class source {
public:
    source() {
        const char* given = std::getenv("MEMREEVE_SEED");
        seed_ = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
        std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed_));
        std::fflush(stdout);
        random_.seed(seed_);
    }
    std::size_t below(std::size_t n) { return random_() % n; }
    char byte() {
        // Mostly what parsers look for.
        static constexpr char likely[] = "0123456789 \n:/-,\\=.max\tcgroup2memory";
        return below(4) != 0 ? likely[below(sizeof likely - 1)] : static_cast<char>(below(256));
    }
    std::string bytes(std::size_t most) {
        std::string s(below(most + 1), '\0');
        for (char& c : s) {
            c = byte();
        }
        return s;
    }
    // A good text with some bytes changed, removed, doubled, or its end cut off.
    std::string broken(std::string s) {
        for (std::size_t n = below(6); n != 0 && !s.empty(); --n) {
            const std::size_t at = below(s.size());
            switch (below(5)) {
            case 0: s[at] = byte(); break;
            case 1: s.erase(at, 1 + below(8)); break;
            case 2: s.insert(at, bytes(12)); break;
            case 3: s.insert(at, s.substr(at, below(2000))); break;
            default: s.resize(at); break;
            }
        }
        return s;
    }

private:
    std::uint64_t seed_;
    std::mt19937_64 random_;
};

TEST(outside_parsers_test, random_and_broken_files) {
    const std::vector<std::pair<const char*, std::string>> good = {
        {"/proc/meminfo", "MemTotal:  16000 kB\nMemFree: 5 kB\nMemAvailable:  8000 kB\n"},
        {"/proc/self/cgroup", "4:cpu,memory:/a/b\n1:name=systemd:/c\n0::/a/b\n"},
        {"/proc/self/mountinfo",
         "35 31 0:32 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n"
         "41 31 0:38 /a /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n"},
        {"/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "1000000\n"},
        {"/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "500000\n"},
        {"/sys/fs/cgroup/memory/a/b/memory.stat",
         "hierarchical_memory_limit 2000000\ntotal_inactive_file 1000\n"},
        {"/sys/fs/cgroup/uni fied/b/memory.max", "900000\n"},
        {"/sys/fs/cgroup/uni fied/b/memory.high", "max\n"},
        {"/sys/fs/cgroup/uni fied/b/memory.current", "100000\n"},
        {"/sys/fs/cgroup/uni fied/b/memory.stat", "anon 3\ninactive_file 1000\n"},
        {"/sys/fs/cgroup/uni fied/b/memory.events", "low 0\nhigh 1\nmax 2\noom 0\n"},
        {"/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"},
    };
    const system_tree tree;
    for (const auto& [path, text] : good) {
        tree.put(path, text);
    }
    sensors whole;
    whole.open(tree.root(), true);
    ASSERT_EQ(whole.read().container.total, 1'000'000u) << "the good files are good";
    source random;
    int known = 0;
    int unknown = 0;
    for (int round = 0; round < 600; ++round) {
        const auto& [path, text] = good[random.below(good.size())];
        tree.put(path, random.below(4) == 0 ? random.bytes(3000) : random.broken(text));
        sensors s;
        s.open(tree.root(), true);
        const sensors::sample sample = s.read();
        for (const pressure::room& room : {sample.machine, sample.container}) {
            ASSERT_LE(room.available, room.total);
            ++(room.is_known() ? known : unknown);
        }
        ASSERT_LT(sample.container.total, std::uint64_t{1} << 62);
        std::uint64_t n = 0;
        s.groups().limit_hits(&n);
        file_path own("");
        if (s.groups().own_directory(own)) {
            ASSERT_TRUE(own.fits());
            ASSERT_EQ(std::string(own.text()).find(tree.root()), 0u) << own.text();
            ASSERT_EQ(std::string(own.text()).find("/../"), std::string::npos) << own.text();
        }
        read_stall((tree / "/proc/pressure/memory").c_str(), &n);
        if (random.below(3) == 0) {
            tree.put(path, text);
        }
    }
    EXPECT_GT(known, 0);
    EXPECT_GT(unknown, 0);
}

TEST(outside_parsers_test, random_numbers_and_base64) {
    source random;
    static constexpr char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/====";
    for (int round = 0; round < 20'000; ++round) {
        const std::string number = random.bytes(30);
        std::uint64_t n = 0;
        if (read_number(number.c_str(), &n)) {
            ASSERT_EQ(n, std::strtoull(number.c_str(), nullptr, 10)) << number;
        }
        std::string text = random.bytes(40);
        for (char& c : text) {
            c = random.below(30) != 0 ? digits[random.below(sizeof digits - 1)] : c;
        }
        std::uint8_t out[16];
        const std::size_t room = random.below(sizeof out + 1);
        const long size = decode_base64(text.c_str(), out, room);
        ASSERT_GE(size, -1);
        ASSERT_LE(size, static_cast<long>(room));
        service_watch w;
        w.set(random.below(2) != 0 ? ("/" + text).c_str() : text.c_str(), text.c_str());
        ASSERT_LE(w.text_size, service_watch::write_capacity);
    }
}

} // namespace
} // namespace memreeve::manager
