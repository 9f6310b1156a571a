/* SPDX-License-Identifier: Apache-2.0
 *
 * The stack machine: see unpickle.h. Only the opcodes that pickle protocol 2 writes for state dicts
 * and training checkpoints exist. Containers may contain themselves through the memo, so nobody may
 * walk the result without a bound. Opcodes: Lib/pickletools.py of CPython.
 */
#include "loaders/pth/unpickle.h"

#include <stdio.h>
#include <string.h>

#include "loaders/common.h"
#include "loaders/pth/calls.h"

enum { MAX_STACK = 1000000, MAX_MEMO = 1000000, MAX_STRING = 1 << 20, PROTOCOL = 2 };

enum opcode {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_EMPTY_TUPLE = ')',
    OP_EMPTY_LIST = ']',
    OP_EMPTY_DICT = '}',
    OP_BINFLOAT = 'G',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_SHORT_BINSTRING = 'U',
    OP_BINUNICODE = 'X',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_PROTO = 0x80,
    OP_NEWOBJ = 0x81,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
};

typedef struct machine {
    rf_unpickler *u;
    const uint8_t *bytes;
    size_t n, at;
    rf_pickle_value **stack, **memo;
    size_t n_stack, stack_capacity, memo_capacity;
    size_t *marks; /* heights of the stack */
    size_t n_marks, marks_capacity;
    rf_error *err;
} machine;

#define bad(m, ...) rf_fail((m)->err, RF_ERR_FORMAT, __VA_ARGS__)

/* The next n bytes, or NULL at the end of the pickle. */
static const uint8_t *take(machine *m, size_t n)
{
    if (n > m->n - m->at)
        return NULL;
    const uint8_t *p = m->bytes + m->at;
    m->at += n;
    return p;
}

static rf_status cut(machine *m)
{
    return bad(m, "the pickle ends inside an instruction");
}

/* Values above the newest mark: what an instruction may take. */
static size_t available(const machine *m)
{
    return m->n_stack - (m->n_marks ? m->marks[m->n_marks - 1] : 0);
}

static rf_status push(machine *m, rf_pickle_value *v)
{
    if (m->n_stack >= MAX_STACK)
        return bad(m, "stack of more than %d values", MAX_STACK);
    RF_TRY(rf_grow_array(m->u->arena.env, &m->stack, &m->stack_capacity, m->n_stack + 1,
                         sizeof *m->stack, m->err));
    m->stack[m->n_stack++] = v;
    return RF_OK;
}

static rf_status push_new(machine *m, rf_pickle_kind kind, rf_pickle_value **out)
{
    RF_TRY(rf_pickle_new(m->u, kind, out, m->err));
    return push(m, *out);
}

static rf_status need(machine *m, size_t n)
{
    if (available(m) < n)
        return bad(m, "needs %zu values, the stack has %zu", n, available(m));
    return RF_OK;
}

static rf_status push_mark(machine *m)
{
    if (m->n_marks >= MAX_STACK)
        return bad(m, "more than %d marks", MAX_STACK);
    RF_TRY(rf_grow_array(m->u->arena.env, &m->marks, &m->marks_capacity, m->n_marks + 1,
                         sizeof *m->marks, m->err));
    m->marks[m->n_marks++] = m->n_stack;
    return RF_OK;
}

/* Removes the newest mark; the n values above it stay on the stack for the caller. */
static rf_status pop_mark(machine *m, size_t *n)
{
    if (!m->n_marks)
        return bad(m, "no mark on the stack");
    *n = available(m);
    m->n_marks--;
    return RF_OK;
}

static rf_status push_int(machine *m, int64_t i)
{
    rf_pickle_value *v;
    RF_TRY(push_new(m, RF_PICKLE_INT, &v));
    v->u.i = i;
    return RF_OK;
}

static rf_status push_bool(machine *m, bool b)
{
    rf_pickle_value *v;
    RF_TRY(push_new(m, RF_PICKLE_BOOL, &v));
    v->u.i = b;
    return RF_OK;
}

static rf_status push_long(machine *m)
{
    const uint8_t *count = take(m, 1), *p = count ? take(m, *count) : NULL;
    uint64_t bits = 0;
    if (!p)
        return cut(m);
    if (*count > 8)
        return bad(m, "integer of %d bytes, expected at most 8", *count);
    if (*count && p[*count - 1] & 0x80)
        bits = ~UINT64_C(0);
    for (int i = *count - 1; i >= 0; i--)
        bits = bits << 8 | p[i];
    return push_int(m, (int64_t)bits);
}

static rf_status push_real(machine *m)
{
    const uint8_t *p = take(m, 8);
    rf_pickle_value *v;
    uint64_t bits = 0;
    if (!p)
        return cut(m);
    for (int i = 0; i < 8; i++) /* big-endian, unlike everything else */
        bits = bits << 8 | p[i];
    RF_TRY(push_new(m, RF_PICKLE_REAL, &v));
    memcpy(&v->u.real, &bits, sizeof bits);
    return RF_OK;
}

static rf_status push_string(machine *m, size_t count_bytes)
{
    const uint8_t *count = take(m, count_bytes);
    rf_pickle_value *v;
    if (!count)
        return cut(m);
    size_t n = count_bytes == 1 ? *count : rf_read_u32(count);
    if (n > MAX_STRING)
        return bad(m, "string of %zu bytes, expected at most %d", n, MAX_STRING);
    const uint8_t *p = take(m, n);
    if (!p)
        return cut(m);
    RF_TRY(push_new(m, RF_PICKLE_STRING, &v));
    v->u.string.bytes = (const char *)p;
    v->u.string.n = n;
    return RF_OK;
}

static rf_status push_global(machine *m)
{
    const char *part[2];
    size_t len[2];
    rf_pickle_value *v;
    for (int i = 0; i < 2; i++) {
        part[i] = (const char *)m->bytes + m->at;
        const char *end = memchr(part[i], '\n', m->n - m->at);
        if (!end)
            return cut(m);
        len[i] = (size_t)(end - part[i]);
        m->at += len[i] + 1;
    }
    RF_TRY(rf_pickle_global(m->u, part[0], len[0], part[1], len[1], &v, m->err));
    return push(m, v);
}

/* The n top values become one tuple. */
static rf_status make_tuple(machine *m, size_t n)
{
    rf_pickle_value *v;
    RF_TRY(need(m, n));
    RF_TRY(rf_pickle_new(m->u, RF_PICKLE_TUPLE, &v, m->err));
    if (n) {
        v->u.seq.items = rf_arena_alloc(&m->u->arena, n * sizeof *v->u.seq.items);
        if (!v->u.seq.items)
            return rf_fail(m->err, RF_ERR_MEMORY, "no memory for a tuple of %zu", n);
        memcpy(v->u.seq.items, m->stack + m->n_stack - n, n * sizeof *m->stack);
        v->u.seq.n = v->u.seq.capacity = n;
        m->n_stack -= n;
    }
    return push(m, v);
}

/* Moves the n top values to the container below them. An object without meaning swallows them. */
static rf_status extend(machine *m, rf_pickle_kind kind, size_t n)
{
    char text[128];
    RF_TRY(need(m, n + 1));
    rf_pickle_value *to = m->stack[m->n_stack - n - 1], **from = m->stack + m->n_stack - n;
    m->n_stack -= n;
    if (to->kind == RF_PICKLE_OPAQUE)
        return RF_OK;
    if (to->kind != kind)
        return bad(m, "puts items into %s", rf_pickle_describe(to, text, sizeof text));
    if (kind == RF_PICKLE_DICT && n % 2)
        return bad(m, "%zu values are not pairs of keys and values", n);
    for (size_t i = 0; kind == RF_PICKLE_DICT && i < n; i += 2)
        if (from[i]->kind == RF_PICKLE_LIST || from[i]->kind == RF_PICKLE_DICT)
            return bad(m, "%s as key of a dict", rf_pickle_describe(from[i], text, sizeof text));
    size_t total = to->u.seq.n + n;
    if (total > to->u.seq.capacity) {
        size_t capacity = total < 2 * to->u.seq.capacity ? 2 * to->u.seq.capacity : total;
        rf_pickle_value **grown = rf_arena_alloc(&m->u->arena, capacity * sizeof *grown);
        if (!grown)
            return rf_fail(m->err, RF_ERR_MEMORY, "no memory for a container of %zu", capacity);
        if (to->u.seq.n)
            memcpy(grown, to->u.seq.items, to->u.seq.n * sizeof *grown);
        to->u.seq.items = grown;
        to->u.seq.capacity = capacity;
    }
    if (n)
        memcpy(to->u.seq.items + to->u.seq.n, from, n * sizeof *from);
    to->u.seq.n = total;
    return RF_OK;
}

static rf_status extend_marked(machine *m, rf_pickle_kind kind)
{
    size_t n = 0;
    RF_TRY(pop_mark(m, &n));
    return extend(m, kind, n);
}

static rf_status put(machine *m, size_t index_bytes)
{
    const uint8_t *p = take(m, index_bytes);
    if (!p)
        return cut(m);
    size_t index = index_bytes == 1 ? *p : rf_read_u32(p);
    /* Picklers count from 0, one instruction an entry: more of them than bytes would only be a way
     * to make a small file take much memory. */
    if (index >= MAX_MEMO || index >= m->n)
        return bad(m, "memo entry %zu, expected fewer than %d and than the pickle has bytes (%zu)",
                   index, MAX_MEMO, m->n);
    RF_TRY(need(m, 1));
    RF_TRY(rf_grow_array(m->u->arena.env, &m->memo, &m->memo_capacity, index + 1, sizeof *m->memo,
                         m->err));
    m->memo[index] = m->stack[m->n_stack - 1];
    return RF_OK;
}

static rf_status get(machine *m, size_t index_bytes)
{
    const uint8_t *p = take(m, index_bytes);
    if (!p)
        return cut(m);
    size_t index = index_bytes == 1 ? *p : rf_read_u32(p);
    if (index >= m->memo_capacity || !m->memo[index])
        return bad(m, "memo entry %zu was never stored", index);
    return push(m, m->memo[index]);
}

/* REDUCE and NEWOBJ: callee and arguments become the result. */
static rf_status call(machine *m, enum opcode op)
{
    rf_pickle_value *v;
    RF_TRY(need(m, 2));
    const rf_pickle_value *callee = m->stack[m->n_stack - 2], *args = m->stack[m->n_stack - 1];
    if (op == OP_REDUCE)
        RF_TRY(rf_pickle_call(m->u, callee, args, &v, m->err));
    else
        RF_TRY(rf_pickle_new_object(m->u, callee, args, &v, m->err));
    m->n_stack -= 2;
    return push(m, v);
}

/* BUILD: the state of an OrderedDict holds module versions, that of opaque objects nothing known.
 */
static rf_status build(machine *m)
{
    char text[128];
    RF_TRY(need(m, 2));
    m->n_stack--;
    const rf_pickle_value *v = m->stack[m->n_stack - 1];
    if (v->kind == RF_PICKLE_OPAQUE || (v->kind == RF_PICKLE_DICT && v->u.seq.is_ordered_dict))
        return RF_OK;
    return bad(m, "sets the state of %s", rf_pickle_describe(v, text, sizeof text));
}

static rf_status persistent(machine *m)
{
    rf_pickle_value *v;
    RF_TRY(need(m, 1));
    RF_TRY(rf_pickle_persistent(m->u, m->stack[m->n_stack - 1], &v, m->err));
    m->stack[m->n_stack - 1] = v;
    return RF_OK;
}

static rf_status push_small_int(machine *m, size_t bytes)
{
    const uint8_t *p = take(m, bytes);
    if (!p)
        return cut(m);
    return push_int(m, bytes == 1 ? *p : bytes == 2 ? rf_read_u16(p) : (int32_t)rf_read_u32(p));
}

static rf_status make_tuple_marked(machine *m)
{
    size_t n = 0;
    RF_TRY(pop_mark(m, &n));
    return make_tuple(m, n);
}

/* Names, for messages, of instructions that call or import, and of the frames of later protocols.
 */
static const char *other_name(uint8_t op)
{
    switch (op) {
    case 'i':
        return "INST";
    case 'o':
        return "OBJ";
    case 'P':
        return "PERSID";
    case 0x82:
    case 0x83:
    case 0x84:
        return "EXT";
    case 0x92:
        return "NEWOBJ_EX";
    case 0x93:
        return "STACK_GLOBAL";
    case 0x94:
        return "MEMOIZE";
    case 0x95:
        return "FRAME";
    default:
        return "it";
    }
}

/* One row for each opcode. */
static rf_status step(machine *m, uint8_t op)
{
    rf_pickle_value *v;
    switch (op) {
    case OP_MARK:
        return push_mark(m);
    case OP_NONE:
        return push_new(m, RF_PICKLE_NONE, &v);
    case OP_NEWTRUE:
        return push_bool(m, true);
    case OP_NEWFALSE:
        return push_bool(m, false);
    case OP_BININT:
        return push_small_int(m, 4);
    case OP_BININT1:
        return push_small_int(m, 1);
    case OP_BININT2:
        return push_small_int(m, 2);
    case OP_LONG1:
        return push_long(m);
    case OP_BINFLOAT:
        return push_real(m);
    case OP_BINUNICODE:
        return push_string(m, 4);
    case OP_SHORT_BINSTRING:
        return push_string(m, 1);
    case OP_EMPTY_TUPLE:
        return push_new(m, RF_PICKLE_TUPLE, &v);
    case OP_EMPTY_LIST:
        return push_new(m, RF_PICKLE_LIST, &v);
    case OP_EMPTY_DICT:
        return push_new(m, RF_PICKLE_DICT, &v);
    case OP_TUPLE:
        return make_tuple_marked(m);
    case OP_TUPLE1:
        return make_tuple(m, 1);
    case OP_TUPLE2:
        return make_tuple(m, 2);
    case OP_TUPLE3:
        return make_tuple(m, 3);
    case OP_APPEND:
        return extend(m, RF_PICKLE_LIST, 1);
    case OP_APPENDS:
        return extend_marked(m, RF_PICKLE_LIST);
    case OP_SETITEM:
        return extend(m, RF_PICKLE_DICT, 2);
    case OP_SETITEMS:
        return extend_marked(m, RF_PICKLE_DICT);
    case OP_BINPUT:
        return put(m, 1);
    case OP_LONG_BINPUT:
        return put(m, 4);
    case OP_BINGET:
        return get(m, 1);
    case OP_LONG_BINGET:
        return get(m, 4);
    case OP_GLOBAL:
        return push_global(m);
    case OP_REDUCE:
        return call(m, OP_REDUCE);
    case OP_NEWOBJ:
        return call(m, OP_NEWOBJ);
    case OP_BUILD:
        return build(m);
    case OP_BINPERSID:
        return persistent(m);
    default:
        return bad(m, "%s is not among the instructions that a state dict needs", other_name(op));
    }
}

static rf_status run(machine *m, rf_pickle_value **out)
{
    rf_error why, *err = m->err;
    m->err = &why;
    const uint8_t *head = take(m, 2);
    if (!head || head[0] != OP_PROTO)
        return rf_fail(err, RF_ERR_UNSUPPORTED, "pickle: expected protocol %d, found %s", PROTOCOL,
                       head ? "no protocol" : "the end of the file");
    if (head[1] != PROTOCOL)
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "pickle: expected protocol %d (the default of torch.save), found %d",
                       PROTOCOL, head[1]);
    for (;;) {
        size_t at = m->at;
        const uint8_t *op = take(m, 1);
        if (!op)
            return rf_fail(err, RF_ERR_FORMAT, "pickle: ends after %zu bytes without a stop", m->n);
        if (*op == OP_STOP)
            break;
        rf_status status = step(m, *op);
        if (status != RF_OK)
            return rf_fail(err, status, "pickle: byte %zu, instruction 0x%02x: %s", at, *op,
                           why.text);
    }
    if (m->n_stack != 1 || m->n_marks)
        return rf_fail(err, RF_ERR_FORMAT,
                       "pickle: stops with %zu values and %zu marks, expected 1 and 0", m->n_stack,
                       m->n_marks);
    *out = m->stack[0];
    return RF_OK;
}

void rf_unpickler_init(rf_unpickler *u, rf_env *env, bool is_legacy)
{
    *u = (rf_unpickler){.is_legacy = is_legacy};
    rf_arena_init(&u->arena, env);
}

void rf_unpickler_free(rf_unpickler *u)
{
    rf_free(u->arena.env, u->storages, u->storages_capacity * sizeof *u->storages);
    rf_arena_free(&u->arena);
}

rf_status rf_unpickle(rf_unpickler *u, const uint8_t *bytes, size_t n, rf_pickle_value **out,
                      size_t *used, rf_error *err)
{
    rf_env *env = u->arena.env;
    machine m = {.u = u, .bytes = bytes, .n = n, .err = err};
    rf_status status = run(&m, out);
    *used = m.at;
    rf_free(env, m.stack, m.stack_capacity * sizeof *m.stack);
    rf_free(env, m.marks, m.marks_capacity * sizeof *m.marks);
    rf_free(env, m.memo, m.memo_capacity * sizeof *m.memo);
    return status;
}

rf_pickle_value *rf_pickle_get(const rf_pickle_value *dict, const char *key)
{
    size_t n = strlen(key);
    if (dict->kind != RF_PICKLE_DICT)
        return NULL;
    for (size_t i = dict->u.seq.n; i >= 2; i -= 2) {
        const rf_pickle_value *k = dict->u.seq.items[i - 2];
        if (k->kind == RF_PICKLE_STRING && k->u.string.n == n && !memcmp(k->u.string.bytes, key, n))
            return dict->u.seq.items[i - 1];
    }
    return NULL;
}

const char *rf_pickle_describe(const rf_pickle_value *value, char *buf, size_t buf_bytes)
{
    static const char *const texts[RF_PICKLE_KIND_COUNT] = {
        [RF_PICKLE_NONE] = "None",         [RF_PICKLE_BOOL] = "a bool",
        [RF_PICKLE_INT] = "an integer",    [RF_PICKLE_REAL] = "a float",
        [RF_PICKLE_STRING] = "a string",   [RF_PICKLE_TUPLE] = "a tuple",
        [RF_PICKLE_LIST] = "a list",       [RF_PICKLE_DICT] = "a dict",
        [RF_PICKLE_STORAGE] = "a storage", [RF_PICKLE_TENSOR] = "a tensor",
    };
    if (texts[value->kind])
        return texts[value->kind];
    snprintf(buf, buf_bytes,
             value->kind == RF_PICKLE_GLOBAL ? "the name '%s'" : "an object of '%s'",
             value->u.global.name);
    return buf;
}
