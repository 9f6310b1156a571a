// SPDX-License-Identifier: Apache-2.0
//
// What a C program meets: exported symbols, headers that stand alone, pkg-config, the embedding
// example and the README's snippet compiled by a plain compiler against the installed files.
#include "tests/support/networks.h"

#include <cstdlib>
#include <regex>
#include <set>
#include <sstream>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RF_SANITIZED 1
#else
#define RF_SANITIZED 0
#endif

using namespace rft;

namespace
{

std::string variable(const char *name)
{
    const char *v = getenv(name);
    EXPECT_NE(v, nullptr) << name << " is set by meson test";
    return v ? v : "";
}

const char *const HEADERS[] = {"base",  "tensor",  "dlpack", "graph",
                               "model", "session", "io",     "refold"};

// Names of the functions that the public headers mark RF_API.
std::set<std::string> declared()
{
    std::set<std::string> names;
    const std::regex function("RF_API [^;(]*?(rf_[a-z0-9_]+)\\(");
    for (const char *header : HEADERS) {
        std::string text = read_file(source_root() + "/runtime/include/refold/" + header + ".h");
        for (std::sregex_iterator i(text.begin(), text.end(), function), end; i != end; ++i)
            names.insert((*i)[1]);
    }
    return names;
}

TEST(Abi, ExportsExactlyWhatTheHeadersDeclare)
{
    CommandResult nm = run_command({"nm", "-D", "--defined-only", variable("RF_LIBREFOLD")});
    ASSERT_EQ(nm.code, 0) << nm.err;
    std::istringstream lines(nm.out);
    std::set<std::string> exported;
    for (std::string line; std::getline(lines, line);)
        if (std::string name = line.substr(line.rfind(' ') + 1);
            name.find("asan") == std::string::npos) // a sanitizer's own mark
            exported.insert(name);
    EXPECT_GE(exported.size(), 45u);
    EXPECT_EQ(exported, declared());
}

TEST(Abi, EveryPublicHeaderStandsAloneInCAndCxx)
{
    const std::string include = source_root() + "/runtime/include";
    TempDir work;
    for (const char *name : HEADERS) {
        // Included twice, and used: a macro is checked only where it is expanded.
        std::string use = "#include <refold/" + std::string(name) + ".h>\n";
        use += use;
        if (std::string(name) == "graph")
            use += "extern const rf_attr all[3];\n"
                   "const rf_attr all[3] = {RF_INTS(\"pad\", 1, 2, 3, 4), RF_REAL(\"eps\", 1e-5),"
                   " RF_ENUM(\"act\", \"relu\")};\n";
        for (std::vector<std::string> compile : {std::vector<std::string>{"cc", "-std=c99"},
                                                 {"cc", "-std=c17"},
                                                 {"c++", "-std=c++11"},
                                                 {"c++", "-std=c++20"}}) {
            std::string file = work / (compile[0] == "cc" ? "use.c" : "use.cc");
            write_file(file, use);
            compile.insert(compile.end(), {"-Wall", "-Wextra", "-Wpedantic", "-Werror",
                                           "-fsyntax-only", "-I" + include, file});
            CommandResult r = run_command(compile);
            EXPECT_EQ(r.code, 0) << compile[0] << " " << compile[1] << ", " << name << ".h\n"
                                 << r.err;
        }
    }
}

// What the macros make is the same in both languages.
TEST(Abi, AttributeMacrosCountTheirValues)
{
    const rf_attr pad = RF_INTS("pad", 1, 2, 3, 4), eps = RF_REAL("eps", 0.5),
                  act = RF_ENUM("act", "relu");
    EXPECT_EQ(pad.n, 4);
    EXPECT_EQ(pad.i[3], 4);
    EXPECT_EQ(eps.real, 0.5);
    EXPECT_STREQ(act.name, "relu");
}

class Installed : public testing::Test
{
  protected:
    void SetUp() override
    {
        if (RF_SANITIZED)
            GTEST_SKIP() << "a plain program cannot load a sanitized library";
        CommandResult r = run_command({"meson", "install", "-C", variable("RF_BUILD_ROOT"),
                                       "--no-rebuild", "--quiet", "--destdir", dir_.path()});
        ASSERT_EQ(r.code, 0) << r.out << r.err;
        CommandResult found = run_command({"find", dir_.path(), "-name", "refold.pc"});
        pkgconfig_ = found.out.substr(0, found.out.rfind('/'));
        ASSERT_FALSE(pkgconfig_.empty()) << "refold.pc was not installed";
        lib_ = pkgconfig_.substr(0, pkgconfig_.rfind('/'));
    }

    std::map<std::string, std::string> env() const
    {
        return {{"PKG_CONFIG_PATH", pkgconfig_},
                {"PKG_CONFIG_SYSROOT_DIR", dir_.path()},
                {"LD_LIBRARY_PATH", lib_}};
    }

    TempDir dir_;
    std::string pkgconfig_, lib_;
};

TEST_F(Installed, EmbeddingExampleCompilesAndRuns)
{
    TempDir work;
    CommandResult cp = run_command({"cp", "-r", source_root() + "/examples/embed/.", work.path()});
    ASSERT_EQ(cp.code, 0) << cp.err;
    CommandResult make =
        run_command({"make", "-C", work.path(), "CFLAGS=-O1 -Wall -Wextra -Werror"}, env());
    ASSERT_EQ(make.code, 0) << make.out << make.err;

    write_file(work / "tiny.safetensors", dea_net_safetensors(8));
    Array picture = random_array("picture", {1, 3, 30, 41}, 0, 1);
    rf_tensor t = picture.view();
    rf_error err;
    ASSERT_EQ(rf_image_write((work / "in.png").c_str(), &t, &err), RF_OK) << err.text;
    CommandResult run = run_command({work / "embed", work / "tiny.safetensors", work / "in.png",
                                     work / "out.png", work / "in.png", work / "again.png"},
                                    env());
    EXPECT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.out.find("41x30"), std::string::npos) << run.out;
    EXPECT_NE(run.out.find("seen before"), std::string::npos) << run.out;
    EXPECT_EQ(read_file(work / "out.png"), read_file(work / "again.png"));

    CommandResult bad = run_command({work / "embed", "/nowhere.pth", "a.png", "b.png"}, env());
    EXPECT_EQ(bad.code, 1);
    EXPECT_NE(bad.err.find("/nowhere.pth"), std::string::npos) << bad.err;
}

TEST_F(Installed, SnippetOfTheReadmeCompiles)
{
    std::string readme = read_file(source_root() + "/README.md");
    size_t begin = readme.find("```c\n"), end = readme.find("\n```", begin);
    ASSERT_NE(begin, std::string::npos);
    TempDir work;
    write_file(work / "snippet.c", readme.substr(begin + 5, end - begin - 4));
    CommandResult flags = run_command({"pkg-config", "--cflags", "--libs", "refold"}, env());
    ASSERT_EQ(flags.code, 0) << flags.err;
    CommandResult cc = run_command({"sh", "-c",
                                    "cc -Wall -Wextra -Werror " + (work / "snippet.c") + " -o " +
                                        (work / "snippet") + " " + flags.out},
                                   env());
    EXPECT_EQ(cc.code, 0) << cc.err;
}

TEST_F(Installed, InstallsHeadersToolAndPkgConfigOnly)
{
    CommandResult found =
        run_command({"find", dir_.path(), "-type", "f", "-name", "*.h", "-path", "*/refold/*"});
    std::istringstream lines(found.out);
    int n = 0;
    for (std::string line; std::getline(lines, line);)
        n++;
    EXPECT_EQ(n, 8) << found.out;
    EXPECT_EQ(run_command({"find", dir_.path(), "-name", "*internal*"}).out, "");
    EXPECT_EQ(run_command({"find", dir_.path(), "-name", "*_sim*"}).out, "");
    CommandResult tool = run_command({"find", dir_.path(), "-path", "*/bin/refold"});
    ASSERT_FALSE(tool.out.empty());
    CommandResult version =
        run_command({tool.out.substr(0, tool.out.find('\n')), "--version"}, env());
    EXPECT_EQ(version.code, 0) << version.err;
}

} // namespace
