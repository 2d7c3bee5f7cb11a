// SPDX-License-Identifier: MIT
// A host program that governs itself: its own malloc is its owner's memory from then on.
#include <memreeve/embed.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    mrv_host* host = NULL;
    mrv_owner* owner = NULL;
    mrv_owner_figures before = {.size = sizeof before}, after = {.size = sizeof after};
    char* earlier = malloc(100000); // libc's
    mrv_status status = mrv_host_create(NULL, &host);
    if (status == MRV_OK) {
        status = mrv_owner_create(host, NULL, NULL, &owner);
    }
    if (status == MRV_OK) {
        status = mrv_host_govern_process(host, owner);
    }
    if (status != MRV_OK || earlier == NULL) {
        fprintf(stderr, "consumer: %s\n", mrv_status_text(status));
        return 1;
    }
    mrv_owner_stats(owner, &before);
    char* block = malloc(1 << 20);
    mrv_owner_stats(owner, &after);
    if (block == NULL || after.heap_bytes < before.heap_bytes + (1 << 20)) {
        fprintf(stderr, "consumer: a malloc of a mebibyte shows as %llu bytes\n",
                (unsigned long long)(after.heap_bytes - before.heap_bytes));
        return 1;
    }
    memset(block, 1, 1 << 20);
    free(earlier);
    free(block);
    malloc_trim(0); // what the heap keeps for the next one
    mrv_owner_stats(owner, &after);
    if (after.heap_bytes > before.heap_bytes || mrv_host_destroy(host) != MRV_E_BUSY) {
        fputs("consumer: free did not give back, or the host was destroyed\n", stderr);
        return 1;
    }
    puts("ok");
    return 0;
}
