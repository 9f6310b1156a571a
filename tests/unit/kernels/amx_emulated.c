/* SPDX-License-Identifier: Apache-2.0
 *
 * The AMX convolution once more, on emulated tiles, under names of its own: rf_cpu_rows_amx_conv_
 * amx_emulated. It differs from the product's code inside amx_tile.h only.
 */
#define RF_AMX_EMULATE
#define RF_CPU_ISA amx_emulated
#include "kernels/cpu/amx_conv.c"

__thread amx_machine amx_emulated;
int amx_emulated_errors;

/* One product of full tiles, for a test of the emulator itself. */
void amx_emulated_product(const uint16_t *a, const uint16_t *b, float *c);
void amx_emulated_product(const uint16_t *a, const uint16_t *b, float *c)
{
    amx_configure();
    AMX_LOAD(0, c, 64);
    AMX_LOAD(1, a, 64);
    AMX_LOAD(2, b, 64);
    AMX_DPBF16(0, 1, 2);
    AMX_STORE(0, c, 64);
    amx_release();
}

/* A store after the release: the hardware faults. */
void amx_emulated_misuse(void *p);
void amx_emulated_misuse(void *p)
{
    amx_configure();
    amx_release();
    AMX_STORE(0, p, 64);
}
