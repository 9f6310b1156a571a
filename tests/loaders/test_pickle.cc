// SPDX-License-Identifier: Apache-2.0
//
// Pickles that attack: nothing runs, everything is refused with what was found, and whatever a
// pickle says costs no more than in proportion to its size.
#include "tests/loaders/files.h"

using namespace rft;
namespace p = pickle;

namespace
{

const std::string floats(16, '\0');

std::string in_file(const std::string &body)
{
    return make_pth(p::proto + body + p::stop, {{"0", floats}});
}

void refused(const std::string &body, const std::vector<std::string> &words)
{
    expect_refused(in_file(body), words, body.substr(0, 80));
}

std::string four()
{
    return p::storage("FloatStorage", "0", 4);
}

std::string good_tensor()
{
    return p::tensor(four(), 0, {4}, {1});
}

std::string rebuild(const std::string &arguments, const std::string &name = "_rebuild_tensor_v2")
{
    return p::global("torch._utils", name) + arguments + p::reduce;
}

// Fails if anything that a pickle says is executed.
class Trap : public testing::Test
{
  protected:
    std::string command() const { return "touch " + (dir_ / "executed"); }
    void TearDown() override { EXPECT_TRUE(dir_.list().empty()) << "a pickle was executed"; }
    TempDir dir_;
};

TEST_F(Trap, CallsAreNeverMade)
{
    const struct {
        const char *module, *name;
    } functions[] = {{"os", "system"},        {"posix", "system"},
                     {"subprocess", "Popen"}, {"builtins", "eval"},
                     {"__builtin__", "exec"}, {"runpy", "_run_code"},
                     {"torch", "hub.load"},   {"torch.serialization", "load"},
                     {"numpy", "load"},       {"nt", "system"},
                     {"webbrowser", "open"},  {"functools", "partial"}};
    for (auto &f : functions) {
        const std::string what = std::string("'") + f.module + " " + f.name + "'";
        const std::string call = p::call(f.module, f.name, p::str(command()));
        refused(call, {"an object of " + what, "state dict"});
        refused(p::global(f.module, f.name), {"the name " + what});
        refused(p::dict({{"w", call}}), {"w: an object of " + what});
        refused(p::dict({{"a", good_tensor()}, {"w", call}}),
                {"key 'w' is an object of " + what + ", expected a tensor"});
        // As a callee of a callee, as an argument of a tensor, as a key, as a storage.
        refused(call + ")R", {what});
        refused("}" + call + good_tensor() + "s", {"state dict has an object of " + what});
        refused(rebuild(p::tuple({call, p::num(0), ")", ")", "\x89", p::ordered_dict()})),
                {"wrong arguments for 'torch._utils _rebuild_tensor_v2'"});
        refused(p::tuple({p::str("storage"), call, p::str("0"), p::str("cpu"), p::num(4)}) + "Q",
                {"storage of unknown type", what});
    }
}

TEST_F(Trap, ObjectsBesideTheStateDictStayInert)
{
    const std::string call = p::call("os", "system", p::str(command()));
    Loaded l = load(in_file(p::dict({{"hook", call + p::dict({{"x", call}}) + "b"},
                                     {"made", p::global("os", "system") + ")\x81"},
                                     {"model", p::dict({{"w", good_tensor()}})}})));
    ASSERT_EQ(l.status, RF_OK) << l.text;
    EXPECT_EQ(l.tensors.size(), 1u);
    EXPECT_EQ(l.tensors.count("w"), 1u);
}

TEST_F(Trap, InstructionsThatImportOrCallDoNotExist)
{
    const std::string c = p::str(command());
    const struct {
        std::string body, name;
    } cases[] = {
        {"(" + c + "ios\nsystem\n", "INST"},
        {"(" + p::global("os", "system") + c + "o", "OBJ"},
        {p::str("os") + p::str("system") + "\x93" + p::tuple({c}) + "R", "STACK_GLOBAL"},
        {"\x82\x01", "EXT"},
        {"\x83\x01\x01", "EXT"},
        {std::string("\x84\x01\x01\x01\x01", 5), "EXT"},
        {"Pos.system\n", "PERSID"},
        {p::global("os", "system") + ")}\x92", "NEWOBJ_EX"},
        {std::string("\x95\x01\0\0\0\0\0\0\0", 9) + "N", "FRAME"},
        {"N\x94", "MEMOIZE"},
        {"S'os'\n", "0x53"},
        {"I1\n", "0x49"},
        {"Vx\n", "0x56"},
        {"0", "0x30"},
        {std::string("\x8b\x01\0\0\0\x01", 6), "0x8b"},
        {std::string("\x8d\x01\0\0\0\0\0\0\0x", 10), "0x8d"},
        {std::string("B\x01\0\0\0x", 6), "0x42"},
        {"\x97", "0x97"},
        {"\xff", "0xff"},
    };
    for (auto &t : cases)
        refused(t.body, {"byte ", t.name, "is not among the instructions"});
}

TEST_F(Trap, NestedArchivesAreRefused)
{
    const std::string inner = p::call("torch.storage", "_load_from_bytes", p::str(in_file("}")));
    refused(p::dict({{"w", inner}}), {"pickle.dump", "torch.save", "safetensors"});
}

TEST_F(Trap, OtherProtocolsAreNamed)
{
    const struct {
        std::string pickle;
        std::vector<std::string> words;
    } cases[] = {
        {"cos\nsystem\n(S'id'\ntR.", {"no protocol"}},
        {"\x80\x04\x95.", {"protocol 2", "found 4"}},
        {std::string("\x80\0N.", 4), {"found 0"}},
        {"\x80\xff.", {"found 255"}},
        {"\x80", {"the end of the file"}},
        {"", {"the end of the file"}},
        {"\x80\x02", {"ends after 2 bytes without a stop"}},
        {"\x80\x02}", {"without a stop"}},
        {"\x80\x02.", {"0 values", "expected 1"}},
        {"\x80\x02NN.", {"2 values", "expected 1"}},
        {"\x80\x02(N.", {"1 marks"}},
        {"\x80\x02}.}", {"1 bytes behind its stop"}},
    };
    for (auto &c : cases)
        expect_refused(make_pth(c.pickle), c.words, c.pickle);
}

TEST(Pickle, StackAndMarksAreChecked)
{
    refused("R", {"0x52", "needs 2 values, the stack has 0"});
    refused("NR", {"needs 2 values, the stack has 1"});
    refused("\x85", {"needs 1 values"});
    refused("N\x87", {"needs 3 values"});
    refused("N(\x85", {"needs 1 values, the stack has 0"}); // values below a mark are out of reach
    refused("}(N(u", {"puts items into None"});
    refused("(u", {"needs 1 values, the stack has 0"});
    refused("t", {"no mark"});
    refused("]e", {"no mark"});
    refused("}u", {"no mark"});
    refused("a", {"needs 2 values"});
    refused("Na", {"needs 2 values"});
    refused("s", {"needs 3 values"});
    refused("b", {"needs 2 values"});
    refused("Q", {"needs 1 values"});
    refused(std::string("q\0", 2), {"needs 1 values"});
    refused(std::string("h\0", 2), {"memo entry 0 was never stored"});
    refused("j" + little(999999, 4), {"memo entry 999999 was never stored"});
    refused("Nr" + little(0xffffffff, 4), {"memo entry 4294967295"});
    refused("Nr" + little(999999, 4), {"memo entry 999999", "has bytes"});
    refused("}(" + p::str("a") + "u", {"1 values are not pairs"});
}

TEST(Pickle, ContainersTakeOnlyWhatTheyAreMadeFor)
{
    const std::string x = p::str("k") + "N";
    refused(good_tensor() + x + "s", {"puts items into a tensor"});
    refused(four() + x + "s", {"puts items into a storage"});
    refused("]" + x + "s", {"puts items into a list"});
    refused("}Na", {"puts items into a dict"});
    refused(")Na", {"puts items into a tuple"});
    refused("N(" + x + "u", {"puts items into None"});
    refused("(N" + p::str("x") + "u", {"needs", "values"});
    refused(p::num(3) + "(Ne", {"puts items into an integer"});
    refused(p::str("s") + "Na", {"puts items into a string"});
    refused(p::global("os", "environ") + x + "s", {"puts items into the name 'os environ'"});
    refused("}]Ns", {"a list as key"});
    refused("}}Ns", {"a dict as key"});
    refused(good_tensor() + "}b", {"sets the state of a tensor"});
    refused(four() + "}b", {"sets the state of a storage"});
    refused("}}b", {"sets the state of a dict"});
    refused(p::global("torch", "FloatStorage") + "}b", {"sets the state of the name"});
}

TEST(Pickle, OnlyKnownNamesAreCalledAndWithTheirArguments)
{
    refused("N)R", {"calls None"});
    refused(good_tensor() + ")R", {"calls a tensor"});
    refused(p::global("collections", "OrderedDict") + "NR", {"with None, expected a tuple"});
    refused(p::global("collections", "OrderedDict") + p::tuple({"]"}) + "R", {"wrong arguments"});
    refused(p::global("torch", "FloatStorage") + ")R",
            {"wrong arguments for 'torch FloatStorage'"});
    refused(p::global("torch", "float32") + ")R", {"wrong arguments for 'torch float32'"});
    refused(p::global("torch._utils", "_rebuild_tensor_v2") + ")\x81", {"wrong arguments"});
    const std::string nothing = p::ordered_dict(), zero = p::num(0), one = p::tuple({p::num(1)});
    const std::vector<std::string> good = {four(), zero, one, one, "\x89", nothing};
    for (size_t i = 0; i < good.size(); i++) {
        std::vector<std::string> bad = good;
        bad[i] = p::str("x");
        refused(rebuild(p::tuple(bad)), {"wrong arguments for 'torch._utils _rebuild_tensor_v2'"});
        bad.erase(bad.begin() + static_cast<long>(i));
        refused(rebuild(p::tuple(bad)), {"wrong arguments"});
    }
    std::vector<std::string> more = good;
    more.push_back(p::dict({{"conj", "\x88"}}));
    refused(rebuild(p::tuple(more)), {"metadata"});
    refused(rebuild(p::tuple({good[0], zero, one, one, "\x89", p::dict({{"hook", "N"}})})),
            {"wrong arguments"});
    refused(rebuild(p::tuple(good), "_rebuild_tensor_v3"), {"wrong arguments"});
    refused(rebuild(p::tuple({"N", "\x89", nothing}), "_rebuild_parameter"), {"wrong arguments"});
    refused(p::global("torch", "Size") + p::tuple({"N"}) + "R", {"wrong arguments"});
    refused("c\nx\n", {"name of a global"});
    refused("cos\n\n", {"name of a global"});
    refused("co\x1bs\nsystem\n", {"name of a global"});
    refused("c" + std::string(600, 'm') + "\nx\n", {"name of a global"});
    refused("cos\nsystem", {"ends inside an instruction"});
}

TEST(Pickle, TensorsStayInsideTheirStorage)
{
    const int64_t big = INT64_MAX;
    auto tensor = [](int64_t offset, std::vector<int64_t> dims, std::vector<int64_t> strides) {
        return p::dict({{"w", p::tensor(four(), offset, dims, strides)}});
    };
    EXPECT_EQ(load(in_file(tensor(1, {3}, {1}))).status, RF_OK);
    EXPECT_EQ(load(in_file(tensor(4, {0}, {1}))).status, RF_OK);
    EXPECT_EQ(load(in_file(tensor(3, {1}, {big}))).status, RF_OK) << "a stride that is never used";
    const char *past = "reaches past storage '0' of 4 elements";
    refused(tensor(1, {4}, {1}), {"tensor at element 1", past});
    refused(tensor(-1, {1}, {1}), {"tensor at element -1", past});
    refused(tensor(5, {0}, {1}), {past});
    refused(tensor(0, {2}, {4}), {past});
    refused(tensor(0, {2, 2}, {3, 1}), {past});
    refused(tensor(0, {2}, {big}), {past});
    refused(tensor(big, {1}, {1}), {past});
    refused(tensor(2, {3}, {big / 2}), {past});
    refused(tensor(0, {3, 3}, {big / 4, big / 4}), {past});
    refused(tensor(0, {big}, {0}), {"storage '0'", "63 bits"});
    refused(tensor(0, {1 << 30, 1 << 30, 1 << 30}, {0, 0, 0}), {"63 bits"});
    refused(tensor(0, {1 << 30}, {0}), {"'w'", "far more than its file"});
    refused(tensor(0, {-1}, {1}), {"dim 0 is -1"});
    refused(tensor(0, {2}, {-1}), {"stride -1"});
    refused(tensor(0, {2, 2}, {1}), {"2 sizes and 1 strides"});
    refused(tensor(0, std::vector<int64_t>(9, 1), std::vector<int64_t>(9, 1)), {"9 dims"});
    EXPECT_EQ(load(in_file(tensor(0, {2, 1, 2, 1}, {2, big, 1, big}))).status, RF_OK);
}

TEST(Pickle, StoragesAreWhatTheyAreEverywhere)
{
    auto id = [](std::vector<std::string> items) { return p::tuple(items) + "Q"; };
    const std::string word = p::str("storage"), type = p::global("torch", "FloatStorage"),
                      key = p::str("0"), cpu = p::str("cpu"), n = p::num(4);
    refused(id({p::str("module"), type, key, cpu, n}), {"persistent id is a tuple"});
    refused(id({word, type, key, cpu}), {"persistent id"});
    refused(id({word, type, key, cpu, n, "N"}), {"persistent id"}); // six only in legacy streams
    refused(p::str("storage") + "Q", {"persistent id is a string"});
    refused(id({word, p::global("torch", "QInt8Storage"), key, cpu, n}), {"torch QInt8Storage"});
    refused(id({word, "N", key, cpu, n}), {"storage of unknown type (None)"});
    for (const char *bad : {"", "../0", "0/1", "a b", "0\n"})
        refused(id({word, type, p::str(bad), cpu, n}), {"persistent id: expected a key"});
    refused(id({word, type, p::str(std::string(65, '0')), cpu, n}),
            {"persistent id: expected a key"});
    refused(id({word, type, key, "N", n}), {"a location"});
    refused(id({word, type, key, cpu, p::num(-1)}), {"a count of 0 or more"});
    refused(id({word, type, key, cpu, p::num(int64_t{1} << 61)}), {"'0'", "63 bits"});
    refused(id({word, type, key, cpu, p::num(int64_t{1} << 60)}), {"has 16 bytes, its storage"});
    refused(p::storage("FloatStorage", "0", 3), {"has 16 bytes, its storage 12"});
    refused(p::storage("FloatStorage", "7", 4), {"no record 'data/7'"});
    const std::string first = good_tensor();
    refused(
        p::dict({{"a", first}, {"b", p::tensor(p::storage("DoubleStorage", "0", 2), 0, {2}, {1})}}),
        {"storage '0' is", "f32", "f64"});
    refused(
        p::dict({{"a", first}, {"b", p::tensor(p::storage("IntStorage", "0", 4), 0, {4}, {1})}}),
        {"storage '0' is", "f32", "i32"});
}

TEST(Pickle, NamesOfTensorsAreTextAndUnique)
{
    const std::string t = good_tensor();
    refused(p::dict({{"a", t}, {"a", t}}), {"tensor 'a' is there twice"});
    refused(p::dict({{"", t}}), {"name has 0 bytes"});
    refused(p::dict({{std::string("a\0b", 3), t}}), {"not UTF-8 text"});
    refused(p::dict({{"a\x1b[2J", t}}), {"not UTF-8 text"});
    refused(p::dict({{"\xed\xa0\x80", t}}), {"not UTF-8 text"});
    refused(p::dict({{std::string(4097, 'n'), t}}), {"4097 bytes"});
    refused("}" + p::num(1) + t + "s", {"an integer as a key", "expected a string"});
}

TEST(Pickle, LongNamesLeaveRoomForTheReason)
{
    const std::string name(4000, 'n');
    refused(p::dict({{name, "N"}, {"w", good_tensor()}}), {"nnn' is None, expected a tensor"});
    refused(p::dict({{name, good_tensor()}, {name, good_tensor()}}), {"nnn' is there twice"});
}

TEST(Pickle, CyclesEndTheWalk)
{
    const std::string put = std::string("q\0", 2), get = std::string("h\0", 2);
    refused("]" + put + get + "a", {"holds a list"});
    refused("}" + put + p::str("model") + get + "s", {"no tensors", "model: a dict"});
    refused("}" + put + p::str("model") + get + "s" + p::str("w") + get + "s", {"w: a dict"});
    refused("]" + put + get + "\x85" + "a", {"holds a list"});
    // A dict that holds itself beside a tensor is no state dict.
    refused("}" + put + p::str("w") + good_tensor() + "s" + p::str("x") + get + "s",
            {"key 'x' is a dict"});
}

TEST(Pickle, LengthsPastTheEndAreCutOffs)
{
    for (const std::string &s : {std::string("X\xff\xff\xff\x7f"), std::string("X\xff\xff\xff\xff"),
                                 "X" + little(1 << 21, 4)})
        refused(s, {"string of", "expected at most"});
    refused("X" + little(100, 4) + "abc", {"ends inside an instruction"});
    refused("U\x20"
            "abc",
            {"ends inside an instruction"});
    for (const char *op : {"J\1\1\1", "M\1", "K", "G1234567", "\x8a",
                           "\x8a\x08"
                           "1234567",
                           "h", "j\1\1", "q", "Nr\1\1"})
        expect_refused(make_pth(p::proto + op), {"ends inside an instruction"}, op);
    refused("\x8a\x09"
            "123456789",
            {"integer of 9 bytes"});
    refused("\x8a\xff" + std::string(255, 1), {"integer of 255 bytes"});
}

TEST(Pickle, IntegersHaveTheirSign)
{
    // A stride given as LONG1 of one byte, -1, and of none, 0.
    refused(p::dict({{"w", rebuild(p::tuple({four(), p::num(0), p::tuple({p::num(2)}),
                                             p::tuple({"\x8a\x01\xff"}), "\x89", "N"}))}}),
            {"stride -1"});
    Loaded l = load(in_file(p::dict(
        {{"w", rebuild(p::tuple({four(), std::string("\x8a\0", 2), ")", ")", "\x89", "N"}))}})));
    EXPECT_EQ(l.status, RF_OK) << l.text;
}

// Every kind of pickle that makes much of little, at a megabyte; the bound itself is in load().
TEST(Pickle, MemoryIsBoundedByTheFile)
{
    const size_t n = quick() ? 20000 : 1000000;
    auto many = [&](const std::string &unit) {
        std::string s;
        while (s.size() < n)
            s += unit;
        return s;
    };
    const std::string put = std::string("q\0", 2), get = std::string("h\0", 2);
    const std::string tuple_id = p::tuple({p::str("storage"), p::global("torch", "FloatStorage"),
                                           p::str(std::string(64, 'k')), p::str("cpu"), p::num(4)});
    const std::string arguments =
        p::tuple({p::storage("FloatStorage", "0", 4), p::num(0),
                  p::tuple(std::vector<std::string>(8, p::num(1))),
                  p::tuple(std::vector<std::string>(8, p::num(1))), "\x89", "N"});
    const std::vector<std::string> bodies = {
        many("N"),
        many("("),
        many("]"),
        many("}"),
        "]" + many("Na"),
        "]" + put + many("(" + get + "e"),
        many(")\x85"),
        "N" + many("\x85"),
        tuple_id + put + many("Q" + get),
        arguments + put + p::global("torch._utils", "_rebuild_tensor_v2") + "q\1" +
            many("h\1" + get + "R"),
        many("ca\nb\n"),
        "(" + many("N") + "t",
        "]" + put + many(get + "(NNNNe"),
    };
    for (const std::string &body : bodies) {
        Loaded l = load(in_file(body));
        EXPECT_NE(l.status, RF_OK);
        EXPECT_LT(l.peak, static_cast<int64_t>(130 * in_file(body).size() + (1 << 20)))
            << body.substr(0, 20) << " ... " << l.text;
    }
}

TEST(Pickle, ViewsCannotMultiplyAFile)
{
    // Each tensor shows the storage transposed, so each is a copy.
    const size_t n = 1 << 16;
    std::vector<std::pair<std::string, std::string>> items;
    for (int i = 0; i < 200; i++)
        items.push_back({"w" + std::to_string(i),
                         p::tensor(p::storage("FloatStorage", "0", n), 0, {256, 256}, {1, 256})});
    expect_refused(make_pth(p::proto + p::dict(items) + p::stop, {{"0", std::string(4 * n, 'x')}}),
                   {"far more than its file can hold"});
    items.resize(3);
    EXPECT_EQ(load(make_pth(p::proto + p::dict(items) + p::stop, {{"0", std::string(4 * n, 'x')}}))
                  .status,
              RF_OK);
}

std::string legacy(const std::string &object, const std::string &keys, const std::string &tail,
                   const std::string &version = p::num(1001), const std::string &machine = "")
{
    const std::string magic =
        std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    auto pickled = [](const std::string &s) { return p::proto + s + p::stop; };
    const std::string sizes =
        p::dict({{"short", p::num(2)}, {"int", p::num(4)}, {"long", p::num(4)}});
    return magic + pickled(version) +
           pickled(machine.empty() ? p::dict({{"little_endian", "\x88"}, {"type_sizes", sizes}})
                                   : machine) +
           pickled(object) + pickled(keys) + tail;
}

std::string legacy_dict(const std::string &view = "N", int64_t n = 4)
{
    const std::string id = p::tuple({p::str("storage"), p::global("torch", "FloatStorage"),
                                     p::str("0"), p::str("cpu"), p::num(4), view}) +
                           "Q";
    return p::dict({{"w", p::tensor(id, 0, {n}, {1})}});
}

TEST(Legacy, ChecksEachPartOfTheStream)
{
    const std::string keys = "](" + p::str("0") + "e", data = little(4, 8) + floats;
    EXPECT_EQ(load(legacy(legacy_dict(), keys, data)).status, RF_OK);
    const std::string view = p::tuple({p::str("v"), p::num(2), p::num(2)});
    EXPECT_EQ(load(legacy(legacy_dict(view, 2), keys, data)).status, RF_OK);
    expect_refused(legacy(legacy_dict(view, 3), keys, data), {"reaches past storage '0' of 2"});
    expect_refused(legacy(legacy_dict(p::tuple({p::str("v"), p::num(3), p::num(2)})), keys, data),
                   {"view of 2 elements at 3 passes its 4"});
    expect_refused(legacy(legacy_dict(p::tuple({p::str("v"), p::num(-1), p::num(2)})), keys, data),
                   {"view of 2 elements at -1"});
    expect_refused(
        legacy(legacy_dict(p::tuple({p::str("v"), p::num(INT64_MAX), p::num(2)})), keys, data),
        {"passes its 4"});
    expect_refused(legacy(legacy_dict("}"), keys, data), {"malformed view"});
    expect_refused(legacy(legacy_dict(), keys, little(5, 8) + floats), {"expected a count of 4"});
    expect_refused(legacy(legacy_dict(), keys, data + "x"), {"1 bytes behind the last storage"});
    expect_refused(legacy(legacy_dict(), keys, little(4, 8)), {"16 bytes, the file only 0 more"});
    expect_refused(legacy(legacy_dict(), "]", data), {"0 keys, the tensors use 1"});
    expect_refused(legacy(legacy_dict(), "](" + p::str("0") + p::str("0") + "e", data), {"2 keys"});
    expect_refused(legacy(legacy_dict(), "](" + p::str("1") + "e", data), {"used by no tensor"});
    expect_refused(legacy(legacy_dict(), "N", data), {"list of storages"});
    expect_refused(legacy(legacy_dict(), keys, data, p::num(1000)), {"version 1001", "1000"});
    expect_refused(legacy(legacy_dict(), keys, data, "N"), {"version 1001", "None"});
    expect_refused(legacy(legacy_dict(), keys, data, p::num(1001), "}"), {"little_endian"});
    expect_refused(legacy(legacy_dict(), keys, data, p::num(1001),
                          p::dict({{"little_endian", "\x89"}, {"type_sizes", "}"}})),
                   {"big-endian"});
    expect_refused(legacy(legacy_dict(), keys, data, p::num(1001),
                          p::dict({{"little_endian", "\x88"}, {"type_sizes", "}"}})),
                   {"size of 'short'"});
}

TEST(Legacy, OtherStreamsAreNamed)
{
    expect_refused("PYTORCH1 and more", {"preview"});
    std::string tar(600, '\0');
    tar.replace(0, 8, "storages").replace(257, 5, "ustar");
    expect_refused(tar, {"tar file", "torch.save"});
    expect_refused("\x80\x02}q\0.", {"plain pickle", "torch.save"});
}

} // namespace
