// SPDX-License-Identifier: Apache-2.0
//
// The command line driven end to end as a user drives it: files in, files out, JSON, exit codes,
// messages. Pictures and a small checkpoint are made here.
#include "tests/cli/fixture.h"

#include <cmath>
#include <cmath>
#include <cstring>

using namespace rft;

namespace
{

TEST_F(Cli, RunsOnOnePngAndOneJpeg)
{
    for (const char *name : {"in.png", "in.jpg"}) {
        picture(name, 31, 45);
        std::string out = dir_ / (std::string("out_") + name);
        CommandResult r = expect(0, {"run", "-m", model(), dir_ / name, "-o", out});
        EXPECT_EQ(r.err, "");
        expect_size(out, 31, 45);
    }
    EXPECT_EQ(read_file(dir_ / "out_in.png").substr(1, 3), "PNG");
    EXPECT_EQ(read_file(dir_ / "out_in.jpg").substr(0, 2), "\xff\xd8");
}

TEST_F(Cli, WritesWhatTheLibraryComputes)
{
    std::string in = picture("in.png", 22, 27);
    expect(0, {"run", "-m", model(), in, "-o", dir_ / "out.png", "--threads", "1"});
    rf_buffer x = {}, y = {};
    rf_error err;
    ASSERT_EQ(rf_image_read(in.c_str(), &x, &err), RF_OK) << err.text;
    ASSERT_EQ(rf_image_read((dir_ / "out.png").c_str(), &y, &err), RF_OK) << err.text;
    Array a({1, 3, 22, 27});
    memcpy(a.data.data(), x.tensor.data, a.data.size() * sizeof(float));
    Array want = run(open_session(load_file(model())), a);
    double worst = 0;
    for (size_t i = 0; i < want.data.size(); i++)
        worst =
            std::max(worst, std::fabs(static_cast<double>(static_cast<float *>(y.tensor.data)[i]) -
                                      want.data[i]));
    EXPECT_LE(worst, 0.5 / 255 + 1e-5);
    rf_buffer_free(&x);
    rf_buffer_free(&y);
}

TEST_F(Cli, RunsOnAFolderAndOnSeveralImages)
{
    std::string in = folder("in"), out = dir_ / "out", more = dir_ / "more";
    picture("in/b.png", 20, 24);
    picture("in/a.jpg", 16, 33);
    write_file(in + "/notes.txt", "not a picture");
    expect(0, {"run", "-m", model(), in, "-o", out});
    expect_size(out + "/a.jpg", 16, 33);
    expect_size(out + "/b.png", 20, 24);
    EXPECT_FALSE(file_exists(out + "/notes.txt"));
    CommandResult r =
        expect(0, {"run", "-m", model(), in + "/b.png", in + "/a.jpg", "-o", more, "--json"});
    Json j = parse(r.out);
    EXPECT_EQ(json_array_size(at(j, "images")), 2u);
    EXPECT_EQ(read_file(out + "/b.png"), read_file(more + "/b.png"));
}

TEST_F(Cli, RunsOnNpyTensors)
{
    Array x = random_array("x", {2, 3, 18, 21}, 0, 1);
    rf_tensor t = x.view();
    rf_error err;
    Model m = load_file(model());
    rf_io_info in = {sizeof in}, out = {sizeof out};
    ASSERT_EQ(rf_model_input(m.get(), 0, &in, &err), RF_OK);
    ASSERT_EQ(rf_model_output(m.get(), 0, &out, &err), RF_OK);
    ASSERT_EQ(rf_npy_write((dir_ / "x.npy").c_str(), &t, &err), RF_OK) << err.text;
    std::string input = std::string(in.name) + "=" + (dir_ / "x.npy");
    expect(0, {"run", "-m", model(), "--input", input, "--output-dir", dir_ / "out", "--threads",
               "1"});
    rf_buffer y = {};
    ASSERT_EQ(rf_npy_read((dir_ / ("out/" + std::string(out.name) + ".npy")).c_str(), &y, &err),
              RF_OK)
        << err.text;
    Array want = run(open_session(m), x);
    ASSERT_EQ(static_cast<size_t>(rf_tensor_elements(&y.tensor)), want.data.size());
    EXPECT_EQ(memcmp(y.tensor.data, want.data.data(), want.data.size() * sizeof(float)), 0);
    rf_buffer_free(&y);
    expect_refusal(1,
                   {"run", "-m", model(), "--input", "wrong=" + (dir_ / "x.npy"), "--output-dir",
                    dir_ / "out"},
                   {in.name});
}

TEST_F(Cli, FoldedFileGivesTheSamePictureBytes)
{
    std::string in = picture("in.png", 33, 26), folded = dir_ / "folded.safetensors";
    CommandResult r = expect(0, {"fold", "-m", model(), "-o", folded});
    EXPECT_NE(r.out.find("24 folds"), std::string::npos) << r.out;
    expect(0, {"run", "-m", model(), in, "-o", dir_ / "a.png", "--threads", "1"});
    expect(0, {"run", "-m", folded, in, "-o", dir_ / "b.png", "--threads", "1"});
    EXPECT_EQ(read_file(dir_ / "a.png"), read_file(dir_ / "b.png"));
    EXPECT_LT(read_file(folded).size(), read_file(model()).size());
    // A folded file folds to itself.
    expect(0, {"fold", "-m", folded, "-o", dir_ / "again.safetensors"});
    expect(0,
           {"run", "-m", dir_ / "again.safetensors", in, "-o", dir_ / "c.png", "--threads", "1"});
    EXPECT_EQ(read_file(dir_ / "a.png"), read_file(dir_ / "c.png"));
}

TEST_F(Cli, InfoNamesInputsOpsFoldsAndCost)
{
    Json j = parse(expect(0, {"info", "-m", model(), "--shape", "1x3x64x48", "--json"}).out);
    EXPECT_STREQ(json_string_value(at(j, "architecture")), "dea_net");
    EXPECT_STREQ(json_string_value(at(j, "format")), "safetensors");
    EXPECT_EQ(number(j, "file_parameters"), 513065);
    EXPECT_EQ(json_array_size(at(j, "folds")), 24u);
    EXPECT_EQ(json_array_size(at(j, "inputs")), 1u);
    EXPECT_EQ(static_cast<double>(json_array_size(at(j, "ops"))), number(j, "n_ops"));
    EXPECT_GT(number(j, "macs"), 1e6);
    EXPECT_GT(number(j, "peak_bytes"), number(j, "cost.arena_bytes"));
    CommandResult text = expect(0, {"info", "-m", model()});
    for (const char *word : {"dea_net", "513065", "deconv", "GMAC", "peak memory"})
        EXPECT_NE(text.out.find(word), std::string::npos) << word << " is missing in:\n"
                                                          << text.out;
}

TEST_F(Cli, InfoExplainsEveryStepWithoutRunning)
{
    const std::vector<std::string> args = {"info",    "-m",        model(),
                                           "--shape", "1x3x64x48", "--explain"};
    std::vector<std::string> json = args;
    json.push_back("--json");
    Json j = parse(expect(0, json).out);
    const json_t *steps = at(j, "steps");
    EXPECT_EQ(static_cast<double>(json_array_size(steps)), number(j, "cost.steps"));
    double macs = 0, convs = 0;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *s = json_array_get(steps, i),
                     *y = json_array_get(json_object_get(s, "out"), 0);
        macs += json_number_value(json_object_get(s, "macs"));
        double bytes = json_string_value(json_object_get(y, "dtype")) == std::string("f32") ? 4 : 0;
        const json_t *dims = json_object_get(y, "dims");
        for (size_t k = 0; k < json_array_size(dims); k++)
            bytes *= json_number_value(json_array_get(dims, k));
        EXPECT_EQ(json_number_value(json_object_get(y, "bytes")), bytes) << "step " << i;
        if (json_string_value(json_object_get(s, "op")) != std::string("conv2d"))
            continue;
        convs++;
        const json_t *w = json_array_get(json_object_get(s, "in"), 1);
        EXPECT_STREQ(json_string_value(json_object_get(w, "stored")), "const") << "step " << i;
    }
    EXPECT_GT(convs, 50);
    EXPECT_EQ(macs, number(j, "macs"));
    CommandResult text = expect(0, args);
    EXPECT_NE(text.out.find("conv2d"), std::string::npos) << text.out;
    EXPECT_NE(text.out.find("nodes in"), std::string::npos) << text.out;
    EXPECT_EQ(
        json_object_get(parse(expect(0, {"info", "-m", model(), "--json"}).out).get(), "steps"),
        nullptr);
}

TEST_F(Cli, VerifyComparesFoldedWithUnfolded)
{
    Json j = parse(expect(0, {"verify", "-m", model(), "--shape", "1x3x32x32", "--json"}).out);
    EXPECT_TRUE(json_is_true(at(j, "ok")));
    EXPECT_LE(number(j, "folded_error"), number(j, "bound"));
    EXPECT_LE(number(j, "unfolded_error"), number(j, "bound"));
    EXPECT_GT(number(j, "max_ref"), 0);
    EXPECT_NE(expect(0, {"verify", "-m", model(), "--shape", "1x3x32x32"}).out.find("ok"),
              std::string::npos);
}

TEST_F(Cli, OpsListsEveryOpWithItsBackends)
{
    Json j = parse(expect(0, {"ops", "--json"}).out);
    int n = 0;
    for (; rf_op_name(n); n++) {
        json_t *op = at(j, rf_op_name(n));
        EXPECT_TRUE(json_is_true(json_object_get(op, "ref"))) << rf_op_name(n);
        std::string kernels = json_string_value(json_object_get(op, "cpu_kernels"));
        EXPECT_EQ(json_is_true(json_object_get(op, "cpu")), !kernels.empty()) << rf_op_name(n);
    }
    EXPECT_EQ(json_object_size(j.get()), static_cast<size_t>(n));
    std::string text = expect(0, {"ops"}).out;
    EXPECT_NE(text.find("conv2d"), std::string::npos);
    EXPECT_NE(text.find(rf_backend_device("cpu")), std::string::npos);
    EXPECT_NE(text.find("winograd4x4"), std::string::npos);
}

// REFOLD_CPU=avx512 means without AVX512-BF16 and AMX, baseline without oneDNN.
TEST_F(Cli, OpsMarksKernelsThatThisMachineCannotRun)
{
    const std::map<std::string, std::string> env = {{"REFOLD_CPU", "avx512"}};
    Json j = parse(refold({"ops", "--json"}, env).out);
    auto of = [&](const char *key) {
        return std::string(json_string_value(json_object_get(at(j, "conv2d"), key)));
    };
    const bool avx512 = strstr(refold({"ops"}, env).out.c_str(), "cpu on avx512") != nullptr;
    EXPECT_NE(of("cpu_kernels").find("direct"), std::string::npos);
    EXPECT_EQ(of("cpu_unusable").find("direct"), std::string::npos);
    for (const char *name : {"amx_conv", "bf16_conv"}) { // forbidden by REFOLD_CPU
        EXPECT_EQ(of("cpu_kernels").find(name), std::string::npos) << of("cpu_kernels");
        EXPECT_EQ(of("cpu_unusable").find(name) != std::string::npos, avx512) << name;
    }
    const std::string text = refold({"ops"}, env).out;
    EXPECT_EQ(text.find("(not on this machine: amx_conv") != std::string::npos, avx512) << text;
    j = parse(refold({"ops", "--json"}, {{"REFOLD_CPU", "baseline"}}).out);
    EXPECT_EQ(of("cpu_kernels").find("dnnl"), std::string::npos) << of("cpu_kernels");
}

TEST_F(Cli, ReportsGoToAFileBesideTheText)
{
    const std::string file = dir_ / "report.json";
    for (const char *command : {"info", "verify"}) {
        const std::vector<std::string> args = {command, "-m", model(), "--shape", "1x3x16x16"};
        auto with = [&](std::vector<std::string> more) {
            more.insert(more.begin(), args.begin(), args.end());
            return expect(0, more);
        };
        const std::string text = with({}).out;
        EXPECT_EQ(text.find('{'), std::string::npos) << text;
        CommandResult both = with({"--json", file});
        EXPECT_EQ(both.out.substr(0, 10), text.substr(0, 10));
        EXPECT_TRUE(parse(read_file(file)));
        EXPECT_TRUE(parse(with({"--json"}).out));
        EXPECT_TRUE(parse(with({"--json", "-"}).out));
        with({"--json=" + file});
        EXPECT_EQ(expect(2, {command, "-m", model(), "--json", file, "more"}).out, "");
        expect_refusal(1, {command, "-m", model(), "--shape", "1x3x16x16", "--json", "/no/such/x"},
                       {"/no/such/x"});
    }
}

TEST_F(Cli, BenchReportsTimesMemoryAndMachine)
{
    const std::string file = dir_ / "bench.json";
    CommandResult r = expect(0, {"bench", "-m", model(), "--shape", "1x3x32x32", "--runs", "3",
                                 "--seconds", "0", "--json", file});
    EXPECT_NE(r.out.find("throughput"), std::string::npos) << r.out;
    Json j = parse(read_file(file));
    for (const char *part : {"warm", "cold", "first_run", "new_shape"})
        for (const char *key : {"p50_ms", "p90_ms", "p99_ms", "min_ms", "max_ms"})
            EXPECT_GT(number(j, std::string(part) + "." + key), 0) << part << "." << key;
    EXPECT_GE(number(j, "warm.n"), 3);
    EXPECT_LE(number(j, "warm.min_ms"), number(j, "warm.p50_ms"));
    EXPECT_LE(number(j, "warm.p50_ms"), number(j, "warm.max_ms"));
    for (const char *key : {"peak_bytes", "gflops", "images_per_s", "env.cores", "env.threads"})
        EXPECT_GT(number(j, key), 0) << key;
    for (const char *key :
         {"env.cpu", "env.versions.refold", "env.versions.libpng", "env.commit", "device"})
        EXPECT_TRUE(json_is_string(at(j, key))) << key;
    for (std::vector<std::string> way : {std::vector<std::string>{"--json"}, {"--json=-"}}) {
        std::vector<std::string> args = {"bench",  "-m", model(),     "--shape", "1x3x16x16",
                                         "--runs", "1",  "--seconds", "0"};
        args.insert(args.end(), way.begin(), way.end());
        EXPECT_EQ(number(parse(expect(0, args).out), "warm.n"), 1);
    }
}

TEST_F(Cli, EvalGivesPsnrAndSsim)
{
    folder("ref");
    folder("in");
    Array clear({1, 3, 24, 32}), noisy = clear;
    rf_error err;
    for (size_t i = 0; i < clear.data.size(); i++) {
        clear.data[i] = static_cast<float>(i % 32) / 51; // exact in 8 bits
        noisy.data[i] = clear.data[i] + (i % 2 ? 0.2f : 0.0f);
    }
    rf_tensor t = clear.view(), u = noisy.view();
    for (const char *name : {"ref/one.png", "ref/two.png", "in/one.png"})
        ASSERT_EQ(rf_image_write((dir_ / name).c_str(), &t, &err), RF_OK) << err.text;
    ASSERT_EQ(rf_image_write((dir_ / "in/two.png").c_str(), &u, &err), RF_OK) << err.text;
    Json j = parse(expect(0, {"eval", "--ref", dir_ / "ref", "--in", dir_ / "in", "--json"}).out);
    json_t *one = json_array_get(at(j, "images"), 0), *two = json_array_get(at(j, "images"), 1);
    EXPECT_NEAR(json_number_value(json_object_get(one, "ssim")), 1, 1e-9);
    EXPECT_TRUE(json_is_null(json_object_get(one, "psnr_db")))
        << "equal images have no finite PSNR";
    EXPECT_NEAR(json_number_value(json_object_get(two, "psnr_db")), -10 * std::log10(0.2 * 0.2 / 2),
                0.01);
    EXPECT_LT(json_number_value(json_object_get(two, "ssim")), 0.9);
}

TEST_F(Cli, EvalRefusesSizesAndNamesThatDoNotMatch)
{
    folder("ref");
    folder("in");
    picture("ref/a.png", 16, 16);
    expect_refusal(1, {"eval", "--ref", dir_ / "ref", "--in", dir_ / "in"}, {"a.png"});
    picture("in/a.png", 16, 20);
    expect_refusal(1, {"eval", "--ref", dir_ / "ref", "--in", dir_ / "in"}, {"20x16", "16x16"});
}

TEST_F(Cli, TilesAreAnnouncedAsInexactAndKeepTheSize)
{
    std::string in = picture("in.png", 70, 50);
    CommandResult r = expect(0, {"run", "-m", model(), in, "-o", dir_ / "out.png", "--tile", "32"});
    EXPECT_NE(r.err.find("approximate"), std::string::npos) << r.err;
    expect_size(dir_ / "out.png", 70, 50);
}

TEST_F(Cli, ExplainAndProfileSayWhatRan)
{
    std::string in = picture("in.png", 20, 20), trace = dir_ / "trace.json";
    CommandResult r = expect(
        0, {"run", "-m", model(), in, "-o", dir_ / "out.png", "--explain", "--profile", trace});
    EXPECT_NE(r.out.find("conv2d"), std::string::npos) << r.out;
    EXPECT_GT(json_array_size(at(parse(read_file(trace)), "traceEvents")), 50u);
}

TEST_F(Cli, UsageErrorsExitWith2)
{
    expect_refusal(2, {"frobnicate"}, {"frobnicate"});
    expect_refusal(2, {"run"}, {"expected"});
    expect_refusal(2, {"run", "-m", model()}, {"-o OUT"});
    expect_refusal(2, {"run", "x.png", "-o", "y.png"}, {"-m MODEL"});
    expect_refusal(2, {"run", "-m", model(), "--no-such-option", "x.png", "-o", "y.png"},
                   {"no-such-option"});
    expect_refusal(2, {"run", "-m", model(), "-p", "f8", "x.png", "-o", "y.png"}, {"f8", "bf16"});
    expect_refusal(2, {"run", "-m", model(), "--tile", "many", "x.png", "-o", "y.png"}, {"many"});
    expect_refusal(2, {"run", "-m", model(), "--threads", "0", "x.png", "-o", "y.png"},
                   {"--threads", "0"});
    expect_refusal(2, {"fold", "-m", model()}, {"-o"});
    expect_refusal(2, {"bench", "-m", model(), "--shape", "1x3x"}, {"1x3x"});
    EXPECT_EQ(refold({}).code, 2);
}

TEST_F(Cli, HelpAndVersionExitWith0)
{
    EXPECT_NE(expect(0, {"--help"}).out.find("run"), std::string::npos);
    EXPECT_NE(expect(0, {"--version"}).out.find("0.1.0"), std::string::npos);
    for (const char *command : {"run", "info", "fold", "verify", "bench", "eval", "ops"})
        EXPECT_NE(expect(0, {command, "--help"}).out.find("Usage"), std::string::npos) << command;
}

TEST_F(Cli, BadModelsAreNamed)
{
    std::string in = picture("in.png", 20, 20), bytes = dea_net_safetensors(8);
    auto refused = [&](const std::string &m, const std::vector<std::string> &words) {
        expect_refusal(1, {"run", "-m", m, in, "-o", dir_ / "out.png"}, words);
        EXPECT_FALSE(file_exists(dir_ / "out.png"));
    };
    refused(dir_ / "missing.pth", {"missing.pth"});
    refused(dir_.path(), {dir_.path()});
    write_file(dir_ / "text.pth", "this is no checkpoint at all, only a line of text\n");
    refused(dir_ / "text.pth", {"text.pth"});
    write_file(dir_ / "empty.pth", "");
    refused(dir_ / "empty.pth", {"empty.pth"});
    write_file(dir_ / "short.safetensors", bytes.substr(0, bytes.size() / 2));
    refused(dir_ / "short.safetensors", {"short.safetensors"});
    write_file(dir_ / "four.safetensors", dea_net_safetensors(8, [](const std::string &name) {
                   return name != "up_level1_block3.conv1.conv1_2.conv.weight";
               }));
    refused(dir_ / "four.safetensors", {"up_level1_block3"});
    std::string other =
        "{\"some.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}   ";
    other.resize(72, ' ');
    write_file(dir_ / "other.safetensors",
               std::string("\x48\0\0\0\0\0\0\0", 8) + other + std::string(4, 0));
    refused(dir_ / "other.safetensors", {"other.safetensors", "some.weight"});
}

TEST_F(Cli, BadImagesAreNamedAndLeaveNoOutput)
{
    std::string good = picture("good.png", 30, 30), bytes = read_file(good);
    auto refused = [&](const std::string &image, const std::vector<std::string> &words) {
        expect_refusal(1, {"run", "-m", model(), image, "-o", dir_ / "out.png"}, words);
        EXPECT_FALSE(file_exists(dir_ / "out.png"));
    };
    refused(dir_ / "missing.png", {"missing.png"});
    write_file(dir_ / "cut.png", bytes.substr(0, bytes.size() / 2));
    refused(dir_ / "cut.png", {"cut.png"});
    write_file(dir_ / "text.png", "no picture");
    refused(dir_ / "text.png", {"text.png"});
    refused(picture("small.png", 12, 30), {"small.png", "13", "12"});
}

TEST_F(Cli, InfoTellsOfWeightsThatAreNotFinite)
{
    Json good = parse(expect(0, {"info", "-m", model(), "--json"}).out);
    EXPECT_EQ(number(good, "nonfinite"), 0);
    EXPECT_TRUE(json_is_null(at(good, "first_nonfinite")));
    std::string bytes = dea_net_safetensors(8);
    overwrite(bytes, "mix2.conv.bias", 2, NAN);
    write_file(dir_ / "nan.safetensors", bytes);
    CommandResult r = expect(0, {"info", "-m", dir_ / "nan.safetensors", "--json"});
    Json bad = parse(r.out);
    EXPECT_EQ(number(bad, "nonfinite"), 2);
    EXPECT_STREQ(json_string_value(at(bad, "first_nonfinite")), "mix2.conv.bias");
    EXPECT_NE(r.err.find("warning"), std::string::npos) << r.err;
    EXPECT_NE(expect(0, {"info", "-m", dir_ / "nan.safetensors"}).out.find("mix2.conv.bias"),
              std::string::npos);
    expect(0, {"fold", "-m", dir_ / "nan.safetensors", "-o", dir_ / "own.safetensors"});
    EXPECT_TRUE(json_is_null(
        at(parse(expect(0, {"info", "-m", dir_ / "own.safetensors", "--json"}).out), "nonfinite")));
}

TEST_F(Cli, AFailedRunLeavesTheOldOutputAndNoPieces)
{
    std::string in = picture("in.png", 30, 30), out = folder("out") + "/out.png";
    write_file(out, "old");
    write_file(dir_ / "cut.png", read_file(in).substr(0, 400));
    expect_refusal(1, {"run", "-m", model(), dir_ / "cut.png", "-o", out}, {"cut.png"});
    EXPECT_EQ(read_file(out), "old");
    expect_refusal(1, {"fold", "-m", dir_ / "cut.png", "-o", out}, {"cut.png"});
    EXPECT_EQ(read_file(out), "old");
    CommandResult r = run_command({"ls", "-A", dir_ / "out"});
    EXPECT_EQ(r.out, "out.png\n");
    expect_refusal(1, {"run", "-m", model(), in, "-o", dir_ / "no/such/folder.png"},
                   {"folder.png"});
    expect_refusal(1, {"run", "-m", model(), in, "-o", dir_ / "out.tiff"}, {"out.tiff", ".png"});
    expect_refusal(1, {"fold", "-m", model(), "-o", dir_ / "no/such/x.safetensors"},
                   {"x.safetensors"});
}

// Starts argv[3..], sends signal argv[1] as soon as file argv[2] is there, and prints how it ended.
const char INTERRUPT[] = R"(
import os, signal, subprocess, sys, time
default = lambda: [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGTERM)]
p = subprocess.Popen(sys.argv[3:], preexec_fn=default)
while p.poll() is None and not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
time.sleep(0.2) # into the next picture
p.send_signal(int(sys.argv[1]))
print(p.wait())
)";

TEST_F(Cli, AnInterruptedRunEndsByItsOwnWayOut)
{
    std::string in = folder("in");
    picture("in/a.png", 20, 20);
    picture("in/b.png", 700, 700); // many seconds on the reference backend
    picture("in/c.png", 20, 20);
    for (int number : {2, 15}) { // SIGINT, SIGTERM
        std::string out = dir_ / ("out" + std::to_string(number));
        CommandResult r =
            run_command({"python3", "-c", INTERRUPT, std::to_string(number), out + "/a.png",
                         binary(), "run", "-m", model(), "--device", "ref", in, "-o", out});
        EXPECT_EQ(r.out, std::to_string(128 + number) + "\n") << "negative: killed. " << r.err;
        EXPECT_EQ(list(out), std::vector<std::string>{"a.png"});
        EXPECT_NE(r.err.find("of 3 images were not run"), std::string::npos) << r.err;
        expect_size(out + "/a.png", 20, 20);
    }
}

TEST_F(Cli, OneBadImageDoesNotStopTheOthers)
{
    std::string in = folder("in"), out = dir_ / "out";
    picture("in/a.png", 20, 20);
    write_file(in + "/b.png", "no picture");
    picture("in/c.png", 20, 20);
    expect_refusal(1, {"run", "-m", model(), in, "-o", out}, {"b.png"});
    EXPECT_EQ(run_command({"ls", "-A", out}).out, "a.png\nc.png\n");
}

TEST_F(Cli, DevicePrecisionAndCapAreRefusedWithReasons)
{
    std::string in = picture("in.png", 64, 64), out = dir_ / "out.png";
    expect_refusal(1, {"run", "-m", model(), in, "-o", out, "--device", "cuda"}, {"cuda"});
    expect_refusal(1, {"run", "-m", model(), in, "-o", out, "--device", "tpu"}, {"tpu", "cpu"});
    expect_refusal(1, {"run", "-m", model(), in, "-o", out, "--precision", "f16"}, {"f16"});
    expect_refusal(1, {"run", "-m", model(), in, "-o", out, "--memory-cap", "100K"}, {"102400"});
    EXPECT_FALSE(file_exists(out));
    expect(0, {"run", "-m", model(), in, "-o", out, "--device", "auto", "--precision", "bf16",
               "--memory-cap", "1G"});
}

TEST_F(Cli, ForcedInstructionSetsGiveNearlyTheSamePicture)
{
    std::string in = picture("in.png", 40, 40);
    expect(0, {"run", "-m", model(), in, "-o", dir_ / "own.png"});
    for (const char *isa : {"baseline", "avx2", "avx512"}) {
        std::string out = dir_ / (std::string(isa) + ".png");
        CommandResult r = refold({"run", "-m", model(), in, "-o", out}, {{"REFOLD_CPU", isa}});
        ASSERT_EQ(r.code, 0) << r.err;
        Json j = parse(expect(0, {"eval", "--ref", dir_ / "own.png", "--in", out, "--json"}).out);
        json_t *psnr = at(j, "mean_psnr_db");
        EXPECT_TRUE(json_is_null(psnr) || json_number_value(psnr) > 60) << isa;
    }
}

} // namespace
