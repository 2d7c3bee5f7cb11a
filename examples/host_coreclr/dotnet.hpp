// SPDX-License-Identifier: MIT
// Starting .NET in this process through hostfxr, which is found beside the dotnet on PATH. The part of
// hostfxr's interface that is used is declared here by hand, after .NET's documentation on native
// hosting: a context is made from a runtimeconfig.json, and gives a function that loads assemblies.
// Errors end the program with a line that says what is missing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace dotnet {

namespace fs = std::filesystem;

[[noreturn]] inline void fail(const std::string& what) {
    std::fprintf(stderr, "host_coreclr: %s\n", what.c_str());
    std::exit(1);
}

struct hostfxr_parameters {
    std::size_t size;
    const char* host_path;
    const char* dotnet_root;
};
using hostfxr_initialize = std::int32_t (*)(const char* runtime_config,
                                            const hostfxr_parameters* parameters, void** context);
using hostfxr_get_delegate = std::int32_t (*)(void* context, std::int32_t type, void** function);
using hostfxr_close = std::int32_t (*)(void* context);
using load_function = std::int32_t (*)(const char* assembly, const char* type, const char* method,
                                       const char* delegate_type, void* reserved, void** function);
constexpr std::int32_t load_assembly_and_get_function_pointer = 5;
inline const char* const unmanaged_callers_only =
    reinterpret_cast<const char*>(std::intptr_t{-1}); // as the delegate type

// Where the dotnet on PATH is at home.
inline fs::path root() {
    const char* search = std::getenv("PATH");
    std::string rest = search != nullptr ? search : "";
    while (!rest.empty()) {
        const std::string folder = rest.substr(0, rest.find(':'));
        rest.erase(0, std::min(rest.size(), folder.size() + 1));
        std::error_code none;
        const fs::path found = fs::canonical(fs::path(folder) / "dotnet", none);
        if (!none && fs::exists(found.parent_path() / "host" / "fxr")) {
            return found.parent_path();
        }
    }
    fail("there is no dotnet on PATH");
}

// The newest, by the numbers of its version.
inline fs::path hostfxr_of(const fs::path& home) {
    std::vector<std::pair<std::vector<int>, fs::path>> found;
    for (const auto& entry : fs::directory_iterator(home / "host" / "fxr")) {
        std::vector<int> version(3);
        if (std::sscanf(entry.path().filename().c_str(), "%d.%d.%d", &version[0], &version[1],
                        &version[2]) == 3) {
            found.emplace_back(version, entry.path() / "libhostfxr.so");
        }
    }
    if (found.empty()) {
        fail("there is no hostfxr below " + home.string());
    }
    return std::max_element(found.begin(), found.end())->second;
}

// .NET, started with the settings beside an assembly.
class runtime {
public:
    explicit runtime(const char* assembly) : assembly_(fs::absolute(assembly)) {
        const std::string home = root().string();
        void* fxr = dlopen(hostfxr_of(home).c_str(), RTLD_LAZY | RTLD_LOCAL);
        if (fxr == nullptr) {
            fail(dlerror());
        }
        const auto initialize = reinterpret_cast<hostfxr_initialize>(
            dlsym(fxr, "hostfxr_initialize_for_runtime_config"));
        const auto get_delegate =
            reinterpret_cast<hostfxr_get_delegate>(dlsym(fxr, "hostfxr_get_runtime_delegate"));
        const auto close = reinterpret_cast<hostfxr_close>(dlsym(fxr, "hostfxr_close"));
        if (initialize == nullptr || get_delegate == nullptr || close == nullptr) {
            fail("libhostfxr.so is not what was expected");
        }
        const fs::path settings = fs::path(assembly_).replace_extension("runtimeconfig.json");
        const hostfxr_parameters parameters{sizeof parameters, nullptr, home.c_str()};
        void* context = nullptr;
        void* load = nullptr;
        if (initialize(settings.c_str(), &parameters, &context) != 0 ||
            get_delegate(context, load_assembly_and_get_function_pointer, &load) != 0) {
            fail(".NET does not start with " + settings.string());
        }
        close(context); // the runtime stays
        load_ = reinterpret_cast<load_function>(load);
    }

    // A static method marked [UnmanagedCallersOnly].
    template <class Function>
    void find(const char* type, const char* method, Function* out) const {
        const std::string full_type = std::string(type) + ", " + assembly_.stem().string();
        void* found = nullptr;
        if (load_(assembly_.c_str(), full_type.c_str(), method, unmanaged_callers_only, nullptr,
                  &found) != 0) {
            fail(assembly_.string() + " has no " + type + "." + method);
        }
        *out = reinterpret_cast<Function>(found);
    }

private:
    fs::path assembly_;
    load_function load_ = nullptr;
};

} // namespace dotnet
