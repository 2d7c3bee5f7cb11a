/* SPDX-License-Identifier: MIT
 * libmemreeve.so loaded late, by dlopen in a program with threads (decision 21): its thread-local
 * storage must fit what the loader keeps free, on threads that exist already too. */
#include <memreeve/memreeve.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static void* library;
static mrv_owner* owner;
static int result = 1;

static void* function(const char* name) { return dlsym(library, name); }

/* Exists before the library does, uses its thread-local storage afterwards. */
static void* early_thread(void* unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    while (owner == NULL) {
        pthread_cond_wait(&changed, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    mrv_status (*push)(mrv_owner*);
    mrv_status (*pop)(void);
    void* p = function("mrv_thread_push_owner");
    memcpy(&push, &p, sizeof p);
    p = function("mrv_thread_pop_owner");
    memcpy(&pop, &p, sizeof p);
    result = push(owner) == MRV_OK && pop() == MRV_OK && pop() == MRV_E_INVALID_ARGUMENT ? 0 : 2;
    return NULL;
}

int main(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    puts("skipped: a sanitizer's run-time cannot be loaded twice");
    return 77;
#endif
    pthread_t early;
    if (pthread_create(&early, NULL, early_thread, NULL) != 0) {
        return 1;
    }
    /* Beside this program's own copy, which the linker has loaded at start: a second one. */
    char path[4096];
    Dl_info info;
    if (dladdr((void*)(uintptr_t)&mrv_version, &info) == 0 || info.dli_fname == NULL) {
        return 1;
    }
    snprintf(path, sizeof path, "%s", info.dli_fname);
    library = dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "dlmopen: %s\n", dlerror());
        return 1;
    }
    mrv_status (*create_host)(const mrv_host_options*, mrv_host**);
    mrv_status (*create_owner)(mrv_host*, mrv_owner*, const mrv_owner_options*, mrv_owner**);
    mrv_status (*destroy_host)(mrv_host*);
    void* p = function("mrv_host_create");
    memcpy(&create_host, &p, sizeof p);
    p = function("mrv_owner_create");
    memcpy(&create_owner, &p, sizeof p);
    p = function("mrv_host_destroy");
    memcpy(&destroy_host, &p, sizeof p);
    mrv_host* host = NULL;
    mrv_owner* made = NULL;
    if (create_host(NULL, &host) != MRV_OK || create_owner(host, NULL, NULL, &made) != MRV_OK) {
        return 1;
    }
    pthread_mutex_lock(&mutex);
    owner = made;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    pthread_join(early, NULL);
    return destroy_host(host) == MRV_OK ? result : 3;
}
