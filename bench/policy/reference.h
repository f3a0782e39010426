/*
 * Caches from the literature, for comparison only: they hold user numbers and count hits.
 *   LRU        exact
 *   SIEVE      Zhang et al., NSDI 2024
 *   S3-FIFO    Yang et al., SOSP 2023: small queue 10 %, ghost queue as long as the main one, frequency up to 3
 *   W-TinyLFU  Einziger et al., ACM ToS 2017: window 1 %, SLRU main (80 % protected), 4-bit count-min sketch of four rows,
 *              halved every 10 × capacity requests
 */
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { REFERENCE_LRU, REFERENCE_SIEVE, REFERENCE_S3_FIFO, REFERENCE_W_TINYLFU } reference_kind_t;

typedef struct reference reference_t;

/* users: numbers 0…users−1. The program ends when there is no memory. */
reference_t *reference_create(reference_kind_t kind, uint32_t capacity, uint32_t users);
void reference_destroy(reference_t *cache);
/* True: a hit. A miss brings the user in. */
bool reference_request(reference_t *cache, uint32_t user);

#endif
