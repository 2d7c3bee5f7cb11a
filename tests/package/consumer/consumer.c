// SPDX-License-Identifier: MIT
// The smallest embedder: a host, an owner, its memory manager, and back.
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <stdio.h>

int main(void) {
    mrv_host* host = NULL;
    mrv_owner* owner = NULL;
    mrv_status status = mrv_host_create(NULL, &host);
    if (status == MRV_OK) {
        status = mrv_owner_create(host, NULL, NULL, &owner);
    }
    if (status == MRV_OK) {
        IHostMemoryManager* manager = NULL;
        status = mrv_owner_memory_manager(owner, &manager);
        if (status == MRV_OK) {
            manager->lpVtbl->Release(manager);
        }
        mrv_owner_destroy(owner);
    }
    if (host != NULL) {
        mrv_host_destroy(host);
    }
    if (status != MRV_OK) {
        fprintf(stderr, "consumer: %s\n", mrv_status_text(status));
        return 1;
    }
    puts("ok");
    return 0;
}
