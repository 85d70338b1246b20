# For scripts/cross: CHIME_CROSS is the compiler's triplet, CHIME_CROSS_DEBIAN the one in Debian's library paths, CHIME_SYSROOT where the
# packages of that architecture were unpacked. The C library is the cross compiler's own.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CHIME_CROSS CHIME_CROSS_DEBIAN CHIME_SYSROOT CHIME_EMULATOR)
string(REGEX REPLACE "-.*" "" CMAKE_SYSTEM_PROCESSOR "${CHIME_CROSS}")
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER "${CHIME_CROSS}-gcc")
set(CMAKE_CROSSCOMPILING_EMULATOR "${CHIME_EMULATOR}")

set(libraries "${CHIME_SYSROOT}/usr/lib/${CHIME_CROSS_DEBIAN}")
set(more_libraries "${CHIME_SYSROOT}/lib/${CHIME_CROSS_DEBIAN}")
set(c_library "/usr/${CHIME_CROSS}/lib")
file(GLOB loader "${c_library}/ld64.so.1" "${c_library}/ld-linux.so.2")
set(CMAKE_C_FLAGS_INIT "-isystem ${CHIME_SYSROOT}/usr/include -isystem ${CHIME_SYSROOT}/usr/include/${CHIME_CROSS_DEBIAN}")
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-L${libraries} -Wl,-rpath-link,${more_libraries}")
endforeach()
# Programs find the architecture's loader and libraries without a place of theirs in the system.
string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT
       " -Wl,--dynamic-linker=${loader} -Wl,-rpath,${libraries}:${more_libraries}:${c_library} -Wl,--disable-new-dtags")

set(ENV{PKG_CONFIG_LIBDIR} "${libraries}/pkgconfig:${CHIME_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CHIME_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH "${CHIME_SYSROOT}" "/usr/${CHIME_CROSS}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
