/* SPDX-License-Identifier: Apache-2.0
 *
 * Depth first by stripes: a run of convolutions on a large picture is carried out a few rows at a
 * time through all of them, so that the maps between them never exist as a whole. Each becomes a
 * window of rows that slides down: memory falls from whole maps to a few rows of each, and what one
 * layer wrote is still in the caches when the next one reads it. A batch goes through image by
 * image, so that the windows are as small as for one.
 *
 * All of it is decided while planning. The steps of the run give way to one step per layer and
 * stripe, whose tensors are views of rows of the windows (of whole maps at both ends), with the
 * padding cut to what the stripe touches; moving the last rows of a window to its front is a step
 * as well. A kernel takes part if its state serves any number of rows (rf_kernel.by_rows). The
 * height of stripes follows from the picture alone, so results do not depend on the threads.
 */
#include "runtime/exec/plan.h"

#include <string.h>

enum {
    STRIPE_BYTES = 1 << 20, /* of the widest map: a layer's input and output share the L2 caches */
    ROWS_UNIT = 8,          /* whole Winograd tiles, also at half the height */
    MAX_ROWS = 64,
    MAX_RATIO = 2 /* of heights in a run, or the stripes of the smallest maps get too thin */
};

/* A value that a run reads or writes. */
typedef struct map {
    bool inner;     /* only a window of it exists, of one image */
    int64_t height; /* rows of an image */
    int64_t ready;  /* rows of the image written so far */
    int64_t low;    /* first row in the window */
    int64_t rows;   /* height of the window */
    int32_t owner;  /* the step of its first stripe */
} map;

typedef struct stripes {
    rf_plan *plan;
    map *maps;           /* per value */
    int64_t *done;       /* per old step: rows of its output that are written */
    size_t first, last;  /* the run: old steps [first, last) */
    int64_t images;      /* of the run's batch */
    int64_t image;       /* the one that is walked through */
    int64_t base, band;  /* rows of the run's tallest map; of it, rows of a stripe */
    rf_plan_step *steps; /* what replaces the plan's */
    rf_kernel_call *calls;
    size_t n_steps, steps_capacity, calls_capacity;
} stripes;

/* Input rows [begin, end). */
typedef struct range {
    int64_t begin, end;
} range;

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Bit k: input k is a map whose rows follow the output's. The others are weights. */
static uint32_t map_inputs(const rf_op_args *args)
{
    return 1u | (args->op == RF_OP_CONV2D && args->n_in > 3 && args->in[3] ? 1u << 3 : 0);
}

/* Rows of input k that output rows [y0, y1) look at, beyond the borders too. */
static range needs(const rf_op_args *args, int k, int64_t y0, int64_t y1)
{
    if (k != 0)
        return (range){y0, y1};
    const int64_t kernel = args->in[1]->dims[2] - 1;
    if (args->op == RF_OP_CONV2D) {
        const rf_conv2d_attrs *a = &args->attrs->conv2d;
        return (range){y0 * a->stride[0] - a->pad[0],
                       (y1 - 1) * a->stride[0] - a->pad[0] + kernel * a->dilation[0] + 1};
    }
    const rf_conv_transpose2d_attrs *a = &args->attrs->conv_transpose2d;
    return (range){-floor_div(kernel * a->dilation[0] - a->pad[0] - y0, a->stride[0]),
                   floor_div(y1 - 1 + a->pad[0], a->stride[0]) + 1};
}

/* The same, inside the map, never empty, and with the rows that reflection fetches. */
static range rows_of(const stripes *s, size_t i, int k, int64_t y0, int64_t y1)
{
    const rf_op_args *args = &s->plan->calls[i].args;
    const int64_t height = s->maps[s->plan->steps[i].in[k]].height;
    range r = needs(args, k, y0, y1);
    if (k == 0 && args->op == RF_OP_CONV2D && args->attrs->conv2d.pad_mode == RF_PAD_REFLECT) {
        const int64_t above = -r.begin, below = 2 * (height - 1) - (r.end - 1);
        r.end = r.end <= above ? above + 1 : r.end;
        r.begin = r.end > height && below < r.begin ? below : r.begin;
    }
    r.end = r.end > height ? height : r.end < 1 ? 1 : r.end;
    r.begin = r.begin < 0 ? 0 : r.begin >= r.end ? r.end - 1 : r.begin;
    return r;
}

static int64_t height_of(const rf_plan *plan, rf_value v)
{
    return plan->values[v].tensor.dims[2];
}

static int64_t images_of(const rf_plan *plan, size_t i)
{
    return plan->calls[i].args.in[0]->dims[0];
}

/* ---- which steps form a run -------------------------------------------------------------------
 */

/* Every output row must look at a row inside the picture. */
static bool touches_rows(const rf_op_args *args)
{
    const int64_t kernel = args->in[1]->dims[2] - 1;
    if (args->op == RF_OP_CONV2D) {
        const rf_conv2d_attrs *a = &args->attrs->conv2d;
        return a->pad[0] >= 0 && a->pad[0] <= kernel * a->dilation[0] &&
               a->pad[2] <= kernel * a->dilation[0];
    }
    const rf_conv_transpose2d_attrs *a = &args->attrs->conv_transpose2d;
    return a->pad[0] >= 0 && kernel * a->dilation[0] + 1 >= a->stride[0];
}

static bool can_stripe(const rf_plan *plan, size_t i)
{
    const rf_op_args *args = &plan->calls[i].args;
    if (!plan->steps[i].kernel->by_rows ||
        (args->op != RF_OP_CONV2D && args->op != RF_OP_CONV_TRANSPOSE2D) || args->n_out != 1)
        return false;
    const rf_tensor *x = args->in[0], *y = args->out[0];
    if (x->rank != 4 || x->dims[0] < 1 || x->dims[2] < 1 || y->dims[2] < 1 || !args->in[1]->data)
        return false;
    return (args->n_in < 3 || !args->in[2] || args->in[2]->data) && touches_rows(args);
}

/* Extends a run from `first` as long as the batch is the same and heights stay within MAX_RATIO;
 * only the output of the last step may be lower. */
static void find_run(stripes *s, size_t first)
{
    const rf_plan *plan = s->plan;
    int64_t tallest = 0, lowest = INT64_MAX;
    s->first = s->last = first;
    s->images = images_of(plan, first);
    for (size_t i = first; i < plan->n_steps && can_stripe(plan, i); i++) {
        if (images_of(plan, i) != s->images)
            break;
        int64_t in = height_of(plan, plan->steps[i].in[0]);
        int64_t out = height_of(plan, plan->steps[i].out[0]);
        int64_t most = in > out ? in : out;
        tallest = most > tallest ? most : tallest;
        lowest = in < lowest ? in : lowest;
        if (tallest > lowest * MAX_RATIO)
            break;
        s->base = tallest;
        s->last = i + 1;
    }
}

/* Is v read by a step outside of the run, or under another name? */
static bool is_used_outside(const stripes *s, rf_value v)
{
    const rf_plan *plan = s->plan;
    if (rf_graph_is_output(plan->graph, v) || plan->values[v].root != v)
        return true;
    for (size_t u = 0; u < plan->n_values; u++)
        if ((rf_value)u != v && plan->values[u].root == v)
            return true;
    for (size_t i = 0; i < plan->n_steps; i++)
        for (int k = 0; k < plan->calls[i].args.n_in; k++)
            if (plan->steps[i].in[k] == v && (i < s->first || i >= s->last))
                return true;
    return false;
}

static void reset_maps(stripes *s)
{
    const rf_plan *plan = s->plan;
    for (size_t i = s->first; i < s->last; i++) {
        const rf_plan_step *step = &plan->steps[i];
        uint32_t maps = map_inputs(&plan->calls[i].args);
        s->done[i] = 0;
        for (int k = 0; maps >> k; k++)
            if (maps >> k & 1) {
                map *in = &s->maps[step->in[k]];
                bool written = false; /* by the run */
                for (size_t j = s->first; j < i; j++)
                    written |= plan->steps[j].out[0] == step->in[k];
                if (!written)
                    *in = (map){.height = height_of(plan, step->in[k]),
                                .ready = height_of(plan, step->in[k])};
            }
        s->maps[step->out[0]] = (map){.inner = !is_used_outside(s, step->out[0]),
                                      .height = height_of(plan, step->out[0])};
    }
}

/* ---- progress --------------------------------------------------------------------------------
 */

/* How many rows of step i's output its inputs allow, at most a stripe beyond what is written. */
static int64_t reach(const stripes *s, size_t i)
{
    const rf_plan_step *step = &s->plan->steps[i];
    const rf_op_args *args = &s->plan->calls[i].args;
    const int64_t height = s->maps[step->out[0]].height, band = s->band * height / s->base;
    /* A little more than a stripe at once is enough to catch up, and keeps the search short. */
    int64_t y = s->done[i] + 2 * band + 16;
    y = y < height ? y : height;
    bool from_whole = true;
    for (int k = 0; map_inputs(args) >> k; k++) {
        if (!(map_inputs(args) >> k & 1))
            continue;
        const map *in = &s->maps[step->in[k]];
        if (in->ready == in->height)
            continue;
        from_whole = false;
        /* Step back from the most it could be. */
        while (y > s->done[i] && rows_of(s, i, k, s->done[i], y).end > in->ready)
            y--;
    }
    const int64_t most = s->done[i] + (band < 1 ? 1 : band);
    return from_whole && y > most ? most : y;
}

/* First row of v that some step still has to read. */
static int64_t first_needed(const stripes *s, rf_value v)
{
    const rf_plan *plan = s->plan;
    int64_t low = s->maps[v].ready;
    for (size_t i = s->first; i < s->last; i++) {
        const rf_op_args *args = &plan->calls[i].args;
        const int64_t height = s->maps[plan->steps[i].out[0]].height;
        if (s->done[i] == height)
            continue;
        for (int k = 0; map_inputs(args) >> k; k++)
            if (map_inputs(args) >> k & 1 && plan->steps[i].in[k] == v) {
                range r = rows_of(s, i, k, s->done[i], height);
                low = r.begin < low ? r.begin : low;
            }
    }
    return low;
}

/* ---- building steps -----------------------------------------------------------------------------
 */

/* Rows of v's current image. */
static rf_status add_view(stripes *s, rf_value v, range rows, rf_error *err)
{
    rf_plan *plan = s->plan;
    const map *m = &s->maps[v];
    RF_TRY(rf_grow_array(plan->env, &plan->views, &plan->views_capacity, plan->n_views + 1,
                         sizeof *plan->views, err));
    rf_plan_view *view = &plan->views[plan->n_views++];
    *view = (rf_plan_view){.tensor = plan->values[v].tensor, .of = v};
    rf_tensor *t = &view->tensor;
    const int64_t image = m->inner ? 0 : s->image;
    view->offset = (image * t->strides[0] + (rows.begin - m->low) * t->strides[2]) *
                   (int64_t)rf_dtype_bytes(t->dtype);
    t->dims[0] = 1;
    t->dims[2] = rows.end - rows.begin;
    if (t->strides[1] == 1) /* dense again */
        t->strides[0] = t->dims[2] * t->strides[2];
    return RF_OK;
}

static rf_status grow_steps(stripes *s, rf_error *err)
{
    RF_TRY(rf_grow_array(s->plan->env, &s->steps, &s->steps_capacity, s->n_steps + 1,
                         sizeof *s->steps, err));
    return rf_grow_array(s->plan->env, &s->calls, &s->calls_capacity, s->n_steps + 1,
                         sizeof *s->calls, err);
}

static rf_status keep_step(stripes *s, size_t i, rf_error *err)
{
    RF_TRY(grow_steps(s, err));
    s->steps[s->n_steps] = s->plan->steps[i];
    s->calls[s->n_steps++] = s->plan->calls[i];
    return RF_OK;
}

/* A few rows that lie in the second cache: not worth waking a team for. */
static rf_status slide(const rf_kernel_call *call, rf_error *err)
{
    (void)err;
    const rf_tensor *from = call->args.in[0];
    memmove(call->args.out[0]->data, from->data, rf_tensor_bytes(from));
    return RF_OK;
}

static const rf_kernel slide_kernel = {
    .op = RF_OP_COPY, .name = "slide", .why = "rows that are still needed", .run = slide};

/* Moves the rows of v's window that are still needed to its front. */
static rf_status add_slide(stripes *s, rf_value v, rf_error *err)
{
    rf_plan *plan = s->plan;
    map *m = &s->maps[v];
    const range from = {first_needed(s, v), m->ready};
    const int64_t moved = m->low + from.end - from.begin;
    if (from.begin < from.end) {
        RF_TRY(grow_steps(s, err));
        s->steps[s->n_steps] = (rf_plan_step){.kernel = &slide_kernel,
                                              .backend = plan->params.backend,
                                              .name = "window",
                                              .chain = 1,
                                              .striped = true,
                                              .borrowed = true,
                                              .owner = -1,
                                              .first_view = (int32_t)plan->n_views,
                                              .view_inputs = 1,
                                              .in = {v},
                                              .out = {v}};
        s->calls[s->n_steps++] = (rf_kernel_call){.args = {.op = RF_OP_COPY, .n_in = 1, .n_out = 1},
                                                  .n_threads = plan->params.n_threads};
        RF_TRY(add_view(s, v, from, err));
        RF_TRY(add_view(s, v, (range){m->low, moved}, err));
    }
    m->low = from.begin;
    return RF_OK;
}

static void cut_padding(rf_plan_step *step, const rf_op_args *args, int64_t y0, int64_t y1,
                        range in)
{
    const range whole = needs(args, 0, y0, y1);
    if (args->op == RF_OP_CONV2D) {
        step->attrs.conv2d.pad[0] = in.begin - whole.begin;
        step->attrs.conv2d.pad[2] = whole.end - in.end;
    } else
        step->attrs.conv_transpose2d.pad[0] +=
            y0 - in.begin * step->attrs.conv_transpose2d.stride[0];
}

/* Rows [y0, y1) of step i. The first stripe of all owns the kernel's state. */
static rf_status add_stripe(stripes *s, size_t i, int64_t y0, int64_t y1, rf_error *err)
{
    rf_plan *plan = s->plan;
    const rf_plan_step *old = &plan->steps[i];
    RF_TRY(keep_step(s, i, err));
    rf_plan_step *step = &s->steps[s->n_steps - 1];
    rf_kernel_call *call = &s->calls[s->n_steps - 1];
    step->striped = true;
    step->borrowed = y0 > 0 || s->image > 0;
    if (!step->borrowed)
        s->maps[old->out[0]].owner = (int32_t)s->n_steps - 1;
    step->owner = s->maps[old->out[0]].owner;
    step->first_view = (int32_t)plan->n_views;
    step->view_inputs = map_inputs(&call->args);
    const int64_t height = s->maps[old->out[0]].height, macs = old->macs / s->images;
    step->macs = macs * y1 / height - macs * y0 / height;
    for (int k = 0; step->view_inputs >> k; k++)
        if (step->view_inputs >> k & 1)
            RF_TRY(add_view(s, old->in[k], rows_of(s, i, k, y0, y1), err));
    RF_TRY(add_view(s, old->out[0], (range){y0, y1}, err));
    cut_padding(step, &plan->calls[i].args, y0, y1, rows_of(s, i, 0, y0, y1));
    rf_kernel_desc d = rf_plan_desc(plan, &call->args);
    d.args.attrs = &step->attrs;
    rf_plan_step_views(plan, step, &d.args);
    step->scratch_bytes = step->kernel->scratch ? step->kernel->scratch(&d) : 0;
    return RF_OK;
}

/* One step forward. While windows are measured (build false) only their heights are noted. */
static rf_status advance(stripes *s, size_t i, int64_t y1, bool build, rf_error *err)
{
    const rf_value v = s->plan->steps[i].out[0];
    map *out = &s->maps[v];
    if (out->inner && !build) {
        int64_t low = first_needed(s, v), rows = y1 - (low < out->ready ? low : out->ready);
        out->rows = rows > out->rows ? rows : out->rows;
    } else if (out->inner && y1 - out->low > out->rows)
        RF_TRY(add_slide(s, v, err));
    if (build)
        RF_TRY(add_stripe(s, i, s->done[i], y1, err));
    s->done[i] = out->ready = y1;
    return RF_OK;
}

/* Round by round through all steps of the run, for one image. */
static rf_status walk(stripes *s, bool build, rf_error *err)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = s->first; i < s->last; i++) {
            int64_t y1 = reach(s, i);
            if (y1 > s->done[i])
                RF_TRY(advance(s, i, y1, build, err));
            more |= s->done[i] < s->maps[s->plan->steps[i].out[0]].height;
        }
    }
    return RF_OK;
}

/* ---- whether it pays ---------------------------------------------------------------------------
 */

static int64_t row_bytes(const rf_plan *plan, rf_value v)
{
    const rf_tensor *t = &plan->values[v].tensor;
    const int64_t rows = t->dims[0] * t->dims[2];
    return rows > 0 ? (int64_t)rf_tensor_bytes(t) / rows : 0;
}

static int64_t choose_band(const stripes *s)
{
    if (s->plan->params.stripe_rows > 0)
        return s->plan->params.stripe_rows;
    int64_t widest = 1;
    for (size_t i = s->first; i < s->last; i++) {
        int64_t bytes = row_bytes(s->plan, s->plan->steps[i].out[0]);
        widest = bytes > widest ? bytes : widest;
    }
    int64_t rows = STRIPE_BYTES / widest / ROWS_UNIT * ROWS_UNIT;
    return rows < ROWS_UNIT ? ROWS_UNIT : rows > MAX_ROWS ? MAX_ROWS : rows;
}

/* All windows together must be smaller than one of the maps they stand for, and no step much
 * shorter than a stripe: images below that size are left in their batch. */
static bool is_worthwhile(const stripes *s)
{
    int64_t windows = 0, largest = 0;
    for (size_t i = s->first; i < s->last; i++) {
        const rf_value v = s->plan->steps[i].out[0];
        const map *m = &s->maps[v];
        if (!m->inner)
            continue;
        const int64_t bytes = row_bytes(s->plan, v);
        windows += bytes * m->rows;
        largest = bytes * m->height > largest ? bytes * m->height : largest;
    }
    if (s->plan->params.stripe_rows > 0)
        return largest > 0;
    return windows < largest * s->images && largest * s->images >= 2 * STRIPE_BYTES &&
           largest >= STRIPE_BYTES;
}

static void shrink_maps(stripes *s)
{
    for (size_t i = s->first; i < s->last; i++) {
        const rf_value v = s->plan->steps[i].out[0];
        rf_tensor *t = &s->plan->values[v].tensor;
        if (!s->maps[v].inner)
            continue;
        t->dims[0] = 1;
        t->dims[2] = s->maps[v].rows;
        if (t->strides[1] == 1)
            t->strides[0] = t->dims[2] * t->strides[2];
        else
            rf_tensor_set_contiguous(t);
    }
}

/* Old steps from `first` on: a run in stripes, or what stays as it is. Moves s->last. */
static rf_status do_run(stripes *s, size_t first, rf_error *err)
{
    find_run(s, first);
    if (s->last - s->first < 2) {
        s->last = first + 1;
        return keep_step(s, first, err);
    }
    s->image = 0;
    s->band = choose_band(s);
    reset_maps(s);
    RF_TRY(walk(s, false, err));
    if (!is_worthwhile(s)) {
        for (size_t i = s->first; i < s->last; i++)
            RF_TRY(keep_step(s, i, err));
        return RF_OK;
    }
    shrink_maps(s);
    for (s->image = 0; s->image < s->images; s->image++) {
        for (size_t i = s->first; i < s->last; i++) {
            map *out = &s->maps[s->plan->steps[i].out[0]];
            s->done[i] = out->ready = out->low = 0;
        }
        RF_TRY(walk(s, true, err));
    }
    return RF_OK;
}

rf_status rf_planner_stripes(rf_planner *p, rf_error *err)
{
    rf_plan *plan = p->plan;
    rf_env *env = plan->env;
    stripes s = {.plan = plan};
    size_t n_values = plan->n_values, n_steps = plan->n_steps;
    rf_status status;
    if (plan->params.stripe_rows < 0 || n_steps == 0)
        return RF_OK;
    RF_TRY_DONE(rf_alloc_array(env, n_values, sizeof *s.maps, &s.maps, err));
    RF_TRY_DONE(rf_alloc_array(env, n_steps, sizeof *s.done, &s.done, err));
    for (size_t i = 0; i < n_steps; i = s.last)
        RF_TRY_DONE(do_run(&s, i, err));
    /* The arrays change places. */
    rf_plan_step *old_steps = plan->steps;
    rf_kernel_call *old_calls = plan->calls;
    size_t steps_capacity = plan->steps_capacity, calls_capacity = plan->calls_capacity;
    plan->steps = s.steps;
    plan->calls = s.calls;
    plan->n_steps = s.n_steps;
    plan->steps_capacity = s.steps_capacity;
    plan->calls_capacity = s.calls_capacity;
    s.steps = old_steps;
    s.calls = old_calls;
    s.steps_capacity = steps_capacity;
    s.calls_capacity = calls_capacity;
done:
    rf_free(env, s.steps, s.steps_capacity * sizeof *s.steps);
    rf_free(env, s.calls, s.calls_capacity * sizeof *s.calls);
    rf_free(env, s.maps, n_values * sizeof *s.maps);
    rf_free(env, s.done, n_steps * sizeof *s.done);
    return status;
}
