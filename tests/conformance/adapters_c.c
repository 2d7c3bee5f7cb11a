/* SPDX-License-Identifier: MIT
 * The adapters are C11, go together in one file, and say so where there is no runtime. */
#include <memreeve/adapters/coreclr.h>
#include <memreeve/adapters/cpython.h>
#include <memreeve/adapters/jvm.h>
#include <memreeve/adapters/mono.h>
#include <memreeve/adapters/node.h>

#include <stdio.h>

int main(void) {
    mrv_mono mono;
    mrv_jvm jvm;
    mrv_cpython python;
    mrv_node node;
    mrv_coreclr net = {0, 0};
    int found = 0;
    found += mrv_mono_open(&mono) + mrv_mono_collect(&mono) + mrv_mono_is_ending(&mono);
    found += mrv_jvm_open(&jvm) + mrv_jvm_collect(&jvm);
    found += mrv_cpython_find(&python);
    found += mrv_node_find(&node) + mrv_node_collect(&node);
    found += mrv_coreclr_collect(&net) + mrv_coreclr_limit(&net, 1);
    mrv_mono_close(&mono);
    mrv_jvm_close(&jvm);
    if (found != 0) {
        printf("found a runtime where there is none\n");
        return 1;
    }
    return 0;
}
