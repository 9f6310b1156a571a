/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes Refold's own form. The header is padded with spaces to 64 bytes and tensors of large
 * elements come before those of small ones: the format wants tensors dense, and in this order each
 * of them is aligned to its elements, so that it can be mapped instead of copied.
 */
#include "loaders/common.h"
#include "loaders/safetensors/safetensors.h"
#include "runtime/core/strided.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_ALIGN = 64, LARGEST_ITEM = 8 };

static bool is_taken(const char *const *names, size_t n, const char *name)
{
    for (size_t k = 0; k < n; k++)
        if (names[k] && !strcmp(names[k], name))
            return true;
    return false;
}

/* A unique tensor name that readers accept, for every constant that a node or output uses. */
static rf_status name_constants(const rf_graph *g, rf_arena *arena, const char **names,
                                rf_error *err)
{
    size_t next = 0;
    for (size_t v = 0; v < g->n_values; v++) {
        if (!g->values[v].blob || !rf_graph_uses(g, (rf_value)v, NULL))
            continue;
        const char *name = g->values[v].name;
        if (rf_check_name(name, strlen(name), NULL) != RF_OK || !strcmp(name, "__metadata__"))
            name = "";
        while (name && (!*name || is_taken(names, v, name)))
            name = rf_arena_printf(arena, "value.%zu", next++);
        if (!name)
            return rf_fail(err, RF_ERR_MEMORY, "no memory for the names of constants");
        names[v] = name;
    }
    return RF_OK;
}

/* Calls `put` for the constants in the order in which they are stored. */
typedef rf_status put_fn(void *to, const char *name, const rf_tensor *t, rf_error *err);

static rf_status each_constant(const rf_graph *g, const char *const *names, put_fn *put, void *to,
                               rf_error *err)
{
    for (size_t item = LARGEST_ITEM; item; item /= 2)
        for (size_t v = 0; v < g->n_values; v++)
            if (names[v] && rf_dtype_bytes(g->values[v].desc.dtype) == item)
                RF_TRY(put(to, names[v], &g->values[v].desc, err));
    return RF_OK;
}

typedef struct header {
    json_t *root;
    size_t offset;
} header;

static rf_status put_entry(void *to, const char *name, const rf_tensor *t, rf_error *err)
{
    header *h = to;
    size_t end = h->offset + rf_tensor_bytes(t);
    json_t *dims = json_array();
    bool failed = !dims;
    for (int i = 0; i < t->rank; i++)
        failed |= json_array_append_new(dims, json_integer(t->dims[i]));
    failed |= json_object_set_new(
        h->root, name,
        json_pack("{s:s, s:o, s:[I, I]}", "dtype", rf_safetensors_dtype(t->dtype), "shape", dims,
                  "data_offsets", (json_int_t)h->offset, (json_int_t)end));
    h->offset = end;
    return failed ? rf_fail(err, RF_ERR_MEMORY, "no memory for the header") : RF_OK;
}

static rf_status put_elements(void *to, const char *name, const rf_tensor *t, rf_error *err)
{
    if (!rf_tensor_is_contiguous(t))
        return rf_fail(err, RF_ERR_INTERNAL, "constant '%.96s' is not dense", name);
    return rf_file_writer_write(to, t->data, rf_tensor_bytes(t), err);
}

static rf_status header_text(const rf_graph *g, const char *const *names, const char *report,
                             char **out, rf_error *err)
{
    header h = {.root = json_object()};
    char *graph_text = NULL;
    rf_status status;
    *out = NULL;
    RF_TRY_DONE(rf_graph_to_json(g, names, &graph_text, err));
    json_t *meta =
        json_pack("{s:s, s:s, s:s*}", "format", "pt", "refold", graph_text, RF_META_FOLDS, report);
    if (json_object_set_new(h.root, "__metadata__", meta)) {
        status = rf_fail(err, RF_ERR_MEMORY, "no memory for the header");
        goto done;
    }
    RF_TRY_DONE(each_constant(g, names, put_entry, &h, err));
    *out = json_dumps(h.root, JSON_COMPACT);
    if (!*out)
        status = rf_fail(err, RF_ERR_MEMORY, "no memory for the header");
done:
    free(graph_text);
    json_decref(h.root);
    return status;
}

static rf_status write_all(const rf_graph *g, const char *const *names, const char *text,
                           rf_file_writer *w, rf_error *err)
{
    char spaces[HEADER_ALIGN];
    uint8_t length[8];
    size_t n = strlen(text), pad = (HEADER_ALIGN - (8 + n) % HEADER_ALIGN) % HEADER_ALIGN;
    if (n + pad > RF_SAFETENSORS_MAX_HEADER)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "header of %zu bytes, readers expect at most %d",
                       n + pad, RF_SAFETENSORS_MAX_HEADER);
    memset(spaces, ' ', sizeof spaces);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)(n + pad) >> 8 * i);
    RF_TRY(rf_file_writer_write(w, length, 8, err));
    RF_TRY(rf_file_writer_write(w, text, n, err));
    RF_TRY(rf_file_writer_write(w, spaces, pad, err));
    return each_constant(g, names, put_elements, w, err);
}

rf_status rf_save_graph(const rf_graph *graph, const char *report, const char *path, rf_error *err)
{
    rf_arena arena;
    rf_file_writer *writer = NULL;
    const char **names = NULL;
    char *text = NULL;
    rf_status status;
    rf_arena_init(&arena, graph->env);
    RF_TRY_DONE(rf_alloc_array(graph->env, graph->n_values, sizeof *names, &names, err));
    RF_TRY_DONE(name_constants(graph, &arena, names, err));
    RF_TRY_DONE(header_text(graph, names, report, &text, err));
    RF_TRY_DONE(rf_file_writer_open(graph->env, path, &writer, err));
    RF_TRY_DONE(write_all(graph, names, text, writer, err));
    RF_TRY_DONE(rf_file_writer_commit(&writer, err));
done:
    rf_file_writer_destroy(&writer);
    free(text);
    rf_free(graph->env, names, graph->n_values * sizeof *names);
    rf_arena_free(&arena);
    return status;
}
