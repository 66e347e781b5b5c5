/* The C API of the OLLM runtime. */
#ifndef OLLM_H
#define OLLM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library, "MAJOR.MINOR.PATCH". The text is static: never free it. Any thread. Since 0.1.0. */
const char *ollm_version(void);

/* The version of the ABI; it grows by one with each change that breaks callers. Any thread. Since 0.1.0. */
uint32_t ollm_abi_version(void);

#ifdef __cplusplus
}
#endif

#endif
