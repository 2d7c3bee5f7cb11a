# SPDX-License-Identifier: MIT
# What `cmake --install` puts where; tests/package/installed.txt lists it.
include(CMakePackageConfigHelpers)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/memreeve" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    COMPONENT development FILES_MATCHING PATTERN "*.h")
if(EXISTS "${PROJECT_BINARY_DIR}/include/memreeve/version.h")
    install(FILES "${PROJECT_BINARY_DIR}/include/memreeve/version.h"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/memreeve" COMPONENT development)
endif()
if(TARGET memreeve_preload)
    install(TARGETS memreeve_preload LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/memreeve" COMPONENT runtime)
endif()
if(TARGET memreeve_cli)
    install(TARGETS memreeve_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT runtime)
endif()
if(EXISTS "${PROJECT_SOURCE_DIR}/docs/man/memreeve.1")
    install(FILES "${PROJECT_SOURCE_DIR}/docs/man/memreeve.1"
        DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" COMPONENT runtime)
endif()

if(TARGET memreeve)
    install(TARGETS memreeve EXPORT memreeve-targets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime NAMELINK_COMPONENT development)
    if(TARGET memreeve_embed)
        install(TARGETS memreeve_embed EXPORT memreeve-targets
            ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development)
    endif()
    set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/memreeve")
    install(EXPORT memreeve-targets NAMESPACE memreeve:: DESTINATION "${package_dir}" COMPONENT development)
    configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/memreeve-config.cmake.in"
        "${PROJECT_BINARY_DIR}/cmake/memreeve-config.cmake" INSTALL_DESTINATION "${package_dir}")
    write_basic_package_version_file("${PROJECT_BINARY_DIR}/cmake/memreeve-config-version.cmake"
        COMPATIBILITY SameMajorVersion)
    install(FILES "${PROJECT_BINARY_DIR}/cmake/memreeve-config.cmake"
        "${PROJECT_BINARY_DIR}/cmake/memreeve-config-version.cmake"
        DESTINATION "${package_dir}" COMPONENT development)

    # pkg-config finds the prefix from its own place, so an installed tree may be moved; an absolute
    # directory stays as it is.
    cmake_path(IS_ABSOLUTE CMAKE_INSTALL_LIBDIR libdir_is_absolute)
    cmake_path(IS_ABSOLUTE CMAKE_INSTALL_INCLUDEDIR includedir_is_absolute)
    if(libdir_is_absolute)
        set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
        set(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
    else()
        string(REGEX REPLACE "[^/]+" ".." up "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
        set(pc_prefix "\${pcfiledir}/${up}")
        set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    endif()
    if(includedir_is_absolute)
        set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
    else()
        set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
    endif()
    configure_file("${CMAKE_CURRENT_LIST_DIR}/memreeve.pc.in" "${PROJECT_BINARY_DIR}/cmake/memreeve.pc" @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/cmake/memreeve.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT development)
    if(TARGET memreeve_embed)
        configure_file("${CMAKE_CURRENT_LIST_DIR}/memreeve-embed.pc.in"
            "${PROJECT_BINARY_DIR}/cmake/memreeve-embed.pc" @ONLY)
        install(FILES "${PROJECT_BINARY_DIR}/cmake/memreeve-embed.pc"
            DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT development)
    endif()
endif()
