# One interface library carries every flag, so that a folder cannot forget one.
add_library(bookcart_flags INTERFACE)
target_compile_options(bookcart_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes
  -Wwrite-strings -Wundef -Wformat=2 -Wvla -Wdouble-promotion -fno-common -fno-strict-aliasing)
target_compile_definitions(bookcart_flags INTERFACE _GNU_SOURCE BOOKCART_VERSION="${PROJECT_VERSION}")
target_include_directories(bookcart_flags INTERFACE "${PROJECT_SOURCE_DIR}/src")

if(CMAKE_BUILD_TYPE STREQUAL "Release")
  # -O2 keeps asserts: our own mistakes stop a service before they reach the journal.
  set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
  target_compile_options(bookcart_flags INTERFACE -fstack-protector-strong -fstack-clash-protection -fcf-protection)
  target_compile_definitions(bookcart_flags INTERFACE _FORTIFY_SOURCE=2)
  target_link_options(bookcart_flags INTERFACE -Wl,-z,relro,-z,now)
  set(CMAKE_EXE_LINKER_FLAGS "${CMAKE_EXE_LINKER_FLAGS} -pie")
endif()

if(BOOKCART_SANITIZE OR BOOKCART_FUZZ)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
if(BOOKCART_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
