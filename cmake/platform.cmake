# SPDX-License-Identifier: MIT
# The only place that asks what this is built for and where products go.
include(GNUInstallDirs)

if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR NOT CMAKE_SIZEOF_VOID_P EQUAL 8)
    message(FATAL_ERROR
        "memreeve builds for 64-bit Linux; this is ${CMAKE_SYSTEM_NAME} with ${CMAKE_SIZEOF_VOID_P}-byte pointers.")
endif()
set(MEMREEVE_PLATFORM linux)

if(PROJECT_IS_TOP_LEVEL)
    set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
    set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
    set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
    if(NOT CMAKE_BUILD_TYPE)
        set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
    endif()
    find_program(MEMREEVE_CCACHE ccache)
    mark_as_advanced(MEMREEVE_CCACHE)
    if(MEMREEVE_CCACHE)
        foreach(language IN ITEMS C CXX)
            if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
                set(CMAKE_${language}_COMPILER_LAUNCHER "${MEMREEVE_CCACHE}")
            endif()
        endforeach()
    endif()
endif()

find_package(Threads REQUIRED)
