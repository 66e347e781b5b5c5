# find_package(ollm) gives ollm::ollm, the shared library, and ollm::static.

get_filename_component(_ollm_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET ollm::ollm)
  add_library(ollm::ollm SHARED IMPORTED)
  set_target_properties(ollm::ollm PROPERTIES
    IMPORTED_LOCATION "${_ollm_prefix}/lib/libollm.so.1"
    IMPORTED_SONAME "libollm.so.1"
    INTERFACE_INCLUDE_DIRECTORIES "${_ollm_prefix}/include")

  add_library(ollm::static STATIC IMPORTED)
  set_target_properties(ollm::static PROPERTIES
    IMPORTED_LOCATION "${_ollm_prefix}/lib/libollm.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_ollm_prefix}/include"
    INTERFACE_LINK_LIBRARIES "util;rt;pthread;m;dl")
endif()

unset(_ollm_prefix)
