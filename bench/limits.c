/* What a core can do at the most: multiply-adds in registers, and reading in order. */

#include <stdint.h>

#if defined(__AVX512F__)
typedef float vector __attribute__((vector_size(64)));
#elif defined(__AVX__)
typedef float vector __attribute__((vector_size(32)));
#else
typedef float vector __attribute__((vector_size(16)));
#endif

#if defined(__aarch64__)
#define A_VECTOR "w"
#else
#define A_VECTOR "x"
#endif

enum { CHAINS = 12 };

/* Chains of multiply-adds, none of which waits for another; returns how many operations that were. */
int64_t multiply(float *place, int64_t steps)
{
    vector sums[CHAINS] = {0}, x = {1.0f}, y = {0.5f};
    __asm__("" : "+" A_VECTOR(x), "+" A_VECTOR(y));
    for (int64_t step = 0; step < steps; step++)
#pragma unroll
        for (int chain = 0; chain < CHAINS; chain++)
            sums[chain] = sums[chain] * x + y;
    vector sum = {0};
    for (int chain = 0; chain < CHAINS; chain++)
        sum += sums[chain];
    *place = sum[0];
    return steps * CHAINS * 2 * (int64_t)(sizeof(vector) / sizeof(float));
}

/* Bytes from a place on, again and again; returns how many were read. */
int64_t read_all(const char *place, int64_t bytes, int64_t times)
{
    const int64_t block = CHAINS * sizeof(vector);
    for (int64_t turn = 0; turn < times; turn++)
        for (int64_t at = 0; at + block <= bytes; at += block)
#pragma unroll
            for (int chain = 0; chain < CHAINS; chain++) {
                vector seen = *(const vector *)(place + at + chain * sizeof(vector));
                __asm__ volatile("" : : A_VECTOR(seen));
            }
    return times * (bytes / block) * block;
}
