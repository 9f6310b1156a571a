/* SPDX-License-Identifier: Apache-2.0
 *
 * Reports: JSON output, the environment block, memory of this process, the progress bar.
 */
#include "tools/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef RF_COMMIT
#define RF_COMMIT "unknown"
#endif

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

json_t *cli_env_json(const struct model_options *o)
{
    char cpu[128];
    struct utsname u;
    uname(&u);
    proc_line("/proc/cpuinfo", "model name", cpu, sizeof cpu);
    const char *forced = getenv("REFOLD_CPU");
    return json_pack("{s:s, s:i, s:i, s:s, s:s, s:s, s:s}", "cpu", cpu, "cores",
                     (int)sysconf(_SC_NPROCESSORS_ONLN), "threads",
                     o->threads ? o->threads : (int)sysconf(_SC_NPROCESSORS_ONLN), "system",
                     u.release, "refold", rf_version_string(), "commit", RF_COMMIT, "refold_cpu",
                     forced ? forced : "");
}

bool cli_print_json(json_t *json, const char *path)
{
    bool ok =
        json && (path ? json_dump_file(json, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9))
                      : json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9))) == 0;
    if (ok && !path)
        putchar('\n');
    if (!ok)
        cli_failf("%s: cannot write JSON: %s", path ? path : "stdout",
                  json ? strerror(errno) : "no memory");
    json_decref(json);
    return ok;
}

void progress_begin(struct progress *p, const char *what, int total)
{
    *p = (struct progress){what, total, 0, cli_now(), total > 1 && isatty(STDERR_FILENO)};
    if (p->shown)
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
    fprintf(stderr, "\r%s [%s] %d/%d, %.1f s left ", p->what, bar, p->done, p->total, left);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r%s %d/%d in %.1f s%*s\n", p->what, p->done, p->total,
                cli_now() - p->start, 40, "");
    p->shown = false;
}
