/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes Refold's own form. Tensors are stored in order, each padded by nothing: the format wants
 * them dense. The header is padded with spaces to 64 bytes, so f32 tensors stay aligned and can be
 * mapped instead of copied.
 */
#include "loaders/safetensors/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_ALIGN = 64 };

/* A unique tensor name for every constant that a node or output uses. */
static rf_status name_constants(const rf_graph *g, rf_arena *arena, const char **names,
                                rf_error *err)
{
    for (size_t v = 0; v < g->n_values; v++) {
        if (!g->values[v].blob || !rf_graph_uses(g, (rf_value)v, NULL))
            continue;
        const char *name = g->values[v].name;
        bool taken = !name || !*name;
        for (size_t k = 0; k < v && !taken; k++)
            taken = names[k] && !strcmp(names[k], name);
        names[v] = taken ? rf_arena_printf(arena, "value.%zu", v) : name;
        if (!names[v])
            return rf_fail(err, RF_ERR_MEMORY, "no memory for the names of constants");
    }
    return RF_OK;
}

static json_t *header_json(const rf_graph *g, const char *const *names, const char *graph_text,
                           const char *report)
{
    size_t offset = 0;
    json_t *root = json_object(),
           *meta = json_pack("{s:s, s:s}", "format", "pt", "refold", graph_text);
    if (report)
        json_object_set_new(meta, RF_META_FOLDS, json_string(report));
    json_object_set_new(root, "__metadata__", meta);
    for (size_t v = 0; v < g->n_values; v++) {
        if (!names[v])
            continue;
        const rf_tensor *t = &g->values[v].desc;
        json_t *dims = json_array();
        for (int i = 0; i < t->rank; i++)
            json_array_append_new(dims, json_integer(t->dims[i]));
        size_t end = offset + rf_tensor_bytes(t);
        json_object_set_new(root, names[v],
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype",
                                      rf_safetensors_dtype(t->dtype), "shape", dims, "data_offsets",
                                      (json_int_t)offset, (json_int_t)end));
        offset = end;
    }
    return root;
}

static rf_status write_all(const rf_graph *g, const char *const *names, const char *header,
                           rf_file_writer *w, rf_error *err)
{
    static const char spaces[HEADER_ALIGN + 1] =
        "                                                                ";
    uint8_t length[8];
    size_t n = strlen(header), pad = (HEADER_ALIGN - (8 + n) % HEADER_ALIGN) % HEADER_ALIGN;
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)(n + pad) >> 8 * i);
    RF_TRY(rf_file_writer_write(w, length, 8, err));
    RF_TRY(rf_file_writer_write(w, header, n, err));
    RF_TRY(rf_file_writer_write(w, spaces, pad, err));
    for (size_t v = 0; v < g->n_values; v++)
        if (names[v])
            RF_TRY(rf_file_writer_write(w, g->values[v].desc.data,
                                        rf_tensor_bytes(&g->values[v].desc), err));
    return RF_OK;
}

static rf_status header_text(const rf_graph *g, const char *const *names, const char *report,
                             char **out, rf_error *err)
{
    char *graph_text = NULL;
    *out = NULL;
    RF_TRY(rf_graph_to_json(g, names, &graph_text, err));
    json_t *root = header_json(g, names, graph_text, report);
    free(graph_text);
    *out = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return *out ? RF_OK : rf_fail(err, RF_ERR_MEMORY, "no memory for the header");
}

rf_status rf_save_graph(const rf_graph *graph, const char *report, const char *path, rf_error *err)
{
    rf_arena arena;
    rf_file_writer *writer = NULL;
    const char **names = NULL;
    char *header = NULL;
    rf_status status;
    rf_arena_init(&arena, graph->env);
    RF_TRY_DONE(rf_alloc_array(graph->env, graph->n_values, sizeof *names, &names, err));
    RF_TRY_DONE(name_constants(graph, &arena, names, err));
    RF_TRY_DONE(header_text(graph, names, report, &header, err));
    RF_TRY_DONE(rf_file_writer_open(graph->env, path, &writer, err));
    RF_TRY_DONE(write_all(graph, names, header, writer, err));
    RF_TRY_DONE(rf_file_writer_commit(&writer, err));
done:
    rf_file_writer_destroy(&writer);
    free(header);
    rf_free(graph->env, names, graph->n_values * sizeof *names);
    rf_arena_free(&arena);
    return status;
}
