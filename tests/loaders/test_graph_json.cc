// SPDX-License-Identifier: Apache-2.0
//
// Refold's own form: what is written comes back, mapped and not copied; hostile graphs are refused;
// a failed write leaves what was there.
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>

#include "loaders/safetensors/safetensors.h"
#include "runtime/core/graph.h"
#include "tests/loaders/files.h"
#include "tests/support/networks.h"

using namespace rft;

namespace
{

// A file of the own form, opened.
class Opened
{
  public:
    explicit Opened(const std::string &path)
    {
        EXPECT_EQ(rf_env_create(nullptr, &env, &err), RF_OK);
        EXPECT_EQ(rf_blob_map_file(env, path.c_str(), &blob, &err), RF_OK) << err.text;
        EXPECT_EQ(rf_load_checkpoint(env, blob, path.c_str(), &ckpt, &err), RF_OK) << err.text;
        if (ckpt) {
            EXPECT_EQ(rf_load_graph(ckpt, &graph, &err), RF_OK) << err.text;
        }
    }
    ~Opened()
    {
        rf_graph_destroy(&graph);
        rf_checkpoint_destroy(&ckpt);
        rf_blob_release(&blob);
        rf_env_release(&env);
    }
    rf_env *env = nullptr;
    rf_blob *blob = nullptr;
    rf_checkpoint *ckpt = nullptr;
    rf_graph *graph = nullptr;
    rf_error err = {};
};

void save(const rf_graph *g, const std::string &path)
{
    rf_error err = {};
    EXPECT_EQ(rf_save_graph(g, "a report\n", path.c_str(), &err), RF_OK) << err.text;
}

// Attributes that all differ from their defaults; `k` chooses among enumerators and numbers.
std::vector<rf_attr> other_attrs(const rf_op_info *op, int k)
{
    static const double reals[] = {0.1, -1e-300, INFINITY, -INFINITY, 12345678.875, 3};
    std::vector<rf_attr> attrs;
    for (int i = 0; i < op->n_fields; i++) {
        const rf_field *f = &op->fields[i];
        std::vector<int64_t> numbers;
        for (int j = 0; j < f->n; j++)
            numbers.push_back(f->kind == RF_FIELD_LIST ? (INT64_MAX >> 2 * j) - k
                                                       : INT32_MIN + 3 * j + k);
        if (f->kind == RF_FIELD_REAL)
            attrs.push_back(real(f->name, reals[(k + i) % 6]));
        else if (f->kind == RF_FIELD_ENUM)
            attrs.push_back(word(f->name, f->texts[k % f->n_texts]));
        else
            attrs.push_back(ints(f->name, numbers));
    }
    return attrs;
}

// Every op with every enumerator, all of its inputs, none of the optional ones, and holes.
Graph every_op()
{
    Net n("every_op");
    rf_value x = n.input("x", {1, 3, -1, -1}), c = n.constant("c", {2, 3}, -1, 1), y = x;
    for (int k = 0; k < RF_OP_COUNT; k++) {
        const rf_op_info *op = rf_op_get(static_cast<rf_op>(k));
        for (int variant = 0; variant < 20; variant++) {
            int most = op->n_opt < 0 ? RF_MAX_IN : op->n_in + op->n_opt;
            int n_in = variant % 2 ? most : op->n_in;
            std::vector<rf_value> in(static_cast<size_t>(n_in), y);
            in[0] = x;
            if (n_in > 1)
                in[1] = c;
            if (variant % 4 == 1 && op->n_opt > 1)
                in[static_cast<size_t>(op->n_in)] = RF_NONE;
            int n_out = op->n_out < 0 ? 1 + variant % RF_MAX_OUT : op->n_out;
            std::string name =
                std::string(op->name) + " \"" + std::to_string(variant) + "\"\\ \xc3\xa9";
            y = n.add(op->name, name, in,
                      variant ? other_attrs(op, variant) : std::vector<rf_attr>(), n_out)[0];
        }
    }
    n.output("y", y);
    n.output("x again", x);
    n.output("c too", c);
    return n.take();
}

TEST(OwnForm, BringsBackEveryOpAndAttribute)
{
    TempDir dir;
    Graph g = every_op();
    save(g.get(), dir / "g.safetensors");
    Opened o(dir / "g.safetensors");
    ASSERT_NE(o.graph, nullptr);
    ASSERT_EQ(o.graph->n_nodes, g->n_nodes);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const rf_graph_node &a = g->nodes[i], &b = o.graph->nodes[i];
        ASSERT_EQ(a.op, b.op);
        EXPECT_STREQ(a.name, b.name);
        EXPECT_TRUE(rf_attrs_equal(a.op, &a.attrs, &b.attrs)) << a.name;
        ASSERT_EQ(a.n_in, b.n_in) << a.name;
        ASSERT_EQ(a.n_out, b.n_out) << a.name;
        for (int k = 0; k < a.n_in; k++) { // the same producer, or the same input or constant
            ASSERT_EQ(a.in[k] == RF_NONE, b.in[k] == RF_NONE) << a.name;
            int p = rf_graph_producer(g.get(), a.in[k]);
            EXPECT_EQ(p, rf_graph_producer(o.graph, b.in[k])) << a.name;
            if (p < 0 && a.in[k] != RF_NONE) {
                EXPECT_STREQ(g->values[a.in[k]].name, o.graph->values[b.in[k]].name);
            }
        }
    }
    EXPECT_STREQ(o.graph->name, "every_op");
    ASSERT_EQ(o.graph->n_outputs, 3u);
    for (size_t i = 0; i < 3; i++)
        EXPECT_STREQ(o.graph->output_names[i], g->output_names[i]);
    EXPECT_STREQ(rf_checkpoint_get_meta(o.ckpt, "refold.folds"), "a report\n");
    // Saved once more, it is the same file.
    save(o.graph, dir / "again.safetensors");
    EXPECT_EQ(read_file(dir / "g.safetensors"), read_file(dir / "again.safetensors"));
}

TEST(OwnForm, KeepsInputsDtypesAndSmallestSizes)
{
    TempDir dir;
    rf_graph *g = nullptr;
    rf_error err = {};
    ASSERT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK);
    Graph owner(g);
    rf_value v[RF_DTYPE_COUNT];
    const int64_t dims[] = {-1, 0, 7, 2147483647};
    for (int d = 0; d < RF_DTYPE_COUNT; d++) {
        std::string name = std::string("in_") + rf_dtype_name(static_cast<rf_dtype>(d));
        ASSERT_EQ(
            rf_graph_input(g, name.c_str(), static_cast<rf_dtype>(d), d % 5, dims, &v[d], &err),
            RF_OK)
            << err.text;
        if (d % 5 > 1) {
            ASSERT_EQ(rf_graph_set_min_size(g, v[d], d, 99 - d, &err), RF_OK) << err.text;
        }
        ASSERT_EQ(rf_graph_output(g, name.c_str(), v[d], &err), RF_OK);
    }
    save(g, dir / "g.safetensors");
    Opened o(dir / "g.safetensors");
    ASSERT_NE(o.graph, nullptr);
    ASSERT_EQ(o.graph->n_inputs, static_cast<size_t>(RF_DTYPE_COUNT));
    for (int d = 0; d < RF_DTYPE_COUNT; d++) {
        const rf_graph_value &a = g->values[g->inputs[d]], &b = o.graph->values[o.graph->inputs[d]];
        EXPECT_STREQ(a.name, b.name);
        EXPECT_EQ(a.desc.dtype, b.desc.dtype);
        EXPECT_EQ(a.desc.rank, b.desc.rank);
        EXPECT_EQ(memcmp(a.desc.dims, b.desc.dims, sizeof a.desc.dims), 0) << a.name;
        EXPECT_EQ(a.min_h, b.min_h);
        EXPECT_EQ(a.min_w, b.min_w);
    }
}

// Constants of every element size in an order that would misalign them if they were stored so.
TEST(OwnForm, ConstantsAreMappedNotCopied)
{
    TempDir dir;
    rf_graph *g = nullptr;
    rf_error err = {};
    ASSERT_EQ(rf_graph_create(nullptr, &g, &err), RF_OK);
    Graph owner(g);
    for (int d = RF_DTYPE_COUNT - 1; d >= 0; d--) {
        rf_tensor t;
        rf_value v;
        int64_t dims[] = {3};
        std::vector<uint8_t> bytes(24);
        for (size_t i = 0; i < bytes.size(); i++)
            bytes[i] = static_cast<uint8_t>(16 * d + static_cast<int>(i));
        ASSERT_EQ(rf_tensor_init(&t, static_cast<rf_dtype>(d), 1, dims, bytes.data(), &err), RF_OK);
        ASSERT_EQ(rf_graph_const(g, rf_dtype_name(t.dtype), &t, &v, &err), RF_OK);
        ASSERT_EQ(rf_graph_output(g, rf_dtype_name(t.dtype), v, &err), RF_OK);
    }
    save(g, dir / "g.safetensors");
    Opened o(dir / "g.safetensors");
    ASSERT_NE(o.graph, nullptr);
    EXPECT_TRUE(rf_blob_is_mapping(o.blob));
    const char *begin = static_cast<const char *>(rf_blob_data(o.blob));
    for (size_t i = 0; i < o.graph->n_outputs; i++) {
        const rf_graph_value &v = o.graph->values[o.graph->outputs[i]];
        const rf_graph_value &w = g->values[g->outputs[i]];
        const char *at = static_cast<const char *>(v.desc.data);
        EXPECT_TRUE(at > begin && at < begin + rf_blob_bytes(o.blob)) << v.name << " was copied";
        EXPECT_EQ(v.desc.dtype, w.desc.dtype) << v.name;
        EXPECT_EQ(memcmp(at, w.desc.data, rf_tensor_bytes(&w.desc)), 0) << v.name;
    }
}

// Through the public API: a network's file costs no copy of its weights when it is loaded.
TEST(OwnForm, AModelMapsItsWeights)
{
    TempDir dir;
    rf_error err = {};
    const std::string path = dir / "wide.safetensors";
    Net n("wide");
    rf_value x = n.input("x", {1, 3, -1, -1});
    n.output("y", n.conv("b", n.conv("a", x, 3, 512, 3), 512, 512, 3)); // 9 MB of weights
    Model built = finish_graph(n.take());
    ASSERT_EQ(rf_model_save(built.get(), path.c_str(), &err), RF_OK) << err.text;
    Memory memory;
    rf_hooks hooks = memory.hooks();
    Model model = load_file(path, false, &hooks);
    EXPECT_GT(read_file(path).size(), 9u << 20);
    EXPECT_LT(memory.peak, 1 << 20);
    EXPECT_EQ(run(open_session(model), random_array("x", {1, 3, 9, 8})).data,
              run(open_session(built), random_array("x", {1, 3, 9, 8})).data);
}

TEST(OwnForm, NamesThatFilesCannotHoldAreReplaced)
{
    TempDir dir;
    Net n("names");
    rf_value x = n.input("x", {1});
    const char *names[] = {"value.0", "__metadata__", "value.1"};
    for (const char *name : names)
        n.output(name, n.one("binary", name, {x, n.constant(name, {1}, 0, 1)}));
    Graph g = n.take();
    // Passes make constants without a name, or two of one name.
    for (size_t v = 0; v < g->n_values; v++)
        if (g->values[v].blob && strcmp(g->values[v].name, "value.0"))
            g->values[v].name = v % 2 ? "" : "value.0";
    save(g.get(), dir / "g.safetensors");
    Opened o(dir / "g.safetensors");
    ASSERT_NE(o.graph, nullptr);
    for (size_t i = 0; i < 3; i++) {
        const rf_value a = g->nodes[i].in[1], b = o.graph->nodes[i].in[1];
        EXPECT_EQ(memcmp(g->values[a].desc.data, o.graph->values[b].desc.data, 4), 0) << names[i];
    }
}

TEST(OwnForm, AFailedWriteKeepsTheOldFileAndLeavesNothing)
{
    TempDir dir;
    Graph g = two_convs();
    const std::string path = dir / "g.safetensors";
    write_file(path, "old");
    auto child = [&] {
        signal(SIGXFSZ, SIG_IGN);
        rlimit limit{2000, 2000}; // fails writes as a full disk does
        setrlimit(RLIMIT_FSIZE, &limit);
        rf_error err = {};
        bool failed = rf_save_graph(g.get(), "", path.c_str(), &err) == RF_ERR_IO;
        _exit(failed && strstr(err.text, path.c_str()) && dir.list().size() == 1 ? 0 : 1);
    };
    EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
    EXPECT_EQ(read_file(path), "old");
    rf_error err = {};
    EXPECT_EQ(rf_save_graph(g.get(), "", (dir / "no/g").c_str(), &err), RF_ERR_IO);
    EXPECT_NE(std::string(err.text).find(dir / "no/g"), std::string::npos) << err.text;
    EXPECT_EQ(dir.list().size(), 1u);
}

// ---- hostile graphs ----

const char *const good_graph =
    "{'version':1,'name':'g','values':4,"
    "'inputs':[{'value':0,'name':'x','dtype':'f32','dims':[1,2],'min_h':0,'min_w':0}],"
    "'constants':[{'value':1,'tensor':'w'}],"
    "'nodes':[{'op':'binary','name':'a','in':[0,1],'out':[2],'attrs':{'kind':'add'}},"
    "{'op':'unary','name':'b','in':[2],'out':[3],'attrs':{'kind':'clamp','alpha':'-inf','beta':1}}]"
    ","
    "'outputs':[{'value':3,'name':'y'}]}";

// A file whose graph is `json`, with ' for ", and one tensor 'w' of two floats.
std::string own_form(std::string json)
{
    std::string escaped;
    for (char c : json)
        escaped += c == '\'' ? "\\\"" : std::string(1, c);
    return make_safetensors(
        "{\"__metadata__\":{\"refold\":\"" + escaped +
            "\"},\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        std::string(8, '\0'));
}

std::string load_error(const std::string &bytes)
{
    Memory memory;
    rf_hooks hooks = memory.hooks();
    rf_model_params params = {sizeof params, nullptr, bytes.data(), bytes.size(), false, &hooks};
    rf_model *model = nullptr;
    rf_error err = {};
    // Five times over: the copy of the file, its checkpoint, its graph, shapes, fusion.
    memory.cap = (2 << 20) + 400 * static_cast<int64_t>(bytes.size());
    rf_status status = rf_model_load(&params, &model, &err);
    EXPECT_NE(status, RF_ERR_MEMORY) << err.text;
    rf_model_release(&model);
    EXPECT_EQ(memory.bytes, 0) << "leak: " << err.text;
    return status == RF_OK ? "" : err.text;
}

// The good graph with one piece replaced.
void refused(const std::string &from, const std::string &to, const std::vector<std::string> &words)
{
    std::string json = good_graph;
    size_t at = json.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    const std::string text = load_error(own_form(json.replace(at, from.size(), to)));
    EXPECT_NE(text, "") << "accepted " << json;
    for (const std::string &w : words)
        EXPECT_NE(text.find(w), std::string::npos) << "'" << w << "' is missing in: " << text;
}

TEST(HostileGraph, TheGoodOneLoads)
{
    EXPECT_EQ(load_error(own_form(good_graph)), "");
}

TEST(HostileGraph, CyclesAndMissingValues)
{
    refused("'in':[0,1]", "'in':[0,3]", {"a: nothing before it writes value 3"});
    refused("'in':[0,1]", "'in':[0,2]", {"a: nothing before it writes value 2"});
    refused("'out':[2]", "'out':[1]", {"a: value 1 is written twice"});
    refused("'out':[3]", "'out':[2]", {"b: value 2 is written twice"});
    refused("{'value':1,'tensor'", "{'value':0,'tensor'", {"w: value 0 is written twice"});
    refused("'values':4", "'values':5", {"'values' is 5, but 4 are written"});
    refused("'values':4", "'values':3", {"b: expected the number of a value below 3"});
    for (const char *n : {"-1", "4.0", "'4'", "null", "100000000", "9223372036854775807"})
        refused("'values':4", std::string("'values':") + n, {"'values'"});
    for (const char *n : {"-1", "4", "2.0", "null", "'2'", "[2]"}) {
        refused("'out':[2]", std::string("'out':[") + n + "]", {"a: expected the number"});
        refused("{'value':3", std::string("{'value':") + n, {"y: expected the number"});
        refused("'inputs':[{'value':0", std::string("'inputs':[{'value':") + n,
                {"x: expected the number"});
    }
    refused("'in':[0,1]", "'in':[0,-2]", {"a: expected the number"});
    refused("{'value':3", "{'value':-1", {"y: expected the number"});
}

TEST(HostileGraph, OpsArityAndAttributes)
{
    refused("'op':'unary'", "'op':'system'", {"node 'b'", "no op 'system'"});
    refused("'op':'unary'", "'op':5", {"expected an op and a name"});
    refused("'name':'b'", "'name':7", {"expected an op and a name"});
    refused("'name':'b'", "'name':'\\\\u001b[2J'", {"not UTF-8 text"});
    refused("'in':[0,1]", "'in':[0]", {"binary 'a'", "1 inputs, expected 2"});
    refused("'in':[0,1]", "'in':[0,1,1]", {"binary 'a'", "3 inputs, expected 2"});
    refused("'in':[0,1]", "'in':[0,-1]", {"binary 'a'", "input 1"});
    refused("'in':[0,1]", "'in':[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", {"node 'a'", "at most 16"});
    refused("'in':[0,1]", "'in':{}", {"node 'a'", "lists"});
    refused("'values':4", "'values':5", {"written"});
    refused("'out':[2]", "'out':[]", {"binary 'a'", "0 outputs"});
    refused("'op':'binary','name':'a','in':[0,1],'out':[2],'attrs':{'kind':'add'}",
            "'op':'concat','name':'a','in':[0,-1],'out':[2],'attrs':{}", {"concat 'a'", "input 1"});
    refused("'alpha'", "'slope'", {"node 'b'", "no attribute 'slope'", "alpha"});
    refused("'kind':'clamp'", "'kind':'rm -rf'", {"node 'b'", "'rm -rf'", "known: relu"});
    refused("'kind':'clamp'", "'kind':3", {"node 'b'", "'kind' is given as integers"});
    refused("'kind':'clamp'", "'kind':'inf'", {"node 'b'", "'inf'"});
    refused("'beta':1", "'beta':'nan'", {"node 'b'", "'beta' is given as a word"});
    refused("'beta':1", "'beta':[1,2]", {"node 'b'", "'beta'"});
    refused("'beta':1", "'beta':null", {"node 'b'", "'beta'"});
    refused("'beta':1", "'beta':{}", {"node 'b'", "'beta'"});
    refused("'beta':1", "'beta':[1.5]", {"node 'b'", "'beta'", "integers"});
    refused("'beta':1", "'beta':1,'beta':2", {"duplicate"});
    refused("'beta':1", "'beta':1e999", {"JSON"});
    refused("{'kind':'add'}", "[]", {"node 'a'", "attributes"});
    refused("'op':'unary','name':'b','in':[2],'out':[3],'attrs':{'kind':'clamp','alpha':'-inf','"
            "beta':1}",
            "'op':'softmax','name':'b','in':[2],'out':[3],'attrs':{'axis':4294967296}",
            {"node 'b'", "'axis'", "32 bits"});
}

TEST(HostileGraph, InputsConstantsAndOutputs)
{
    refused("'tensor':'w'", "'tensor':'v'", {"constant 'v'", "no such tensor"});
    refused("'tensor':'w'", "'tensor':1", {"constant"});
    refused("{'value':1,'tensor':'w'}", "{'value':1,'tensor':'w'},{'value':2,'tensor':'w'}",
            {"constant 'w'", "second constant"});
    refused("{'value':1,'tensor':'w'}", "5", {"constant: expected an object"});
    refused("'dtype':'f32'", "'dtype':'F32'", {"input 'x'", "dtype", "F32"});
    refused("'dims':[1,2]", "'dims':[1,-2]", {"input 'x'", "dim 1"});
    refused("'dims':[1,2]", "'dims':[1,2147483648]", {"input 'x'", "dim 1"});
    refused("'dims':[1,2]", "'dims':[1,2,3,4,5,6,7,8,9]", {"at most 8 dims"});
    refused("'dims':[1,2]", "'dims':[2147483647,2147483647,2147483647]", {"input 'x'", "63 bits"});
    refused("'dims':[1,2]", "'dims':2", {"dims"});
    refused("'min_h':0", "'min_h':-1", {"input 'x'", "min_h"});
    refused("'dims':[1,2],'min_h':0", "'dims':[2],'min_h':5", {"smallest size"});
    refused("'name':'x'", "'name':''", {"need a name"});
    refused("'name':'y'", "'name':''", {"outputs need a name"});
    refused("{'value':3,'name':'y'}", "{'value':3,'name':'y'},{'value':2,'name':'y'}",
            {"'y' is already used"});
    refused("{'value':3,'name':'y'}", "", {"no output"});
    // The tensor is in the file, but the graph does not use it.
    refused("'values':4", "'values':3", {"below 3"});
}

TEST(HostileGraph, MembersAreExactlyThese)
{
    refused("'version':1", "'version':2", {"version 1"});
    refused("'version':1", "'version':'1'", {"version 1"});
    refused("'version':1", "'version':1,'x':0", {"graph: expected an object of 7 members"});
    refused("'min_h':0", "'min_h':0,'x':0", {"input: expected an object of 6"});
    refused("'tensor':'w'", "'tensor':'w','x':0", {"constant: expected an object of 2"});
    refused("'name':'b'", "'name':'b','x':0", {"node: expected an object of 5"});
    refused("'name':'y'", "'name':'y','x':0", {"output: expected an object of 2"});
    refused("'nodes':[", "'edges':[", {"nodes: expected a list"});
    refused("'constants':[{'value':1,'tensor':'w'}]", "'constants':{}",
            {"constants: expected a list"});
    refused(good_graph, "[]", {"values"});
    refused(good_graph, "{}", {"values"});
    refused(good_graph, "", {"JSON"});
    refused(good_graph, "{'values':0", {"JSON"});
}

TEST(HostileGraph, UnusedTensorsAreNamed)
{
    refused(good_graph,
            "{'version':1,'name':'g','values':1,'inputs':[{'value':0,'name':'x','dtype':'f32','"
            "dims':[1],"
            "'min_h':0,'min_w':0}],'constants':[],'nodes':[],'outputs':[{'value':0,'name':'y'}]}",
            {"1 keys are not part of its graph", "'w'"});
}

// A hundred bytes of expand, of pad, of resize: nothing may be evaluated to terabytes at load.
TEST(HostileGraph, ConstantsDoNotGrowAtLoad)
{
    for (const char *node :
         {"'op':'expand','name':'a','in':[1],'out':[2],'attrs':{'dims':[1099511627776,2]}",
          "'op':'pad','name':'a','in':[1],'out':[2],'attrs':{'pads':[0,1099511627776]}"}) {
        std::string json = good_graph;
        const std::string old =
            "'op':'binary','name':'a','in':[0,1],'out':[2],'attrs':{'kind':'add'}";
        json.replace(json.find(old), old.size(), node);
        EXPECT_EQ(load_error(own_form(json)), "");
    }
}

TEST(HostileGraph, TooManyNodesAreRefusedAndManyTakeNotLong)
{
    const int limit = quick() ? 2000 : 20000;
    for (int n : {limit, 20001}) {
        std::string json =
            "{'version':1,'name':'g','values':" + std::to_string(n + 2) +
            ",'inputs':[{'value':0,'name':'x','dtype':'f32','dims':[1],'min_h':0,'min_w':0}],"
            "'constants':[{'value':1,'tensor':'w'}],'nodes':[";
        for (int i = 0; i < n; i++)
            json += std::string(i ? "," : "") + "{'op':'unary','name':'n','in':[" +
                    std::to_string(i + !!i) + "],'out':[" + std::to_string(i + 2) + "],'attrs':{}}";
        json += "],'outputs':[{'value':" + std::to_string(n + 1) +
                ",'name':'y'},{'value':1,'name':'z'}]}";
        const std::string text = load_error(own_form(json));
        EXPECT_EQ(text.find("nodes: expected a list of at most 20000") != std::string::npos,
                  n > 20000)
            << text;
        EXPECT_EQ(text == "", n <= 20000) << text;
    }
}

TEST(HostileGraph, DamageIsRefusedOrHarmless)
{
    const std::string whole = own_form(good_graph);
    const size_t begin = whole.find("version"), step = quick() ? 5 : 1;
    for (size_t i = begin; i < whole.size() - 8; i += step)
        for (const char *to : {"0", "9", "-", "[", "]", "{", "}", ",", "x", ".", "e", " "}) {
            std::string s = whole;
            s[i] = *to;
            load_error(s);
        }
}

} // namespace
