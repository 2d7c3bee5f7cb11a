#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plants one mistake at a time in a copy of the tree and checks that the named test goes red.

A test that stays green is worth nothing: exit 1 and the name of the mistake. Builds in a temporary
directory; the tree itself is not touched. A test that skips (no such runtime here) is neither."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# what is wrong, file, text, replacement, build target or script, program arguments
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
    ("a refused mprotect is not undone", "src/vm/address_space_apply.cpp",
     "            restore_access(change, false, false);\n", "",
     "fake_mapping_limit_test", []),
    ("decommitted pages keep their contents", "src/vm/address_space_apply.cpp",
     "    if (prim::discard(hull.begin, hull.size()) != 0) {", "    if (false) {",
     "win32_rules_test", []),
    ("D2: an out pointer is not nulled first", "src/com/host_memory_manager.cpp",
     "    *ppMem = nullptr;\n", "",
     "com_host_memory_manager_test", []),
    ("what is refused once is refused every time", "src/bridge/refused_once.hpp",
     "return now > told ? criticality::domain", "return now > 1 ? criticality::domain",
     "bridge_refused_once_test", []),
    ("a request that needed nothing uses up a turn", "src/bridge/refused_once.hpp",
     "        return now > told ? criticality::domain : criticality::process;\n",
     "        told_in_.store(now, std::memory_order_relaxed);\n"
     "        return now > told ? criticality::domain : criticality::process;\n",
     "bridge_refused_once_test", []),
    ("a block of generated code is cleared in its place", "src/bridge/translate.cpp",
     "has_file ? clearing_block(s, p.part, prot, flags, fd, from) : -1;", "-1;",
     "tests/runtime/file_memory.py", []),
    ("HotSpot's own threads count as the program's", "src/bridge/levels.cpp",
     "runtime == runtime_kind::jvm && is_thread_of_hotspot()", "runtime == runtime_kind::node && is_thread_of_hotspot()",
     "tests/runtime/refusal_order.py", []),
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
    ("S2, seen by random operations", "src/vm/address_space_apply.cpp",
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
    ("a failed protect says it was done, seen by random refusals", "src/vm/address_space_apply.cpp",
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
    ("what was touched earlier counts beside what is charged now", "src/cli/image_watch.cpp",
     "        if (w.round == round_) {\n            charged += w.pictured;",
     "        if (true) {\n            charged += charged_to(books_.image(slot));", "cli_image_watch_test", []),
    ("what the kernel refused to unmap is forgotten", "src/vm/space_supply.cpp",
     "    owed_count_.fetch_add(1, std::memory_order_relaxed);", "    owed_.store(0);",
     "fault_random_sweep_test", []),
    ("where a released reservation lay is taken for the test's own", "tests/differential/twin.hpp",
     "        std::fill(std::begin(slot_base_), std::end(slot_base_), 0);\n", "",
     "differential_found_cases_test", []),
    # Runtimes under a limit.
    ("what _JAVA_OPTIONS says is not the user's", "src/bridge/java_options.cpp",
     "        r.note_text(last, origin::variable);\n", "        static_cast<void>(last);\n", "tests/runtime/jvm_knobs.py", []),
    ("a pipe of options is opened before the JVM does", "src/bridge/java_options.cpp",
     "        if (!prim::is_regular_file(path)) {", "        if (!prim::file_exists(path)) {", "bridge_java_options_test", []),
    ("a generous ceiling of the user's is all counted", "src/bridge/runtime_shares.cpp",
     "least_of(users.bytes, 2 * ours)", "users.bytes", "bridge_runtime_shares_test", []),
    ("_ is not - in Node's options", "src/bridge/node_options.cpp",
     "!(*word == '_' && *name == '-')", "true", "tests/runtime/node_knobs.py", []),
    ("an old Node is told a young generation", "src/bridge/knobs_node.cpp",
     "s.takes_semi_space() && ", "", "tests/runtime/node_knobs.py", []),
    ("an earlier image's settings stay when there is no limit any more", "src/bridge/knobs.cpp",
     "        drop_setting(coreclr_variable);\n", "", "tests/runtime/inherited_settings.py", []),
    ("what was set for a JVM is handed on to any program", "src/bridge/knobs.cpp",
     "if (r.limit == 0 || runtime != runtime_kind::jvm) {", "if (r.limit == 0) {", "tests/runtime/inherited_settings.py", []),
    ("decision 28: Mono keeps its nursery at a tight limit", "src/bridge/knobs.cpp",
     "tight_limit = 128 * mib", "tight_limit = 96 * mib", "tests/runtime/mono_knobs.py", []),
    ("decision 29: a heap limit in the program's files is overridden", "src/bridge/knobs.cpp",
     'return {c.is_there ? "System.GC.HeapHardLimit" : nullptr, c.bytes};', "return {nullptr, c.bytes};",
     "tests/runtime/dotnet_knobs.py", []),
    ("CPython starts under any limit", "src/bridge/knobs.cpp",
     "if (r.limit < cpython_start.least) {", "if (r.limit == 0) {", "tests/runtime/cpython_knobs.py", []),
    ("a runtime that is loaded later is not told", "src/bridge/preload/memory.cpp",
     "        bridge::note_caller(*s, caller);\n", "        (void)caller;\n", "tests/runtime/recognised.py", []),
    ("mimalloc stays beside our malloc", "src/cli/preparation.cpp",
     'file.starts_with("libjemalloc") || file.starts_with("libmimalloc") ||\n           file.starts_with("libtcmalloc")',
     'file.starts_with("libje")', "tests/runtime/allocators_beside.py", []),
    ("small blocks of CPython may use the whole reserve", "src/bridge/levels.cpp",
     "case runtime_kind::cpython: return criticality::domain;", "case runtime_kind::cpython: return criticality::process;",
     "tests/runtime/refusal_order.py", []),
    ("a library's blocks count as the runtime's", "src/bridge/callers.cpp",
     "    return caller_kind::application;\n", "    return caller_kind::runtime;\n", "tests/runtime/refusal_order.py", []),
    ("a storm of refusals is not slowed", "src/bridge/asking.cpp",
     "    slow_down(level_);\n", "    if (false) {\n        slow_down(level_);\n    }\n", "tests/runtime/refusal_order.py", []),
    ("the last words are told complete before they are", "src/bridge/asking.cpp",
     "    manager::write_holders(s.books().tree(), image, words);\n", "    words.charged = 0;\n", "tests/runtime/last_words.py", []),
    ("a lowered limit takes the reserve from what a runtime cannot do without", "src/manager/ledger.cpp",
     "budget::tree::lowering::spares_process_level", "budget::tree::lowering::refuses_all",
     "tests/runtime/limit_running.py", []),
    ("changes of the limit are kept one place too far", "src/manager/ledger.cpp",
     "header_->changes[n % limit_changes_kept]", "header_->changes[(n + 1) % limit_changes_kept]",
     "tests/runtime/limit_running.py", []),
    ("limit trusts a file by its name", "src/cli/governed_tree.cpp", " || facts.size < size", "",
     "tests/cli/limit.py", []),
    ("a later run is taken for the one that has ended", "src/cli/governed_tree.cpp",
     "prim::process_start_time(launcher) >", "prim::process_start_time(0) >", "tests/cli/limit.py", []),
    ("an answer that nobody got is one", "src/cli/main.cpp", "if (!std::cout.flush()) {", "if (false) {",
     "tests/cli/arguments.py", []),
    ("java by another name is a tool", "src/bridge/java_options.cpp",
     '} else if (starts_with(arguments[i], "-X")) {', "} else if (false) {", "bridge_java_options_test", []),
    ("doctor executes a loader from elsewhere", "src/cli/commands/doctor.cpp",
     "prim::resolve_path(facts.loader, loader) == 0 &&", "!(loader = facts.loader).empty() &&",
     "tests/cli/doctor.py", []),
    ("one run is enough for squeeze's answer", "src/cli/limit_search.cpp",
     "tried_.at(*works).worked < bounds_.repeat", "tried_.at(*works).worked < 1", "tests/cli/squeeze.py", []),
    ("a limit below what Mono needs is not told of", "src/bridge/knobs.cpp",
     "    if (r.limit < mono_start.least) {", "    if (false) {", "tests/runtime/mono_knobs.py", []),
    ("without /proc the program is started all the same", "src/cli/commands/run.cpp",
     '    if (const int e = prim::read_link("/proc/self/exe", self); e != 0) {', "    if (const int e = 0; e != 0) {",
     "tests/cli/bad_surroundings.py", []),
    ("the README shows what doctor does not say", "src/cli/commands/doctor.cpp",
     "ask doctor about the program it starts", "look at the program it starts", "tests/cli/readme_verbs.py", []),
    ("Mono is asked and does not collect", "include/memreeve/adapters/mono.h",
     "    m->collect(m->max_generation());\n", "", "tests/runtime/ask_mono.py", []),
    ("CPython is asked and does not collect", "include/memreeve/adapters/cpython.h",
     "const ptrdiff_t freed = p->collect();", "const ptrdiff_t freed = 0;", "tests/runtime/ask_cpython.py", []),
    ("V8 is told that nothing is short", "include/memreeve/adapters/node.h",
     "    n->notify(n->isolate, 2);\n", "    n->notify(n->isolate, 0);\n", "tests/runtime/ask_node.py", []),
    ("the JVM is asked and does not collect", "include/memreeve/adapters/jvm.h",
     "    call((void*)(uintptr_t)j->thread, j->system, j->gc, 0);\n", "", "tests/runtime/ask_jvm.py", []),
    ("a JVM that is found half way stays attached", "include/memreeve/adapters/jvm.h",
     "        mrv_jvm_close(j); /*", "        /*", "bridge_adapter_jvm_test", []),
    ("the matrix takes a crash for a runtime's design", "tools/matrix_judge.py",
     'o.ended == "own-words" and not faults', 'o.ended in ("own-words", "crash") and not faults', "tests/runtime/matrix.py", []),
    ("the matrix does not see what is above the limit", "tools/matrix_run.py",
     "                self.over += own > self.limit\n", "", "tests/runtime/matrix.py", []),
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


def programs_of_scripts():
    """What the scripts of tests/cli and tests/runtime start."""
    made = ["memreeve_cli", "memreeve_preload", "ledger_probe", "runtime_ballast", "runtime_guest", "runtime_passes"]
    for label in ("cli", "runtime"):
        folder = ROOT / "tests" / label
        made += [f"{label}_{p.stem}" for p in sorted([*folder.glob("*.c"), *folder.glob("programs/*.c")])]
    return made


def ends_red(tree, build, target, arguments):
    """Whether the test fails; None when it skips."""
    try:
        if target.endswith(".py"):
            places = {"MEMREEVE_BIN": str(build / "bin"), "MEMREEVE_LIB": str(build / "lib"), "MEMREEVE_SOURCE": str(tree)}
            status = run([sys.executable, str(tree / target), *arguments], timeout=900, cwd=build, env={**os.environ, **places}).returncode
            return None if status == 77 else status != 0
        program = next(p for p in build.rglob(target) if p.is_file())
        return run([str(program)] + arguments, timeout=300).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def run(command, **kw):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--jobs", default="2", help="parallel compilations (2)")
    ap.add_argument("--texts", action="store_true",
                    help="build nothing: are the texts to change still there?")
    ap.add_argument("--only", default="", help="the mistakes in files, or noticed by tests, whose name contains this (all)")
    args = ap.parse_args()
    if args.texts:
        gone = [(what, name) for what, name, old, *_ in MISTAKES
                if (ROOT / name).read_text().count(old) < 1]
        for what, name in gone:
            print(f"STALE  {what}: the text to change is not in {name}")
        return 1 if gone else 0
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
            if args.only not in name and args.only not in target:
                continue
            path = tree / name
            text = path.read_text()
            if text.count(old) < 1:
                print(f"STALE  {what}: the text to change is not in {name}")
                failed.append(what)
                continue
            path.write_text(text.replace(old, new, 1))
            targets = programs_of_scripts() if target.endswith(".py") else [target]
            built = run(["cmake", "--build", str(build), "--target", *targets, "-j", args.jobs])
            if built.returncode != 0:
                print(f"STALE  {what}: does not compile\n{built.stdout[-1500:]}")
                failed.append(what)
            else:
                red = ends_red(tree, build, target, arguments)
                print(f"{'red   ' if red else 'skips ' if red is None else 'GREEN '} {what}  ({target})", flush=True)
                if red is False:
                    failed.append(what)
            path.write_text(text)
    print(f"{len(failed)} of the planted mistakes went unnoticed" if failed
          else "every planted mistake was noticed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
