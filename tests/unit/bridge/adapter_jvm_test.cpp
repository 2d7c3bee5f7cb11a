// SPDX-License-Identifier: MIT
// The JVM's adapter against tables of our own: whatever fails, the thread does not stay attached and no
// reference is left.
#include <gtest/gtest.h>
#include <memreeve/adapters/jvm.h>

namespace {

struct fake_vm {
    int attached = 0, references = 0, calls = 0;
    bool refuses_to_attach = false, lacks_system = false, lacks_gc = false;
};
fake_vm vm;
int object;

const void* machine_table[8]{};
const void* thread_table[256]{};
const void* const* machine = machine_table;
const void* const* thread = thread_table;

int32_t attach(void*, void** out, void*) {
    *out = static_cast<void*>(&thread);
    vm.attached += vm.refuses_to_attach ? 0 : 1;
    return vm.refuses_to_attach ? -1 : 0;
}
int32_t detach(void*) {
    --vm.attached;
    return 0;
}
void* find_class(void*, const char*) { return vm.lacks_system ? nullptr : &object; }
void* method(void*, void*, const char*, const char*) { return vm.lacks_gc ? nullptr : &object; }
void* make_global(void*, void* o) {
    ++vm.references;
    return o;
}
void drop_global(void*, void*) { --vm.references; }
void drop_local(void*, void*) {}
void clear(void*) {}
void call(void*, void*, void*, const void*) { ++vm.calls; }
int32_t created(void** out, int32_t, int32_t* count) {
    *out = static_cast<void*>(&machine);
    *count = 1;
    return 0;
}

template <class F>
const void* slot(F f) {
    return reinterpret_cast<const void*>(f);
}

mrv_jvm adapter_of(const fake_vm& how) {
    vm = how;
    machine_table[MRV_JVM_ATTACH_AS_DAEMON] = slot(attach);
    machine_table[MRV_JVM_DETACH] = slot(detach);
    thread_table[MRV_JNI_FIND_CLASS] = slot(find_class);
    thread_table[MRV_JNI_EXCEPTION_CLEAR] = slot(clear);
    thread_table[MRV_JNI_NEW_GLOBAL_REF] = slot(make_global);
    thread_table[MRV_JNI_DELETE_GLOBAL_REF] = slot(drop_global);
    thread_table[MRV_JNI_DELETE_LOCAL_REF] = slot(drop_local);
    thread_table[MRV_JNI_GET_STATIC_METHOD_ID] = slot(method);
    thread_table[MRV_JNI_CALL_STATIC_VOID_METHOD_A] = slot(call);
    mrv_jvm j{};
    j.created = created;
    return j;
}

TEST(adapter_jvm, collects_and_leaves_nothing) {
    mrv_jvm j = adapter_of({});
    ASSERT_EQ(mrv_jvm_attach(&j), 1);
    EXPECT_EQ(vm.attached, 1);
    EXPECT_EQ(mrv_jvm_collect(&j), 1);
    EXPECT_EQ(vm.calls, 1);
    mrv_jvm_close(&j);
    mrv_jvm_close(&j);
    EXPECT_EQ(vm.attached, 0);
    EXPECT_EQ(vm.references, 0);
    EXPECT_EQ(mrv_jvm_collect(&j), 0);
}

TEST(adapter_jvm, what_fails_half_way_is_undone) {
    fake_vm refuses, no_system, no_gc;
    refuses.refuses_to_attach = no_system.lacks_system = no_gc.lacks_gc = true;
    for (const fake_vm& how : {refuses, no_system, no_gc}) {
        mrv_jvm j = adapter_of(how);
        EXPECT_EQ(mrv_jvm_attach(&j), 0);
        EXPECT_EQ(vm.attached, 0);
        EXPECT_EQ(vm.references, 0);
        EXPECT_EQ(mrv_jvm_collect(&j), 0);
        EXPECT_EQ(vm.calls, 0);
    }
}

} // namespace
