#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plants one mistake at a time in a copy of the tree and checks that the named test goes red.

A test that stays green is worth nothing: exit 1 and the name of the mistake. Builds in a temporary
directory; the tree itself is not touched."""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# what is wrong, file, text, replacement, build target, program arguments
MISTAKES = [
    ("A1: addresses below 64 KiB are accepted", "src/vm/request.cpp",
     "if (where != 0 && where < lowest_address) {", "if (where == 1) {",
     "win32_rules_test", []),
    ("decision 2: credit is not drained before a refusal", "src/budget/budget.cpp",
     "    drain();\n    if (climb(", "    if (climb(",
     "budget_tree_test", []),
    ("decision 3: the domain level gets the whole reserve", "src/budget/budget.cpp",
     "return limit - reserve / 2;", "return limit;",
     "budget_tree_test", []),
    ("decision 18: two requests may claim the same page", "src/vm/region_claims.cpp",
     "(claims_of(meta) & pages) != 0) {", "false) {",
     "vm_region_map_test", []),
    ("a reader does not look at a granule's word a second time", "src/vm/region_map.cpp",
     "    return ((entry.load(std::memory_order_acquire) ^ w) & ~claimed_bit) == 0;", "    return true;",
     "vm_region_map_steps_test", []),
    ("what is found of a reservation is of another one by now", "src/vm/region_map.cpp",
     "            if (((now ^ w) & ~claimed_bit) != 0 || r.life.load(std::memory_order_acquire) != life) {",
     "            if (false) {", "vm_region_map_steps_test", []),
    ("a record used again keeps its generation", "src/vm/page_records.cpp",
     "generation_of(r.meta.load(std::memory_order_relaxed)) + 1",
     "generation_of(r.meta.load(std::memory_order_relaxed))",
     "vm_region_map_granule_test", []),
    ("a summary does not learn of a change below it", "src/vm/region_claims.cpp",
     "            mark_path(where);\n", "", "vm_region_map_large_test", []),
    ("a refused mprotect is not undone", "src/vm/address_space.cpp",
     "            restore_access(change, distrust);\n", "",
     "fake_mapping_limit_test", []),
    ("decommitted pages keep their contents", "src/vm/address_space.cpp",
     "    if (prim::discard(hull.begin, hull.size()) != 0) {", "    if (false) {",
     "win32_rules_test", []),
    ("D2: an out pointer is not nulled first", "src/com/host_memory_manager.cpp",
     "    *ppMem = nullptr;\n", "",
     "com_host_memory_manager_test", []),
    # The heap.
    ("a heap block freed twice is accepted", "src/heap/cache.cpp",
     "    if (!state.compare_exchange_strong(live, MEMREEVE_HEAP_CHECKS ? 0 : live,\n"
     "                                       std::memory_order_acq_rel)) {",
     "    state.store(0, std::memory_order_relaxed);\n    if (live == 0) {", "stress_heap_random_test", []),
    ("a zeroed block shows what was there", "src/heap/large.cpp",
     "        std::memset(reinterpret_cast<void*>(*got), 0, size);\n", "", "stress_heap_random_test", []),
    ("pages that were used before are taken for new ones", "src/manager/runs.cpp",
     "    if (!w.may_be_used) {\n        zero_warm(h, at.begin);\n    }\n", "", "stress_heap_random_test", []),
    ("a block that moves leaves its last page behind", "src/heap/large.cpp",
     "                new_size < usable ? new_size : usable);",
     "                new_size < usable ? new_size : usable / 2);", "stress_heap_random_test", []),
    ("trim says nothing of slabs", "src/heap/cache.cpp",
     "return kept + (after < before ? bytes_of(before - after) : 0);", "return kept;",
     "stress_heap_random_test", []),
    ("an aligned block lies where it likes", "src/heap/large.cpp",
     "const byte_count padded = round_up(size == 0 ? 1 : size, alignment);",
     "const byte_count padded = size == 0 ? 1 : size;", "heap_operations_replay",
     [str(ROOT / "fuzz" / "corpus" / "heap_operations")]),
    ("threads that have ended keep their caches for ever", "src/manager/pages.cpp",
     "    return process == prim::process_id() &&\n", "    return false && process == prim::process_id() &&\n",
     "stress_heap_lives_test", ["--gtest_filter=*leave_nothing"]),
    ("a refused request keeps the pages it took", "src/manager/runs.cpp",
     "        runs_.put_back(h);\n", "", "fault_heap_random_sweep_test", []),
    ("freed pages are given back twice as many", "src/manager/runs.cpp",
     "        dropped += r.pages;\n", "        dropped += 2 * r.pages;\n", "stress_heap_random_test", []),
    ("a thread takes another heap's cache for this one's", "src/heap/cache.hpp",
     "        return is_ours;\n#else", "        return is_ours || slot().mine != nullptr;\n#else",
     "heap_cache_test", []),
    ("a block freed the slow way is lost", "src/heap/cache.cpp",
     "    c->push(d.bin, block, state);\n    c->know(d.bin);\n", "    c->know(d.bin);\n", "heap_cache_test", []),
    ("a block freed without a cache is lost", "src/heap/cache.cpp",
     "        return_blocks(d, f.block / 64, std::uint64_t{1} << (f.block % 64));\n", "", "heap_cache_test", []),
    ("a handler during trim takes a left cache for its own", "src/heap/cache.cpp",
     "    cache_slot& slot = door_.slot();\n    const", "    cache_slot slot = door_.slot();\n    const",
     "stress_heap_steps_test", []),
    ("a stopped free of a large block frees the next one", "src/heap/large.cpp",
     "    if (d.large_block() != block || !is_intact(d)) {", "    if (block == 0 || !is_intact(d)) {",
     "stress_heap_steps_test", []),
    ("a stopped free of a block whose slab has moved frees another", "src/heap/cache.cpp",
     "    if (d.base.load(std::memory_order_acquire) + address{f.block} * d.block_size != block) {", "    if (false) {",
     "stress_heap_steps_test", []),
    ("counts that were told torn stay so", "src/heap/cache.cpp",
     "        return now - told.exchange(now, std::memory_order_relaxed);",
     "        const std::uint64_t before = told.load(std::memory_order_relaxed);\n"
     "        told.store(before < now ? now : before, std::memory_order_relaxed);\n"
     "        return before < now ? now - before : 0;", "heap_counts_steps_test", []),
    ("a report reads canaries that may be gone", "src/heap/debug_blocks.cpp",
     "    const page_source::peeked p = source_.peek(from, &to, sizeof to);",
     "    const auto p = page_source::peeked::not_allowed;", "stress_heap_steps_test", []),
    ("a chunk that cannot go now is forgotten", "src/manager/runs.cpp",
     "    if (!give_back_pages(runs_.base_of(chunk))) {", "    give_back_pages(runs_.base_of(chunk));\n    if (false) {",
     "manager_stuck_pages_test", []),
    ("decision 13: page cache counts as used", "src/manager/control_group.cpp",
     "usage - std::min(cache, usage)", "usage", "manager_control_group_test", []),
    ("the notifier's thread outlives its subscribers", "src/manager/notifier.cpp",
     "        if (ends()) {", "        if (false) {", "outside_pressure_test", []),
    ("a host's block is freed by libc after the release", "src/bridge/preload/malloc.cpp",
     "    bridge::state* s = bridge::holding();\n    if (s == nullptr || bridge::release(",
     "    bridge::state* s = bridge::governed();\n    if (s == nullptr || bridge::release(", "govern_test", []),
    ("an embedded runtime's dropped pages keep their contents", "src/bridge/state.cpp",
     "    memory.discard_at_once();", "", "govern_test", []),
    ("a parent's record is freed before its child has read it", "src/cli/image_watch.cpp",
     "if (!telemetry::is_awaited_by_heirs(r, prim::now_ns())) {", "if (true) {", "cli_image_watch_test", []),
    ("what moves while it is pictured counts against the limit", "src/telemetry/snapshot.cpp",
     "out.in_flight != 0 ? 0", "false ? 0", "telemetry_snapshot_test", []),
    ("an image that is turned away keeps its accounts", "src/manager/ledger.cpp",
     "    close_accounts(image);\n    image.governed.store(0", "    image.governed.store(0",
     "manager_ledger_test", []),
    # The checkers against the model and the kernel: each must see what it is there for.
    ("S2, seen by random operations", "src/vm/address_space.cpp",
     "    if (prim::discard(hull.begin, hull.size()) != 0) {", "    if (false) {",
     "vm_differential", ["--seed", "1", "--operations", "20000"]),
    ("G1: execute-only memory may be written", "src/vm/page_state.hpp",
     "    case page_code::rx: return access::read_execute;", "    case page_code::rx: return access::read_write_execute;",
     "vm_differential", ["--seed", "1", "--operations", "20000"]),
    ("the books forget what a protect made writable", "src/vm/address_space.cpp",
     "        d.writable += signed_n *", "        d.writable -= signed_n *",
     "vm_differential", ["--seed", "1", "--operations", "20000"]),
    ("G1, seen by the fuzzer's corpus", "src/vm/page_state.hpp",
     "    case page_code::rx: return access::read_execute;", "    case page_code::rx: return access::read_write_execute;",
     "vm_operations_replay", [str(ROOT / "fuzz" / "corpus" / "vm_operations")]),
    ("a failed protect says it was done, seen by random refusals", "src/vm/address_space.cpp",
     "    return failed == 0 ? result<void>{} : from_os(failed);", "    return result<void>{};",
     "fault_random_sweep_test", []),
    ("two requests may claim the same page, seen by neighbours", "src/vm/address_space.cpp",
     "result<void> address_space::claim(const found& f, range span) noexcept {\n",
     "result<void> address_space::claim(const found& f, range whole) noexcept {\n"
     "    const range span = whole.pages() > 2 ? range{whole.begin, whole.end - page_size} : whole;\n",
     "stress_neighbours_test", []),
    ("decision 18: a lock round the claims", "src/vm/address_space.cpp",
     "result<void> address_space::claim(const found& f, range span) noexcept {\n",
     "result<void> address_space::claim(const found& f, range span) noexcept {\n"
     "    static std::atomic<int> taken{0};\n    while (taken.exchange(1) != 0) {\n    }\n"
     "    const struct leave {\n        ~leave() { taken.store(0); }\n    } at_the_end;\n",
     "stress_stop_the_world_test", []),
    ("what the kernel refused to unmap is forgotten", "src/vm/space_supply.cpp",
     "    owed_count_.fetch_add(1, std::memory_order_relaxed);", "    owed_.store(0);",
     "fault_random_sweep_test", []),
    # Asking early.
    ("what does not fit is not asked for again", "src/pressure/asking.cpp",
     "return top; // it does not fit", "return used + gap_of(top);", "pressure_asking_test", []),
    ("a rest is kept while the room runs out", "src/pressure/asking.cpp",
     "(now_ns >= not_before_ns_ || is_urgent(used))", "now_ns >= not_before_ns_", "pressure_asking_test", []),
    ("what a heap freed and keeps does not count", "src/pressure/asking.cpp",
     " || was_of_use(freed_inside, 0, top);", ";", "pressure_asking_test", []),
    ("lasting pressure asks though nothing was taken", "src/pressure/asking.cpp",
     "worth_at_ = after + gap_of(after);", "worth_at_ = 0;", "pressure_asking_test", []),
    ("a storm of limits is answered by a storm of collections", "src/pressure/asking.cpp",
     "not_before_ns_ = soonest_ns_;", "not_before_ns_ = 0;", "pressure_asking_test", []),
    ("nobody is rung when the limit changes", "src/manager/ledger.cpp",
     "    wake_askers();\n    ring();", "    ring();", "manager_ledger_test", []),
    ("nobody is rung at the kernel's pressure", "src/manager/ledger.cpp",
     "    wake_askers();\n}", "}", "manager_ledger_test", []),
]


def run(command, **kw):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--jobs", default="2", help="parallel compilations (2)")
    ap.add_argument("--only", default="", help="the mistakes in files whose path contains this (all)")
    args = ap.parse_args()
    failed = []
    with tempfile.TemporaryDirectory(prefix="memreeve-planted-") as where:
        tree = pathlib.Path(where) / "tree"
        build = pathlib.Path(where) / "build"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git"))
        made = run(["cmake", "-S", str(tree), "-B", str(build), "-G", "Ninja",
                    "-DCMAKE_BUILD_TYPE=Release"])
        if made.returncode != 0:
            print(made.stdout[-2000:])
            return 2
        for what, name, old, new, target, arguments in MISTAKES:
            if args.only not in name:
                continue
            path = tree / name
            text = path.read_text()
            if text.count(old) < 1:
                print(f"STALE  {what}: the text to change is not in {name}")
                failed.append(what)
                continue
            path.write_text(text.replace(old, new, 1))
            built = run(["cmake", "--build", str(build), "--target", target, "-j", args.jobs])
            if built.returncode != 0:
                print(f"STALE  {what}: does not compile\n{built.stdout[-1500:]}")
                failed.append(what)
            else:
                program = next(p for p in build.rglob(target) if p.is_file())
                try:
                    red = run([str(program)] + arguments, timeout=300).returncode != 0
                except subprocess.TimeoutExpired:
                    red = True
                print(f"{'red   ' if red else 'GREEN '} {what}  ({target})", flush=True)
                if not red:
                    failed.append(what)
            path.write_text(text)
    print(f"{len(failed)} of the planted mistakes went unnoticed" if failed
          else "every planted mistake was noticed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
