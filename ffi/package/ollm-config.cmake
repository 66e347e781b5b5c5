# find_package(ollm) gives ollm::ollm, the shared library, and ollm::static.

get_filename_component(_ollm_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET ollm::ollm)
  add_library(ollm::ollm SHARED IMPORTED)
  if(WIN32)
    set_target_properties(ollm::ollm PROPERTIES
      IMPORTED_LOCATION "${_ollm_prefix}/bin/ollm.dll"
      IMPORTED_IMPLIB "${_ollm_prefix}/lib/libollm.dll.a")
    set(_ollm_system kernel32 ntdll userenv ws2_32 dbghelp)
  elseif(APPLE)
    set_target_properties(ollm::ollm PROPERTIES
      IMPORTED_LOCATION "${_ollm_prefix}/lib/libollm.1.dylib"
      IMPORTED_SONAME "@rpath/libollm.1.dylib")
    set(_ollm_system "")
  else()
    set_target_properties(ollm::ollm PROPERTIES
      IMPORTED_LOCATION "${_ollm_prefix}/lib/libollm.so.1"
      IMPORTED_SONAME "libollm.so.1")
    set(_ollm_system util rt pthread m dl)
  endif()
  set_target_properties(ollm::ollm PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_ollm_prefix}/include")

  add_library(ollm::static STATIC IMPORTED)
  set_target_properties(ollm::static PROPERTIES
    IMPORTED_LOCATION "${_ollm_prefix}/lib/libollm.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_ollm_prefix}/include"
    INTERFACE_LINK_LIBRARIES "${_ollm_system}")
endif()

unset(_ollm_prefix)
unset(_ollm_system)
