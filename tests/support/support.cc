// SPDX-License-Identifier: Apache-2.0
//
// See support.h.
#include "tests/support/support.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace rft
{

Array::Array(std::vector<int64_t> d) : dims(std::move(d))
{
    int64_t n = 1;
    for (int64_t x : dims)
        n *= x;
    data.resize(static_cast<size_t>(n));
}

rf_tensor Array::shape() const
{
    rf_tensor t;
    rf_error err;
    EXPECT_EQ(rf_tensor_init(&t, RF_F32, static_cast<int>(dims.size()), dims.data(), nullptr, &err),
              RF_OK)
        << err.text;
    return t;
}

rf_tensor Array::view()
{
    rf_tensor t = shape();
    t.data = data.data();
    return t;
}

float named_random(const std::string &name, uint64_t i)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (unsigned char c : name)
        h = (h ^ c) * 0x100000001b3u;
    uint64_t z = h + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return static_cast<float>(static_cast<double>(z >> 40) * 0x1p-23 - 1.0);
}

Array random_array(const std::string &name, std::vector<int64_t> dims, float low, float high)
{
    Array a(std::move(dims));
    for (size_t i = 0; i < a.data.size(); i++)
        a.data[i] = low + (high - low) * 0.5f * (named_random(name, i) + 1);
    return a;
}

double max_abs(const std::vector<float> &a)
{
    double m = 0;
    for (float x : a)
        m = std::max(m, std::fabs(static_cast<double>(x)));
    return m;
}

double max_abs_difference(const std::vector<float> &a, const std::vector<float> &b)
{
    double m = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < std::min(a.size(), b.size()); i++) {
        double d = std::fabs(static_cast<double>(a[i]) - b[i]);
        m = d <= m ? m : d; // NaN sticks
    }
    return m;
}

double relative_rms(const std::vector<float> &got, const std::vector<float> &want)
{
    double sum = 0, squares = 0, errors = 0, n = static_cast<double>(want.size());
    if (got.size() != want.size() || want.empty())
        return INFINITY;
    for (size_t i = 0; i < want.size(); i++) {
        double w = want[i], e = got[i] - w;
        sum += w;
        squares += w * w;
        errors += e * e;
    }
    double mean = sum / n;
    return std::sqrt(errors / n / (squares / n - mean * mean));
}

static Model load(rf_model_params params)
{
    rf_model *m = nullptr;
    rf_error err;
    EXPECT_EQ(rf_model_load(&params, &m, &err), RF_OK) << err.text;
    return Model(m);
}

Model load_file(const std::string &path, bool unfolded, const rf_hooks *hooks)
{
    return load({sizeof(rf_model_params), path.c_str(), nullptr, 0, unfolded, hooks});
}

Model load_bytes(const std::string &bytes, bool unfolded, const rf_hooks *hooks)
{
    return load({sizeof(rf_model_params), nullptr, bytes.data(), bytes.size(), unfolded, hooks});
}

Model finish_graph(Graph graph, bool unfolded)
{
    rf_model_params params = {sizeof params, nullptr, nullptr, 0, unfolded, nullptr};
    rf_graph *g = graph.release();
    rf_model *m = nullptr;
    rf_error err;
    EXPECT_EQ(rf_model_from_graph(&g, &params, &m, &err), RF_OK) << err.text;
    return Model(m);
}

rf_model_info info_of(const Model &model)
{
    rf_model_info info = {sizeof info};
    rf_error err = {};
    EXPECT_EQ(rf_model_get_info(model.get(), &info, &err), RF_OK) << err.text;
    return info;
}

Session open_session(const Model &model, const SessionOptions &o)
{
    rf_session_params params = {sizeof params, o.device,    o.precision, o.threads,
                                o.memory_cap,  o.max_plans, o.exact};
    rf_session *s = nullptr;
    rf_error err;
    if (!model)
        return nullptr;
    EXPECT_EQ(rf_session_create(model.get(), &params, &s, &err), RF_OK) << err.text;
    return Session(s);
}

Array run(const Session &session, Array input)
{
    rf_tensor in = input.view(), out;
    rf_error err;
    Array result;
    if (!session)
        return result;
    rf_status status = rf_session_prepare(session.get(), &in, 1, nullptr, &err);
    if (status == RF_OK)
        status = rf_session_output(session.get(), 0, &out, &err);
    if (status == RF_OK) {
        result = Array(std::vector<int64_t>(out.dims, out.dims + out.rank));
        out = result.view();
        status = rf_session_run(session.get(), &in, 1, &out, 1, &err);
    }
    EXPECT_EQ(status, RF_OK) << err.text;
    return status == RF_OK ? result : Array();
}

std::string explain(const Session &session)
{
    const char *text = "";
    rf_error err;
    EXPECT_EQ(rf_session_explain(session.get(), &text, &err), RF_OK) << err.text;
    return text;
}

rf_hooks Memory::hooks()
{
    rf_hooks h = {};
    h.size = sizeof h;
    h.allocator = {alloc, release, this};
    return h;
}

void *Memory::alloc(void *user, size_t n, size_t align)
{
    Memory *self = static_cast<Memory *>(user);
    void *p = nullptr;
    const int64_t now = self->bytes + static_cast<int64_t>(n);
    int64_t call = ++self->calls, every = self->every;
    if (call == self->refuse || (every && call % every == 0) || (self->cap && now > self->cap) ||
        posix_memalign(&p, align, n))
        return nullptr;
    self->bytes += static_cast<int64_t>(n);
    std::lock_guard<std::mutex> guard(self->lock_);
    self->sizes_[p] = n;
    self->peak = std::max<int64_t>(self->peak, self->bytes);
    return p;
}

void Memory::release(void *user, void *p, size_t n)
{
    Memory *self = static_cast<Memory *>(user);
    {
        std::lock_guard<std::mutex> guard(self->lock_);
        auto it = self->sizes_.find(p);
        if (it == self->sizes_.end() || it->second != n)
            self->wrong_sizes++;
        if (it != self->sizes_.end())
            self->sizes_.erase(it);
    }
    self->bytes -= static_cast<int64_t>(n);
    free(p);
}

TempDir::TempDir()
{
    const char *base = getenv("TMPDIR");
    std::string name = std::string(base && *base ? base : "/tmp") + "/refold-test.XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr) << name;
    path_ = name;
}

TempDir::~TempDir()
{
    run_command({"rm", "-rf", path_});
}

std::vector<std::string> TempDir::list() const
{
    std::vector<std::string> names;
    DIR *d = opendir(path_.c_str());
    for (dirent *e = d ? readdir(d) : nullptr; e; e = readdir(d))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            names.push_back(e->d_name);
    if (d)
        closedir(d);
    std::sort(names.begin(), names.end());
    return names;
}

std::string read_file(const std::string &path)
{
    std::ifstream f(path, std::ios::binary);
    std::ostringstream s;
    s << f.rdbuf();
    EXPECT_TRUE(f) << path << " cannot be read";
    return s.str();
}

void write_file(const std::string &path, const std::string &bytes)
{
    std::ofstream f(path, std::ios::binary);
    f << bytes;
    f.close();
    EXPECT_TRUE(f) << path << " cannot be written";
}

bool file_exists(const std::string &path)
{
    struct stat st;
    return stat(path.c_str(), &st) == 0;
}

// The child's side: only calls that are safe after a fork of a process with threads.
[[noreturn]] static void exec_child(char *const *argv, char *const *env, int out, int err)
{
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    execvpe(argv[0], argv, env);
    _exit(127);
}

static std::vector<char *> pointers(std::vector<std::string> &strings)
{
    std::vector<char *> p;
    for (std::string &s : strings)
        p.push_back(s.data());
    p.push_back(nullptr);
    return p;
}

static std::vector<std::string> environment(const std::map<std::string, std::string> &extra)
{
    std::vector<std::string> all;
    for (char **e = environ; *e; e++)
        if (!extra.count(std::string(*e, strcspn(*e, "="))))
            all.push_back(*e);
    for (const auto &[key, value] : extra)
        all.push_back(key + "=" + value);
    return all;
}

static int wait_for(pid_t pid, int seconds)
{
    int status = 0;
    for (int i = 0; i < seconds * 200; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        usleep(5000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    ADD_FAILURE() << "killed after " << seconds << " s";
    return 128 + SIGKILL;
}

CommandResult run_command(const std::vector<std::string> &argv,
                          const std::map<std::string, std::string> &env, int seconds)
{
    // Output goes to files, so that no pipe can fill up.
    char out_name[] = "/tmp/refold-out.XXXXXX", err_name[] = "/tmp/refold-err.XXXXXX";
    int out = mkstemp(out_name), err = mkstemp(err_name);
    std::vector<std::string> args = argv, vars = environment(env);
    std::vector<char *> arg_pointers = pointers(args), var_pointers = pointers(vars);
    CommandResult result = {-1, "", ""};
    pid_t pid = fork();
    if (pid == 0)
        exec_child(arg_pointers.data(), var_pointers.data(), out, err);
    if (pid > 0)
        result.code = wait_for(pid, seconds);
    result.out = read_file(out_name);
    result.err = read_file(err_name);
    close(out);
    close(err);
    unlink(out_name);
    unlink(err_name);
    return result;
}

static std::string variable(const char *name)
{
    const char *v = getenv(name);
    return v ? v : "";
}

std::string source_root()
{
    std::string root = variable("RF_SOURCE_ROOT");
    return root.empty() ? "." : root;
}

std::string golden_dir(const std::string &what)
{
    std::string base = variable("RF_GOLDEN_DIR");
    if (base.empty())
        base = source_root() + "/../shared/golden";
    std::string dir = base + "/" + what;
    return file_exists(dir) ? dir : "";
}

bool quick()
{
    return !variable("RF_TEST_QUICK").empty();
}

size_t resident_bytes()
{
    std::ifstream f("/proc/self/statm");
    size_t pages = 0;
    f >> pages >> pages;
    return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

} // namespace rft
