// SPDX-License-Identifier: MIT
// The JVM reads JAVA_TOOL_OPTIONS before everything else, so what comes later, the user's own part of
// it included, wins by itself. It is looked for all the same: sizes depend on one another, and two
// collectors are an error.
#include "bridge/java_options.hpp"
#include "bridge/knobs_said.hpp"
#include "bridge/runtime_shares.hpp"
#include "bridge/settings.hpp"
#include "bridge/state.hpp"
#include "bridge/text.hpp"
#include "prim/process_view.hpp"

namespace memreeve::bridge {

namespace {

// Below this HotSpot takes Serial by itself, in a machine or container of that size; 2 GiB less what
// a machine's firmware keeps.
constexpr byte_count server_class = 1792 * mib;

line& add_option(line& l, const char* name, byte_count bytes) noexcept {
    if (bytes != 0) {
        l.add(name).add_number(bytes / mib).add("m");
    }
    return l;
}

// What the processes beside this one hold counts where it is more than a little: a JVM whose heap
// does not fit ends.
byte_count held_by_others(state& s) noexcept {
    const auto charged = [&s](owner_id who) {
        return s.books().tree().at(who).charged.load(std::memory_order_relaxed);
    };
    const auto own =
        static_cast<owner_id>(s.image().process_account.load(std::memory_order_relaxed));
    const page_count all = charged(owner_id::root);
    const page_count mine = charged(own);
    return all > mine ? bytes_of(all - mine) : 0;
}

void tell_users(state& s, const room& r, const java_options& users) noexcept {
    const chosen_size* const sizes[] = {&users.heap,       &users.initial, &users.soft,
                                        &users.machine,    &users.share,   &users.metaspace,
                                        &users.code_cache, &users.direct,  &users.unread};
    for (const chosen_size* size : sizes) {
        if (size->is_there) {
            said_by_user(s, size->word, nullptr);
        }
    }
    if (users.heap.bytes > r.limit) {
        above_the_limit(s, r, users.heap.word, users.heap.bytes);
    }
}

} // namespace

void turn_java(state& s, const room& r, int argument_count, char* const* arguments) noexcept {
    const bool is_launcher = s.is_java_launcher();
    const java_options users = read_java_options(users_options(java_variable), is_launcher,
                                                 s.image().path, argument_count, arguments);
    tell_users(s, r, users);
    const auto leave = [&s] { put_options(s, java_variable, ""); };
    if (users.heap.is_there || users.machine.is_there) {
        leave();
        return;
    }
    if (users.share.is_there) {
        // A share of the machine's memory: of the limit instead.
        line l;
        put_options(s, java_variable, add_option(l, "-XX:MaxRAM=", r.limit).text());
        return;
    }
    room left = r;
    if (const byte_count others = held_by_others(s); others > r.limit / 8) {
        const byte_count taken = round_up(others, mib);
        left.limit -= taken < r.limit ? taken : r.limit;
    }
    // Only the launcher's options are all to be seen, and not even they if they come by a pipe. What
    // is not seen might name another collector, or a heap smaller than an -Xms of ours: the JVM
    // refuses both.
    const bool sees_all = is_launcher && !users.unread.is_there;
    const bool chooses = sees_all && !users.has_collector && r.limit < server_class;
    const java_collector collector = chooses ? java_collector::serial : users.collector;
    const unsigned processors = prim::usable_processors();
    const java_shares shares = shares_for_java(left.limit, r.reserve, collector, processors, users);
    if (shares.heap == 0) {
        leave();
        line runtime;
        too_small(s, left, runtime.add("Java with ").add(name_of(collector)).text(),
                  smallest_java_limit(collector, processors) + (r.limit - left.limit));
        return;
    }
    // The JVM refuses a heap below what the user wants of it: it gets that, if the limit allows.
    const chosen_size& wanted = users.soft.bytes > users.initial.bytes ? users.soft : users.initial;
    if (wanted.bytes >= r.limit) {
        if (wanted.bytes > r.limit) {
            above_the_limit(s, r, wanted.word, wanted.bytes);
        }
        leave();
        return;
    }
    const byte_count heap = wanted.bytes > shares.heap ? round_up(wanted.bytes, mib) : shares.heap;
    line l;
    l.add(chooses ? "-XX:+UseSerialGC " : "");
    // A heap that grows ends the JVM when it is refused; one that is committed from the start does
    // not meet the limit any more. ZGC takes pages, not just a promise, and survives a refusal.
    if (!users.initial.is_there && sees_all) {
        add_option(l, "-Xms", collector == java_collector::z ? least_z_heap : heap).add(" ");
    }
    add_option(l, "-Xmx", heap);
    add_option(l, " -XX:MaxMetaspaceSize=", shares.metaspace);
    add_option(l, " -XX:ReservedCodeCacheSize=", shares.code_cache);
    add_option(l, " -XX:MaxDirectMemorySize=", shares.direct);
    put_options(s, java_variable, l.text());
}

} // namespace memreeve::bridge
