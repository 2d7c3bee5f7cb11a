// SPDX-License-Identifier: MIT
// The libc names for leaving a process image and for starting another, and the library's own start
// and end. libc's own system() and popen() start programs inside libc: their children attach by
// themselves; what cannot attach is then not named in the closing lines.
#include "bridge/early_collection.hpp"
#include "bridge/environment.hpp"
#include "bridge/knobs.hpp"
#include "bridge/pictures.hpp"
#include "bridge/settings.hpp"
#include "bridge/state.hpp"
#include "bridge/successor.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <unistd.h>

using namespace memreeve;

#define MEMREEVE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using spawn_function = int (*)(pid_t*, const char*, const posix_spawn_file_actions_t*,
                               const posix_spawnattr_t*, char* const[], char* const[]);

// libc's own, found at the first use: another library's constructor may come before ours.
constinit std::atomic<spawn_function> libc_spawn{nullptr};
constinit std::atomic<spawn_function> libc_spawnp{nullptr};

spawn_function libc_function(std::atomic<spawn_function>& known, const char* name) noexcept {
    spawn_function f = known.load(std::memory_order_relaxed);
    if (f == nullptr) {
        f = reinterpret_cast<spawn_function>(dlsym(RTLD_NEXT, name));
        known.store(f, std::memory_order_relaxed);
    }
    return f;
}

constexpr std::size_t path_max = 4096;

// Under --no-children: what was taken out of the environment, for this process's own exec.
constinit bridge::governing_variables taken_out{};

void before_fork() {
    if (bridge::state* s = bridge::governed()) {
        s->announce_fork();
    }
}
void parent_after_fork() { bridge::the_state.after_fork_in_parent(); }
void child_after_fork() {
    if (bridge::state* s = bridge::governed()) {
        bridge::the_early_collection.start_in_child(*s);
    }
}

// Registered before the state below is published by anybody; what happens earlier, or by clone(),
// is found out by the wiped word.
// glibc calls constructors with main's arguments.
__attribute__((constructor)) void start(int argument_count, char** arguments, char**) {
    static_cast<void>(pthread_atfork(before_fork, parent_after_fork, child_after_fork));
    if (bridge::state* s = bridge::governed()) {
        bridge::remember_own_library();
        bridge::turn_knobs(*s, argument_count, arguments);
        if (s->leaves_children_alone()) {
            taken_out = bridge::take_out_governing_variables();
        }
        bridge::the_early_collection.start(*s);
    }
}

// At exit, after the program's own destructors. Memory calls may still come.
__attribute__((destructor)) void finish() {
    if (bridge::state* s = bridge::governed()) {
        bridge::publish_last_picture(*s);
    }
}

std::size_t count_strings(char* const* strings) noexcept {
    std::size_t n = 0;
    while (strings[n] != nullptr) {
        ++n;
    }
    return n;
}

// Where the terminating null was put.
char** copy_environment(char** to, char* const* from, bool drops_settings) noexcept {
    for (; *from != nullptr; ++from) {
        const char* kept = drops_settings ? bridge::without_settings(*from) : *from;
        if (kept != nullptr) {
            *to++ = const_cast<char*>(kept);
        }
    }
    *to = nullptr;
    return to;
}

int execute(const char* path, char* const* arguments, char* const* environment) noexcept {
    bridge::state* s = bridge::governed();
    const bool takes_them_along = s != nullptr && s->leaves_children_alone() &&
                                  !s->shares_memory() && taken_out.ledger != nullptr &&
                                  bridge::variable_in(environment, "MEMREEVE_LEDGER") == nullptr;
    // What is left alone gets no setting of ours either.
    const bool drops_settings =
        s != nullptr && (s->is_left_alone() || (s->leaves_children_alone() && s->shares_memory()));
    char* const none[] = {nullptr};
    if (takes_them_along || drops_settings) {
        environment = environment != nullptr ? environment : none;
        auto** own =
            static_cast<char**>(__builtin_alloca((count_strings(environment) + 3) * sizeof(char*)));
        char** end = copy_environment(own, environment, drops_settings);
        if (takes_them_along) {
            *end++ = taken_out.ledger;
            *end++ = taken_out.preload;
            *end = nullptr;
        }
        environment = own;
    }
    if (s != nullptr) {
        bridge::before_exec(*s, path, environment);
    }
    errno = static_cast<int>(-prim::pass_execve(path, arguments, environment));
    return -1;
}

// A file that is no program but may be executed is a shell script (POSIX). The list is as long as
// it is: a thread that has come so far may have little stack, so nothing is sized for the worst case.
void execute_by_shell(const char* path, char* const* arguments, char* const* environment) noexcept {
    std::size_t count = 0;
    while (arguments[count] != nullptr) {
        ++count;
    }
    auto** shell = static_cast<char**>(__builtin_alloca((count + 3) * sizeof(char*)));
    std::size_t n = 0;
    shell[n++] = const_cast<char*>("/bin/sh");
    shell[n++] = const_cast<char*>(path);
    for (std::size_t i = 1; i < count; ++i) {
        shell[n++] = arguments[i];
    }
    shell[n] = nullptr;
    static_cast<void>(execute("/bin/sh", shell, environment));
}

// The search of execvp: PATH, or /bin:/usr/bin; a permission error is remembered, a missing file not.
int execute_by_name(const char* name, char* const* arguments, char* const* environment) noexcept {
    if (*name == '\0') {
        errno = ENOENT;
        return -1;
    }
    bool has_slash = false;
    for (const char* c = name; *c != '\0'; ++c) {
        has_slash = has_slash || *c == '/';
    }
    if (has_slash) {
        static_cast<void>(execute(name, arguments, environment));
        if (errno == ENOEXEC) {
            execute_by_shell(name, arguments, environment);
        }
        return -1;
    }
    const char* search = bridge::variable("PATH");
    search = search != nullptr ? search : "/bin:/usr/bin";
    const std::size_t name_size = bridge::length(name);
    bool denied = false;
    for (const char* p = search;; ++p) {
        char path[path_max];
        std::size_t n = 0;
        for (; *p != ':' && *p != '\0' && n + name_size + 2 < path_max; ++p) {
            path[n++] = *p;
        }
        if (*p == ':' || *p == '\0') {
            if (n != 0) {
                path[n++] = '/';
            }
            __builtin_memcpy(path + n, name, name_size + 1);
            static_cast<void>(execute(path, arguments, environment));
            if (errno == ENOEXEC) {
                execute_by_shell(path, arguments, environment);
            }
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES && errno != ESTALE &&
                errno != ENODEV && errno != ETIMEDOUT) {
                return -1;
            }
            denied = denied || errno == EACCES;
        } else {
            while (*p != ':' && *p != '\0') {
                ++p; // longer than any path
            }
        }
        if (*p == '\0') {
            break;
        }
    }
    if (denied) {
        errno = EACCES;
    }
    return -1;
}

// How many strings follow, the null not counted.
std::size_t count_strings(va_list more) noexcept {
    std::size_t n = 0;
    while (va_arg(more, char*) != nullptr) {
        ++n;
    }
    return n;
}

void gather(char** to, const char* first, va_list more) noexcept {
    *to++ = const_cast<char*>(first);
    if (first != nullptr) {
        while ((*to++ = va_arg(more, char*)) != nullptr) {
        }
    }
}

[[noreturn]] void leave(int status) noexcept {
    if (bridge::state* s = bridge::governed()) {
        bridge::publish_last_picture(*s);
    }
    prim::exit_now(status);
}

int spawn(spawn_function libc, pid_t* pid, const char* path,
          const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
          char* const arguments[], char* const environment[]) noexcept {
    if (libc == nullptr) {
        return ENOSYS;
    }
    bridge::state* s = bridge::governed();
    if (s != nullptr && environment != nullptr && s->leaves_children_alone()) {
        auto** own =
            static_cast<char**>(__builtin_alloca((count_strings(environment) + 1) * sizeof(char*)));
        static_cast<void>(copy_environment(own, environment, true));
        environment = own;
    }
    pid_t child = 0;
    const int e = libc(&child, path, actions, attributes, arguments, environment);
    if (e == 0) {
        if (pid != nullptr) {
            *pid = child;
        }
        if (s != nullptr) {
            bridge::after_spawn(*s, child, path, environment);
        }
    }
    return e;
}

} // namespace

MEMREEVE_EXPORT int execve(const char* path, char* const arguments[],
                           char* const environment[]) noexcept {
    return execute(path, arguments, environment);
}
// For syscall(): under a name that no other library can take.
extern "C" __attribute__((visibility("hidden"))) int memreeve_execve(
    const char* path, char* const arguments[], char* const environment[]) noexcept {
    return execute(path, arguments, environment);
}
MEMREEVE_EXPORT int execv(const char* path, char* const arguments[]) noexcept {
    return execute(path, arguments, bridge::own_environment());
}
MEMREEVE_EXPORT int execvp(const char* name, char* const arguments[]) noexcept {
    return execute_by_name(name, arguments, bridge::own_environment());
}
MEMREEVE_EXPORT int execvpe(const char* name, char* const arguments[],
                            char* const environment[]) noexcept {
    return execute_by_name(name, arguments, environment);
}
// The variadic family: counted, then gathered in as much stack as it needs.
#define MEMREEVE_GATHER(first, arguments)                                                          \
    va_list more;                                                                                  \
    va_start(more, first);                                                                         \
    const std::size_t count = count_strings(more) + 1;                                             \
    va_end(more);                                                                                  \
    auto** arguments = static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*)));         \
    va_start(more, first);                                                                         \
    gather(arguments, first, more);                                                                \
    va_end(more)

MEMREEVE_EXPORT int execl(const char* path, const char* first, ...) noexcept {
    MEMREEVE_GATHER(first, arguments);
    return execute(path, arguments, bridge::own_environment());
}
MEMREEVE_EXPORT int execlp(const char* name, const char* first, ...) noexcept {
    MEMREEVE_GATHER(first, arguments);
    return execute_by_name(name, arguments, bridge::own_environment());
}
MEMREEVE_EXPORT int execle(const char* path, const char* first, ...) noexcept {
    MEMREEVE_GATHER(first, arguments);
    va_start(more, first);
    for (std::size_t i = 0; i < count; ++i) {
        static_cast<void>(va_arg(more, char*)); // up to and with the null
    }
    char* const* environment = va_arg(more, char* const*);
    va_end(more);
    return execute(path, arguments, environment);
}
MEMREEVE_EXPORT int fexecve(int fd, char* const arguments[], char* const environment[]) noexcept {
    if (fd < 0) {
        errno = EINVAL;
        return -1;
    }
    if (bridge::state* s = bridge::governed()) {
        bridge::publish_picture(*s);
    }
    errno = static_cast<int>(-prim::pass_execveat(fd, "", arguments, environment, AT_EMPTY_PATH));
    return -1;
}

MEMREEVE_EXPORT int posix_spawn(pid_t* pid, const char* path,
                                const posix_spawn_file_actions_t* actions,
                                const posix_spawnattr_t* attributes, char* const arguments[],
                                char* const environment[]) noexcept {
    return spawn(libc_function(libc_spawn, "posix_spawn"), pid, path, actions, attributes,
                 arguments, environment);
}
MEMREEVE_EXPORT int posix_spawnp(pid_t* pid, const char* name,
                                 const posix_spawn_file_actions_t* actions,
                                 const posix_spawnattr_t* attributes, char* const arguments[],
                                 char* const environment[]) noexcept {
    return spawn(libc_function(libc_spawnp, "posix_spawnp"), pid, name, actions, attributes,
                 arguments, environment);
}

MEMREEVE_EXPORT [[noreturn]] void _exit(int status) { leave(status); }
MEMREEVE_EXPORT [[noreturn]] void _Exit(int status) noexcept { leave(status); }
