/* SPDX-License-Identifier: Apache-2.0
 *
 * What a plan decided, in words and as JSON; and the multiply-adds of a node.
 */
#include "runtime/exec/plan.h"

static void append_tensor(rf_str *out, const rf_tensor *t)
{
    for (int i = 0; i < t->rank; i++)
        rf_str_printf(out, "%s%lld", i ? "x" : "", (long long)t->dims[i]);
    rf_str_printf(out, " %s%s", rf_dtype_name(t->dtype),
                  t->rank == 4 && rf_tensor_is_nhwc(t) && !rf_tensor_is_contiguous(t) ? " nhwc"
                                                                                      : "");
}

void rf_plan_explain(const rf_plan *plan, rf_str *out)
{
    size_t n = 0; /* nodes: of a striped one the first stripe speaks for all */
    for (size_t i = 0; i < plan->n_steps; i++) {
        const rf_plan_step *s = &plan->steps[i];
        if (s->striped && s->borrowed)
            continue;
        const rf_op_args *args = &plan->calls[i].args;
        const rf_plan_value *v = &plan->values[s->out[0]];
        rf_str_printf(out, "%4zu  %-16s %-28s %s.%s%s  ", n++, rf_op_get(args->op)->name, s->name,
                      s->backend->name, s->kernel->name, s->chain > 1 ? " (chain)" : "");
        if (s->striped)
            rf_str_printf(out, "stripes of ");
        append_tensor(out, args->out[0]);
        if (v->root != s->out[0])
            rf_str_printf(out, " in place");
        rf_str_printf(out, "  [%s%s]\n", s->kernel->why ? s->kernel->why : "general",
                      s->backend != plan->params.backend ? "; no faster kernel takes this form"
                                                         : "");
    }
    rf_str_printf(out,
                  "total: %zu nodes in %zu steps, %.3f GMAC, arena %.1f MiB, scratch %.1f MiB, "
                  "constants %.1f MiB\n",
                  n, plan->n_steps, (double)plan->macs * 1e-9,
                  (double)plan->arena_bytes / 1048576.0, (double)plan->scratch_bytes / 1048576.0,
                  (double)plan->const_bytes / 1048576.0);
}

static void append_operand(rf_str *out, const rf_plan *plan, const rf_tensor *t, rf_value v)
{
    static const char *const stored[] = {[RF_STORE_NONE] = "none",
                                         [RF_STORE_CONST] = "const",
                                         [RF_STORE_INPUT] = "input",
                                         [RF_STORE_OUTPUT] = "output",
                                         [RF_STORE_ARENA] = "arena"};
    if (!t) {
        rf_str_printf(out, "null");
        return;
    }
    rf_str_printf(out, "{\"dtype\":\"%s\",\"dims\":[", rf_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        rf_str_printf(out, "%s%lld", i ? "," : "", (long long)t->dims[i]);
    rf_str_printf(out, "],\"bytes\":%zu,\"stored\":\"%s\",\"memory\":%d}", rf_tensor_bytes(t),
                  stored[plan->values[v].storage], (int)plan->values[v].root);
}

void rf_plan_steps_json(const rf_plan *plan, rf_str *out)
{
    for (size_t i = 0; i < plan->n_steps; i++) {
        const rf_plan_step *s = &plan->steps[i];
        const rf_op_args *args = &plan->calls[i].args;
        rf_str_printf(out, "%s{\"op\":\"%s\",\"name\":\"", i ? ",\n" : "[",
                      rf_op_get(args->op)->name);
        rf_str_append_escaped(out, s->name);
        rf_str_printf(out, "\",\"kernel\":\"%s.%s\",\"macs\":%lld,\"scratch_bytes\":%zu,\"in\":[",
                      s->backend->name, s->kernel->name, (long long)s->macs, s->scratch_bytes);
        for (int k = 0; k < args->n_in; k++) {
            rf_str_append(out, ",", k > 0);
            append_operand(out, plan, args->in[k], s->in[k]);
        }
        rf_str_printf(out, "],\"out\":[");
        for (int k = 0; k < args->n_out; k++) {
            rf_str_append(out, ",", k > 0);
            append_operand(out, plan, args->out[k], s->out[k]);
        }
        rf_str_printf(out, "]}");
    }
    rf_str_printf(out, plan->n_steps ? "]\n" : "[]\n");
}

int64_t rf_plan_macs(const rf_op_args *args)
{
    int64_t n = rf_tensor_elements(args->out[0]);
    switch (args->op) {
    case RF_OP_CONV2D:
        return n * args->in[1]->dims[1] * args->in[1]->dims[2] * args->in[1]->dims[3];
    case RF_OP_CONV_TRANSPOSE2D:
        return rf_tensor_elements(args->in[0]) * args->in[1]->dims[1] * args->in[1]->dims[2] *
               args->in[1]->dims[3];
    case RF_OP_MATMUL: {
        const rf_tensor *a = args->in[0];
        return n * a->dims[a->rank - (args->attrs->matmul.trans_a ? 2 : 1)];
    }
    case RF_OP_ATTENTION:
        return rf_tensor_elements(args->in[0]) / (args->in[0]->dims[3] ? args->in[0]->dims[3] : 1) *
               args->in[1]->dims[2] * (args->in[0]->dims[3] + args->in[2]->dims[3]);
    case RF_OP_PIXEL_ATTENTION: {
        int64_t taps = args->in[3]->dims[2] * args->in[3]->dims[3], c = args->in[0]->dims[1];
        return c ? n * taps * 2 + n / c * taps * 2 : 0;
    }
    default:
        return 0;
    }
}
