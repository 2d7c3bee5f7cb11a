# SPDX-License-Identifier: MIT
# memreeve_target() gives every target its standard, warnings, visibility and sanitizers.
# memreeve_layer() makes the library of one folder of src/.

# Which back end of prim a program gets unless it asks for one: sanitizers see only mappings that
# pass through libc.
if(MEMREEVE_SANITIZE)
    set(MEMREEVE_DEFAULT_PRIM memreeve_prim_libc)
else()
    set(MEMREEVE_DEFAULT_PRIM memreeve_prim_raw)
endif()

# memreeve_target(<target> [CORE] [PRIM <back end>])
#   CORE  may end up in the preload library (decision 21): no exceptions, no RTTI, no guards of
#         function-local statics, thread-local words at fixed offsets
#   PRIM  the back end of prim that a program or shared library is linked with
function(memreeve_target target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "CORE" "PRIM" "")
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF C_VISIBILITY_PRESET hidden
        CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON POSITION_INDEPENDENT_CODE ON)
    target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
    target_compile_options(${target} PRIVATE
        -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef
        $<$<BOOL:${MEMREEVE_WERROR}>:-Werror>)
    target_include_directories(${target} PRIVATE
        "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include" "${PROJECT_BINARY_DIR}/include")
    target_link_options(${target} PRIVATE -Wl,-z,relro -Wl,-z,now)
    if(MEMREEVE_SANITIZE)
        # vptr needs RTTI, which the core does without; instrumented code draws false -Wconversion,
        # and fences, which ThreadSanitizer does not model, -Wtsan: other lanes enforce warnings.
        target_compile_options(${target} PRIVATE -fsanitize=${MEMREEVE_SANITIZE} -fno-omit-frame-pointer
            -fno-sanitize-recover=all $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize=vptr>
            -Wno-conversion $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
        target_link_options(${target} PRIVATE -fsanitize=${MEMREEVE_SANITIZE})
    endif()
    if(MEMREEVE_FUZZ)
        target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
    endif()
    if(arg_CORE)
        target_compile_options(${target} PRIVATE -ftls-model=initial-exec
            $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti -fno-threadsafe-statics>)
    endif()
    if(arg_PRIM)
        set_target_properties(${target} PROPERTIES MEMREEVE_PRIM ${arg_PRIM})
    endif()
endfunction()

# memreeve_layer(<name> [EXCEPT <pattern>...] [LINK <target>...])
# The library memreeve_<name> of src/<name>, subfolders included. A folder without sources becomes
# an INTERFACE library, so that the graph of targets is the same at every stage.
function(memreeve_layer name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "EXCEPT;LINK")
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${name}/*.cpp")
    foreach(pattern IN LISTS arg_EXCEPT)
        list(FILTER sources EXCLUDE REGEX "${pattern}")
    endforeach()
    if(sources)
        add_library(memreeve_${name} STATIC ${sources})
        memreeve_target(memreeve_${name} CORE)
        target_link_libraries(memreeve_${name} PUBLIC ${arg_LINK})
        set_property(GLOBAL APPEND PROPERTY MEMREEVE_LAYERS memreeve_${name})
    else()
        add_library(memreeve_${name} INTERFACE)
        target_link_libraries(memreeve_${name} INTERFACE ${arg_LINK})
    endif()
endfunction()

# memreeve_program(<target> [PRIM <back end>] [NAME <file name>] SOURCES <file>... [LINK <target>...])
function(memreeve_program target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "PRIM;NAME" "SOURCES;LINK")
    if(NOT arg_PRIM)
        set(arg_PRIM ${MEMREEVE_DEFAULT_PRIM})
    endif()
    add_executable(${target} ${arg_SOURCES})
    memreeve_target(${target} PRIM ${arg_PRIM})
    target_link_libraries(${target} PRIVATE ${arg_LINK})
    if(arg_NAME)
        set_target_properties(${target} PROPERTIES OUTPUT_NAME ${arg_NAME})
    endif()
endfunction()
