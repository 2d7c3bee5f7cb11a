# SPDX-License-Identifier: MIT
"""In how a runtime is asked: include/memreeve/adapters."""

FAULTS = [
    ("Mono is asked and does not collect", "include/memreeve/adapters/mono.h",
     "    m->collect(m->max_generation());\n", "", "tests/runtime/ask_mono.py"),
    ("CPython is asked and does not collect", "include/memreeve/adapters/cpython.h",
     "const ptrdiff_t freed = p->collect();", "const ptrdiff_t freed = 0;", "tests/runtime/ask_cpython.py"),
    ("V8 is told that nothing is short", "include/memreeve/adapters/node.h",
     "    n->notify(n->isolate, 2);\n", "    n->notify(n->isolate, 0);\n", "tests/runtime/ask_node.py"),
    ("the JVM is asked and does not collect", "include/memreeve/adapters/jvm.h",
     "    call((void*)(uintptr_t)j->thread, j->system, j->gc, 0);\n", "", "tests/runtime/ask_jvm.py"),
    ("a JVM that is found half way stays attached", "include/memreeve/adapters/jvm.h",
     "        mrv_jvm_close(j); /*", "        /*", "bridge_adapter_jvm_test"),
    ("what a parent was asked counts as its child's own", "include/memreeve/adapters/cpython.h",
     "const uint32_t asked = __atomic_load_n(&p->asked,", "const uint32_t asked = 1 + __atomic_load_n(&p->finished,",
     "bridge_adapter_cpython_test"),
]
