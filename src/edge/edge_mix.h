/*
 * Fast 64-bit mixing for tags and buckets: the folded product of two words (as in wyhash). The same on every machine
 * and in every run, because entity tags must be; not for anything an attacker may gain from colliding.
 * Source: https://github.com/wangyi-fudan/wyhash (the multiply-and-fold step).
 */
#ifndef EDGE_MIX_H
#define EDGE_MIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t edge_mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)(a ^ UINT64_C(0xa0761d6478bd642f)) * (b ^ UINT64_C(0xe7037ed1a0b428db));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t edge_mix_bytes(uint64_t seed, const void *bytes, size_t length) {
    const uint8_t *at = (const uint8_t *)bytes;
    uint64_t hash = edge_mix(seed, length);
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = edge_mix(hash, word);
    }
    uint64_t last = 0;
    memcpy(&last, at, length);
    return edge_mix(hash, last ^ UINT64_C(0x8ebc6af09c88c6e3));
}

#endif
