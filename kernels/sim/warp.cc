// SPDX-License-Identifier: Apache-2.0
//
// What the lanes of a warp do together, and cp.async. Every warp function writes the lane's slot,
// meets the other lanes and reads theirs; slots are double, because a lane may be at the next
// function before another has read.
#include "kernels/sim/internal.h"

namespace simt
{

const Slots &meet(const char *function, unsigned mask, const void *value, size_t bytes)
{
    return meet_at(__builtin_return_address(0), function, mask, value, bytes);
}

void warp_wait()
{
    meet_at(__builtin_return_address(0), "__syncwarp", 0xffffffffu, nullptr, 0);
}

void ldmatrix_x4(uint32_t (&r)[4], const void *row, bool transposed)
{
    const void *site = __builtin_return_address(0);
    if (block->requests)
        request(site, row, 16, LOAD_MATRIX, true);
    check_shared(row, 16, 16, LOAD_MATRIX);
    const Slots &slots = meet_at(site, "ldmatrix", 0xffffffffu, &row, sizeof row);
    for (uint32_t i = 0; i < 4; i++) {
        const uint16_t *rows[8];
        for (uint32_t k = 0; k < 8; k++)
            memcpy(&rows[k], slots[8 * i + k], sizeof rows[k]);
        uint32_t g = self->lane / 4, t = self->lane % 4 * 2;
        uint32_t low = transposed ? rows[t][g] : rows[g][t];
        uint32_t high = transposed ? rows[t + 1][g] : rows[g][t + 1];
        r[i] = low | high << 16;
    }
}

// Slot of a lane: its 8 elements of a and 4 of b. In the quad of group g, lane k holds the
// k-columns 2k, 2k+1, 2k+8, 2k+9.
void mma_16816(float (&d)[4], const float (&a)[8], const float (&b)[4])
{
    float mine[12];
    memcpy(mine, a, sizeof a);
    memcpy(mine + 8, b, sizeof b);
    const Slots &slots =
        meet_at(__builtin_return_address(0), "mma", 0xffffffffu, mine, sizeof mine);
    auto slot = [&](uint32_t lane) { return (const float *)slots[lane]; };
    uint32_t g = self->lane / 4, t = self->lane % 4;
    for (uint32_t k = 0; k < 4; k++) {
        const float *A = slot(4 * g + k);
        const float *B0 = slot(4 * (2 * t) + k) + 8, *B1 = slot(4 * (2 * t + 1) + k) + 8;
        for (int e = 0; e < 2; e++) {
            d[0] += A[e] * B0[e] + A[4 + e] * B0[2 + e];
            d[1] += A[e] * B1[e] + A[4 + e] * B1[2 + e];
            d[2] += A[2 + e] * B0[e] + A[6 + e] * B0[2 + e];
            d[3] += A[2 + e] * B1[e] + A[6 + e] * B1[2 + e];
        }
    }
}

// ---- cp.async ----------------------------------------------------------------------------------
// The source is checked even where the copy only fills with zeros: device.cuh asks for that.
void cp_async(void *shared, const void *global, int bytes, bool valid)
{
    const void *site = __builtin_return_address(0);
    uint32_t n = (uint32_t)bytes;
    if (block->requests) {
        request(site, shared, n, COPY, true);
        if (valid)
            request(site, global, n, COPY, false);
    }
    check_memory(global, n, n, COPY);
    check_shared(shared, n, n, COPY);
    self->copies.push_back({shared, global, (uint8_t)bytes, valid});
    memset(shared, 0xff, n);
}

void cp_commit()
{
    self->group_end.push_back(self->copies.size());
}

// Copies land here and not before, so that a missing wait reads NaN.
void cp_wait(int n)
{
    Fiber &f = *self;
    if (f.group_end.size() <= (size_t)n)
        return;
    size_t groups = f.group_end.size() - (size_t)n, end = f.group_end[groups - 1];
    for (size_t i = 0; i < end; i++) {
        const Copy &c = f.copies[i];
        if (c.valid)
            memcpy(c.to, c.from, c.bytes);
        else
            memset(c.to, 0, c.bytes);
        land_copy(c);
    }
    f.copies.erase(f.copies.begin(), f.copies.begin() + (ptrdiff_t)end);
    f.group_end.erase(f.group_end.begin(), f.group_end.begin() + (ptrdiff_t)groups);
    for (size_t &e : f.group_end)
        e -= end;
}

} // namespace simt

unsigned __ballot_sync(unsigned mask, int predicate)
{
    using namespace simt;
    unsigned char mine = predicate != 0;
    const Slots &slots = meet_at(__builtin_return_address(0), "a vote", mask, &mine, sizeof mine);
    unsigned r = 0;
    for (uint32_t i = 0; i < 32; i++)
        r |= (unsigned)slots[i][0] << i;
    return r;
}

float rf_atomic_add(float *p, float v)
{
    if (simt::block->requests)
        simt::request(__builtin_return_address(0), p, 4, simt::ATOMIC, false);
    simt::check_memory(p, 4, 4, simt::ATOMIC);
    uint32_t *bits = (uint32_t *)p, old = __atomic_load_n(bits, __ATOMIC_RELAXED), sum;
    float f;
    do {
        memcpy(&f, &old, 4);
        float s = f + v;
        memcpy(&sum, &s, 4);
    } while (
        !__atomic_compare_exchange_n(bits, &old, sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return f;
}
