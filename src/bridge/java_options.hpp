// SPDX-License-Identifier: MIT
// What the user has said to a JVM about memory, wherever the JVM reads it: JAVA_TOOL_OPTIONS,
// JDK_JAVA_OPTIONS, the command line, _JAVA_OPTIONS, and the files that these name.
#pragma once

#include "base/units.hpp"

namespace memreeve::bridge {

enum class java_collector { g1, serial, parallel, z, shenandoah };
inline constexpr unsigned java_collector_count = 5;

// A size the user chose.
struct chosen_size {
    bool is_there = false;
    byte_count bytes = 0; // 0: not understood
    char word[64]{};      // as it was written, cut off
};

struct java_options {
    chosen_size heap;    // -Xmx, MaxHeapSize, AggressiveHeap
    chosen_size initial; // -Xms, InitialHeapSize, MinHeapSize
    chosen_size soft;    // SoftMaxHeapSize
    chosen_size machine; // MaxRAM
    chosen_size share;   // MaxRAMPercentage and its kin: of the machine's memory
    chosen_size metaspace, code_cache, direct;
    chosen_size unread; // a file of options that cannot be read without taking it from the JVM
    bool has_collector = false; // chosen by the user
    java_collector collector = java_collector::g1;
};

// `tool_options`: the user's part of JAVA_TOOL_OPTIONS, or null. The command line is read for the
// JDK's launchers alone: `java` takes options as they are up to the program's name, the others behind
// -J, and as they are too, in case it is `java` by another name. Of several the last counts, as it does for the JVM. Reads regular files up to 1 MiB, allocates
// nothing; takes some 10 KiB of stack.
java_options read_java_options(const char* tool_options, bool is_launcher, const char* program,
                               int argument_count, char* const* arguments) noexcept;

} // namespace memreeve::bridge
