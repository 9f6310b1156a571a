/* SPDX-License-Identifier: Apache-2.0
 *
 * Reports: JSON output, the environment block, memory of this process, the progress bar.
 */
#include "tools/cli/cli.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <commit.h> /* made by meson: RF_COMMIT */

/* Value after "key" and optional ": \t" on its line in a /proc text file; empty if absent. */
static void proc_line(const char *file, const char *key, char *out, size_t n)
{
    char line[4096];
    FILE *f = fopen(file, "r");
    *out = 0;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) {
            const char *v = line + strlen(key);
            v += strspn(v, ": \t");
            snprintf(out, n, "%.*s", (int)strcspn(v, "\n"), v);
            break;
        }
    if (f)
        fclose(f);
}

static size_t status_bytes(const char *key)
{
    char text[64];
    proc_line("/proc/self/status", key, text, sizeof text);
    return (size_t)strtoull(text, NULL, 10) * 1024;
}

size_t cli_resident_bytes(void)
{
    return status_bytes("VmRSS");
}
size_t cli_peak_resident_bytes(void)
{
    return status_bytes("VmHWM");
}

/* The limit of the container this process is in, whatever the machine has. */
static size_t cgroup_bytes(void)
{
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (int i = 0; i < 2; i++) {
        char text[64];
        proc_line(files[i], "", text, sizeof text);
        if (*text >= '0' && *text <= '9')
            return (size_t)strtoull(text, NULL, 10);
    }
    return SIZE_MAX;
}

size_t cli_free_bytes(void)
{
    char text[64];
    proc_line("/proc/meminfo", "MemAvailable", text, sizeof text);
    size_t machine = *text ? (size_t)strtoull(text, NULL, 10) * 1024 : SIZE_MAX,
           container = cgroup_bytes();
    return machine < container ? machine : container;
}

/* Length of the UTF-8 sequence at s; 0 if there is none. */
static int utf8_length(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    json_t *valid = json_stringn((const char *)s, (size_t)n); /* surrogates, overlong forms */
    json_decref(valid);
    return valid ? n : 0;
}

json_t *cli_json_text(const char *text)
{
    json_t *json = json_string(text);
    size_t n = strlen(text), at = 0;
    char *clean = json ? NULL : malloc(3 * n + 1);
    if (!clean)
        return json;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int k = utf8_length(s);
        memcpy(clean + at, k ? (const char *)s : "\xef\xbf\xbd", k ? (size_t)k : 3);
        at += k ? (size_t)k : 3;
        s += k ? k : 1;
    }
    json = json_stringn(clean, at);
    free(clean);
    return json;
}

json_t *cli_json_dims(const int64_t *dims, int rank)
{
    json_t *a = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(a, json_integer(dims[i]));
    return a;
}

json_t *cli_json_real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* {"refold": "0.1.0", "gcc": "12.2.0", ...} from the library's "gcc 12.2.0, ...". */
static json_t *versions_json(void)
{
    json_t *versions = json_pack("{s:s}", "refold", rf_version_string());
    for (const char *at = rf_build_info(); *at;) {
        int word = (int)strcspn(at, ","), name = (int)strcspn(at, " ");
        char key[64];
        snprintf(key, sizeof key, "%.*s", name, at);
        if (name < word)
            json_object_set_new(versions, key,
                                json_stringn(at + name + 1, (size_t)(word - name - 1)));
        at += word + (int)strspn(at + word, ", ");
    }
    return versions;
}

/* Cores that this process may use. */
static int core_count(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? (int)sysconf(_SC_NPROCESSORS_ONLN)
                                                  : CPU_COUNT(&set);
}

json_t *cli_env_json(const struct model_options *o)
{
    char cpu[128];
    struct utsname u;
    uname(&u);
    proc_line("/proc/cpuinfo", "model name", cpu, sizeof cpu);
    const char *forced = getenv("REFOLD_CPU");
    return json_pack("{s:s, s:i, s:i, s:s, s:o, s:s, s:s}", "cpu", cpu, "cores", core_count(),
                     "threads", o->threads ? o->threads : core_count(), "system", u.release,
                     "versions", versions_json(), "commit", RF_COMMIT, "refold_cpu",
                     forced ? forced : "");
}

static bool is_stdout(const char *path)
{
    return !path || !*path || !strcmp(path, "-");
}

bool cli_wants_text(const struct report_options *o)
{
    return !o->json || !is_stdout(o->json);
}

bool cli_print_json(json_t *json, const char *path)
{
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    char *line = NULL;
    bool ok = text && asprintf(&line, "%s\n", text) > 0;
    if (!ok)
        cli_failf("no memory for a report as JSON");
    else if (!is_stdout(path))
        ok = write_text(path, line);
    else
        fputs(line, stdout); /* main sees to what stdout refuses */
    if (text)
        free(line);
    free(text);
    json_decref(json);
    return ok;
}

static struct progress *shown_bar;

void progress_hide(void)
{
    if (shown_bar)
        fputs("\r\033[K", stderr);
}

/* A terminal that cannot clear a line shows no bar. */
static bool can_show(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb"));
}

void progress_begin(struct progress *p, const char *what, int total)
{
    *p = (struct progress){what, total, 0, cli_now(), total > 1 && can_show()};
    if (!p->shown)
        return;
    shown_bar = p;
    fprintf(stderr, "\r%s 0/%d", what, total);
}

void progress_step(struct progress *p)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    p->done++;
    if (!p->shown)
        return;
    int filled = (int)((int64_t)p->done * WIDTH / p->total);
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[WIDTH] = 0;
    double spent = cli_now() - p->start, left = spent / p->done * (p->total - p->done);
    fprintf(stderr, "\r\033[K%s [%s] %d/%d, %.1f s left", p->what, bar, p->done, p->total, left);
}

void progress_end(struct progress *p)
{
    progress_hide();
    if (p->shown)
        fprintf(stderr, "%s %d/%d in %.1f s\n", p->what, p->done, p->total, cli_now() - p->start);
    p->shown = false;
    shown_bar = NULL;
}
