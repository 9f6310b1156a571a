// SPDX-License-Identifier: Apache-2.0
//
// Opening NVIDIA's real libraries (kernels/cuda/library.c): what is said when the file is missing,
// no library, another library or of another version. A process opens a library once, so every case
// has a process of its own.
#include "kernels/cuda/library.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/wait.h>

#include <gtest/gtest.h>

#include "tests/support/support.h"

namespace
{

struct Library {
    const char *name, *variable, *first_function;
    bool (*open)(const char **why);
};

const Library libraries[] = {
#ifdef RF_HAVE_CUDNN
    {"cuDNN", "REFOLD_CUDNN", "cudnnGetVersion",
     [](const char **why) { return rf_cudnn_open(why) != nullptr; }},
#endif
#ifdef RF_HAVE_CUBLASLT
    {"cuBLASLt", "REFOLD_CUBLASLT", "cublasLtGetVersion",
     [](const char **why) { return rf_cublaslt_open(why) != nullptr; }},
#endif
};

class LibraryDeathTest : public testing::TestWithParam<Library>
{
  protected:
    void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
    // Opens `file`, twice, in a process of its own, which prints the reason.
    [[noreturn]] static void open(const std::string &file)
    {
        const char *why, *again;
        setenv(GetParam().variable, file.c_str(), 1);
        bool opened = GetParam().open(&why);
        bool same = opened == GetParam().open(&again) && std::string(why) == again;
        fprintf(stderr, "%s\n", why);
        std::exit(!same ? 2 : opened ? 0 : 1);
    }
    static void expect_refusal(const std::string &file, const std::string &reason)
    {
        EXPECT_EXIT(open(file), testing::ExitedWithCode(1), reason);
    }
};

TEST_P(LibraryDeathTest, NamesAFileThatIsMissing)
{
    expect_refusal("/nowhere/libnone.so",
                   std::string(GetParam().name) + ".*/nowhere/libnone.so.*No such file");
}

TEST_P(LibraryDeathTest, NamesAFileThatIsNoLibrary)
{
    const std::string file = rft::source_root() + "/meson.build";
    expect_refusal(file, std::string(GetParam().name) + ".*" + file + ".*ELF");
}

TEST_P(LibraryDeathTest, NamesTheFunctionThatALibraryLacks)
{
    expect_refusal("libm.so.6", std::string("libm.so.6 has no ") + GetParam().first_function);
}

TEST_P(LibraryDeathTest, NamesTheVersionThatALibraryHas)
{
    const char *old = std::getenv("RF_OLD_LIBRARIES");
    ASSERT_NE(old, nullptr);
    expect_refusal(old, std::string(old) + " is version 7, expected ");
}

// It opens, or the usual file is missing.
TEST_P(LibraryDeathTest, TakesAnEmptyVariableForNone)
{
    auto is_either = [](int status) { return WIFEXITED(status) && WEXITSTATUS(status) < 2; };
    EXPECT_EXIT(open(""), is_either, "^\n$|is not there: lib(cudnn|cublasLt)\\.so");
}

INSTANTIATE_TEST_SUITE_P(Nvidia, LibraryDeathTest, testing::ValuesIn(libraries),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace
