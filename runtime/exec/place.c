/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel choice per node. A node is first offered to the backend as it is (caller's plain input,
 * caller's plain output); if no kernel takes it, its plain float inputs are copied into the inner
 * layout and dtype, then its outputs are; what still nobody takes runs on the reference kernel,
 * which takes everything. Copies of a graph input are shared by all who need them.
 */
#include "runtime/exec/plan.h"

#include <string.h>

rf_kernel_desc rf_plan_desc(const rf_plan *plan, const rf_op_args *args)
{
    return (rf_kernel_desc){.args = *args,
                            .n_threads = plan->params.n_threads,
                            .env = plan->env,
                            .packs = plan->params.packs,
                            .device = plan->params.device,
                            .exact = plan->params.exact,
                            .no_library = plan->params.no_library};
}

static void desc_of(const rf_planner *p, const rf_graph_node *n, rf_kernel_desc *d)
{
    rf_plan *plan = p->plan;
    *d = rf_plan_desc(plan, &(rf_op_args){0});
    d->args = (rf_op_args){.op = n->op, .attrs = &n->attrs, .n_in = n->n_in, .n_out = n->n_out};
    for (int k = 0; k < n->n_in; k++)
        d->args.in[k] = n->in[k] == RF_NONE ? NULL : &plan->values[n->in[k]].tensor;
    for (int k = 0; k < n->n_out; k++)
        d->args.out[k] = &plan->values[n->out[k]].tensor;
}

/* The library of a device may refuse on the spot what it was wanted for (another version, another
 * card). */
static bool may_refuse(const rf_plan *plan, const rf_kernel *kernel)
{
    return plan->params.device && kernel->wanted;
}

/* A kernel that may refuse is prepared while it is placed, so that the next one can take its node;
 * all others are when memory is known to suffice (rf_planner_prepare). */
static rf_status prepare_refusable(rf_planner *p, rf_kernel_desc *d, const char *name,
                                   const rf_backend *backend, const rf_kernel **kernel,
                                   void **state, rf_error *err)
{
    rf_error why;
    if (!may_refuse(p->plan, *kernel))
        return RF_OK;
    rf_status status = (*kernel)->prepare(d, state, &why);
    if (status == RF_ERR_UNSUPPORTED) {
        rf_log(p->plan->env, RF_LOG_INFO, "%s '%s': %s.%s refused: %s", rf_op_get(d->args.op)->name,
               name, backend->name, (*kernel)->name, why.text);
        d->no_library = true;
        if ((*kernel = rf_backend_choose(backend, d)))
            return prepare_refusable(p, d, name, backend, kernel, state, err);
    }
    if (status != RF_OK && err)
        *err = why;
    return status;
}

static rf_status add_step(rf_planner *p, const rf_graph_node *n, const rf_backend *backend,
                          const rf_kernel *kernel, rf_error *err)
{
    rf_plan *plan = p->plan;
    rf_kernel_desc d;
    RF_TRY(rf_grow_array(plan->env, &plan->steps, &plan->steps_capacity, plan->n_steps + 1,
                         sizeof *plan->steps, err));
    RF_TRY(rf_grow_array(plan->env, &plan->calls, &plan->calls_capacity, plan->n_steps + 1,
                         sizeof *plan->calls, err));
    rf_plan_step *s = &plan->steps[plan->n_steps];
    rf_kernel_call *call = &plan->calls[plan->n_steps];
    memset(s, 0, sizeof *s);
    desc_of(p, n, &d);
    if (plan->params.tuner && rf_plan_macs(&d.args))
        RF_TRY(rf_tuner_choose(plan->params.tuner, &d, &kernel, err));
    *call = (rf_kernel_call){.args = d.args, .n_threads = plan->params.n_threads};
    RF_TRY(prepare_refusable(p, &d, n->name, backend, &kernel, &call->state, err));
    s->kernel = kernel;
    s->backend = backend;
    s->name = n->name;
    s->attrs = n->attrs;
    s->macs = rf_plan_macs(&d.args);
    s->scratch_bytes = kernel->scratch ? kernel->scratch(&d) : 0;
    s->chain = 1;
    memcpy(s->in, n->in, sizeof s->in);
    memcpy(s->out, n->out, sizeof s->out);
    plan->macs += s->macs;
    plan->n_steps++;
    return RF_OK;
}

/* What no kernel of the backend takes runs on the reference kernel, unless that would have to reach
 * into a device's memory. */
static rf_status fall_back(const rf_planner *p, const rf_kernel_desc *d, const char *name,
                           const rf_backend **backend, const rf_kernel **kernel, rf_error *err)
{
    const rf_backend *wanted = p->plan->params.backend;
    if (wanted->device_ops)
        return rf_fail(err, RF_ERR_UNSUPPORTED,
                       "device '%s' has no kernel for %s '%s' with %s in, "
                       "%s out",
                       wanted->name, rf_op_get(d->args.op)->name, name,
                       rf_dtype_name(d->args.in[0]->dtype), rf_dtype_name(d->args.out[0]->dtype));
    rf_log(p->plan->env, RF_LOG_DEBUG, "no %s kernel for %s '%s', using ref", wanted->name,
           rf_op_get(d->args.op)->name, name);
    *backend = rf_backend_find("ref");
    *kernel = rf_backend_choose(*backend, d);
    return RF_OK;
}

/* Emits a COPY from `src` to `dst`. */
static rf_status add_copy(rf_planner *p, rf_value src, rf_value dst, rf_error *err)
{
    rf_graph_node *n;
    RF_TRY(rf_graph_new_node(p->plan->graph, RF_OP_COPY, "layout", &n, err));
    n->in[n->n_in++] = src;
    n->out[n->n_out++] = dst;
    const rf_graph_node copy = *n;
    rf_kernel_desc d;
    desc_of(p, &copy, &d);
    const rf_backend *backend = p->plan->params.backend;
    const rf_kernel *kernel = rf_backend_choose(backend, &d);
    if (!kernel)
        RF_TRY(fall_back(p, &d, copy.name, &backend, &kernel, err));
    return add_step(p, n, backend, kernel, err);
}

/* The description a value would have inside: half storage, NHWC if it is an image. */
static bool inner_desc(const rf_planner *p, const rf_graph_node *n, const rf_tensor *t,
                       rf_tensor *out)
{
    *out = *t;
    if (t->dtype == RF_F32 && p->plan->params.precision != RF_F32)
        out->dtype = p->plan->params.precision;
    bool image = n->op != RF_OP_MATMUL && n->op != RF_OP_ATTENTION && n->op != RF_OP_RESHAPE &&
                 n->op != RF_OP_TRANSPOSE && n->op != RF_OP_LAYER_NORM && n->op != RF_OP_GATHER;
    if (t->rank == 4 && image && p->plan->params.backend->nhwc)
        rf_tensor_set_nhwc(out);
    return out->dtype != t->dtype || memcmp(out->strides, t->strides, sizeof t->strides);
}

/* n with plain float inputs replaced by (not yet existing) inner ones; kernel for that or NULL. */
static const rf_kernel *try_inner(const rf_planner *p, const rf_graph_node *n, bool inputs,
                                  bool outputs)
{
    rf_kernel_desc d;
    rf_tensor in[RF_MAX_IN], out[RF_MAX_OUT];
    desc_of(p, n, &d);
    for (int k = 0; inputs && k < n->n_in; k++)
        if (d.args.in[k] && !rf_graph_is_const(p->plan->graph, n->in[k]) &&
            inner_desc(p, n, d.args.in[k], &in[k]))
            d.args.in[k] = &in[k];
    for (int k = 0; outputs && k < n->n_out; k++)
        if (inner_desc(p, n, d.args.out[k], &out[k]))
            d.args.out[k] = &out[k];
    return rf_backend_choose(p->plan->params.backend, &d);
}

/* An inner copy of v for n, made once. */
static rf_status inner_value(rf_planner *p, const rf_graph_node *n, rf_value v, rf_value *out,
                             rf_error *err)
{
    rf_plan *plan = p->plan;
    rf_tensor want;
    *out = v;
    if (v == RF_NONE || rf_graph_is_const(plan->graph, v) ||
        !inner_desc(p, n, &plan->values[v].tensor, &want))
        return RF_OK;
    for (size_t i = 0; i < plan->n_steps; i++) {
        const rf_plan_step *s = &plan->steps[i];
        if (plan->calls[i].args.op != RF_OP_COPY || s->in[0] != v)
            continue;
        const rf_tensor *have = &plan->values[s->out[0]].tensor;
        if (have->dtype == want.dtype &&
            !memcmp(have->strides, want.strides, sizeof want.strides)) {
            *out = s->out[0];
            return RF_OK;
        }
    }
    RF_TRY(rf_planner_new_value(p, &want, out, err));
    return add_copy(p, v, *out, err);
}

/* Emits n with inputs (and outputs) in the inner form, with the copies that takes. */
static rf_status place_inner(rf_planner *p, rf_graph_node *n, bool outputs, const rf_kernel *kernel,
                             rf_error *err)
{
    rf_plan *plan = p->plan;
    rf_value outer[RF_MAX_OUT];
    rf_tensor want;
    for (int k = 0; k < n->n_in; k++)
        RF_TRY(inner_value(p, n, n->in[k], &n->in[k], err));
    for (int k = 0; k < n->n_out; k++) {
        outer[k] = n->out[k];
        if (outputs && inner_desc(p, n, &plan->values[outer[k]].tensor, &want))
            RF_TRY(rf_planner_new_value(p, &want, &n->out[k], err));
    }
    RF_TRY(add_step(p, n, plan->params.backend, kernel, err));
    for (int k = 0; k < n->n_out; k++)
        if (n->out[k] != outer[k])
            RF_TRY(add_copy(p, n->out[k], outer[k], err));
    return RF_OK;
}

/* A reshape of row-major elements is the same bytes under other dims, unless the caller owns either
 * end: then it must be moved. */
static bool is_view(const rf_planner *p, const rf_graph_node *n)
{
    const rf_plan *plan = p->plan;
    return n->op == RF_OP_RESHAPE && !rf_graph_is_const(plan->graph, n->in[0]) &&
           !rf_graph_is_output(plan->graph, n->out[0]) &&
           plan->values[n->in[0]].tensor.dtype == plan->values[n->out[0]].tensor.dtype &&
           rf_tensor_is_contiguous(&plan->values[n->in[0]].tensor) &&
           rf_tensor_is_contiguous(&plan->values[n->out[0]].tensor);
}

static rf_status place_node(rf_planner *p, rf_graph_node n, rf_error *err)
{
    rf_plan *plan = p->plan;
    rf_kernel_desc d;
    if (is_view(p, &n)) {
        plan->values[n.out[0]].root = plan->values[n.in[0]].root;
        return RF_OK;
    }
    desc_of(p, &n, &d);
    const rf_kernel *kernel = rf_backend_choose(plan->params.backend, &d);
    if (kernel)
        return add_step(p, &n, plan->params.backend, kernel, err);
    for (int outputs = 0; outputs < 2; outputs++)
        if ((kernel = try_inner(p, &n, true, outputs)))
            return place_inner(p, &n, outputs, kernel, err);
    const rf_backend *backend;
    RF_TRY(fall_back(p, &d, n.name, &backend, &kernel, err));
    return add_step(p, &n, backend, kernel, err);
}

/* Consecutive steps that a kernel can run depth first: each must read what the one before wrote. */
static void group_chains(rf_plan *plan)
{
    for (size_t i = 0; i < plan->n_steps; i += (size_t)plan->steps[i].chain) {
        rf_plan_step *s = &plan->steps[i];
        while (i + (size_t)s->chain < plan->n_steps && s->kernel->can_chain && !s->striped) {
            size_t l = i + (size_t)s->chain - 1;
            const rf_plan_step *last = &plan->steps[l], *next = last + 1;
            const rf_kernel_desc a = rf_plan_desc(plan, &plan->calls[l].args);
            const rf_kernel_desc b = rf_plan_desc(plan, &plan->calls[l + 1].args);
            if (next->kernel != s->kernel || next->striped || next->in[0] != last->out[0] ||
                !s->kernel->can_chain(&a, &b))
                break;
            s->chain++;
        }
    }
}

void rf_plan_step_views(rf_plan *plan, const rf_plan_step *step, rf_op_args *args)
{
    rf_plan_view *view = &plan->views[step->first_view];
    for (int k = 0; step->view_inputs >> k; k++)
        if (step->view_inputs >> k & 1)
            args->in[k] = &view++->tensor;
    args->out[0] = &view->tensor;
}

/* Arguments point into arrays that have moved while they grew. */
static void set_addresses(rf_plan *plan)
{
    for (size_t i = 0; i < plan->n_steps; i++) {
        rf_plan_step *s = &plan->steps[i];
        rf_op_args *args = &plan->calls[i].args;
        args->attrs = &s->attrs;
        for (int k = 0; k < args->n_in; k++)
            args->in[k] = s->in[k] == RF_NONE ? NULL : &plan->values[s->in[k]].tensor;
        for (int k = 0; k < args->n_out; k++)
            args->out[k] = &plan->values[s->out[k]].tensor;
        if (s->striped)
            rf_plan_step_views(plan, s, args);
    }
}

/* An external library that would do less than a tenth of the multiply-adds is not worth opening:
 * oneDNN takes 18 MiB and some ms of a first run, and gains a fraction on what it does. */
static void judge_library(rf_planner *p)
{
    rf_plan *plan = p->plan;
    int64_t all = 0, wanted = 0;
    for (size_t i = 0; i < plan->graph->n_nodes && !plan->params.no_library; i++) {
        rf_kernel_desc d;
        if (!plan->graph->nodes[i].n_out)
            continue;
        desc_of(p, &plan->graph->nodes[i], &d);
        int64_t macs = rf_plan_macs(&d.args);
        all += macs;
        if (macs && rf_backend_wants_library(plan->params.backend, &d))
            wanted += macs;
    }
    plan->params.no_library |= wanted * 10 < all;
}

/* Says once per plan which libraries would have been used but are not on this machine. */
static void log_absent(const rf_planner *p)
{
    const rf_plan *plan = p->plan;
    const rf_backend *backend = plan->params.backend;
    size_t n_rows;
    const rf_kernel *const *rows = backend->kernels(&n_rows);
    for (size_t k = 0; k < n_rows; k++)
        for (size_t i = 0; rows[k]->wanted && i < plan->graph->n_nodes; i++) {
            rf_kernel_desc d;
            desc_of(p, &plan->graph->nodes[i], &d);
            if (!plan->graph->nodes[i].n_out || d.args.op != rows[k]->op || !rows[k]->wanted(&d))
                continue;
            if (rows[k]->usable && !rows[k]->usable())
                rf_log(plan->env, RF_LOG_INFO, "%s.%s is left out, its library cannot be used: %s",
                       backend->name, rows[k]->name,
                       plan->params.device ? backend->device_ops->versions(plan->params.device)
                                           : backend->describe());
            break;
        }
}

rf_status rf_planner_prepare(rf_planner *p, rf_error *err)
{
    rf_plan *plan = p->plan;
    for (size_t i = 0; i < plan->n_steps; i++) {
        const rf_plan_step *s = &plan->steps[i];
        rf_kernel_call *call = &plan->calls[i];
        void *state = NULL;
        if (s->borrowed) {
            call->state = s->owner < 0 ? NULL : plan->calls[s->owner].state;
            continue;
        }
        if (may_refuse(plan, s->kernel))
            continue; /* prepared when it was placed */
        const rf_kernel_desc d = rf_plan_desc(plan, &call->args);
        if (s->kernel->prepare)
            RF_TRY(s->kernel->prepare(&d, &state, err));
        call->state = state;
    }
    return plan->params.backend->device_ops ? rf_planner_upload(p, err) : RF_OK;
}

rf_status rf_planner_place(rf_planner *p, rf_error *err)
{
    rf_plan *plan = p->plan;
    judge_library(p);
    if (!plan->params.no_library && rf_log_enabled(plan->env, RF_LOG_INFO))
        log_absent(p);
    size_t n = plan->graph->n_nodes; /* copies are appended behind */
    for (size_t i = 0; i < n; i++)
        if (plan->graph->nodes[i].n_out)
            RF_TRY(place_node(p, plan->graph->nodes[i], err));
    set_addresses(plan);
    RF_TRY(rf_planner_stripes(p, err));
    set_addresses(plan);
    group_chains(plan);
    return RF_OK;
}
