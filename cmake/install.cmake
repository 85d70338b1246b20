# What "make install" leaves: the program, headers, both libraries, pkg-config and CMake files, man pages.
include(CMakePackageConfigHelpers)

install(TARGETS chime_static chime_shared EXPORT chime-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set_target_properties(chime_shared PROPERTIES EXPORT_NAME chime)
set_target_properties(chime_static PROPERTIES EXPORT_NAME static)
add_library(chime::chime ALIAS chime_shared)
add_library(chime::static ALIAS chime_static)
if(TARGET chime)
  install(TARGETS chime RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY include/chime DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/chime)
install(EXPORT chime-targets NAMESPACE chime:: DESTINATION ${package_dir})
configure_package_config_file(cmake/chime-config.cmake.in ${CMAKE_BINARY_DIR}/chime-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/chime-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/chime-config.cmake ${CMAKE_BINARY_DIR}/chime-config-version.cmake
        DESTINATION ${package_dir})

file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
if(CHIME_USRSCTP)
  set(CHIME_PC_USRSCTP " -lusrsctp")
endif()
configure_file(cmake/chime.pc.in ${CMAKE_BINARY_DIR}/chime.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/chime.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# A link for each name that a page of section 3 has besides its own: "man chime_recv".
file(GLOB pages CONFIGURE_DEPENDS man/*.3)
foreach(page ${pages})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
  get_filename_component(own ${page} NAME_WE)
  file(STRINGS ${page} lines REGEX "^\\.Nm chime_")
  foreach(line ${lines})
    string(REGEX REPLACE "^\\.Nm (chime_[a-z0-9_]+).*" "\\1" name "${line}")
    if(NOT EXISTS ${CMAKE_SOURCE_DIR}/man/${name}.3)
      file(WRITE ${CMAKE_BINARY_DIR}/man3/${name}.3 ".so man3/${own}.3\n")
      install(FILES ${CMAKE_BINARY_DIR}/man3/${name}.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
    endif()
  endforeach()
endforeach()

foreach(section 1 3 7)
  file(GLOB pages CONFIGURE_DEPENDS man/*.${section})
  install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
