// SPDX-License-Identifier: MIT
// A host that loads a runtime's library when it has been running for a while, and starts it.
// usage: late_runtime KIND LIBRARY [TRUSTED_ASSEMBLIES]
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct jvm_arguments {
    int version, count;
    void* options;
    unsigned char ignores_unknown;
};

typedef void (*python_initialize)(void);
typedef void* (*mono_initialize)(const char*);
typedef int (*jvm_create)(void**, void**, void*);
typedef int (*coreclr_start)(const char*, const char*, int, const char**, const char**, void**,
                             unsigned*);

// As POSIX shows it: ISO C knows no way from dlsym's result to a function.
#define FIND(type, name)                                                                           \
    type name = NULL;                                                                              \
    *(void**)(&name) = dlsym(library, #name)

static int start(const char* kind, void* library, char** arguments) {
    if (strcmp(kind, "cpython") == 0) {
        FIND(python_initialize, Py_Initialize);
        Py_Initialize();
        return 1;
    }
    if (strcmp(kind, "mono") == 0) {
        FIND(mono_initialize, mono_jit_init);
        return mono_jit_init("host") != NULL;
    }
    if (strcmp(kind, "jvm") == 0) {
        FIND(jvm_create, JNI_CreateJavaVM);
        struct jvm_arguments a = {0x00010008, 0, NULL, 0};
        void* vm = NULL;
        void* environment = NULL;
        return JNI_CreateJavaVM(&vm, &environment, &a) == 0;
    }
    FIND(coreclr_start, coreclr_initialize);
    const char* keys[] = {"TRUSTED_PLATFORM_ASSEMBLIES"};
    const char* values[] = {arguments[3]};
    void* host = NULL;
    unsigned domain = 0;
    return coreclr_initialize(arguments[0], "host", 1, keys, values, &host, &domain) >= 0;
}

int main(int count, char** arguments) {
    if (count < 3) {
        return 2;
    }
    void* library = dlopen(arguments[2], RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 3;
    }
    puts(start(arguments[1], library, arguments) ? "started" : "not started");
    fflush(stdout);
    return 0;
}
