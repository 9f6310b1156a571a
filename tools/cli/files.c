/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths, folders of images, text files.
 */
#include "tools/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool is_image_name(const char *name)
{
    const char *dot = strrchr(path_base(name), '.');
    return dot &&
           (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *path_in(const char *dir, const char *path, const char *ext)
{
    const char *base = path_base(path), *dot = ext ? strrchr(base, '.') : NULL;
    int stem = dot ? (int)(dot - base) : (int)strlen(base);
    const char *slash = *dir && dir[strlen(dir) - 1] == '/' ? "" : "/";
    char *out = NULL;
    if (asprintf(&out, "%s%s%.*s%s", dir, slash, stem, base, ext ? ext : "") < 0)
        return NULL;
    return out;
}

bool make_folder(const char *path)
{
    if (is_directory(path) || mkdir(path, 0777) == 0 || (errno == EEXIST && is_directory(path)))
        return true;
    return cli_failf("%s: cannot create this folder: %s", path,
                     errno == EEXIST ? "it is a file" : strerror(errno)) == EXIT_OK;
}

static bool append(struct file_list *list, char *path)
{
    char **grown = path ? realloc(list->paths, (size_t)(list->n + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(path);
        return cli_failf("out of memory") == EXIT_OK;
    }
    list->paths = grown;
    list->paths[list->n++] = path;
    return true;
}

/* Hidden files are other programs' (thumbnails, macOS forks). */
static int is_picture(const struct dirent *e)
{
    return e->d_name[0] != '.' && is_image_name(e->d_name);
}

bool files_collect(const char *path, struct file_list *list)
{
    if (!is_directory(path))
        return append(list, strdup(path));
    struct dirent **entries;
    int n = scandir(path, &entries, is_picture, alphasort), before = list->n;
    if (n < 0)
        return cli_failf("%s: %s", path, strerror(errno)) == EXIT_OK;
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char *full = path_in(path, entries[i]->d_name, NULL);
        if (ok && full && is_directory(full))
            free(full);
        else
            ok = ok && append(list, full);
        free(entries[i]);
    }
    free(entries);
    if (ok && list->n == before)
        cli_failf("%s: no .png, .jpg or .jpeg file in this folder", path);
    return ok && list->n > before;
}

void files_free(struct file_list *list)
{
    for (int i = 0; i < list->n; i++)
        free(list->paths[i]);
    free(list->paths);
    *list = (struct file_list){0};
}

/* Writes and closes. */
static bool write_all(int fd, const char *text)
{
    bool ok = true;
    for (size_t n = strlen(text); n && ok;) {
        ssize_t done = write(fd, text, n);
        ok = done >= 0 || errno == EINTR;
        text += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    int error = errno;
    if (close(fd) && ok)
        return false;
    errno = error;
    return ok;
}

/* Through a neighbour that takes the name when it is complete. Links stay links. */
static bool replace_text(const char *path, const char *text)
{
    char *real = realpath(path, NULL), *temporary = NULL;
    const char *target = real ? real : path;
    bool ok = false;
    int fd = -1;
    if (asprintf(&temporary, "%s.XXXXXX", target) < 0)
        temporary = NULL;
    else
        fd = mkstemp(temporary);
    if (fd >= 0) {
        mode_t mask = umask(0); /* mkstemp makes private files */
        umask(mask);
        ok = fchmod(fd, 0666 & ~mask) == 0;
        ok = write_all(fd, text) && ok && rename(temporary, target) == 0;
    }
    int error = errno;
    if (fd >= 0 && !ok)
        unlink(temporary);
    free(temporary);
    free(real);
    errno = error;
    return ok;
}

bool write_text(const char *path, const char *text)
{
    struct stat st;
    bool ok;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { /* a terminal, a pipe, /dev/null */
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        ok = fd >= 0 && write_all(fd, text);
    } else {
        ok = replace_text(path, text);
    }
    return ok || cli_failf("%s: cannot write: %s", path, strerror(errno)) == EXIT_OK;
}
