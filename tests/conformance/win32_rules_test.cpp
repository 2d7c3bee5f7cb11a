// SPDX-License-Identifier: MIT
// Rules S A F V Q P G of the Win32 rules, through IHostMemoryManager: one row a case, written in
// the language of the recorded sequences (oracle/README.md), among them what the sequences leave
// out; what needs more than the interface is in win32_extended_rules_test.cpp. After every refusal and access violation the whole map must be what it was.
#include "replay/rule_case.hpp"

namespace memreeve::replay {
namespace {

// 1000 COMMIT, 2000 RESERVE, 3000 both, 4000 DECOMMIT, 8000 RELEASE, 80000 RESET, 100000 TOP_DOWN.
constexpr rule_case cases[] = {
    {"S1 never merge, overlap or split", R"(
        A A+0 10000 2000 4 = ok A+0
        A A+10000 10000 2000 4 = ok A+10000
        Q A+0 = A+0,10000,R,A+0,4
        Q A+f000 = A+f000,1000,R,A+0,4
        A A+8000 1000 2000 4 = e487
        A A+18000 20000 2000 4 = e487
        F A+0 0 8000 = ok
        Q A+10000 = A+10000,10000,R,A+10000,4
    )"},
    {"S1 the end is page aligned only", R"(
        A A+0 1001 2000 4 = ok A+0
        Q A+0 = A+0,2000,R,A+0,4
        Q A+2000 = A+2000,17e000,F
    )"},
    {"S2 zero at each reserved to committed", R"(
        A A+0 3000 3000 4 = ok A+0
        R A+1005 = v00
        W A+1005 ab = ok
        R A+1005 = vab
        F A+1000 1000 4000 = ok
        R A+1005 = fAV,0
        A A+1000 1000 1000 4 = ok A+1000
        R A+1005 = v00
    )"},
    {"S2 zero in a new reservation at a used place", R"(
        A A+0 20000 3000 4 = ok A+0
        W A+1fff0 77 = ok
        F A+0 0 8000 = ok
        A A+0 20000 3000 4 = ok A+0
        R A+1fff0 = v00
    )"},
    {"S3 AllocationProtect is the reserving call's for ever", R"(
        A A+0 4000 2000 140 = ok A+0
        A A+0 1000 1000 2 = ok A+0
        Q A+0 = A+0,1000,C,A+0,140,2
        P A+0 1000 4 = ok 2
        Q A+0 = A+0,1000,C,A+0,140,4
        Q A+1000 = A+1000,3000,R,A+0,140
        A A+10000 1000 2000 1 = ok A+10000
        Q A+10000 = A+10000,1000,R,A+10000,1
    )"},
    {"S4 the tail of the last granule is free but taken", R"(
        A A+0 1000 2000 4 = ok A+0
        Q A+1000 = A+1000,17f000,F
        A A+5000 1000 2000 4 = e487
        A A+5000 1000 3000 4 = e487
        A A+5000 1000 1000 4 = e487
        P A+5000 1000 4 = e487
        F A+5000 1000 4000 = e487
        R A+5000 = fAV,0
    )"},
    {"A1 the null region", R"(
        A Z+1 1000 2000 4 = e87
        A Z+ffff 1000 3000 4 = e87
        A Z+1000 1000 1000 4 = e87
        A Z+8000 1000 80000 4 = e87
        A Z+8000 1000 0 0 = e87
    )"},
    {"A2 types", R"(
        A A+0 1000 2000 4 = ok A+0
        A A+0 1000 0 4 = e87
        A A+0 1000 1001 4 = e87
        A A+0 1000 100000 4 = e87
        A A+0 1000 5000 4 = e87
        A A+0 1000 9000 4 = e87
        A A+10000 1000 10000 4 = e87
        A A+0 1000 80001 4 = e87
        A A+0 1000 81000 4 = e87
        A A+0 1000 82000 4 = e87
        A A+0 1000 180000 4 = e87
        A A+0 1000 280000 4 = e87
        A A+0 1000 201000 4 = e87
        A A+0 1000 200000 4 = e87
        A A+0 1000 1001000 4 = e87
        A A+0 1000 1080000 4 = e87
        A A+0 1000 80000000 4 = e87
    )"},
    {"A3 decision 7 physical memory needs a privilege", R"(
        A N 1000 402000 4 = e1314
        A A+0 1000 502000 4 = e1314
        A N 1000 400000 4 = e87
        A N 1000 401000 4 = e87
        A N 1000 403000 4 = e87
        A N 1000 602000 4 = e87
        A N 1000 402000 2 = e87
        A N 1000 402000 104 = e87
        A N 0 402000 4 = e87
    )"},
    {"A5 the protection, for every type", R"(
        A A+0 1000 2000 0 = e87
        A A+0 1000 3000 3 = e87
        A A+0 2000 3000 4 = ok A+0
        A A+0 1000 1000 0 = e87
        A A+0 1000 80000 0 = e87
        A A+0 1000 80000 101 = e87
        A A+0 1000 1000000 0 = e87
        A A+20000 1000 1000 0 = e87
    )"},
    {"A6 addresses and sizes", R"(
        A K+0 1000 2000 4 = e87
        A K+0 1000 1000 4 = e87
        A Z+7fffffff0000 1000 2000 4 = e87
        A Z+7fffffff0000 1000 1000 4 = e87
        A Z+7ffffffef000 1001 1000 4 = e87
        A Z+7ffffffef000 1000 1000 4 = e487
        A N 0 2000 4 = e87
        A N 0 1000 4 = e87
        A A+0 0 3000 4 = e87
        A A+0 ffffffffffffffff 2000 4 = e87
        A A+0 fffffffffffff000 1000 4 = e87
        A A+0 7fffffff0000 2000 4 = e87
        A N 7fffffff0001 2000 4 = e87
        A N ffffffffffffffff 3000 4 = e87
    )"},
    {"A6 no room is 8", R"(
        A N 7fffffff0000 2000 4 = e8
        A N 7f0000000000 2000 1 = e8
    )"},
    {"A7 write-copy on a new reservation, before A8's conflict", R"(
        A N 1000 2000 8 = e87
        A N 1000 1000 80 = e87
        A A+0 1000 2000 8 = e87
        A A+0 1000 3000 108 = e87
        A A+0 1000 2000 4 = ok A+0
        A A+0 1000 2000 8 = e87
        A A+0 1000 2000 4 = e487
    )"},
    {"A8 the base rounds down and the size grows", R"(
        A A+21234 1000 2000 4 = ok A+20000
        Q A+20000 = A+20000,3000,R,A+20000,4
        A A+4ffff 2 3000 4 = ok A+40000
        Q A+40000 = A+40000,11000,C,A+40000,4,4
        A A+2f000 1 2000 4 = e487
        A A+10000 10001 2000 4 = e487
        A A+10000 20000 3000 4 = e487
        A A+20000 1000 3000 4 = e487
    )"},
    {"A9 null places it, commit alone reserves too", R"(
        A N 1001 1000 4 S0 = ok S0+0
        Q S0+0 = S0+0,2000,C,S0+0,4,4
        A N 1 2000 1 S1 = ok S1+0
        Q S1+0 = S1+0,1000,R,S1+0,1
        A N 123456 3000 40 S2 = ok S2+0
        Q S2+0 = S2+0,124000,C,S2+0,40,40
        R S2+123fff = v00
        F S0+0 0 8000 = ok
        F S1+0 0 8000 = ok
        F S2+0 0 8000 = ok
    )"},
    {"A10 top down", R"(
        A N 10000 102000 4 S0 = ok S0+0
        Q S0+0 = S0+0,10000,R,S0+0,4
        A S0+1000 1000 101000 4 = ok S0+1000
        A A+30000 1000 102000 4 = ok A+30000
        A A+30000 1000 101000 2 = ok A+30000
        Q A+30000 = A+30000,1000,C,A+30000,4,2
    )"},
    {"A11 commit lies in one reservation and returns its page", R"(
        A A+0 10000 2000 4 = ok A+0
        A A+10000 8000 2000 4 = ok A+10000
        A A+3abc 600 1000 4 = ok A+3000
        Q A+3000 = A+3000,2000,C,A+0,4,4
        A A+f000 1001 1000 4 = e487
        A A+f000 1000 1000 4 = ok A+f000
        A A+17000 1001 1000 4 = e487
        A A+40000 1000 1000 4 = e487
        A A+18000 1000 1000 4 = e487
    )"},
    {"A12 write-copy commit, after A11", R"(
        A A+0 10000 2000 4 = ok A+0
        A A+0 1000 1000 8 = e87
        A A+0 1000 1000 80 = e87
        A A+40000 1000 1000 8 = e487
    )"},
    {"A13 recommit keeps contents and sets the protection", R"(
        A A+0 4000 3000 4 = ok A+0
        W A+1fff 11 = ok
        W A+2000 22 = ok
        A A+1000 2000 1000 2 = ok A+1000
        R A+1fff = v11
        R A+2000 = v22
        W A+2000 33 = fAV,1
        A A+0 3000 1000 1 = ok A+0
        R A+2000 = fAV,0
        A A+0 3000 1000 4 = ok A+0
        R A+2000 = v22
        A A+0 1000 1000 104 = ok A+0
        R A+0 = fGP,0
        A A+0 1000 1000 104 = ok A+0
        Q A+0 = A+0,1000,C,A+0,4,104
    )"},
    {"A13 mixed ranges", R"(
        A A+0 8000 2000 4 = ok A+0
        A A+2000 2000 1000 4 = ok A+2000
        W A+2010 aa = ok
        A A+0 8000 1000 40 = ok A+0
        Q A+0 = A+0,8000,C,A+0,4,40
        R A+2010 = vaa
        R A+4010 = v00
    )"},
    {"A14 commit protection is independent of the reservation's", R"(
        A A+0 2000 2000 1 = ok A+0
        A A+0 1000 1000 4 = ok A+0
        W A+0 1 = ok
        A A+1000 1000 1000 40 = ok A+1000
        Q A+0 = A+0,1000,C,A+0,1,4
        Q A+1000 = A+1000,1000,C,A+0,1,40
    )"},
    {"A16 reset", R"(
        A A+0 4000 2000 4 = ok A+0
        A A+0 2000 1000 4 = ok A+0
        W A+10 5a = ok
        A A+0 4000 80000 4 = ok A+0
        Q A+0 = A+0,2000,C,A+0,4,4
        R A+10 = v?
        W A+10 5b = ok
        R A+10 = v5b
        A A+1abc 600 80000 4 = ok A+1000
        A A+3000 1000 80000 1 = ok A+3000
        A A+3000 1001 80000 4 = e487
        A A+40000 1000 80000 4 = e487
    )"},
    {"A16 reset does not consume a guard nor change the protection", R"(
        A A+0 1000 3000 104 = ok A+0
        A A+0 1000 80000 2 = ok A+0
        Q A+0 = A+0,1000,C,A+0,104,104
        R A+0 = fGP,0
        P A+0 1000 2 = ok 4
        A A+0 1000 80000 4 = ok A+0
        W A+0 1 = fAV,1
    )"},
    {"A17 reset at null", R"(
        A N 1000 80000 4 = e87
    )"},
    {"P1 exactly one base value", R"(
        A A+0 1000 2000 0 = e87
        A A+0 1000 2000 100 = e87
        A A+0 1000 2000 3 = e87
        A A+0 1000 2000 6 = e87
        A A+0 1000 2000 50 = e87
        A A+0 1000 2000 ff = e87
        A A+0 1000 3000 4 = ok A+0
        P A+0 1000 0 = e87
        P A+0 1000 44 = e87
    )"},
    {"P2 modifiers", R"(
        A A+0 1000 2000 101 = e87
        A A+0 1000 2000 201 = e87
        A A+0 1000 2000 401 = e87
        A A+0 1000 2000 304 = e87
        A A+0 1000 2000 504 = e87
        A A+0 1000 2000 604 = e87
        A A+0 1000 2000 704 = e87
        A A+0 1000 2000 204 = ok A+0
        A A+10000 1000 2000 404 = ok A+10000
        A A+20000 1000 2000 140 = ok A+20000
    )"},
    {"P3 higher bits", R"(
        A A+0 1000 2000 804 = e87
        A A+0 1000 2000 1004 = e87
        A A+0 1000 2000 80000004 = e87
        A A+0 1000 2000 40000004 = e87
        A A+0 1000 3000 40000040 = ok A+0
        W A+0 c3 = ok
        X A+0 = ok
        P A+0 1000 40000020 = ok 40
        P A+0 1000 40000002 = e87
    )"},
    {"P4 write-copy is never for private memory", R"(
        A A+0 2000 3000 4 = ok A+0
        A A+0 1000 1000 8 = e87
        P A+0 1000 8 = e87
        P A+0 1000 80 = e87
        P A+0 1000 188 = e87
        A N 1000 3000 80 = e87
    )"},
    {"P5 write combine is accepted and reported", R"(
        A A+0 2000 3000 404 = ok A+0
        Q A+0 = A+0,2000,C,A+0,404,404
        W A+0 12 = ok
        R A+0 = v12
        A A+10000 1000 2000 402 = ok A+10000
        Q A+10000 = A+10000,1000,R,A+10000,402
    )"},
    {"P6 the cache bits are the allocation's", R"(
        A A+0 3000 2000 204 = ok A+0
        A A+0 2000 1000 4 = ok A+0
        Q A+0 = A+0,2000,C,A+0,204,204
        P A+0 1000 2 = ok 204
        Q A+0 = A+0,1000,C,A+0,204,202
        P A+0 1000 104 = ok 202
        Q A+0 = A+0,1000,C,A+0,204,304
        R A+0 = fGP,0
        Q A+0 = A+0,2000,C,A+0,204,204
        A A+10000 2000 3000 4 = ok A+10000
        P A+10000 1000 204 = ok 4
        A A+11000 1000 1000 404 = ok A+11000
        Q A+10000 = A+10000,2000,C,A+10000,4,4
    )"},
    {"F1 the type", R"(
        A A+0 2000 3000 4 = ok A+0
        F A+0 0 0 = e87
        F A+0 0 c000 = e87
        F A+0 0 10000 = e87
        F A+0 0 1000 = e87
        F A+0 0 8001 = e87
        F A+0 0 8002 = e87
        F A+0 1000 4002 = e87
    )"},
    {"F2 release takes no size", R"(
        A A+0 2000 3000 4 = ok A+0
        F A+0 2000 8000 = e87
        F A+0 1 8000 = e87
        F A+40000 1 8000 = e87
        F N 1 8000 = e87
        F K+0 1 8000 = e87
    )"},
    {"F3 beyond user space", R"(
        F K+0 0 8000 = e87
        F K+0 1000 4000 = e87
        F Z+7fffffff0000 0 8000 = e87
        F Z+7ffffffef000 1001 4000 = e87
        A A+0 2000 3000 4 = ok A+0
        F A+0 ffffffffffffffff 4000 = e87
        F A+0 fffffffffffff000 4000 = e87
    )"},
    {"F4 decision 6 nothing of ours there", R"(
        F N 0 8000 = e487
        F N 0 4000 = e487
        F N 1000 4000 = e487
        F Z+1000 0 8000 = e487
        F A+0 0 8000 = e487
        F A+0 1000 4000 = e487
        A A+0 1000 3000 4 = ok A+0
        F A+1000 1000 4000 = e487
        F A+0 0 8000 = ok
        F A+0 0 8000 = e487
        F A+0 0 4000 = e487
    )"},
    {"F5 beyond the reservation", R"(
        A A+0 10000 3000 4 = ok A+0
        A A+10000 10000 3000 4 = ok A+10000
        F A+f000 2000 4000 = e87
        F A+0 10001 4000 = e87
        F A+0 20000 4000 = e87
        F A+f000 1000 4000 = ok
        A A+40000 1000 3000 4 = ok A+40000
        F A+40000 1001 4000 = e87
    )"},
    {"F6 size 0 names the whole by its base page", R"(
        A A+0 4000 3000 4 = ok A+0
        F A+1000 0 8000 = e487
        F A+1000 0 4000 = e487
        F A+fff 0 4000 = ok
        Q A+0 = A+0,4000,R,A+0,4
        F A+3fff 0 8000 = e487
        F A+8 0 8000 = ok
        Q A+0 = A+0,180000,F
    )"},
    {"F7 decommit", R"(
        A A+0 8000 3000 4 = ok A+0
        W A+2000 1 = ok
        F A+1fff 2 4000 = ok
        Q A+1000 = A+1000,2000,R,A+0,4
        R A+1000 = fAV,0
        R A+2fff = fAV,0
        R A+3000 = v00
        F A+0 8000 4000 = ok
        F A+0 8000 4000 = ok
        F A+3000 1 4000 = ok
        Q A+0 = A+0,8000,R,A+0,4
        A A+2000 1000 1000 4 = ok A+2000
        R A+2000 = v00
    )"},
    {"F8 release", R"(
        A N 5000 3000 4 S0 = ok S0+0
        W S0+0 1 = ok
        F S0+0 0 8000 = ok
        A A+0 5000 3000 4 = ok A+0
        A A+10000 5000 2000 4 = ok A+10000
        F A+0 0 8000 = ok
        R A+0 = fAV,0
        Q A+0 = A+0,10000,F
        Q A+10000 = A+10000,5000,R,A+10000,4
        F A+0 0 8000 = e487
    )"},
    {"V1 the protection is looked at first", R"(
        P A+0 1000 0 = e87
        PN A+0 1000 3 = e87
        PN K+0 0 101 = e87
        P A+0 0 101 = e87
    )"},
    {"V2 a null old pointer, before address and size", R"(
        A A+0 1000 3000 4 = ok A+0
        PN A+0 1000 2 = e998
        PN A+0 0 2 = e998
        PN K+0 1000 2 = e998
        PN A+40000 1000 2 = e998
        Q A+0 = A+0,1000,C,A+0,4,4
    )"},
    {"V3 addresses and sizes", R"(
        A A+0 1000 3000 4 = ok A+0
        P A+0 0 2 = e87
        P K+0 1000 2 = e87
        P Z+7fffffff0000 1000 2 = e87
        P A+0 ffffffffffffffff 2 = e87
        P A+40000 0 2 = e87
    )"},
    {"V4 one reservation", R"(
        A A+0 10000 3000 4 = ok A+0
        A A+10000 10000 3000 4 = ok A+10000
        P A+f000 2000 2 = e487
        P A+40000 1000 2 = e487
        P A+40000 1000 104 = e487
        P A+1f000 1001 2 = e487
        P N 1000 4 = e487
    )"},
    {"V5 write-copy, even if not committed", R"(
        A A+0 2000 2000 4 = ok A+0
        P A+0 1000 8 = e87
        P A+0 1000 80 = e87
        P A+40000 1000 8 = e487
    )"},
    {"V6 all must be committed", R"(
        A A+0 8000 2000 4 = ok A+0
        A A+2000 2000 1000 4 = ok A+2000
        P A+1000 2000 2 = e487
        P A+3000 2000 2 = e487
        P A+2000 2001 2 = e487
        P A+5000 1000 2 = e487
        Q A+2000 = A+2000,2000,C,A+0,4,4
    )"},
    {"V7 the whole span is set and old is the first page's", R"(
        A A+0 4000 3000 4 = ok A+0
        P A+1000 1000 102 = ok 4
        P A+1fff 2 20 = ok 102
        Q A+1000 = A+1000,2000,C,A+0,4,20
        P A+0 4000 1 = ok 4
        P A+0 1 4 = ok 1
        Q A+0 = A+0,1000,C,A+0,4,4
        P A+0 4000 40 = ok 4
    )"},
    {"V8 contents survive NOACCESS", R"(
        A A+0 2000 3000 4 = ok A+0
        W A+1000 99 = ok
        P A+0 2000 1 = ok 4
        R A+1000 = fAV,0
        P A+0 2000 2 = ok 1
        R A+1000 = v99
        Q A+0 = A+0,2000,C,A+0,4,2
    )"},
    {"Q3 beyond user space", R"(
        Q K+0 = e87
        Q K+7fffffffffff = e87
        Q Z+7fffffff0000 = e87
    )"},
    {"Q4 from the page asked", R"(
        A A+0 8000 3000 4 = ok A+0
        Q A+2fff = A+2000,6000,C,A+0,4,4
        Q A+fff = A+0,8000,C,A+0,4,4
        Q A+7fff = A+7000,1000,C,A+0,4,4
        Q A+9abc = A+9000,177000,F
    )"},
    {"Q5 free", R"(
        Q A+0 = A+0,180000,F
        A A+50000 1000 2000 4 = ok A+50000
        Q A+0 = A+0,50000,F
        Q A+4ffff = A+4f000,1000,F
        Q A+51000 = A+51000,12f000,F
    )"},
    {"Q6 reserved", R"(
        A A+0 4000 2000 20 = ok A+0
        Q A+0 = A+0,4000,R,A+0,20
        A A+0 4000 1000 4 = ok A+0
        F A+0 4000 4000 = ok
        Q A+0 = A+0,4000,R,A+0,20
    )"},
    {"Q7 runs in one reservation", R"(
        A A+0 10000 3000 4 = ok A+0
        A A+10000 10000 3000 4 = ok A+10000
        Q A+0 = A+0,10000,C,A+0,4,4
        P A+4000 4000 2 = ok 4
        Q A+0 = A+0,4000,C,A+0,4,4
        Q A+4000 = A+4000,4000,C,A+0,4,2
        Q A+8000 = A+8000,8000,C,A+0,4,4
        P A+4000 4000 4 = ok 2
        Q A+0 = A+0,10000,C,A+0,4,4
    )"},
    {"Q7 PAGE_EXECUTE and PAGE_EXECUTE_READ are two", R"(
        A A+0 2000 3000 10 = ok A+0
        P A+1000 1000 20 = ok 10
        Q A+0 = A+0,1000,C,A+0,10,10
        Q A+1000 = A+1000,1000,C,A+0,10,20
    )"},
    {"Q8 decommitted and never committed are one region", R"(
        A A+0 10000 2000 4 = ok A+0
        A A+2000 2000 1000 40 = ok A+2000
        A A+8000 2000 1000 102 = ok A+8000
        F A+2000 2000 4000 = ok
        F A+8000 2000 4000 = ok
        Q A+0 = A+0,10000,R,A+0,4
    )"},
    {"Q9 a hit in the middle splits in three", R"(
        A A+0 3000 3000 104 = ok A+0
        Q A+0 = A+0,3000,C,A+0,104,104
        R A+1800 = fGP,0
        Q A+0 = A+0,1000,C,A+0,104,104
        Q A+1000 = A+1000,1000,C,A+0,104,4
        Q A+2000 = A+2000,1000,C,A+0,104,104
    )"},
    {"G1 what each protection allows", R"(
        A A+0 6000 3000 4 = ok A+0
        W A+0 c3 = ok
        W A+1000 c3 = ok
        W A+2000 c3 = ok
        W A+3000 c3 = ok
        W A+4000 c3 = ok
        W A+5000 c3 = ok
        P A+0 1000 1 = ok 4
        P A+1000 1000 2 = ok 4
        P A+3000 1000 10 = ok 4
        P A+4000 1000 20 = ok 4
        P A+5000 1000 40 = ok 4
        R A+0 = fAV,0
        W A+0 0 = fAV,1
        X A+0 = fAV,8
        R A+1000 = vc3
        W A+1000 0 = fAV,1
        X A+1000 = fAV,8
        R A+2000 = vc3
        X A+2000 = fAV,8
        W A+2000 0 = ok
        R A+3000 = vc3
        W A+3000 0 = fAV,1
        X A+3000 = ok
        R A+4000 = vc3
        W A+4000 0 = fAV,1
        X A+4000 = ok
        R A+5000 = vc3
        X A+5000 = ok
        W A+5000 0 = ok
    )"},
    {"G1 reserved and free", R"(
        A A+0 1000 2000 40 = ok A+0
        R A+123 = fAV,0
        W A+123 1 = fAV,1
        X A+123 = fAV,8
        R A+50000 = fAV,0
        W A+50fff 1 = fAV,1
        X A+50000 = fAV,8
    )"},
    {"G2 any access, one page, one shot, then the base protection", R"(
        A A+0 3000 3000 4 = ok A+0
        W A+0 c3 = ok
        W A+1000 c3 = ok
        P A+0 3000 102 = ok 4
        W A+1007 1 = fGP,1
        W A+1007 1 = fAV,1
        R A+1000 = vc3
        R A+2fff = fGP,0
        R A+2fff = v00
        X A+0 = fGP,8
        X A+0 = fAV,8
        R A+0 = vc3
        P A+0 1000 140 = ok 2
        X A+0 = fGP,8
        X A+0 = ok
    )"},
    {"G3 not on reserved pages", R"(
        A A+0 2000 2000 104 = ok A+0
        R A+0 = fAV,0
        A A+0 1000 1000 104 = ok A+0
        F A+0 1000 4000 = ok
        R A+0 = fAV,0
        Q A+0 = A+0,2000,R,A+0,104
    )"},
    {"G5 armed again by protect and by commit", R"(
        A A+0 1000 3000 104 = ok A+0
        R A+0 = fGP,0
        P A+0 1000 104 = ok 4
        P A+0 1000 104 = ok 104
        W A+0 7 = fGP,1
        W A+0 7 = ok
        A A+0 1000 1000 104 = ok A+0
        R A+0 = fGP,0
        R A+0 = v07
    )"},
};

class win32_rules : public testing::TestWithParam<rule_case> {};

TEST_P(win32_rules, holds) { follow(GetParam()); }

INSTANTIATE_TEST_SUITE_P(rules, win32_rules, testing::ValuesIn(cases), case_name);

} // namespace
} // namespace memreeve::replay
