// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/case.h"

#include <cstdlib>
#include <sstream>

namespace ops
{

bool is_float(rf_dtype t)
{
    return t <= RF_BF16;
}

static Token parse_token(const std::string &text)
{
    Token t;
    if (text == "-") {
        t.absent = true;
        return t;
    }
    size_t end = text.find_first_of("*~:@");
    std::string dims = text.substr(0, end);
    for (std::istringstream in(dims == "s" ? "" : dims);
         in.good() && !dims.empty() && dims != "s";) {
        std::string part;
        std::getline(in, part, 'x');
        t.dims[t.rank++] = std::atoll(part.c_str());
    }
    while (end != std::string::npos) {
        size_t next = text.find_first_of("*~:@", end + 1);
        std::string rest = text.substr(end + 1, next == std::string::npos ? next : next - end - 1);
        t.constant = t.constant || text[end] == '*';
        t.statistics = t.statistics || text[end] == '~';
        if (text[end] == '@')
            t.fill = rest;
        for (int d = 0; text[end] == ':' && d < RF_DTYPE_COUNT; d++)
            if (rest == rf_dtype_name((rf_dtype)d)) {
                t.dtype = (rf_dtype)d;
                t.fixed = true;
            }
        end = next;
    }
    return t;
}

std::vector<Token> parse_inputs(const Case &c)
{
    std::vector<Token> tokens;
    std::istringstream in(c.inputs);
    for (std::string word; in >> word;)
        tokens.push_back(parse_token(word));
    return tokens;
}

std::string Case::full_name() const
{
    return std::string(rf_op_get(op)->name) + "_" + name;
}

const std::vector<Case> &all_cases()
{
    static const std::vector<Case> cases = {
#define RF_CASE(op, name, inputs, attrs) {rf_op_find(#op), #name, inputs, attrs},
#include "tests/ops/cases/attention.def"
#include "tests/ops/cases/conv.def"
#include "tests/ops/cases/elementwise.def"
#include "tests/ops/cases/matmul.def"
#include "tests/ops/cases/movement.def"
#include "tests/ops/cases/norm.def"
#include "tests/ops/cases/pool.def"
#include "tests/ops/cases/reduce.def"
#include "tests/ops/cases/resize.def"
#undef RF_CASE
    };
    return cases;
}

std::string parse_attrs(rf_op op, const std::string &text, rf_attrs *attrs, int *n_out)
{
    rf_attrs_default(op, attrs);
    std::istringstream in(text);
    for (std::string word; in >> word;) {
        size_t equals = word.find('=');
        std::string key = word.substr(0, equals), value = word.substr(equals + 1);
        if (key == "outputs") {
            *n_out = std::atoi(value.c_str());
            continue;
        }
        const rf_op_info *info = rf_op_get(op);
        rf_attr attr = {};
        attr.key = key.c_str();
        for (int i = 0; i < info->n_fields; i++)
            if (key == info->fields[i].name)
                attr.kind = info->fields[i].kind == RF_FIELD_ENUM   ? RF_ATTR_ENUM
                            : info->fields[i].kind == RF_FIELD_REAL ? RF_ATTR_REAL
                                                                    : RF_ATTR_INTS;
        attr.name = attr.kind == RF_ATTR_ENUM ? value.c_str() : nullptr;
        attr.real = std::atof(value.c_str());
        std::istringstream parts(attr.kind == RF_ATTR_INTS ? value : "");
        for (std::string part; std::getline(parts, part, ',') && attr.n < RF_MAX_RANK * 2;)
            attr.i[attr.n++] = std::atoll(part.c_str());
        rf_error err;
        if (rf_attrs_set(op, attrs, &attr, &err) != RF_OK)
            return err.text;
    }
    return "";
}

std::string Variant::text() const
{
    static const char *const names[] = {"plain", "nhwc", "view"};
    return std::string(rf_dtype_name(in)) + " " + names[(int)in_layout] + " -> " +
           rf_dtype_name(out) + " " + names[(int)out_layout] + ", weights " +
           rf_dtype_name(weights);
}

static Variant in_f16(Variant v)
{
    for (rf_dtype *t : {&v.in, &v.out, &v.weights})
        *t = *t == RF_BF16 ? RF_F16 : *t;
    return v;
}

std::vector<Variant> variants_of(const Case &c, Audience audience)
{
    const Layout plain = Layout::plain, nhwc = Layout::nhwc, view = Layout::view;
    std::vector<Variant> all = {
        {RF_F32, RF_F32, RF_F32, plain, plain},
        {RF_F32, RF_F32, RF_F32, view, view},
        {RF_BF16, RF_BF16, RF_BF16, plain, plain},
        {RF_BF16, RF_BF16, RF_F32, view, plain},
    };
    bool images = false, floats = false;
    for (const Token &t : parse_inputs(c)) {
        images = images || (!t.absent && !t.constant && t.rank == 4);
        floats = floats || (!t.absent && !t.fixed);
    }
    if (images) {
        all.push_back({RF_F32, RF_F32, RF_F32, nhwc, nhwc});
        all.push_back({RF_BF16, RF_BF16, RF_F32, nhwc, nhwc});
        all.push_back({RF_F32, RF_F32, RF_F32, plain, nhwc});
        all.push_back({RF_F32, RF_F32, RF_F32, nhwc, plain});
    }
    // Stem and head: the caller's f32 on one side, half storage on the other.
    bool exact = rf_op_get(c.op)->tolerance == RF_TOL_EXACT && c.op != RF_OP_COPY;
    if (floats && !exact) {
        all.push_back({RF_F32, RF_BF16, RF_F32, plain, images ? nhwc : plain});
        all.push_back({RF_BF16, RF_F32, RF_F32, images ? nhwc : plain, plain});
        all.push_back({RF_BF16, RF_F32, RF_F32, images ? nhwc : plain, images ? nhwc : plain});
    }
    if (audience == Audience::device)
        for (size_t i = 0, n = all.size(); i < n; i++)
            if (all[i].in == RF_BF16 || all[i].out == RF_BF16)
                all.push_back(in_f16(all[i]));
    if (audience == Audience::reference) {
        all.push_back({RF_F64, RF_F64, RF_F64, plain, plain});
        all.push_back({RF_F16, RF_F16, RF_F16, plain, view});
    }
    if (!floats)
        all.resize(2);
    return all;
}

} // namespace ops
