// SPDX-License-Identifier: MIT
// hosting-api section 5: our header before a real mscoree.h, which is named so that it is found.
#define MEMREEVE_MSCOREE_H "conformance/standin/mscoree.h"
#include <memreeve/host_interfaces.h>

#include "conformance/standin/mscoree.h"

#include "conformance/mscoree_use.hpp"

TEST(mscoree, coexists_when_it_comes_second) { use_both(); }
