/* CRC-32C (Castagnoli), as in RFC 3720 appendix B.4: finds every burst of 32 bits and every flip of three. By the
 * processor's instruction where there is one, else by table; both give the same. */
#ifndef ENGINE_JOURNAL_CRC_H
#define ENGINE_JOURNAL_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from `crc` (0 at the start), so that a sum may be taken in pieces. */
uint32_t journal_crc32c(uint32_t crc, const void *bytes, size_t length);
/* The same without the processor's help; for the test that compares the two. */
uint32_t journal_crc32c_by_table(uint32_t crc, const void *bytes, size_t length);

#endif
