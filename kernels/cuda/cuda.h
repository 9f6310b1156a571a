/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the CUDA module: device, stream, launches. Host code of the module is C and calls the CUDA
 * runtime API only; the same code, linked with kernels/sim instead of cudart, runs on the emulator.
 */
#ifndef RF_CUDA_CUDA_H
#define RF_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#include "kernels/cuda/abi.h"
#include "runtime/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- launches (launch.c) ----------------------------------------------------------------------
 */
/* Enqueues entry(params) on the call's stream. `params` is its parameter struct; it is copied. An
 * empty grid does nothing. More than 48 KiB of shared memory needs rf_cuda_allow_shared before.
 * While a run is recorded, the launch is remembered (recording.c). */
rf_status rf_cuda_launch(const rf_kernel_call *call, const rf_cuda_entry *entry, dim3 grid,
                         dim3 block, size_t shared_bytes, const void *params, rf_error *err);
/* For prepare: lets the kernel have this much dynamic shared memory. */
rf_status rf_cuda_allow_shared(const rf_kernel_desc *desc, const rf_cuda_entry *entry,
                               size_t shared_bytes, rf_error *err);
/* Blocks of `threads` for one thread per element, at most as many as fill the device a few times
 * (kernels loop with rf_thread_step). */
dim3 rf_cuda_grid(const rf_kernel_call *call, int64_t elements, int threads);
/* Multiprocessors of the device, for the choice of a tile. */
int64_t rf_cuda_processors(const rf_kernel_call *call);
/* RF_ERR_DEVICE with the call's text unless e is cudaSuccess; out of memory gives RF_ERR_MEMORY. An
 * error that leaves no usable context marks the device lost. */
rf_status rf_cuda_check(rf_device *device, cudaError_t e, const char *what, rf_error *err);
#define RF_CUDA(device, expr) RF_TRY(rf_cuda_check((device), (expr), #expr, err))
/* RF_ERR_DEVICE if the device is lost. */
rf_status rf_cuda_alive(rf_device *device, rf_error *err);
/* The same, and makes it current on this thread. */
rf_status rf_cuda_enter(rf_device *device, rf_error *err);

/* The most dynamic shared memory that a block may have; H100's while no device is known. */
size_t rf_cuda_shared_limit(const rf_device *device);

rf_cuda_act rf_cuda_act_of(rf_act kind, double alpha, double beta);
/* f32, f16 or bf16 (what rf_load_as_float reads). NULL: true. */
bool rf_cuda_is_float(const rf_tensor *t);
/* All the tensors have one float dtype. NULLs are left out. */
bool rf_cuda_same_float(const rf_tensor *const *tensors, int n);
bool rf_cuda_aligned16(const void *p);

/* Walks operand 0's dims; the other operands broadcast to it from the right. data pointers are
 * those of the tensors. At most RF_CUDA_ND_OPERANDS. */
rf_cuda_nd rf_cuda_nd_make(const rf_tensor *const *operands, int n);
/* Makes every step of the walk n neighbouring elements, for vector loads and stores: the innermost
 * dim must be dense in operand 0, dense or broadcast (stride 0) in the others, and all vectors
 * begin at multiples of n elements. *out_tail gets the elements that are left over, which may be
 * some only where the walk has one dim. False: it cannot be done, and nd is as it was. */
bool rf_cuda_nd_widen(rf_cuda_nd *nd, int n, int32_t *out_tail);

/* The tensor of only those dims whose bit is set, at index 0 of the others. */
rf_tensor rf_cuda_select_dims(const rf_tensor *t, uint32_t mask);
/* Whether every step of the walk, in every operand, is a multiple of `piece` elements. */
bool rf_cuda_nd_steps_by(const rf_cuda_nd *nd, int64_t piece);

/* ---- constants ---------------------------------------------------------------------------------
 * A kernel's `prepare` sees constants in host memory. What it needs on the device in another form
 * it packs with rf_pack_get(desc->packs, ...), which returns a device pointer; the inputs whose raw
 * elements `run` never reads are named in rf_kernel.packed. Other constants are uploaded by the
 * planner, and `run` finds their device pointers in its args. */

#ifndef RF_CUDA_BACKEND_NAME
#define RF_CUDA_BACKEND_NAME "cuda" /* "sim" in the emulated build */
#endif
extern const rf_backend rf_backend_cuda;
extern const rf_device_ops rf_cuda_device_ops;

#ifdef __cplusplus
}
#endif
#endif
