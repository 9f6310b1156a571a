/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of backends that the runtime sees. It lives here, not in runtime/, so that runtime never
 * depends on a kernel.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

const rf_backend *const rf_backends[] = {&rf_backend_cpu, &rf_backend_ref, NULL};
