// SPDX-License-Identifier: MIT
// Rules WW, PH, L, A10, A16 and A18, which need more than the interface's own methods, as scripts in
// the language of the recorded sequences (oracle/README.md) and four operations more: A2 and F2 are
// VirtualAlloc2 and VirtualFree through the C calls, L and U VirtualLock and VirtualUnlock.
#include "replay/rule_case.hpp"

namespace memreeve::replay {
namespace {

// 200000 WRITE_WATCH; 203000 with RESERVE and COMMIT.
constexpr rule_case watched_cases[] = {
    {"A2 watch only with reserve", R"(
        A A+0 1000 201000 4 = e87
        A A+0 1000 200000 4 = e87
        A A+0 1000 202000 4 = ok A+0
        A A+0 1000 201000 4 = e87
        Q A+0 = A+0,1000,R,A+0,4
    )"},
    {"WW1 flags and sizes", R"(
        A A+0 4000 203000 4 = ok A+0
        W A+0 1 = ok
        G 2 A+0 4000 10 = e87
        G 80000001 A+0 4000 10 = e87
        G 0 A+0 0 10 = e87
        G 0 A+8 0 10 = e87
        G 0 A+0 4000 0 = e87
        G 1 A+0 4000 10 = ok 1 A+0
    )"},
    {"WW2 one watched reservation", R"(
        A A+0 10000 203000 4 = ok A+0
        A A+10000 10000 203000 4 = ok A+10000
        A A+20000 10000 3000 4 = ok A+20000
        G 0 A+f000 2000 10 = e87
        G 0 A+0 20000 10 = e87
        G 0 A+20000 1000 10 = e87
        G 0 A+40000 1000 10 = e87
        G 0 A+0 ffffffffffffffff 10 = e87
        G 0 N 1000 10 = e87
        G 0 K+0 1000 10 = e87
        G 0 A+10000 10000 10 = ok 0
    )"},
    {"WW3 ascending, at most count, reset only what is told", R"(
        A A+0 8000 203000 4 = ok A+0
        W A+6000 1 = ok
        W A+1000 1 = ok
        W A+3fff 1 = ok
        W A+2000 1 = ok
        G 0 A+0 8000 10 = ok 4 A+1000 A+2000 A+3000 A+6000
        G 0 A+2000 4000 10 = ok 2 A+2000 A+3000
        G 0 A+1fff 2 10 = ok 2 A+1000 A+2000
        G 1 A+0 8000 3 = ok 3 A+1000 A+2000 A+3000
        G 0 A+0 8000 10 = ok 1 A+6000
        W A+2000 2 = ok
        G 0 A+0 8000 1 = ok 1 A+2000
        G 1 A+0 8000 10 = ok 2 A+2000 A+6000
        G 0 A+0 8000 10 = ok 0
    )"},
    {"WW4 reads do not mark, reserved pages are allowed, new commits are clean", R"(
        A A+0 8000 202000 4 = ok A+0
        G 0 A+0 8000 10 = ok 0
        A A+2000 3000 1000 4 = ok A+2000
        G 0 A+0 8000 10 = ok 0
        R A+2000 = v00
        R A+4fff = v00
        G 0 A+0 8000 10 = ok 0
        W A+3000 0 = ok
        G 0 A+0 8000 10 = ok 1 A+3000
        R A+2000 = v00
        W A+2000 0 = ok
        G 0 A+0 8000 10 = ok 2 A+2000 A+3000
    )"},
    {"WW5 through protections", R"(
        A A+0 4000 203000 4 = ok A+0
        W A+1000 1 = ok
        P A+0 4000 2 = ok 4
        G 0 A+0 4000 10 = ok 1 A+1000
        P A+0 4000 1 = ok 2
        G 1 A+0 4000 10 = ok 1 A+1000
        P A+0 4000 40 = ok 1
        G 0 A+0 4000 10 = ok 0
        R A+1000 = v01
        G 0 A+0 4000 10 = ok 0
        W A+1000 2 = ok
        W A+2000 2 = ok
        G 0 A+0 4000 10 = ok 2 A+1000 A+2000
    )"},
    {"WW6 a write that faults does not mark", R"(
        A A+0 4000 203000 4 = ok A+0
        P A+0 1000 2 = ok 4
        P A+1000 1000 104 = ok 4
        P A+2000 1000 1 = ok 4
        W A+0 1 = fAV,1
        W A+2000 1 = fAV,1
        W A+1000 1 = fGP,1
        G 0 A+0 4000 10 = ok 0
        W A+1000 1 = ok
        G 0 A+0 4000 10 = ok 1 A+1000
    )"},
    {"WW7 decommit clears", R"(
        A A+0 4000 203000 4 = ok A+0
        W A+0 1 = ok
        W A+1000 1 = ok
        F A+0 1000 4000 = ok
        G 0 A+0 4000 10 = ok 1 A+1000
        A A+0 1000 1000 4 = ok A+0
        R A+0 = v00
        G 0 A+0 4000 10 = ok 1 A+1000
        W A+0 1 = ok
        G 0 A+0 4000 10 = ok 2 A+0 A+1000
    )"},
    {"WW7 open: also after a change of protection", R"(
        A A+0 2000 203000 4 = ok A+0
        W A+0 1 = ok
        P A+0 1000 2 = ok 4
        F A+0 1000 4000 = ok
        A A+0 1000 1000 4 = ok A+0
        G 0 A+0 2000 10 = ok 0
    )"},
    {"WW8 recommit and reset keep", R"(
        A A+0 4000 203000 4 = ok A+0
        W A+1000 11 = ok
        W A+2000 22 = ok
        A A+0 4000 1000 40 = ok A+0
        G 0 A+0 4000 10 = ok 2 A+1000 A+2000
        A A+0 4000 80000 4 = ok A+0
        G 0 A+0 4000 10 = ok 2 A+1000 A+2000
        A A+0 4000 1000000 4 = ok A+0
        R A+1000 = v11
        R A+2000 = v22
    )"},
    {"WW9 reset write watch", R"(
        A A+0 4000 203000 4 = ok A+0
        A A+10000 1000 3000 4 = ok A+10000
        W A+0 1 = ok
        W A+2000 1 = ok
        T A+0 0 = e87
        T A+10000 1000 = e87
        T A+50000 1000 = e87
        T A+3000 2000 = e87
        T N 1000 = e87
        T K+0 1000 = e87
        G 0 A+0 4000 10 = ok 2 A+0 A+2000
        T A+fff 2 = ok
        G 0 A+0 4000 10 = ok 1 A+2000
        T A+0 4000 = ok
        G 0 A+0 4000 10 = ok 0
        W A+0 1 = ok
        G 0 A+0 4000 10 = ok 1 A+0
    )"},
    {"WW placed by us and top down", R"(
        A N 300000 203000 4 S0 = ok S0+0
        A N 1000 303000 4 S1 = ok S1+0
        W S0+2ff000 1 = ok
        W S1+fff 1 = ok
        G 0 S0+0 300000 10 = ok 1 S0+2ff000
        G 0 S1+0 1000 10 = ok 1 S1+0
        F S0+0 0 8000 = ok
        F S1+0 0 8000 = ok
    )"},
};

// 40000 RESERVE_PLACEHOLDER, 4000 REPLACE_PLACEHOLDER, 2 PRESERVE, 1 COALESCE.
constexpr rule_case cases[] = {
    {"PH1 create", R"(
        A A+0 20000 42000 1 = e87
        A A+0 20000 6000 1 = e87
        A2 A+0 20000 42000 4 = e87
        A2 A+0 20000 42000 101 = e87
        A2 A+0 20000 43000 1 = e87
        A2 A+0 20000 40000 1 = e87
        A2 A+0 20000 41000 1 = e87
        A2 A+0 20000 242000 1 = e87
        A2 A+0 20000 42000 1 = ok A+0
        Q A+0 = A+0,20000,R,A+0,1
        A2 A+10000 20000 42000 1 = e487
        A2 A+41234 1000 42000 1 = ok A+40000
        Q A+40000 = A+40000,3000,R,A+40000,1
        R A+0 = fAV,0
        F A+0 0 8000 = ok
        Q A+0 = A+0,40000,F
    )"},
    {"PH1 VirtualAlloc2 without placeholder bits is VirtualAlloc", R"(
        A2 A+0 2000 3000 4 = ok A+0
        Q A+0 = A+0,2000,C,A+0,4,4
        A2 A+0 1000 1000 2 = ok A+0
        A2 A+0 1000 0 2 = e87
        F2 A+0 1000 4000 = ok
        F2 A+0 0 8000 = ok
    )"},
    {"PH2 split at pages", R"(
        A2 A+0 20000 42000 1 = ok A+0
        F2 A+0 0 8002 = e87
        F2 A+0 20000 8002 = e487
        F2 A+10000 20000 8002 = e487
        F2 A+0 20001 8002 = e487
        F2 A+3000 5000 8002 = ok
        Q A+0 = A+0,3000,R,A+0,1
        Q A+3000 = A+3000,5000,R,A+3000,1
        Q A+4fff = A+4000,4000,R,A+3000,1
        Q A+8000 = A+8000,18000,R,A+8000,1
        F2 A+3000 5000 8002 = e487
        F2 A+2000 2000 8002 = e487
        F2 A+8000 1000 8002 = ok
        F2 A+1f000 1000 8002 = ok
        Q A+8000 = A+8000,1000,R,A+8000,1
        Q A+9000 = A+9000,16000,R,A+9000,1
        Q A+1f000 = A+1f000,1000,R,A+1f000,1
    )"},
    {"PH2 what is no placeholder", R"(
        A A+0 4000 3000 4 = ok A+0
        F2 A+0 1000 8002 = e487
        F2 A+0 4000 8002 = e487
        F2 A+40000 1000 8002 = e487
        F A+0 1000 8002 = e487
        F2 A+0 1000 2 = e87
        F2 A+0 1000 4002 = e87
        F2 A+0 1000 8003 = e87
    )"},
    {"PH2 VirtualFree of the interface splits too", R"(
        A2 A+0 20000 42000 1 = ok A+0
        F A+1000 1000 8002 = ok
        Q A+1000 = A+1000,1000,R,A+1000,1
        F A+0 2000 8001 = ok
        Q A+0 = A+0,2000,R,A+0,1
    )"},
    {"PH3 replace exactly one", R"(
        A2 A+0 20000 42000 1 = ok A+0
        F2 A+2000 3000 8002 = ok
        A2 A+2000 2000 6000 4 = e487
        A2 A+1000 3000 6000 4 = e487
        A2 A+2000 4000 6000 4 = e487
        A2 A+2000 3000 4000 4 = e87
        A2 A+2000 3000 5000 4 = e87
        A2 A+2000 3000 46000 1 = e87
        A2 A+2001 3000 6000 4 = e87
        A2 A+2000 2fff 6000 4 = e87
        A2 A+2000 3000 6000 8 = e87
        A2 N 3000 6000 4 = e87
        A2 A+2000 3000 7000 4 = ok A+2000
        Q A+2000 = A+2000,3000,C,A+2000,4,4
        R A+2000 = v00
        W A+4fff 7 = ok
        R A+4fff = v07
        A2 A+2000 3000 7000 4 = e487
        A2 A+0 2000 6000 20 = ok A+0
        Q A+0 = A+0,2000,R,A+0,20
        A A+0 1000 1000 4 = ok A+0
        Q A+0 = A+0,1000,C,A+0,20,4
    )"},
    {"PH3 plain calls on a placeholder", R"(
        A2 A+0 20000 42000 1 = ok A+0
        F2 A+0 10000 8002 = ok
        A A+0 1000 1000 4 = e487
        A A+0 1000 3000 4 = e487
        A A+10000 10000 2000 4 = e487
        A A+0 1000 80000 4 = e487
        P A+0 1000 4 = e487
        F A+0 1000 4000 = e487
        G 0 A+0 1000 10 = e87
        A2 A+0 1000 1000 4 = e487
    )"},
    {"PH3 an allocation is a VAD of its own", R"(
        A2 A+0 8000 42000 1 = ok A+0
        F2 A+2000 2000 8002 = ok
        A2 A+2000 2000 7000 4 = ok A+2000
        F2 A+4000 2000 8002 = ok
        A2 A+4000 2000 7000 4 = ok A+4000
        Q A+2000 = A+2000,2000,C,A+2000,4,4
        Q A+4000 = A+4000,2000,C,A+4000,4,4
        P A+3000 2000 2 = e487
        A A+3000 2000 1000 4 = e487
        F A+3000 2000 4000 = e87
        F A+3000 1000 4000 = ok
        Q A+3000 = A+3000,1000,R,A+2000,4
        P A+2000 1000 102 = ok 4
        R A+2000 = fGP,0
        R A+2000 = v00
        F A+3000 0 8000 = e487
        F A+4000 1000 8000 = e87
        F A+4fff 0 8000 = ok
        Q A+4000 = A+4000,2000,F
        R A+4000 = fAV,0
        P A+4000 1000 4 = e487
        A A+4000 1000 1000 4 = e487
        F A+4000 0 8000 = e487
        F A+4000 1000 4000 = e487
        Q A+2000 = A+2000,1000,C,A+2000,4,2
        Q A+6000 = A+6000,2000,R,A+6000,1
    )"},
    {"PH4 an allocation becomes a placeholder again", R"(
        A2 A+0 10000 42000 1 = ok A+0
        F2 A+4000 4000 8002 = ok
        A2 A+4000 4000 7000 40 = ok A+4000
        W A+5000 9 = ok
        F2 A+4000 2000 8002 = e487
        F2 A+4000 5000 8002 = e487
        F2 A+4000 4000 8002 = ok
        Q A+4000 = A+4000,4000,R,A+4000,1
        R A+5000 = fAV,0
        A2 A+4000 4000 7000 4 = ok A+4000
        R A+5000 = v00
    )"},
    {"PH5 coalesce two or more", R"(
        A2 A+0 10000 42000 1 = ok A+0
        F2 A+4000 4000 8002 = ok
        F2 A+8000 1000 8002 = ok
        F2 A+0 0 8001 = e87
        F2 A+0 8000 1 = e87
        F2 A+0 4000 8001 = e487
        F2 A+0 5000 8001 = e487
        F2 A+1000 7000 8001 = e487
        F2 A+0 11000 8001 = e487
        F2 A+20000 2000 8001 = e487
        F2 A+0 8000 8001 = ok
        Q A+0 = A+0,8000,R,A+0,1
        A2 A+8000 1000 6000 4 = ok A+8000
        F2 A+0 9000 8001 = e487
        F2 A+8000 8000 8001 = e487
        F2 A+8000 1000 8002 = ok
        F2 A+0 10000 8001 = ok
        Q A+0 = A+0,10000,R,A+0,1
        A2 A+0 10000 7000 4 = ok A+0
        Q A+0 = A+0,10000,C,A+0,4,4
    )"},
    {"PH5 a release of several pieces", R"(
        A2 A+0 10000 42000 1 = ok A+0
        F2 A+4000 4000 8002 = ok
        F2 A+0 8000 8000 = e87
        F A+0 8000 8000 = e87
        F A+8000 0 8000 = ok
        F A+0 0 8000 = ok
        Q A+0 = A+0,4000,F
        Q A+8000 = A+8000,178000,F
        A A+0 1000 2000 4 = e487
        F A+4000 0 8000 = ok
        Q A+0 = A+0,180000,F
        A A+0 10000 3000 4 = ok A+0
        R A+5000 = v00
    )"},
    {"A16 open: a reset may keep or drop, page by page, and nothing else", R"(
        A A+0 4000 3000 4 = ok A+0
        W A+0 5a = ok
        W A+1000 5b = ok
        A A+0 2000 80000 4 = ok A+0
        Q A+0 = A+0,4000,C,A+0,4,4
        R A+0 = v?
        W A+0 5c = ok
        R A+0 = v5c
    )"},
    {"A18 ranges and types", R"(
        A A+0 2000 3000 4 = ok A+0
        A A+40000 1000 1000000 4 = e487
        A A+1000 1001 1000000 4 = e487
        A A+0 1000 1000000 3 = e87
        A A+0 1000 1002000 4 = e87
        A N 1000 1000000 4 = e87
        A A+0 0 1000000 4 = e87
    )"},
    {"A18 nothing was dropped", R"(
        A A+0 4000 3000 4 = ok A+0
        W A+0 11 = ok
        W A+1000 22 = ok
        W A+2000 33 = ok
        W A+3fff 44 = ok
        A A+0 4000 80000 4 = ok A+0
        A A+0 4000 1000000 4 = ok A+0
        R A+0 = v11
        R A+1000 = v22
        R A+2000 = v33
        R A+3fff = v44
        A A+1000 1000 1000000 2 = ok A+1000
        Q A+0 = A+0,4000,C,A+0,4,4
    )"},
    {"A18 open: what cannot be told is 487", R"(
        A A+0 4000 3000 4 = ok A+0
        W A+0 11 = ok
        A A+0 1000 80000 4 = ok A+0
        P A+0 1000 2 = ok 4
        A A+0 1000 1000000 4 = e487
        A A+1000 1000 1000000 4 = e487
        P A+0 1000 4 = ok 2
    )"},
    {"L1 sizes and addresses", R"(
        L A+0 0 = e87
        U A+0 0 = e87
        L K+0 1000 = e87
        U K+0 1000 = e87
        L Z+7fffffff0000 1000 = e87
        L A+0 ffffffffffffffff = e87
    )"},
    {"L2 pages that cannot be accessed, a guard is consumed", R"(
        A A+0 8000 2000 4 = ok A+0
        A A+0 4000 1000 4 = ok A+0
        A A+10000 1000 3000 4 = ok A+10000
        L A+4000 1000 = e998
        L A+3000 2000 = e998
        L A+40000 1000 = e998
        P A+1000 1000 1 = ok 4
        L A+0 2000 = e998
        P A+2000 1000 104 = ok 4
        Q A+2000 = A+2000,1000,C,A+0,4,104
        U A+2000 1000 = e158
    )"},
    {"L4 no lock count, L5 not locked", R"(
        A A+0 8000 3000 4 = ok A+0
        L A+1000 2000 = ok
        L A+1800 1000 = ok
        U A+0 2000 = e158
        U A+2000 2000 = e158
        U A+0 8000 = e158
        W A+1000 1 = ok
        R A+1000 = v01
        U A+1000 2000 = ok
        U A+1000 1000 = e158
        U A+40000 1000 = e158
    )"},
    {"L5 a range over two reservations", R"(
        A A+0 10000 3000 4 = ok A+0
        A A+10000 10000 3000 2 = ok A+10000
        L A+f000 2000 = ok
        U A+f000 2000 = ok
        U A+f000 1000 = e158
    )"},
    {"L locked pages are decommitted and released", R"(
        A A+0 8000 3000 4 = ok A+0
        W A+1000 1 = ok
        L A+0 4000 = ok
        F A+1000 1000 4000 = ok
        U A+1000 1000 = e158
        A A+1000 1000 1000 4 = ok A+1000
        R A+1000 = v00
        U A+1000 1000 = e158
        L A+0 8000 = ok
        P A+0 1000 1 = ok 4
        F A+0 0 8000 = ok
        A A+0 8000 3000 4 = ok A+0
        U A+0 1000 = e158
        A N 4000 3000 4 S0 = ok S0+0
        L S0+0 4000 = ok
        F S0+0 0 8000 = ok
        A N 4000 3000 4 S0 = ok S0+0
        U S0+0 1000 = e158
        L S0+0 4000 = ok
        F S0+1000 1000 4000 = ok
        A S0+1000 1000 1000 4 = ok S0+1000
        U S0+1000 1000 = e158
        U S0+0 1000 = ok
        U S0+2000 2000 = ok
        F S0+0 0 8000 = ok
    )"},
};

class win32_extended_rules : public testing::TestWithParam<rule_case> {};

TEST_P(win32_extended_rules, holds) { follow(GetParam()); }

INSTANTIATE_TEST_SUITE_P(rules, win32_extended_rules, testing::ValuesIn(cases), case_name);

class win32_watch_rules : public testing::TestWithParam<rule_case> {};

TEST_P(win32_watch_rules, holds) {
    if (!can_watch_writes()) {
        GTEST_SKIP() << "skipped: this system does not watch writes (decision 9)";
    }
    follow(GetParam(), MRV_HOST_WATCH_BY_FAULTS);
}

INSTANTIATE_TEST_SUITE_P(rules, win32_watch_rules, testing::ValuesIn(watched_cases), case_name);

} // namespace
} // namespace memreeve::replay
