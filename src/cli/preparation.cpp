// SPDX-License-Identifier: MIT
#include "cli/preparation.hpp"

#include "prim/linux/launch.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace memreeve::cli {

namespace {

constexpr const char* library_name = "libmemreeve_preload.so";

std::vector<std::string>::iterator find_variable(std::vector<std::string>& environment,
                                                 std::string_view name) {
    return std::find_if(environment.begin(), environment.end(), [&](const std::string& v) {
        return v.size() > name.size() && v.starts_with(name) && v[name.size()] == '=';
    });
}

void unset(std::vector<std::string>& environment, const std::string& name) {
    std::erase_if(environment, [&](const std::string& v) { return v.starts_with(name + "="); });
}

void set(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
    unset(environment, name);
    environment.push_back(name + "=" + value);
}

bool names_library(std::string_view list, std::string_view library) {
    while (!list.empty()) {
        const std::size_t end = std::min(list.find_first_of(": "), list.size());
        if (list.substr(0, end) == library) {
            return true;
        }
        list.remove_prefix(std::min(end + 1, list.size()));
    }
    return false;
}

} // namespace

std::optional<std::string> find_preload_library(std::string& tried) {
    std::vector<std::string> places;
    if (const char* given = prim::trusted_variable("MEMREEVE_PRELOAD");
        given != nullptr && *given != '\0') {
        places.emplace_back(given);
    } else {
        std::string self;
        if (prim::read_link("/proc/self/exe", self) == 0) {
            const std::string bin = self.substr(0, self.rfind('/'));
            const std::string prefix = bin.substr(0, bin.rfind('/'));
            for (const char* folder : {"/lib/", "/lib/memreeve/", "/lib/x86_64-linux-gnu/memreeve/",
                                       "/lib64/memreeve/"}) {
                places.push_back(prefix + folder + library_name);
            }
        }
    }
    tried.clear();
    for (const std::string& place : places) {
        prim::file_facts facts;
        if (prim::examine_file(place, facts) == 0 && facts.is_regular) {
            return place;
        }
        tried += tried.empty() ? place : ", " + place;
    }
    return std::nullopt;
}

std::vector<std::string> governed_environment(std::vector<std::string> environment,
                                              const std::string& library, const std::string& ledger,
                                              bool best_effort) {
    std::string preload = library;
    if (const auto at = find_variable(environment, "LD_PRELOAD"); at != environment.end()) {
        const std::string before = at->substr(at->find('=') + 1);
        if (!before.empty()) {
            preload = names_library(before, library) ? before : library + ":" + before;
        }
    }
    set(environment, "LD_PRELOAD", preload);
    set(environment, "MEMREEVE_LEDGER", ledger);
    unset(environment, "MEMREEVE_BEST_EFFORT"); // an outer run's
    if (best_effort) {
        set(environment, "MEMREEVE_BEST_EFFORT", "1");
    }
    return environment;
}

} // namespace memreeve::cli
