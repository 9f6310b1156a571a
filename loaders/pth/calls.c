/* SPDX-License-Identifier: Apache-2.0
 *
 * The closed list of globals that describe tensors (torch/_weights_only_unpickler.py has the same
 * idea), with exact arity and types. Names outside of the list become opaque objects: a training
 * checkpoint may hold any of them beside its weights, and a state dict that holds one is refused.
 */
#include "loaders/pth/calls.h"

#include <string.h>

#include "loaders/common.h"

enum { MAX_VALUES = 4000000, MAX_GLOBAL_BYTES = 512, MAX_KEY_BYTES = 64 };

enum role {
    ORDERED_DICT,
    REBUILD,
    REBUILD_V2,
    REBUILD_V3,
    PARAMETER,
    PARAMETER_STATE,
    SIZE,
    STORAGE,
    UNTYPED,
    DTYPE,
    NESTED,
};

static const struct {
    const char *name;
    enum role role;
    rf_dtype dtype;
} globals[] = {
    {"collections OrderedDict", ORDERED_DICT, 0},
    {"torch._utils _rebuild_tensor", REBUILD, 0},
    {"torch._utils _rebuild_tensor_v2", REBUILD_V2, 0},
    {"torch._utils _rebuild_tensor_v3", REBUILD_V3, 0},
    {"torch._utils _rebuild_parameter", PARAMETER, 0},
    {"torch._utils _rebuild_parameter_with_state", PARAMETER_STATE, 0},
    {"torch Size", SIZE, 0},
    {"torch.storage _load_from_bytes", NESTED, 0},
    {"torch.storage UntypedStorage", UNTYPED, RF_U8},
    {"torch FloatStorage", STORAGE, RF_F32},
    {"torch DoubleStorage", STORAGE, RF_F64},
    {"torch HalfStorage", STORAGE, RF_F16},
    {"torch BFloat16Storage", STORAGE, RF_BF16},
    {"torch LongStorage", STORAGE, RF_I64},
    {"torch IntStorage", STORAGE, RF_I32},
    {"torch ShortStorage", STORAGE, RF_I16},
    {"torch CharStorage", STORAGE, RF_I8},
    {"torch ByteStorage", STORAGE, RF_U8},
    {"torch BoolStorage", STORAGE, RF_BOOL},
    {"torch float32", DTYPE, RF_F32},
    {"torch float64", DTYPE, RF_F64},
    {"torch float16", DTYPE, RF_F16},
    {"torch bfloat16", DTYPE, RF_BF16},
    {"torch int64", DTYPE, RF_I64},
    {"torch uint64", DTYPE, RF_U64},
    {"torch int32", DTYPE, RF_I32},
    {"torch uint32", DTYPE, RF_U32},
    {"torch int16", DTYPE, RF_I16},
    {"torch uint16", DTYPE, RF_U16},
    {"torch int8", DTYPE, RF_I8},
    {"torch uint8", DTYPE, RF_U8},
    {"torch bool", DTYPE, RF_BOOL},
};
enum { N_GLOBALS = sizeof globals / sizeof *globals };

rf_status rf_pickle_new(rf_unpickler *u, rf_pickle_kind kind, rf_pickle_value **out, rf_error *err)
{
    if (u->n_values >= MAX_VALUES)
        return rf_fail(err, RF_ERR_FORMAT, "more than %d values", MAX_VALUES);
    *out = rf_arena_alloc(&u->arena, sizeof **out);
    if (!*out)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a value of the pickle");
    (*out)->kind = kind;
    u->n_values++;
    return RF_OK;
}

rf_status rf_pickle_global(rf_unpickler *u, const char *module, size_t module_len, const char *name,
                           size_t name_len, rf_pickle_value **out, rf_error *err)
{
    if (!module_len || !name_len || module_len + name_len > MAX_GLOBAL_BYTES ||
        !rf_is_text(module, module_len) || !rf_is_text(name, name_len))
        return rf_fail(err, RF_ERR_FORMAT, "name of a global is not text of 1 to %d bytes",
                       MAX_GLOBAL_BYTES);
    RF_TRY(rf_pickle_new(u, RF_PICKLE_GLOBAL, out, err));
    char *full =
        rf_arena_printf(&u->arena, "%.*s %.*s", (int)module_len, module, (int)name_len, name);
    if (!full)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a name of the pickle");
    (*out)->u.global.name = full;
    (*out)->u.global.token = -1;
    for (int i = 0; i < N_GLOBALS; i++)
        if (!strcmp(globals[i].name, full))
            (*out)->u.global.token = i;
    if ((*out)->u.global.token >= 0 && globals[(*out)->u.global.token].role == NESTED)
        return rf_fail(
            err, RF_ERR_UNSUPPORTED,
            "tensors written by pickle.dump; write them with torch.save or as safetensors");
    return RF_OK;
}

static bool has_role(const rf_pickle_value *v, enum role role)
{
    return v->kind == RF_PICKLE_GLOBAL && v->u.global.token >= 0 &&
           globals[v->u.global.token].role == role;
}

/* Hooks and metadata can only be absent: nothing here could honour them. */
static bool is_nothing(const rf_pickle_value *v)
{
    return v->kind == RF_PICKLE_NONE || (v->kind == RF_PICKLE_DICT && !v->u.seq.n);
}

static rf_status wrong_arguments(const rf_pickle_value *callee, rf_error *err)
{
    return rf_fail(err, RF_ERR_FORMAT, "wrong arguments for '%.96s'", callee->u.global.name);
}

static bool read_ints(const rf_pickle_value *tuple, int64_t out[RF_MAX_RANK])
{
    for (size_t i = 0; i < tuple->u.seq.n; i++) {
        const rf_pickle_value *v = tuple->u.seq.items[i];
        if (v->kind != RF_PICKLE_INT)
            return false;
        out[i] = v->u.i;
    }
    return true;
}

/* offset + sum (dim-1)*stride must lie inside the storage. */
static rf_status check_reach(const rf_pickle_tensor *t, int64_t available, rf_error *err)
{
    int64_t last = t->offset, step;
    bool overflow = false;
    for (int i = 0; i < t->tensor.rank; i++) {
        if (t->tensor.strides[i] < 0)
            return rf_fail(err, RF_ERR_FORMAT,
                           "tensor in storage '%s' has stride %lld, expected 0 or more",
                           t->storage->key, (long long)t->tensor.strides[i]);
        if (t->tensor.dims[i])
            overflow |=
                __builtin_mul_overflow(t->tensor.dims[i] - 1, t->tensor.strides[i], &step) ||
                __builtin_add_overflow(last, step, &last);
    }
    bool empty = rf_tensor_elements(&t->tensor) == 0;
    if (t->offset < 0 || t->offset > available || (!empty && (overflow || last >= available)))
        return rf_fail(err, RF_ERR_FORMAT,
                       "tensor at element %lld reaches past storage '%s' of %lld elements",
                       (long long)t->offset, t->storage->key, (long long)available);
    return RF_OK;
}

/* (storage, offset, sizes, strides) with elements of `dtype`. */
static rf_status make_tensor(rf_unpickler *u, rf_pickle_value *const *args, rf_dtype dtype,
                             int64_t available, rf_pickle_value **out, rf_error *err)
{
    const rf_pickle_value *sizes = args[2], *strides = args[3];
    int64_t dims[RF_MAX_RANK] = {0}, steps[RF_MAX_RANK] = {0};
    const char *key = args[0]->u.storage->key;
    rf_error why;
    if (sizes->u.seq.n != strides->u.seq.n)
        return rf_fail(err, RF_ERR_FORMAT, "tensor in storage '%s' has %zu sizes and %zu strides",
                       key, sizes->u.seq.n, strides->u.seq.n);
    if (sizes->u.seq.n > RF_MAX_RANK)
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "tensor in storage '%s' has %zu dims, expected at most %d", key,
                       sizes->u.seq.n, RF_MAX_RANK);
    if (!read_ints(sizes, dims) || !read_ints(strides, steps))
        return rf_fail(err, RF_ERR_FORMAT,
                       "tensor in storage '%s': sizes or strides are not integers", key);
    rf_pickle_tensor *t = rf_arena_alloc(&u->arena, sizeof *t);
    if (!t)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a tensor record");
    if (rf_tensor_init(&t->tensor, dtype, (int)sizes->u.seq.n, dims, NULL, &why) != RF_OK)
        return rf_fail(err, RF_ERR_FORMAT, "in storage '%s': %s", key, why.text);
    memcpy(t->tensor.strides, steps, sizeof steps);
    t->storage = args[0]->u.storage;
    t->offset = args[1]->u.i;
    RF_TRY(check_reach(t, available, err));
    RF_TRY(rf_pickle_new(u, RF_PICKLE_TENSOR, out, err));
    (*out)->u.tensor = t;
    return RF_OK;
}

static rf_status rebuild(rf_unpickler *u, const rf_pickle_value *callee,
                         const rf_pickle_value *args, rf_pickle_value **out, rf_error *err)
{
    enum role role = globals[callee->u.global.token].role;
    rf_pickle_value *const *a = args->u.seq.items;
    size_t n = args->u.seq.n, least = role == REBUILD ? 4 : role == REBUILD_V2 ? 6 : 7;
    size_t most = role == REBUILD ? 4 : least + 1;
    if (n < least || n > most || a[0]->kind != RF_PICKLE_STORAGE || a[1]->kind != RF_PICKLE_INT ||
        a[2]->kind != RF_PICKLE_TUPLE || a[3]->kind != RF_PICKLE_TUPLE)
        return wrong_arguments(callee, err);
    if (role != REBUILD && (a[4]->kind != RF_PICKLE_BOOL || !is_nothing(a[5])))
        return wrong_arguments(callee, err);
    if (role != REBUILD && n == most && !is_nothing(a[n - 1]))
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "tensor with metadata (a conjugate or negative view)");
    char text[128];
    const rf_pickle_storage *s = a[0]->u.storage;
    rf_dtype dtype = s->dtype;
    int64_t available = s->view_elements;
    if (s->is_untyped != (role == REBUILD_V3))
        return wrong_arguments(callee, err);
    if (role == REBUILD_V3) {
        if (!has_role(a[6], DTYPE))
            return rf_fail(err, RF_ERR_UNSUPPORTED,
                           "tensor in storage '%s': expected a torch dtype, found %s", s->key,
                           rf_pickle_describe(a[6], text, sizeof text));
        dtype = globals[a[6]->u.global.token].dtype;
        available /= (int64_t)rf_dtype_bytes(dtype);
    }
    return make_tensor(u, a, dtype, available, out, err);
}

static rf_status make_opaque(rf_unpickler *u, const rf_pickle_value *callee, rf_pickle_value **out,
                             rf_error *err)
{
    RF_TRY(rf_pickle_new(u, RF_PICKLE_OPAQUE, out, err));
    (*out)->u.global = callee->u.global;
    return RF_OK;
}

static rf_status check_call(const rf_pickle_value *callee, const rf_pickle_value *args,
                            rf_error *err)
{
    char text[128];
    if (callee->kind != RF_PICKLE_GLOBAL && callee->kind != RF_PICKLE_OPAQUE)
        return rf_fail(err, RF_ERR_FORMAT, "calls %s",
                       rf_pickle_describe(callee, text, sizeof text));
    if (args->kind != RF_PICKLE_TUPLE)
        return rf_fail(err, RF_ERR_FORMAT, "calls '%.96s' with %s, expected a tuple",
                       callee->u.global.name, rf_pickle_describe(args, text, sizeof text));
    return RF_OK;
}

rf_status rf_pickle_call(rf_unpickler *u, const rf_pickle_value *callee,
                         const rf_pickle_value *args, rf_pickle_value **out, rf_error *err)
{
    RF_TRY(check_call(callee, args, err));
    if (callee->kind == RF_PICKLE_OPAQUE || callee->u.global.token < 0)
        return make_opaque(u, callee, out, err);
    rf_pickle_value *const *a = args->u.seq.items;
    size_t n = args->u.seq.n;
    enum role role = globals[callee->u.global.token].role;
    switch (role) {
    case ORDERED_DICT:
        if (n)
            break;
        RF_TRY(rf_pickle_new(u, RF_PICKLE_DICT, out, err));
        (*out)->u.seq.is_ordered_dict = true;
        return RF_OK;
    case REBUILD:
    case REBUILD_V2:
    case REBUILD_V3:
        return rebuild(u, callee, args, out, err);
    case PARAMETER:
    case PARAMETER_STATE:
        if (n != (role == PARAMETER ? 3u : 4u) || a[0]->kind != RF_PICKLE_TENSOR ||
            a[1]->kind != RF_PICKLE_BOOL || !is_nothing(a[2]))
            break;
        *out = a[0];
        return RF_OK;
    case SIZE:
        if (n != 1 || a[0]->kind != RF_PICKLE_TUPLE)
            break;
        *out = a[0];
        return RF_OK;
    default: /* storages and dtypes are nouns */
        break;
    }
    return wrong_arguments(callee, err);
}

rf_status rf_pickle_new_object(rf_unpickler *u, const rf_pickle_value *callee,
                               const rf_pickle_value *args, rf_pickle_value **out, rf_error *err)
{
    RF_TRY(check_call(callee, args, err));
    if (callee->u.global.token >= 0)
        return wrong_arguments(callee, err);
    return make_opaque(u, callee, out, err);
}

static bool is_string(const rf_pickle_value *v, const char *text)
{
    return v->kind == RF_PICKLE_STRING && v->u.string.n == strlen(text) &&
           !memcmp(v->u.string.bytes, text, v->u.string.n);
}

static bool is_key(const rf_pickle_value *v)
{
    if (v->kind != RF_PICKLE_STRING || !v->u.string.n || v->u.string.n > MAX_KEY_BYTES)
        return false;
    for (size_t i = 0; i < v->u.string.n; i++) {
        char c = v->u.string.bytes[i];
        bool ok =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!ok)
            return false;
    }
    return true;
}

/* Legacy streams: None, or (view key, offset, elements) of a part of the storage. */
static rf_status read_view(const rf_pickle_value *view, rf_pickle_storage *s, rf_error *err)
{
    if (view->kind == RF_PICKLE_NONE)
        return RF_OK;
    rf_pickle_value *const *a = view->u.seq.items;
    if (view->kind != RF_PICKLE_TUPLE || view->u.seq.n != 3 || !is_key(a[0]) ||
        a[1]->kind != RF_PICKLE_INT || a[2]->kind != RF_PICKLE_INT)
        return rf_fail(err, RF_ERR_FORMAT, "storage '%s': malformed view", s->key);
    s->view_offset = a[1]->u.i;
    s->view_elements = a[2]->u.i;
    if (s->view_offset < 0 || s->view_elements < 0 || s->view_offset > s->n_elements ||
        s->view_elements > s->n_elements - s->view_offset)
        return rf_fail(err, RF_ERR_FORMAT,
                       "storage '%s': view of %lld elements at %lld passes its %lld", s->key,
                       (long long)s->view_elements, (long long)s->view_offset,
                       (long long)s->n_elements);
    return RF_OK;
}

rf_status rf_pickle_persistent(rf_unpickler *u, const rf_pickle_value *id, rf_pickle_value **out,
                               rf_error *err)
{
    char text[128];
    rf_pickle_value *const *a = id->u.seq.items;
    if (id->kind != RF_PICKLE_TUPLE || id->u.seq.n < 5 || id->u.seq.n > (u->is_legacy ? 6 : 5) ||
        !is_string(a[0], "storage"))
        return rf_fail(err, RF_ERR_FORMAT,
                       "persistent id is %s, expected ('storage', type, key, "
                       "location, elements)",
                       rf_pickle_describe(id, text, sizeof text));
    if (!has_role(a[1], STORAGE) && !has_role(a[1], UNTYPED))
        return rf_fail(err, RF_ERR_UNSUPPORTED, "storage of unknown type (%s)",
                       rf_pickle_describe(a[1], text, sizeof text));
    if (!is_key(a[2]) || a[3]->kind != RF_PICKLE_STRING || a[4]->kind != RF_PICKLE_INT ||
        a[4]->u.i < 0)
        return rf_fail(
            err, RF_ERR_FORMAT,
            "persistent id: expected a key of letters and digits, a location and a count "
            "of 0 or more");
    rf_pickle_storage *s = rf_arena_alloc(&u->arena, sizeof *s);
    char *key = rf_arena_strndup(&u->arena, a[2]->u.string.bytes, a[2]->u.string.n);
    if (!s || !key)
        return rf_fail(err, RF_ERR_MEMORY, "no memory for a storage record");
    s->key = key;
    s->is_untyped = has_role(a[1], UNTYPED);
    s->dtype = globals[a[1]->u.global.token].dtype;
    s->n_elements = s->view_elements = a[4]->u.i;
    int64_t bytes;
    if (__builtin_mul_overflow(s->n_elements, (int64_t)rf_dtype_bytes(s->dtype), &bytes))
        return rf_fail(err, RF_ERR_FORMAT, "storage '%s' of %lld elements passes 63 bits of bytes",
                       s->key, (long long)s->n_elements);
    if (id->u.seq.n == 6)
        RF_TRY(read_view(a[5], s, err));
    RF_TRY(rf_grow_array(u->arena.env, &u->storages, &u->storages_capacity, u->n_storages + 1,
                         sizeof *u->storages, err));
    u->storages[u->n_storages++] = s;
    RF_TRY(rf_pickle_new(u, RF_PICKLE_STORAGE, out, err));
    (*out)->u.storage = s;
    return RF_OK;
}
