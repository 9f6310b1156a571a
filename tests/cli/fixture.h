// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the command line share: a folder with a small checkpoint and pictures in it,
// the tool, and its JSON.
#ifndef RF_TESTS_CLI_FIXTURE_H
#define RF_TESTS_CLI_FIXTURE_H

#include "tests/support/networks.h"

#include <cstdlib>
#include <sstream>

#include <jansson.h>
#include <sys/stat.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RF_SANITIZED 1
#else
#define RF_SANITIZED 0
#endif

namespace rft
{

struct JsonDeleter {
    void operator()(json_t *j) const { json_decref(j); }
};
using Json = std::unique_ptr<json_t, JsonDeleter>;

inline Json parse(const std::string &text)
{
    json_error_t where;
    Json j(json_loads(text.c_str(), JSON_REJECT_DUPLICATES, &where));
    EXPECT_TRUE(j) << where.text << " in: " << text;
    return j;
}

// "a.b.c" of a JSON object; NULL if a part is missing.
inline json_t *at(const Json &root, const std::string &path)
{
    json_t *j = root.get();
    for (size_t from = 0; j && from <= path.size();) {
        size_t dot = std::min(path.find('.', from), path.size());
        j = json_object_get(j, path.substr(from, dot - from).c_str());
        from = dot + 1;
    }
    EXPECT_NE(j, nullptr) << path << " is missing";
    return j;
}

inline double number(const Json &root, const std::string &path)
{
    return json_number_value(at(root, path));
}

class Cli : public testing::Test
{
  protected:
    static std::string binary()
    {
        const char *bin = getenv("REFOLD_BIN");
        return bin ? bin : "refold";
    }

    CommandResult refold(std::vector<std::string> args,
                         const std::map<std::string, std::string> &env = {})
    {
        args.insert(args.begin(), binary());
        return run_command(args, env);
    }

    // The same from a shell, after `setup` (limits, redirections); dir_ is the current folder.
    CommandResult shell(const std::string &setup, const std::vector<std::string> &args)
    {
        std::vector<std::string> all = {"sh", "-c",        "cd \"$1\" && shift && " + setup,
                                        "sh", dir_.path(), binary()};
        all.insert(all.end(), args.begin(), args.end());
        return run_command(all);
    }

    CommandResult expect(int code, std::vector<std::string> args)
    {
        CommandResult r = refold(args);
        EXPECT_EQ(r.code, code) << "refold " << args[0] << "\n" << r.out << r.err;
        return r;
    }

    // Fails with this code, and a message on stderr that holds these words; the output stays empty.
    void expect_refusal(int code, const std::vector<std::string> &args,
                        const std::vector<std::string> &words)
    {
        CommandResult r = expect(code, args);
        for (const std::string &w : words)
            EXPECT_NE(r.err.find(w), std::string::npos) << "'" << w << "' is missing in: " << r.err;
        if (code == 1) {
            EXPECT_EQ(r.err.rfind("refold: ", 0), 0u) << r.err;
        }
    }

    std::string model()
    {
        std::string path = dir_ / "tiny.safetensors";
        if (!file_exists(path))
            write_file(path, dea_net_safetensors(8));
        return path;
    }

    // A network of the test's own, as a file.
    std::string saved(const std::string &name, Graph graph)
    {
        rf_error err;
        Model m = finish_graph(std::move(graph));
        EXPECT_EQ(rf_model_save(m.get(), (dir_ / name).c_str(), &err), RF_OK) << err.text;
        return dir_ / name;
    }

    std::string tensor(const std::string &name, Array a)
    {
        rf_tensor t = a.view();
        rf_error err;
        EXPECT_EQ(rf_npy_write((dir_ / name).c_str(), &t, &err), RF_OK) << err.text;
        return dir_ / name;
    }

    std::vector<std::string> list(const std::string &folder)
    {
        std::vector<std::string> names;
        std::istringstream lines(run_command({"ls", "-A", folder}).out);
        for (std::string line; std::getline(lines, line);)
            names.push_back(line);
        return names;
    }

    std::string picture(const std::string &name, int64_t h, int64_t w)
    {
        Array a = random_array(name, {1, 3, h, w}, 0, 1);
        rf_tensor t = a.view();
        rf_error err;
        EXPECT_EQ(rf_image_write((dir_ / name).c_str(), &t, &err), RF_OK) << err.text;
        return dir_ / name;
    }

    std::string folder(const std::string &name)
    {
        EXPECT_EQ(mkdir((dir_ / name).c_str(), 0777), 0);
        return dir_ / name;
    }

    TempDir dir_;
};

inline void expect_size(const std::string &path, int64_t h, int64_t w)
{
    int64_t width = 0, height = 0;
    rf_error err;
    EXPECT_EQ(rf_image_size(path.c_str(), &width, &height, &err), RF_OK) << err.text;
    EXPECT_EQ(height, h) << path;
    EXPECT_EQ(width, w) << path;
}

} // namespace rft
#endif
