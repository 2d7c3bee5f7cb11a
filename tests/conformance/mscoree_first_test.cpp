// SPDX-License-Identifier: MIT
// hosting-api section 5: our header after a real mscoree.h. Its declarations are used.
#include "conformance/standin/mscoree.h"

#include <memreeve/host_interfaces.h>

#include "conformance/mscoree_use.hpp"

TEST(mscoree, coexists_when_it_comes_first) { use_both(); }
