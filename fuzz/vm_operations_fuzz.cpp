// SPDX-License-Identifier: MIT
// Bytes become operations through the decoder of the differential test, and these are compared with
// the model, the kernel and the books as there. What disagrees is made short and printed as C++.
#include "differential/play.hpp"

#include <cstdlib>

namespace {

using namespace memreeve::differential;

constexpr std::size_t longest = 400; // operations

[[noreturn]] void complain(const std::vector<operation>& list, const std::string& what) {
    std::printf("%s\n\n%s\n", what.c_str(), test_of(list, what).c_str());
    std::fflush(stdout);
    std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
    std::vector<operation> list;
    std::string what;
    {
        test_host h;
        if (!h.good) {
            std::abort();
        }
        twin t(h, 0, plant::none);
        t.whole_every = 64;
        t.books_every = 64;
        numbers_from_bytes numbers(bytes, size);
        decoder<numbers_from_bytes> draw(numbers, t.model(), t.slot_bases());
        while (what.empty() && !numbers.is_empty() && list.size() < longest) {
            list.push_back(draw.next());
            what = t.run(list.back());
        }
        if (what.empty()) {
            what = t.finish();
        }
    }
    if (!what.empty()) {
        if (!play_apart(list).empty()) {
            list = shrink(std::move(list));
            what = play_apart(list);
        }
        complain(list, what);
    }
    return 0;
}
