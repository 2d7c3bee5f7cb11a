# SPDX-License-Identifier: MIT
"""In the commands: src/cli."""

FAULTS = [
    ("a parent's record is freed before its child has read it", "src/cli/image_watch.cpp",
     "if (!telemetry::is_awaited_by_heirs(r, prim::now_ns())) {", "if (true) {", "cli_image_watch_test"),
    ("what was touched earlier counts beside what is charged now", "src/cli/image_watch.cpp",
     "        if (w.round == round_) {\n            charged += w.pictured;",
     "        if (true) {\n            charged += charged_to(books_.image(slot));", "cli_image_watch_test"),
    ("mimalloc stays beside our malloc", "src/cli/preparation.cpp",
     'file.starts_with("libjemalloc") || file.starts_with("libmimalloc") ||\n           file.starts_with("libtcmalloc")',
     'file.starts_with("libje")', "tests/runtime/allocators_beside.py"),
    ("limit trusts a file by its name", "src/cli/governed_tree.cpp", " || facts.size < size", "",
     "tests/cli/limit.py"),
    ("a later run is taken for the one that has ended", "src/cli/governed_tree.cpp",
     "prim::process_start_time(launcher) >", "prim::process_start_time(0) >", "tests/cli/limit.py"),
    ("an answer that nobody got is one", "src/cli/main.cpp", "if (!std::cout.flush()) {", "if (false) {",
     "tests/cli/arguments.py"),
    ("doctor executes a loader from elsewhere", "src/cli/commands/doctor.cpp",
     "prim::resolve_path(facts.loader, loader) == 0 &&", "!(loader = facts.loader).empty() &&",
     "tests/cli/doctor.py"),
    ("one run is enough for squeeze's answer", "src/cli/limit_search.cpp",
     "tried_.at(*works).worked < bounds_.repeat", "tried_.at(*works).worked < 1", "tests/cli/squeeze.py"),
    ("without /proc the program is started all the same", "src/cli/commands/run.cpp",
     '    if (const int e = prim::read_link("/proc/self/exe", self); e != 0) {', "    if (const int e = 0; e != 0) {",
     "tests/cli/bad_surroundings.py"),
    ("the README shows what doctor does not say", "src/cli/commands/doctor.cpp",
     "ask doctor about the program it starts", "look at the program it starts", "tests/cli/readme_verbs.py"),
]
