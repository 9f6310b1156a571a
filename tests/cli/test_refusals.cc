// SPDX-License-Identifier: Apache-2.0
//
// What users do by mistake and what systems do to them: names that collide, folders with other
// things in them, full disks, little memory, signals, strange names, pictures of other kinds.
#include "tests/cli/fixture.h"

#include <cstring>

#include <jpeglib.h>
#include <png.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

using namespace rft;

namespace
{

TEST_F(Cli, TwoImagesNeverShareAnOutput)
{
    folder("a");
    folder("b");
    std::string x = picture("a/x.png", 20, 20), other = picture("b/x.png", 16, 16);
    expect_refusal(1, {"run", "-m", model(), x, other, "-o", dir_ / "out"},
                   {"out/x.png", "a/x.png", "b/x.png"});
    EXPECT_TRUE(list(dir_ / "out").empty());
}

TEST_F(Cli, AnInputIsNeverOverwritten)
{
    folder("in");
    std::string x = picture("in/x.png", 20, 20), bytes = read_file(x);
    ASSERT_EQ(symlink(x.c_str(), (dir_ / "link.png").c_str()), 0);
    for (const std::string &out : {x, dir_ / "link.png", dir_ / "in"})
        expect_refusal(1, {"run", "-m", model(), x, "-o", out}, {"is an input"});
    expect_refusal(1, {"run", "-m", model(), dir_ / "in", "-o", dir_ / "in"}, {"in/x.png"});
    EXPECT_EQ(read_file(x), bytes);
    std::string checkpoint = model(), before = read_file(checkpoint);
    expect_refusal(1, {"fold", "-m", checkpoint, "-o", checkpoint}, {"is the model"});
    EXPECT_EQ(read_file(checkpoint), before);
}

// Every way in which a device module can be missing, by the module of the emulated GPU.
TEST_F(Cli, ADeviceModuleThatIsMissingOrWrongIsNamed)
{
    const std::string in = picture("in.png", 20, 20), out = dir_ / "out.png";
    write_file(dir_ / "text.so", "no library");
    const struct {
        std::string module, expected;
    } cases[] = {
        {"/nowhere/module.so", "/nowhere/module.so"},
        {dir_ / "text.so", "text.so"},
        {"/lib/x86_64-linux-gnu/libm.so.6", "another version of Refold"},
    };
    for (const auto &c : cases) {
        CommandResult r = refold({"run", "-m", model(), in, "-o", out, "--device", "sim"},
                                 {{"REFOLD_SIM_MODULE", c.module}});
        EXPECT_EQ(r.code, 1);
        EXPECT_NE(r.err.find("device 'sim'"), std::string::npos) << r.err;
        EXPECT_NE(r.err.find(c.expected), std::string::npos) << r.err;
        EXPECT_FALSE(file_exists(out));
    }
}

TEST_F(Cli, OutputsAreCheckedBeforeAnythingIsLoaded)
{
    std::string in = picture("in.png", 20, 20);
    for (const char *out : {"out.tiff", "no/such/out.png", "/proc/nowhere/out.png"})
        expect_refusal(1, {"run", "-m", "/no/model", in, "-o", out}, {out});
    write_file(dir_ / "file", "");
    expect_refusal(1, {"run", "-m", "/no/model", in, in, "-o", dir_ / "file"}, {"file", "folder"});
    expect_refusal(1, {"run", "-m", model(), in, "-o", "/proc/out.png"}, {"/proc/out.png"});
}

TEST_F(Cli, AFolderGivesAFolderAlsoOfOneImage)
{
    std::string in = folder("in"), out = dir_ / "out";
    picture("in/only.jpg", 20, 20);
    expect(0, {"run", "-m", model(), in, "-o", out});
    expect_size(out + "/only.jpg", 20, 20);
}

TEST_F(Cli, AFolderMayHoldOtherThings)
{
    std::string in = folder("in"), out = dir_ / "out";
    picture("in/a.PNG", 20, 20);
    picture("in/.hidden.png", 20, 20);
    write_file(in + "/notes.txt", "no picture");
    folder("in/folder.png");
    expect(0, {"run", "-m", model(), in, "-o", out});
    EXPECT_EQ(list(out), std::vector<std::string>{"a.PNG"});
    expect_refusal(1, {"run", "-m", model(), folder("empty"), "-o", out}, {"empty", ".png"});
}

// A picture under another name keeps its stem.
TEST_F(Cli, APictureWithAnotherEndingBecomesAPng)
{
    std::string in = picture("in.png", 20, 20), out = folder("out");
    for (const char *name : {"scan.img", "plain"})
        write_file(dir_ / name, read_file(in));
    expect(0, {"run", "-m", model(), dir_ / "scan.img", dir_ / "plain", "-o", out});
    EXPECT_EQ(list(out), (std::vector<std::string>{"plain.png", "scan.png"}));
}

TEST_F(Cli, TheReportSaysWhichImagesFailed)
{
    std::string good = picture("good.png", 20, 20), bad = dir_ / "bad.png";
    write_file(bad, "no picture");
    CommandResult r = expect(1, {"run", "-m", model(), bad, good, picture("small.png", 5, 5), "-o",
                                 dir_ / "out", "--json"});
    Json j = parse(r.out);
    auto entry = [&](size_t i, const char *key) {
        const char *s = json_string_value(json_object_get(json_array_get(at(j, "images"), i), key));
        return std::string(s ? s : "");
    };
    ASSERT_EQ(json_array_size(at(j, "images")), 3u);
    EXPECT_NE(entry(0, "error").find("bad.png"), std::string::npos) << r.out;
    EXPECT_EQ(entry(1, "output"), dir_ / "out/good.png");
    EXPECT_NE(entry(2, "error").find("small.png"), std::string::npos) << r.out;
    EXPECT_EQ(r.err.find("bad.png: " + bad), std::string::npos) << "named twice: " << r.err;
}

TEST_F(Cli, NamesNeedNotBeUtf8)
{
    std::string odd = dir_ / "caf\xe9.png", in = picture("in.png", 20, 20);
    write_file(odd, read_file(in));
    CommandResult r = expect(0, {"run", "-m", model(), odd, "-o", folder("out"), "--json"});
    EXPECT_EQ(list(dir_ / "out"), std::vector<std::string>{"caf\xe9.png"});
    Json j = parse(r.out);
    const char *name =
        json_string_value(json_object_get(json_array_get(at(j, "images"), 0), "input"));
    ASSERT_NE(name, nullptr) << r.out;
    EXPECT_NE(strstr(name, "caf\xef\xbf\xbd.png"), nullptr) << name;
    expect_refusal(1, {"run", "-m", dir_ / "\xff.pth", in, "-o", dir_ / "o.png"},
                   {"?.pth"}); // errors are printable text
}

TEST_F(Cli, AFullDiskIsAFailureThatLeavesNothing)
{
    std::string in = picture("in.png", 40, 40), checkpoint = model();
    folder("out");
    // A file size limit fails writes as a full disk does.
    const std::string limit = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    for (std::vector<std::string> args :
         {std::vector<std::string>{"run", "-m", checkpoint, in, "-o", "out/x.png"},
          {"fold", "-m", checkpoint, "-o", "out/x.safetensors"},
          {"run", "-m", checkpoint, "--input", "x=" + tensor("x.npy", Array({1, 3, 32, 32})),
           "--output-dir", "out"}}) {
        CommandResult r = shell(limit, args);
        EXPECT_EQ(r.code, 1) << r.err;
        EXPECT_NE(r.err.find("out/"), std::string::npos) << r.err;
        EXPECT_TRUE(list(dir_ / "out").empty()) << list(dir_ / "out")[0];
    }
    for (std::vector<std::string> args : {std::vector<std::string>{"ops"},
                                          {"ops", "--json"},
                                          {"info", "-m", checkpoint},
                                          {"--help"}}) {
        CommandResult r = shell("exec \"$@\" >/dev/full", args);
        EXPECT_EQ(r.code, 1) << args[0];
        EXPECT_NE(r.err.find("stdout"), std::string::npos) << r.err;
    }
    for (const char *flag : {"--profile", "--explain"}) {
        CommandResult r = strcmp(flag, "--profile")
                              ? shell("exec \"$@\" >/dev/full",
                                      {"run", "-m", checkpoint, in, "-o", "o.png", flag})
                              : shell("exec \"$@\"", {"run", "-m", checkpoint, in, "-o", "o.png",
                                                      flag, "/dev/full"});
        EXPECT_EQ(r.code, 1) << flag;
        EXPECT_NE(r.err.find("No space"), std::string::npos) << r.err;
    }
}

TEST_F(Cli, TooLittleMemoryIsARefusal)
{
    std::string in = picture("in.png", 256, 256), out = dir_ / "out.png";
    expect_refusal(1, {"run", "-m", model(), in, "-o", out, "--memory-cap", "2M"},
                   {"in.png", "2097152", "--tile"});
    EXPECT_FALSE(file_exists(out));
    expect_refusal(1, {"bench", "-m", model(), "--shape", "1x3x200000x200000"}, {"bytes"});
    // What a shape would cost is told, whether it fits or not.
    Json j = parse(expect(0, {"info", "-m", model(), "--shape", "1x3x3000x3000", "--json"}).out);
    EXPECT_GT(number(j, "peak_bytes"), 500e6);
    if (RF_SANITIZED)
        return; // a sanitizer's shadow needs terabytes of addresses
    CommandResult r = shell("ulimit -v 100000; exec \"$@\"",
                            {"bench", "-m", model(), "--shape", "1x3x3000x3000", "--threads", "1"});
    EXPECT_EQ(r.code, 1) << r.err;
    EXPECT_EQ(r.err.rfind("refold: ", 0), 0u) << r.err;
    EXPECT_NE(r.err.find("memory"), std::string::npos) << r.err;
}

std::string big_endian(uint32_t v)
{
    return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
            static_cast<char>(v)};
}

// The header alone promises more than any machine that runs this has.
TEST_F(Cli, AnImageLargerThanMemoryIsRefusedByItsHeader)
{
    std::string head =
        "IHDR" + big_endian(46000) + big_endian(46000) + std::string("\x8\2\0\0\0", 5);
    write_file(dir_ / "huge.png", "\x89PNG\r\n\x1a\n" + big_endian(13) + head +
                                      big_endian(static_cast<uint32_t>(
                                          crc32(0, reinterpret_cast<const Bytef *>(head.data()),
                                                static_cast<uInt>(head.size())))) +
                                      big_endian(0) + "IDAT" + std::string(4, 0));
    double pages = static_cast<double>(sysconf(_SC_PHYS_PAGES));
    bool fits = pages * static_cast<double>(sysconf(_SC_PAGESIZE)) > 24.0 * 46000 * 46000;
    expect_refusal(1, {"run", "-m", model(), dir_ / "huge.png", "-o", dir_ / "out.png"},
                   {"huge.png", fits ? "PNG" : "46000x46000"});
}

// Ended in the middle, on a device slow enough that the middle is where it is.
TEST_F(Cli, AnInterruptLeavesNothing)
{
    std::string in = picture("in.png", 400, 400), out = folder("out");
    CommandResult r = run_command({"timeout", "-s", "INT", "0.5", binary(), "run", "-m", model(),
                                   in, "-o", out + "/x.png", "--device", "ref"});
    EXPECT_EQ(r.code, 124) << "it ended by itself";
    EXPECT_TRUE(list(out).empty());
}

TEST_F(Cli, NeedsNothingOfTheCurrentFolder)
{
    std::string in = picture("in.png", 20, 20);
    CommandResult r =
        shell("cd /proc && exec \"$@\"", {"run", "-m", model(), in, "-o", dir_ / "out.png"});
    EXPECT_EQ(r.code, 0) << r.err;
    expect_size(dir_ / "out.png", 20, 20);
}

TEST_F(Cli, UnknownWordsAreNamedWithTheNearest)
{
    expect_refusal(2, {"rum"}, {"'rum'", "'run'"});
    expect_refusal(2, {"run", "--presicion", "bf16"}, {"'--presicion'", "'--precision'"});
    expect_refusal(2, {"bench", "--shapes=1x3x8x8"}, {"'--shapes'", "'--shape'"});
    expect_refusal(2, {"eval", "--reff", "x", "--in", "y"}, {"'--reff'", "'--ref'"});
    for (const char *command : {"run", "info", "fold", "verify", "bench", "eval", "ops"}) {
        CommandResult r = expect(2, {command, "--qqqqqq"});
        EXPECT_NE(r.err.find("'--qqqqqq'"), std::string::npos) << r.err;
        EXPECT_EQ(r.err.find("mean"), std::string::npos) << "nothing is near: " << r.err;
        EXPECT_NE(r.err.find(std::string("refold ") + command + " --help"), std::string::npos);
        expect_refusal(2, {command, "-Q"}, {"'Q'"});
    }
    // A value is no option, and "--" ends them.
    expect_refusal(1, {"fold", "-m", "--presicion", "-o", "x"}, {"--presicion: cannot open"});
    expect_refusal(1, {"run", "-m", model(), "-o", dir_ / "o.png", "--", "--presicion"},
                   {"--presicion: cannot open: No such file"});
    // Clear abbreviations are understood.
    expect(0, {"info", "--mod", model(), "--sha", "1x3x16x16"});
    for (const char *command : {"info", "fold", "verify", "bench", "eval", "ops"})
        EXPECT_EQ(refold({command, "stray"}).code, 2) << command;
}

TEST_F(Cli, HelpOfACommandNamesItsOptions)
{
    const std::map<std::string, std::vector<std::string>> options = {
        {"run",
         {"--model", "--output", "--input", "--output-dir", "--device", "--precision", "--threads",
          "--tile", "--json", "--explain", "--profile", "--memory-cap"}},
        {"info", {"--model", "--json", "--shape", "--ops"}},
        {"fold", {"--model", "--output"}},
        {"verify", {"--model", "--json", "--shape", "--precision"}},
        {"bench", {"--model", "--json", "--shape", "--runs", "--seconds", "--threads"}},
        {"eval", {"--ref", "--in", "--json"}},
        {"ops", {"--json"}}};
    for (const auto &[command, names] : options) {
        std::string text = expect(0, {command, "--help"}).out;
        for (const std::string &name : names)
            EXPECT_NE(text.find(name), std::string::npos) << command << " " << name;
        EXPECT_EQ(expect(0, {"help", command}).out, text);
    }
    EXPECT_EQ(expect(0, {"fold", "--help"}).out.find("--threads"), std::string::npos);
}

TEST_F(Cli, AutoSaysWhatItBecame)
{
    std::string in = picture("in.png", 20, 20);
    CommandResult r =
        expect(0, {"run", "-m", model(), in, "-o", dir_ / "o.png", "--device", "auto"});
    EXPECT_NE(r.err.find("'auto'"), std::string::npos) << r.err;
    EXPECT_NE(r.err.find("'cpu'"), std::string::npos) << r.err;
}

TEST_F(Cli, EvalTakesTwoOfAKind)
{
    std::string one = picture("one.png", 20, 20);
    expect_refusal(1, {"eval", "--ref", dir_.path(), "--in", one}, {"one.png", "folder"});
    expect_refusal(2, {"eval", "--ref", one}, {"--in"});
    Json j = parse(expect(0, {"eval", "--ref", one, "--in", one, "--json"}).out);
    EXPECT_EQ(number(j, "mean_ssim"), 1);
}

// ---- pictures of other kinds ----

// The same picture of 24x20 pixels in this format of libpng.
void write_png(const std::string &path, png_uint_32 format)
{
    png_image image = {};
    image.version = PNG_IMAGE_VERSION;
    image.width = 24;
    image.height = 20;
    image.format = format;
    bool wide = format & PNG_FORMAT_FLAG_LINEAR;
    size_t channels = PNG_IMAGE_SAMPLE_CHANNELS(format);
    std::vector<uint8_t> bytes(24 * 20 * channels);
    std::vector<uint16_t> words(bytes.size());
    for (size_t i = 0; i < bytes.size(); i++) {
        size_t pixel = i / channels;
        bool alpha = channels % 2 == 0 && i % channels == channels - 1;
        bytes[i] = static_cast<uint8_t>(alpha ? 7 : pixel * 7 % 256);
        words[i] = static_cast<uint16_t>(bytes[i] * 257);
    }
    ASSERT_TRUE(png_image_write_to_file(&image, path.c_str(), 0,
                                        wide ? static_cast<void *>(words.data()) : bytes.data(), 0,
                                        nullptr))
        << image.message;
}

TEST_F(Cli, DepthAlphaAndGreyOfAPngChangeNothing)
{
    const struct {
        const char *name;
        png_uint_32 format;
    } kinds[] = {{"rgb.png", PNG_FORMAT_RGB},          {"rgba.png", PNG_FORMAT_RGBA},
                 {"grey.png", PNG_FORMAT_GRAY},        {"grey_alpha.png", PNG_FORMAT_GA},
                 {"rgb16.png", PNG_FORMAT_LINEAR_RGB}, {"grey16.png", PNG_FORMAT_LINEAR_Y}};
    std::string want;
    for (const auto &kind : kinds) {
        write_png(dir_ / kind.name, kind.format);
        expect(0, {"run", "-m", model(), dir_ / kind.name, "-o", dir_ / "out.png"});
        std::string got = read_file(dir_ / "out.png");
        want = want.empty() ? got : want;
        EXPECT_EQ(got, want) << kind.name;
    }
}

void write_cmyk(const std::string &path)
{
    jpeg_compress_struct jpeg;
    jpeg_error_mgr errors;
    FILE *f = fopen(path.c_str(), "wb");
    ASSERT_NE(f, nullptr);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, f);
    jpeg.image_width = jpeg.image_height = 16;
    jpeg.input_components = 4;
    jpeg.in_color_space = JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    std::vector<uint8_t> row(64, 100);
    while (jpeg.next_scanline < 16) {
        JSAMPROW rows[1] = {row.data()};
        jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(f);
}

TEST_F(Cli, AJpegForPrintersIsConverted)
{
    write_cmyk(dir_ / "print.jpg");
    expect(0, {"run", "-m", model(), dir_ / "print.jpg", "-o", dir_ / "out.png"});
    EXPECT_TRUE(file_exists(dir_ / "out.png"));
}

TEST_F(Cli, ThinImagesAreNamed)
{
    for (auto [h, w] : {std::pair<int64_t, int64_t>{1, 50}, {50, 1}, {12, 12}}) {
        std::string in = picture("thin.png", h, w);
        expect_refusal(1, {"run", "-m", model(), in, "-o", dir_ / "out.png"},
                       {"thin.png", "13", std::to_string(h) + "x" + std::to_string(w)});
    }
    EXPECT_FALSE(file_exists(dir_ / "out.png"));
    expect(0, {"run", "-m", model(), picture("least.png", 13, 13), "-o", dir_ / "out.png"});
}

// ---- the terminal ----

// What the command shows on a terminal of its own.
std::string on_terminal(std::vector<std::string> args, const char *term)
{
    int fd;
    std::vector<char *> argv;
    for (std::string &a : args)
        argv.push_back(a.data());
    argv.push_back(nullptr);
    pid_t pid = forkpty(&fd, nullptr, nullptr, nullptr);
    if (pid == 0) {
        setenv("TERM", term, 1);
        execvp(argv[0], argv.data());
        _exit(127);
    }
    std::string shown;
    char chunk[4096];
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) > 0;)
        shown.append(chunk, static_cast<size_t>(n));
    int status;
    waitpid(pid, &status, 0);
    close(fd);
    return shown;
}

TEST_F(Cli, SeveralImagesOrTilesShowProgressOnATerminal)
{
    std::string in = folder("in"), big = picture("big.png", 60, 60);
    picture("in/a.png", 20, 20);
    picture("in/b.png", 20, 20);
    auto shown = [&](std::vector<std::string> args, const char *term = "xterm") {
        args.insert(args.begin(), {binary(), "run", "-m", model()});
        return on_terminal(args, term);
    };
    std::string images = shown({in, "-o", dir_ / "out"});
    EXPECT_NE(images.find("images [###############...............] 1/2"), std::string::npos)
        << images;
    EXPECT_NE(images.find("images 2/2 in "), std::string::npos) << images;
    std::string tiles = shown({big, "-o", dir_ / "t.png", "--tile", "32"});
    EXPECT_NE(tiles.find("tiles 4/4 in "), std::string::npos) << tiles;
    EXPECT_EQ(shown({big, "-o", dir_ / "t.png"}), "") << "one image is no progress";
    EXPECT_EQ(shown({in, "-o", dir_ / "out"}, "dumb"), "");
    EXPECT_EQ(expect(0, {"run", "-m", model(), in, "-o", dir_ / "out"}).err, "");
    // A message in between starts on a line of its own.
    write_file(in + "/aa.png", "no picture");
    std::string failed = shown({in, "-o", dir_ / "out"});
    EXPECT_NE(failed.find("\r\033[Krefold: "), std::string::npos) << failed;
}

} // namespace
