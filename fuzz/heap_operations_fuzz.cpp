// SPDX-License-Identifier: MIT
// Bytes become requests to four heaps of two owners, compared with the model after each. What disagrees
// is made short and printed as C++.
#include "support/apart.hpp"
#include "support/heap_twin.hpp"
#include "support/numbers.hpp"

#include <cstdlib>

namespace {

using namespace memreeve::test;

constexpr std::size_t longest = 400; // operations

std::string play(const std::vector<heap_operation>& list) {
    heap_twin t;
    if (!t.is_good()) {
        return "no host";
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (std::string what = t.run(list[i]); !what.empty()) {
            return "operation " + std::to_string(i) + " " + text_of(list[i]) + ": " + what;
        }
    }
    return t.finish();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
    std::vector<heap_operation> list;
    numbers_from_bytes numbers(bytes, size);
    heap_decoder<numbers_from_bytes> draw(numbers);
    while (!numbers.is_empty() && list.size() < longest) {
        list.push_back(draw.next());
    }
    std::string what = play(list);
    if (!what.empty()) {
        const auto fails = [](const std::vector<heap_operation>& rest) {
            return !play_apart([&] { return play(rest); }).empty();
        };
        if (fails(list)) {
            list = shorten(std::move(list), fails);
            what = play_apart([&] { return play(list); });
        }
        std::printf("%s\n\n%s\n", what.c_str(), test_of(list, what).c_str());
        std::fflush(stdout);
        std::abort();
    }
    return 0;
}
