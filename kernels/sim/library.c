/* SPDX-License-Identifier: Apache-2.0
 *
 * In the emulated module cuDNN is the stand-in of cudnn.cc, linked in; REFOLD_SIM_CUDNN=0 takes it
 * away. (The opening of the real file is tested in tests/sim/test_cudnn_plans.cc.)
 */
#include "kernels/cuda/library.h"

#include <stdlib.h>
#include <string.h>

const rf_cudnn *rf_cudnn_open(const char **why)
{
    static const rf_cudnn linked = {
#define X(name) .name = cudnn##name,
        RF_CUDNN_FUNCTIONS(X)
#undef X
    };
    const char *given = getenv("REFOLD_SIM_CUDNN");
    *why = "taken away by REFOLD_SIM_CUDNN=0";
    return given && !strcmp(given, "0") ? NULL : &linked;
}
