/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph as JSON text over three fixed tensors. A graph that was accepted must survive being
 * written and read again, and shape inference must find its sizes or refuse.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "loaders/safetensors/safetensors.h"
#include "runtime/core/graph.h"
#include "runtime/exec/passes.h"

static void add(rf_checkpoint *ckpt, const char *name, rf_dtype dtype, int rank,
                const int64_t *dims, rf_blob *blob)
{
    rf_tensor t;
    fuzz_require(rf_tensor_init(&t, dtype, rank, dims, rf_blob_mutable(blob), NULL) == RF_OK);
    fuzz_require(rf_tensor_bytes(&t) <= rf_blob_bytes(blob));
    fuzz_require(rf_checkpoint_add(ckpt, name, strlen(name), &t, blob, NULL) == RF_OK);
}

static rf_checkpoint *make_checkpoint(rf_env *env)
{
    rf_checkpoint *ckpt;
    rf_blob *blob;
    fuzz_require(rf_checkpoint_create(env, NULL, &ckpt, NULL) == RF_OK);
    fuzz_require(rf_blob_alloc(env, 1024, &blob, NULL) == RF_OK);
    add(ckpt, "w", RF_F32, 4, (int64_t[]){4, 3, 3, 3}, blob);
    add(ckpt, "b", RF_F32, 1, (int64_t[]){4}, blob);
    add(ckpt, "i", RF_I64, 1, (int64_t[]){2}, blob);
    rf_blob_release(&blob);
    return ckpt;
}

/* Text of the graph; free with free. */
static char *write_graph(const rf_graph *g)
{
    char *text;
    const char **names;
    fuzz_require(rf_alloc_array(g->env, g->n_values, sizeof *names, &names, NULL) == RF_OK);
    for (size_t v = 0; v < g->n_values; v++)
        if (g->values[v].blob)
            names[v] = g->values[v].name;
    fuzz_require(rf_graph_to_json(g, names, &text, NULL) == RF_OK);
    rf_free(g->env, names, g->n_values * sizeof *names);
    return text;
}

static void check_round_trip(rf_env *env, const rf_graph *g)
{
    rf_checkpoint *ckpt = make_checkpoint(env);
    rf_graph *again;
    char *text = write_graph(g);
    fuzz_require(rf_graph_from_json(text, ckpt, &again, NULL) == RF_OK);
    char *text_again = write_graph(again);
    fuzz_require(!strcmp(text, text_again));
    free(text);
    free(text_again);
    rf_graph_destroy(&again);
    rf_checkpoint_destroy(&ckpt);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    rf_env *env = fuzz_begin();
    rf_checkpoint *ckpt = make_checkpoint(env);
    rf_graph *g;
    rf_tensor *shapes = NULL;
    rf_error err;
    char *text = malloc(n + 1);
    fuzz_require(text);
    memcpy(text, bytes, n);
    text[n] = 0;
    rf_status status = rf_graph_from_json(text, ckpt, &g, &err);
    fuzz_check_failure(status, &err);
    if (status == RF_OK) {
        check_round_trip(env, g);
        fuzz_require(rf_graph_sort(g, &err) == RF_OK);
        fuzz_check_failure(rf_exec_infer_probe(g, &shapes, &err), &err);
        if (shapes)
            rf_free(env, shapes, g->n_values * sizeof *shapes);
    }
    free(text);
    rf_graph_destroy(&g);
    rf_checkpoint_destroy(&ckpt);
    fuzz_end(env);
    return 0;
}
