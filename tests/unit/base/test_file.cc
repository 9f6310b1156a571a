// SPDX-License-Identifier: Apache-2.0
//
// Blobs and the atomic writer.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "runtime/base/file.h"
#include "tests/support/support.h"

namespace
{

class File : public testing::Test
{
  protected:
    void SetUp() override { ASSERT_EQ(rf_env_create(nullptr, &env, nullptr), RF_OK); }
    void TearDown() override
    {
        EXPECT_EQ(rf_env_bytes(env), 0u);
        rf_env_release(&env);
    }
    rf_status write(const std::string &path, const std::string &bytes, bool commit)
    {
        rf_file_writer *w;
        rf_status status = rf_file_writer_open(env, path.c_str(), &w, &err);
        for (size_t i = 0; i < bytes.size() && status == RF_OK; i += 5)
            status = rf_file_writer_write(w, bytes.data() + i,
                                          std::min<size_t>(5, bytes.size() - i), &err);
        if (status == RF_OK && commit)
            status = rf_file_writer_commit(&w, &err);
        rf_file_writer_destroy(&w);
        return status;
    }
    rf_env *env = nullptr;
    rf_error err = {};
    rft::TempDir dir;
};

TEST_F(File, MapsWhatIsThere)
{
    std::string bytes(100000, 'q');
    rft::write_file(dir / "a", bytes);
    rf_blob *blob;
    ASSERT_EQ(rf_blob_map_file(env, (dir / "a").c_str(), &blob, &err), RF_OK) << err.text;
    EXPECT_TRUE(rf_blob_is_mapping(blob));
    EXPECT_EQ(rf_blob_mutable(blob), nullptr);
    EXPECT_EQ(std::string((const char *)rf_blob_data(blob), rf_blob_bytes(blob)), bytes);
    rf_blob *other = rf_blob_retain(blob);
    rf_blob_release(&blob);
    EXPECT_EQ(((const char *)rf_blob_data(other))[99999], 'q');
    rf_blob_release(&other);
}

TEST_F(File, MapsAnEmptyFile)
{
    rft::write_file(dir / "empty", "");
    rf_blob *blob;
    ASSERT_EQ(rf_blob_map_file(env, (dir / "empty").c_str(), &blob, &err), RF_OK) << err.text;
    EXPECT_EQ(rf_blob_bytes(blob), 0u);
    rf_blob_release(&blob);
}

TEST_F(File, NamesPathAndReasonOfWhatCannotBeMapped)
{
    mkfifo((dir / "pipe").c_str(), 0600); // would block if opened for waiting
    struct {
        const char *name, *reason;
    } cases[] = {
        {"missing", "No such file"}, {"", "is a directory"}, {"pipe", "not a regular file"}};
    for (auto &c : cases) {
        rf_blob *blob;
        std::string path = dir / c.name;
        EXPECT_EQ(rf_blob_map_file(env, path.c_str(), &blob, &err), RF_ERR_IO);
        EXPECT_EQ(blob, nullptr);
        EXPECT_NE(strstr(err.text, path.c_str()), nullptr) << err.text;
        EXPECT_NE(strstr(err.text, c.reason), nullptr) << err.text;
    }
}

TEST_F(File, MemoryBlobsAreZeroedOrCopied)
{
    rf_blob *blob;
    ASSERT_EQ(rf_blob_alloc(env, 64, &blob, &err), RF_OK);
    for (int i = 0; i < 64; i++)
        EXPECT_EQ(((char *)rf_blob_mutable(blob))[i], 0);
    EXPECT_FALSE(rf_blob_is_mapping(blob));
    rf_blob_release(&blob);
    ASSERT_EQ(rf_blob_copy(env, "hello", 5, &blob, &err), RF_OK);
    EXPECT_EQ(memcmp(rf_blob_data(blob), "hello", 5), 0);
    rf_blob_release(&blob);
}

TEST_F(File, ABlobKeepsItsEnv)
{
    rft::Memory memory;
    rf_hooks hooks = memory.hooks();
    rf_env *own;
    rf_blob *blob;
    ASSERT_EQ(rf_env_create(&hooks, &own, nullptr), RF_OK);
    ASSERT_EQ(rf_blob_alloc(own, 64, &blob, &err), RF_OK);
    rf_env_release(&own);
    rf_blob_release(&blob);
    EXPECT_EQ(memory.bytes, 0);
}

TEST_F(File, AppearsOnlyWhenCommitted)
{
    EXPECT_EQ(write(dir / "out", "some bytes that matter", false), RF_OK);
    EXPECT_TRUE(dir.list().empty()) << dir.list()[0];
    EXPECT_EQ(write(dir / "out", "some bytes that matter", true), RF_OK) << err.text;
    EXPECT_EQ(dir.list(), std::vector<std::string>{"out"});
    EXPECT_EQ(rft::read_file(dir / "out"), "some bytes that matter");
}

TEST_F(File, AnAbandonedWriteKeepsTheOldFile)
{
    rft::write_file(dir / "out", "old");
    EXPECT_EQ(write(dir / "out", "new and longer", false), RF_OK);
    EXPECT_EQ(rft::read_file(dir / "out"), "old");
    EXPECT_EQ(write(dir / "out", "new and longer", true), RF_OK);
    EXPECT_EQ(rft::read_file(dir / "out"), "new and longer");
    EXPECT_EQ(dir.list().size(), 1u);
}

TEST_F(File, OverwritingKeepsPermissionsAndLinks)
{
    rft::write_file(dir / "real", "old");
    ASSERT_EQ(chmod((dir / "real").c_str(), 0640), 0);
    ASSERT_EQ(symlink("real", (dir / "link").c_str()), 0);
    ASSERT_EQ(write(dir / "link", "new", true), RF_OK) << err.text;
    EXPECT_EQ(rft::read_file(dir / "real"), "new");
    struct stat st;
    ASSERT_EQ(lstat((dir / "link").c_str(), &st), 0);
    EXPECT_TRUE(S_ISLNK(st.st_mode));
    ASSERT_EQ(stat((dir / "real").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0640u);
}

TEST_F(File, RefusesTargetsThatAreNoFiles)
{
    EXPECT_EQ(write(dir.path(), "x", true), RF_ERR_IO);
    EXPECT_NE(strstr(err.text, "is a directory"), nullptr) << err.text;
    EXPECT_EQ(write("/dev/null", "x", true), RF_ERR_IO);
    EXPECT_NE(strstr(err.text, "not a regular file"), nullptr) << err.text;
    EXPECT_EQ(write(dir / "no/such/folder", "x", true), RF_ERR_IO);
    EXPECT_NE(strstr(err.text, "no/such/folder"), nullptr) << err.text;
    EXPECT_EQ(write("", "x", true), RF_ERR_IO);
    EXPECT_EQ(write(dir / std::string(5000, 'n'), "x", true), RF_ERR_IO);
    EXPECT_TRUE(dir.list().empty());
}

// A process that is killed while it writes, or between writing and renaming, leaves no output; and
// no litter either where the system has files without names.
TEST_F(File, AKilledWriterLeavesNothing)
{
    int probe = open(dir.path().c_str(), O_TMPFILE | O_WRONLY, 0600);
    if (probe < 0)
        GTEST_SKIP() << "this file system has no files without names";
    close(probe);
    auto child = [&] {
        rf_file_writer *w;
        if (rf_file_writer_open(env, (dir / "out").c_str(), &w, &err) != RF_OK ||
            rf_file_writer_write(w, "half", 4, &err) != RF_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    };
    EXPECT_EXIT(child(), testing::KilledBySignal(SIGKILL), "");
    EXPECT_TRUE(dir.list().empty()) << dir.list()[0];
}

TEST_F(File, NewFilesFollowTheUmask)
{
    mode_t before = umask(027);
    EXPECT_EQ(write(dir / "out", "x", true), RF_OK) << err.text;
    umask(before);
    struct stat st;
    ASSERT_EQ(stat((dir / "out").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0640u);
}

TEST_F(File, AFullDiskIsReportedAndLeavesNothing)
{
    // A file size limit fails writes as a full disk does; in a child, because it cannot be lifted.
    auto child = [&] {
        signal(SIGXFSZ, SIG_IGN);
        rlimit limit{20, 20};
        setrlimit(RLIMIT_FSIZE, &limit);
        rf_status status = write(dir / "out", std::string(100, 'z'), true);
        bool named = strstr(err.text, "out") != nullptr;
        _exit(status == RF_ERR_IO && named && dir.list().empty() ? 0 : 1);
    };
    EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

} // namespace
