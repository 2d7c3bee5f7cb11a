// SPDX-License-Identifier: MIT
// Node reads NODE_OPTIONS before its command line, which wins.
#include "bridge/knobs_said.hpp"
#include "bridge/node_options.hpp"
#include "bridge/runtime_shares.hpp"
#include "bridge/settings.hpp"
#include "bridge/state.hpp"
#include "bridge/text.hpp"

#include <initializer_list>

namespace memreeve::bridge {

void turn_node(state& s, const room& r, int argument_count, char* const* arguments) noexcept {
    const node_options users =
        read_node_options(users_options(node_variable), argument_count, arguments);
    for (const node_size* size : {&users.semi_space, &users.heap}) {
        if (size->is_there) {
            said_by_user(s, size->word, nullptr);
        }
    }
    if (users.heap.is_there) {
        if (users.heap.bytes > r.limit) {
            above_the_limit(s, r, users.heap.word, users.heap.bytes);
        }
        put_options(s, node_variable, "");
        return;
    }
    if (r.limit < node_start.least) {
        put_options(s, node_variable, "");
        too_small(s, r, "Node", node_start.works);
        return;
    }
    const bool sets_semi_space = s.takes_semi_space() && !users.semi_space.is_there;
    const node_shares shares =
        shares_for_node(r.limit, r.reserve, sets_semi_space, users.semi_space.bytes);
    line l;
    l.add("--max-old-space-size=").add_number(shares.old_space);
    if (shares.semi_space != 0) {
        l.add(" --max-semi-space-size=").add_number(shares.semi_space);
    }
    put_options(s, node_variable, l.text());
}

} // namespace memreeve::bridge
