/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint through rf_model_load, with its folds, and through the planner. Whole files are too
 * large to be mutated byte by byte, so the input is a recipe: the first byte takes one of three
 * good checkpoints (a DEA-Net of width 2, RepVGG blocks, a graph with everything that graph folds
 * look for), and every four bytes behind it are an edit of a tensor's name, dims, dtype or
 * elements, or of the graph's text. Planning is on the reference backend; nothing runs.
 */
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <refold/refold.h>

#include "kernels/ref/ref.h"
#include "runtime/base/half.h"

enum { MAX_ITEMS = 160, MAX_EDITS = 64, MAX_BYTES = 1 << 20, SIDE = 16, CAP = 256 << 20 };

const rf_backend *const rf_backends[] = {&rf_backend_ref, NULL};

typedef struct item {
    char name[64];
    rf_tensor desc;
    double special; /* element `at`; the others are small */
    uint32_t at;
    bool has_special, is_dropped;
} item;

typedef struct file {
    item items[MAX_ITEMS];
    int n;
    char graph[2048]; /* "": none */
} file;

/* ---- the good checkpoints ----------------------------------------------------------------------
 */

static void add(file *f, const char *name, int rank, const int64_t *dims)
{
    fuzz_require(f->n < MAX_ITEMS);
    item *e = &f->items[f->n++];
    snprintf(e->name, sizeof e->name, "%s", name);
    fuzz_require(rf_tensor_init(&e->desc, RF_F32, rank, dims, NULL, NULL) == RF_OK);
}

/* <key>.weight and <key>.bias. Rank 3: one-dimensional kernels. */
static void add_pair(file *f, const char *prefix, const char *key, int rank, int64_t out,
                     int64_t in, int64_t k, int64_t biases)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s.weight", prefix, key);
    add(f, name, rank, (int64_t[]){out, in, k, k});
    snprintf(name, sizeof name, "%s%s.bias", prefix, key);
    add(f, name, 1, &biases);
}

static void add_conv(file *f, const char *prefix, const char *key, int64_t in, int64_t out,
                     int64_t k)
{
    add_pair(f, prefix, key, 4, out, in, k, out);
}

static void add_attention(file *f, const char *key, int64_t c)
{
    add_conv(f, key, ".sa.sa", 2, 1, 7);
    add_conv(f, key, ".ca.ca.0", c, 1, 1);
    add_conv(f, key, ".ca.ca.2", 1, c, 1);
    add_conv(f, key, ".pa.pa2", 2, c, 7);
}

static void add_block(file *f, const char *key, int64_t c)
{
    add_pair(f, key, ".conv1.conv1_1.conv", 4, c, c, 3, c);
    add_pair(f, key, ".conv1.conv1_2.conv", 3, c, c, 3, c);
    add_pair(f, key, ".conv1.conv1_3.conv", 3, c, c, 3, c);
    add_pair(f, key, ".conv1.conv1_4.conv", 4, c, c, 3, c);
    add_conv(f, key, ".conv1.conv1_5", c, c, 3);
    add_conv(f, key, ".conv2", c, c, 3);
}

static void make_dea_net(file *f)
{
    const int64_t a = 2, b = 2 * a, c = 4 * a;
    add_conv(f, "", "down1.0", 3, a, 3);
    add_conv(f, "", "down2.0", a, b, 3);
    add_conv(f, "", "down3.0", b, c, 3);
    add_block(f, "down_level1_block1", a);
    add_block(f, "down_level2_block1", b);
    add_block(f, "up_level2_block1", b);
    add_block(f, "up_level1_block1", a);
    add_block(f, "level3_block1", c);
    add_attention(f, "level3_block1", c);
    add_conv(f, "", "fe_level_2", b, b, 3);
    add_conv(f, "", "fe_level_3", c, c, 3);
    add_pair(f, "", "up1.0", 4, c, b, 3, b);
    add_pair(f, "", "up2.0", 4, b, a, 3, a);
    add_conv(f, "", "up3.0", a, 3, 3);
    add_attention(f, "mix1", c);
    add_conv(f, "mix1", ".conv", c, c, 1);
    add_attention(f, "mix2", b);
    add_conv(f, "mix2", ".conv", b, b, 1);
}

static void add_norm(file *f, const char *key, int64_t c)
{
    static const char *const fields[] = {"weight", "bias", "running_mean", "running_var"};
    char name[64];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", key, fields[i]);
        add(f, name, 1, &c);
    }
}

static void make_repvgg(file *f)
{
    add(f, "a.rbr_dense.conv.weight", 4, (int64_t[]){4, 3, 3, 3});
    add_norm(f, "a.rbr_dense.bn", 4);
    add(f, "a.rbr_1x1.conv.weight", 4, (int64_t[]){4, 3, 1, 1});
    add_norm(f, "a.rbr_1x1.bn", 4);
    add(f, "b.rbr_dense.conv.weight", 4, (int64_t[]){4, 2, 5, 3}); /* two groups */
    add_norm(f, "b.rbr_dense.bn", 4);
    add(f, "b.rbr_1x1.conv.weight", 4, (int64_t[]){4, 2, 1, 1});
    add_norm(f, "b.rbr_1x1.bn", 4);
    add_norm(f, "b.rbr_identity", 4);
}

static void make_graph(file *f)
{
    static const struct {
        const char *name;
        int rank;
        int64_t dims[4];
    } constants[] = {{"w1", 4, {4, 3, 3, 3}}, {"b1", 1, {4}},          {"g1", 1, {4}},
                     {"s1", 1, {4}},          {"m1", 1, {4}},          {"v1", 1, {4}},
                     {"w2", 4, {4, 4, 3, 3}}, {"w3", 4, {4, 4, 1, 1}}, {"b3", 1, {4}},
                     {"w4", 4, {4, 2, 3, 3}}, {"g2", 1, {2}},          {"s2", 1, {2}},
                     {"m2", 1, {2}},          {"v2", 1, {2}}};
    const int n = sizeof constants / sizeof *constants;
    int at = snprintf(f->graph, sizeof f->graph,
                      "{\"version\":1,\"name\":\"g\",\"values\":%d,\"inputs\":[{\"value\":0,"
                      "\"name\":\"x\",\"dtype\":\"f32\",\"dims\":[1,3,-1,-1],\"min_h\":0,"
                      "\"min_w\":0}],\"constants\":[",
                      n + 12);
    for (int i = 0; i < n; i++) {
        add(f, constants[i].name, constants[i].rank, constants[i].dims);
        at +=
            snprintf(f->graph + at, sizeof f->graph - (size_t)at,
                     "%s{\"value\":%d,\"tensor\":\"%s\"}", i ? "," : "", i + 1, constants[i].name);
    }
#define NODE(op, in, out, attrs)                                                                   \
    "{\"op\":\"" op "\",\"name\":\"n\",\"in\":[" in "],\"out\":[" out "],\"attrs\":{" attrs "}}"
    at += snprintf(
        f->graph + at, sizeof f->graph - (size_t)at,
        "],\"nodes\":["
        /* norm behind a convolution */
        NODE("conv2d", "0,1,2", "15", "\"pad\":[1,1,1,1]") "," NODE(
            "batch_norm", "15,3,4,5,6", "16", "\"eps\":1e-3") "," NODE("unary", "16", "17",
                                                                       "\"kind\":\"relu\"") ","
        /* branches: two convolutions and the identity */
        NODE("conv2d", "17,7", "18", "\"pad\":[1,1,1,1]") "," NODE(
            "conv2d", "17,8,9", "19",
            "") "," NODE("binary", "18,19", "20",
                         "\"kind\":\"add\"") "," NODE("binary", "20,17", "21",
                                                      "\"kind\":\"add\"") ","
        /* norm before a convolution, norm behind a transposed one */
        NODE("batch_norm", "21,3,4,5,6", "22", "") "," NODE("conv2d", "22,8", "23", "") "," NODE(
            "conv_transpose2d", "23,10", "24",
            "\"stride\":[2,2]") "," NODE("batch_norm", "24,11,12,13,14", "25",
                                         "") "],\"outputs\":[{\"value\":25,\"name\":\"y\"}]}");
#undef NODE
    fuzz_require((size_t)at < sizeof f->graph);
}

/* ---- edits -------------------------------------------------------------------------------------
 */

static char printable(uint8_t byte)
{
    return (char)(0x20 + byte % 0x5f);
}

static void set_dims(item *e, rf_dtype dtype, int rank, const int64_t *dims)
{
    rf_tensor t;
    if (rf_tensor_init(&t, dtype, rank, dims, NULL, NULL) == RF_OK &&
        rf_tensor_bytes(&t) <= MAX_BYTES)
        e->desc = t;
}

static void edit(file *f, const uint8_t b[4])
{
    static const double specials[] = {
        (double)NAN, (double)INFINITY, -(double)INFINITY, -1, 0, 1e38, 1e300, 1e-45, 1e-300, 65504,
        -1e-5};
    item *e = &f->items[b[1] % f->n];
    const item *other = &f->items[b[2] % f->n];
    rf_tensor t = e->desc;
    char name[sizeof e->name];
    switch (b[0] % 8) {
    case 0:
        e->is_dropped = !e->is_dropped;
        break;
    case 1:
        if (t.rank)
            t.dims[b[2] % t.rank] = b[3];
        set_dims(e, t.dtype, t.rank, t.dims);
        break;
    case 2:
        set_dims(e, (rf_dtype)(b[2] % RF_DTYPE_COUNT), t.rank, t.dims);
        break;
    case 3: /* one more dim, or one less */
        if (b[2] % 2 && t.rank < RF_MAX_RANK)
            t.dims[t.rank++] = b[3] % 4;
        else if (t.rank)
            t.rank--;
        set_dims(e, t.dtype, t.rank, t.dims);
        break;
    case 4:
        e->special = specials[b[2] % (sizeof specials / sizeof *specials)];
        e->at = b[3];
        e->has_special = true;
        break;
    case 5:
        e->name[b[2] % strlen(e->name)] = printable(b[3]);
        break;
    case 6: /* the other's end behind the own beginning: another part of the same block */
        snprintf(name, sizeof name, "%.*s%s", (int)(b[3] % strlen(e->name)), e->name,
                 other->name + b[3] % strlen(other->name));
        memcpy(e->name, name, sizeof name);
        break;
    default:
        if (*f->graph)
            f->graph[(b[1] << 8 | b[2]) % strlen(f->graph)] = printable(b[3]);
    }
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static void put_text(FILE *to, const char *s)
{
    for (; *s; s++)
        fprintf(to, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
}

static void put_element(FILE *to, rf_dtype dtype, double x)
{
    float narrow = (float)x;
    uint64_t bits = x > 0;
    if (dtype == RF_F64)
        memcpy(&bits, &x, 8);
    else if (dtype == RF_F32)
        memcpy(&bits, &narrow, 4);
    else if (dtype == RF_F16)
        bits = rf_f32_to_f16(narrow);
    else if (dtype == RF_BF16)
        bits = rf_f32_to_bf16(narrow);
    fwrite(&bits, rf_dtype_bytes(dtype), 1, to); /* little endian */
}

static void put_header(FILE *to, const file *f)
{
    static const char *const dtypes[] = {
        [RF_F32] = "F32",   [RF_F64] = "F64", [RF_F16] = "F16", [RF_BF16] = "BF16",
        [RF_I8] = "I8",     [RF_U8] = "U8",   [RF_I16] = "I16", [RF_U16] = "U16",
        [RF_I32] = "I32",   [RF_U32] = "U32", [RF_I64] = "I64", [RF_U64] = "U64",
        [RF_BOOL] = "BOOL",
    };
    size_t begin = 0;
    fprintf(to, "{\"__metadata__\":{\"format\":\"pt\"%s", *f->graph ? ",\"refold\":\"" : "}");
    if (*f->graph) {
        put_text(to, f->graph);
        fprintf(to, "\"}");
    }
    for (int i = 0; i < f->n; i++) {
        const item *e = &f->items[i];
        if (e->is_dropped)
            continue;
        fprintf(to, ",\"");
        put_text(to, e->name);
        fprintf(to, "\":{\"dtype\":\"%s\",\"shape\":[", dtypes[e->desc.dtype]);
        for (int k = 0; k < e->desc.rank; k++)
            fprintf(to, "%s%lld", k ? "," : "", (long long)e->desc.dims[k]);
        size_t end = begin + rf_tensor_bytes(&e->desc);
        fprintf(to, "],\"data_offsets\":[%zu,%zu]}", begin, end);
        begin = end;
    }
    fprintf(to, "}");
}

static void put_data(FILE *to, const file *f)
{
    for (int i = 0; i < f->n; i++) {
        const item *e = &f->items[i];
        const int64_t n = e->is_dropped ? 0 : rf_tensor_elements(&e->desc);
        for (int64_t k = 0; k < n; k++)
            put_element(to, e->desc.dtype,
                        e->has_special && k == e->at % n ? e->special
                                                         : (double)(k * 37 % 17 + 1) / 32);
    }
}

/* The bytes of the file; free with free. */
static char *write_file(const file *f, size_t *out_n)
{
    char *bytes = NULL, *header = NULL;
    size_t header_n = 0;
    FILE *to = open_memstream(&header, &header_n);
    fuzz_require(to);
    put_header(to, f);
    fuzz_require(!fclose(to));
    to = open_memstream(&bytes, out_n);
    fuzz_require(to);
    const uint64_t length = header_n;
    fwrite(&length, 8, 1, to);
    fwrite(header, 1, header_n, to);
    put_data(to, f);
    fuzz_require(!fclose(to));
    free(header);
    return bytes;
}

/* ---- what is done with it ----------------------------------------------------------------------
 */

static void plan(rf_model *model)
{
    rf_session_params params = {
        .size = sizeof params, .device = "ref", .n_threads = 1, .memory_cap = CAP};
    rf_session *session;
    rf_tensor shapes[8];
    rf_error err;
    const int n = rf_model_input_count(model);
    fuzz_require(rf_session_create(model, &params, &session, &err) == RF_OK);
    for (int i = 0; i < n && n <= 8; i++) {
        rf_io_info io = {.size = sizeof io};
        fuzz_require(rf_model_input(model, i, &io, &err) == RF_OK);
        for (int k = 0; k < io.rank; k++)
            io.dims[k] = io.dims[k] < 0 ? SIDE : io.dims[k];
        if (rf_tensor_init(&shapes[i], io.dtype, io.rank, io.dims, NULL, &err) != RF_OK)
            goto done;
    }
    if (n <= 8) {
        rf_status status = rf_session_prepare(session, shapes, n, NULL, &err);
        fuzz_require(status == RF_OK || (status != RF_ERR_INTERNAL && err.text[0]));
    }
done:
    rf_session_destroy(&session);
}

static rf_status load(const file *f, bool unfolded, int *out_folds)
{
    size_t n;
    char *bytes = write_file(f, &n);
    rf_model_params params = {
        .size = sizeof params, .data = bytes, .data_bytes = n, .unfolded = unfolded};
    rf_model *model;
    rf_error err;
    rf_status status = rf_model_load(&params, &model, &err);
    fuzz_check_failure(status, &err);
    if (status == RF_OK) {
        rf_model_info info = {.size = sizeof info};
        fuzz_require(rf_model_get_info(model, &info, &err) == RF_OK);
        *out_folds = info.n_folds;
        for (int i = 0; i < info.n_folds; i++) {
            rf_fold_info fold = {.size = sizeof fold};
            fuzz_require(rf_model_fold(model, i, &fold, &err) == RF_OK && isfinite(fold.max_abs) &&
                         isfinite(fold.max_error));
        }
        plan(model);
    }
    rf_model_release(&model);
    free(bytes);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static void (*const makers[])(file *) = {make_dea_net, make_repvgg, make_graph};
    /* What an unedited one must come to: no architecture has RepVGG's keys. */
    static const rf_status expected[] = {RF_OK, RF_ERR_UNSUPPORTED, RF_OK};
    static const int expected_folds[] = {5, 0, 4};
    int n_folds = 0;
    if (!n)
        return 0;
    file *f = calloc(1, sizeof *f);
    fuzz_require(f);
    makers[bytes[0] % 3](f);
    for (size_t at = 1; at + 4 <= n && at < 1 + 4 * MAX_EDITS; at += 4)
        edit(f, bytes + at);
    rf_status status = load(f, false, &n_folds);
    fuzz_require(n > 4 ||
                 (status == expected[bytes[0] % 3] && n_folds >= expected_folds[bytes[0] % 3]));
    if (bytes[0] & 0x80)
        (void)load(f, true, &n_folds);
    free(f);
    return 0;
}
