/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole file: container, checkpoint, graph. Built twice, for PyTorch's containers and for
 * safetensors, because the two want corpora and dictionaries of their own.
 */
#include "tests/fuzz/fuzz.h"

#include "loaders/loader.h"
#include "runtime/core/strided.h"

/* Touches every element, so that sanitizers see a tensor that reaches too far. */
static void read_all(rf_env *env, const rf_checkpoint *ckpt)
{
    for (size_t i = 0; i < ckpt->n_entries; i++) {
        const rf_tensor *t = &ckpt->entries[i].tensor;
        size_t bytes = (size_t)rf_tensor_elements(t) * sizeof(double);
        double *values = rf_alloc(env, bytes, 0);
        fuzz_require(values && rf_tensor_is_contiguous(t));
        rf_tensor_pack_f64(t, values);
        rf_free(env, values, bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    rf_env *env = fuzz_begin();
    rf_blob *blob;
    rf_checkpoint *ckpt;
    rf_graph *graph = NULL;
    rf_error err;
    fuzz_require(rf_blob_copy(env, bytes, n, &blob, &err) == RF_OK);
    rf_status status = rf_load_checkpoint(env, blob, NULL, &ckpt, &err);
    fuzz_check_failure(status, &err);
    if (status == RF_OK) {
        read_all(env, ckpt);
        fuzz_check_failure(rf_load_graph(ckpt, &graph, &err), &err);
    }
    rf_graph_destroy(&graph);
    rf_checkpoint_destroy(&ckpt);
    rf_blob_release(&blob);
    fuzz_end(env);
    return 0;
}
