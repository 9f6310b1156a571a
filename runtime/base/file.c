/* SPDX-License-Identifier: Apache-2.0
 *
 * Files are opened once and judged by their descriptor, so that what was checked is what is read.
 * Model files are mapped: weights that no kernel repacks are never copied. A file that another
 * process truncates while it is mapped raises SIGBUS, as with every mapped library; Refold's own
 * writer never does that, because it replaces files by rename.
 */
#include "runtime/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct rf_blob {
    rf_env *env;
    atomic_int n_owners;
    void *data;
    size_t bytes;
    bool is_mapping;
};

static rf_status blob_create(rf_env *env, rf_blob **out, rf_error *err)
{
    RF_TRY(rf_alloc_array(env, 1, sizeof **out, out, err));
    (*out)->env = rf_env_retain(env);
    atomic_init(&(*out)->n_owners, 1);
    return RF_OK;
}

/* A directory opens and even maps on some systems, and a pipe blocks: only regular files pass. */
static rf_status check_regular(const char *path, const struct stat *st, rf_error *err)
{
    if (S_ISDIR(st->st_mode))
        return rf_fail(err, RF_ERR_IO, "%s: is a directory, expected a file", path);
    if (!S_ISREG(st->st_mode))
        return rf_fail(err, RF_ERR_IO, "%s: is not a regular file", path);
    return RF_OK;
}

rf_status rf_blob_map_file(rf_env *env, const char *path, rf_blob **out, rf_error *err)
{
    rf_blob *blob = NULL;
    rf_status status;
    struct stat st;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return rf_fail(err, RF_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &st)) {
        status = rf_fail(err, RF_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
        goto done;
    }
    RF_TRY_DONE(check_regular(path, &st, err));
    RF_TRY_DONE(blob_create(env, &blob, err));
    blob->is_mapping = true;
    if (st.st_size) { /* a mapping of 0 bytes is refused by the kernel */
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = rf_fail(err, errno == ENOMEM ? RF_ERR_MEMORY : RF_ERR_IO,
                             "%s: cannot map %lld bytes: %s", path, (long long)st.st_size,
                             strerror(errno));
            goto done;
        }
        blob->data = data;
        blob->bytes = (size_t)st.st_size;
    }
    *out = blob;
    blob = NULL;
done:
    rf_blob_release(&blob);
    close(fd);
    return status;
}

rf_status rf_blob_alloc(rf_env *env, size_t bytes, rf_blob **out, rf_error *err)
{
    rf_blob *blob;
    *out = NULL;
    RF_TRY(blob_create(env, &blob, err));
    rf_status status = rf_alloc_array(env, bytes, 1, &blob->data, err);
    if (status != RF_OK) {
        rf_blob_release(&blob);
        return status;
    }
    blob->bytes = bytes;
    *out = blob;
    return RF_OK;
}

rf_status rf_blob_copy(rf_env *env, const void *bytes, size_t n, rf_blob **out, rf_error *err)
{
    RF_TRY(rf_blob_alloc(env, n, out, err));
    if (n)
        memcpy((*out)->data, bytes, n);
    return RF_OK;
}

rf_blob *rf_blob_retain(rf_blob *blob)
{
    atomic_fetch_add_explicit(&blob->n_owners, 1, memory_order_relaxed);
    return blob;
}

void rf_blob_release(rf_blob **blob)
{
    rf_blob *b = *blob;
    *blob = NULL;
    if (!b || atomic_fetch_sub_explicit(&b->n_owners, 1, memory_order_acq_rel) != 1)
        return;
    rf_env *env = b->env;
    if (!b->is_mapping)
        rf_free(env, b->data, b->bytes);
    else if (b->data)
        munmap(b->data, b->bytes);
    rf_free(env, b, sizeof *b);
    rf_env_release(&env);
}

const void *rf_blob_data(const rf_blob *blob)
{
    return blob->data;
}

void *rf_blob_mutable(rf_blob *blob)
{
    return blob->is_mapping ? NULL : blob->data;
}

void rf_blob_forget(const rf_blob *blob)
{
    if (blob->is_mapping && blob->data)
        (void)madvise(blob->data, blob->bytes, MADV_DONTNEED);
}

size_t rf_blob_bytes(const rf_blob *blob)
{
    return blob->bytes;
}

bool rf_blob_is_mapping(const rf_blob *blob)
{
    return blob->is_mapping;
}

struct rf_file_writer {
    rf_env *env;
    int fd;
    bool failed;
    char target[PATH_MAX];    /* links resolved, so that a link to the old file stays a link */
    char temporary[PATH_MAX]; /* "" while the file has no name */
};

/* Finds out where the bytes go and which mode the file gets. Devices and pipes are refused: rename
 * would replace /dev/null by a file. */
static rf_status resolve_target(rf_file_writer *w, const char *path, mode_t *mode, rf_error *err)
{
    struct stat st;
    size_t n = strlen(path);
    *mode = 0;
    if (!n || n >= sizeof w->target)
        return rf_fail(err, RF_ERR_IO, "output name has %zu bytes, expected 1 to %zu", n,
                       sizeof w->target - 1);
    if (stat(path, &st) == 0) {
        RF_TRY(check_regular(path, &st, err));
        *mode = st.st_mode & 07777;
        if (!realpath(path, w->target))
            return rf_fail(err, RF_ERR_IO, "%s: cannot resolve: %s", path, strerror(errno));
    } else {
        memcpy(w->target, path, n + 1);
    }
    return RF_OK;
}

/* Length of the target's folder with its slash; 0 for the current one. */
static int folder_length(const rf_file_writer *w)
{
    const char *slash = strrchr(w->target, '/');
    return slash ? (int)(slash + 1 - w->target) : 0;
}

/* Calls `make` with fresh names in the target's folder, so that rename stays inside one file
 * system, until one is free. */
static rf_status with_fresh_name(rf_file_writer *w, bool (*make)(rf_file_writer *w), rf_error *err)
{
    errno = EEXIST;
    for (int attempt = 0; attempt < 16 && errno == EEXIST; attempt++) {
        uint64_t r;
        if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
            break;
        int n = snprintf(w->temporary, sizeof w->temporary, "%.*s.refold-%016llx.tmp",
                         folder_length(w), w->target, (unsigned long long)r);
        if (n < 0 || (size_t)n >= sizeof w->temporary)
            errno = ENAMETOOLONG;
        else if (make(w))
            return RF_OK;
    }
    w->temporary[0] = 0;
    return rf_fail(err, RF_ERR_IO, "%s: cannot create a file in its folder: %s", w->target,
                   strerror(errno));
}

static bool create_named(rf_file_writer *w)
{
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return w->fd >= 0;
}

static bool give_name(rf_file_writer *w)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", w->fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, w->temporary, AT_SYMLINK_FOLLOW) == 0;
}

/* Where the system can, the file has no name until it is complete: a process that is killed in the
 * middle leaves nothing at all behind. */
static rf_status open_temporary(rf_file_writer *w, rf_error *err)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", folder_length(w), w->target);
    w->fd = open(*folder ? folder : ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
    return w->fd >= 0 ? RF_OK : with_fresh_name(w, create_named, err);
}

rf_status rf_file_writer_open(rf_env *env, const char *path, rf_file_writer **out, rf_error *err)
{
    rf_file_writer *w;
    rf_status status;
    mode_t mode;
    *out = NULL;
    RF_TRY(rf_alloc_array(env, 1, sizeof *w, &w, err));
    w->env = rf_env_retain(env);
    w->fd = -1;
    RF_TRY_DONE(resolve_target(w, path, &mode, err));
    RF_TRY_DONE(open_temporary(w, err));
    /* Best effort: an overwritten file keeps its permissions where the system lets it. */
    if (mode && fchmod(w->fd, mode))
        rf_log(env, RF_LOG_DEBUG, "%s: permissions not kept: %s", path, strerror(errno));
    *out = w;
    w = NULL;
done:
    rf_file_writer_destroy(&w);
    return status;
}

rf_status rf_file_writer_write(rf_file_writer *w, const void *bytes, size_t n, rf_error *err)
{
    const char *at = bytes;
    while (n) {
        ssize_t done = write(w->fd, at, n < SSIZE_MAX ? n : SSIZE_MAX);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            w->failed = true;
            return rf_fail(err, RF_ERR_IO, "%s: cannot write: %s", w->target, strerror(errno));
        }
        at += done;
        n -= (size_t)done;
    }
    return RF_OK;
}

/* Makes the new name itself durable. Some file systems cannot, and the file is complete anyway. */
static void sync_folder(const rf_file_writer *w)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", folder_length(w), w->target);
    int fd = open(*folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fsync(fd))
        rf_log(w->env, RF_LOG_DEBUG, "%s: folder not synced: %s", w->target, strerror(errno));
    close(fd);
}

static rf_status rename_temporary(rf_file_writer *w, rf_error *err)
{
    if (rename(w->temporary, w->target))
        return rf_fail(err, RF_ERR_IO, "%s: cannot finish: %s", w->target, strerror(errno));
    w->temporary[0] = 0;
    sync_folder(w);
    return RF_OK;
}

rf_status rf_file_writer_commit(rf_file_writer **writer, rf_error *err)
{
    rf_file_writer *w = *writer;
    rf_status status = RF_OK;
    if (w->failed) {
        status = rf_fail(err, RF_ERR_IO, "%s: not written, an earlier write failed", w->target);
    } else if (fsync(w->fd)) {
        status = rf_fail(err, RF_ERR_IO, "%s: cannot finish: %s", w->target, strerror(errno));
    } else if (w->temporary[0] || (status = with_fresh_name(w, give_name, err)) == RF_OK) {
        status = rename_temporary(w, err);
    }
    rf_file_writer_destroy(writer);
    return status;
}

void rf_file_writer_destroy(rf_file_writer **writer)
{
    rf_file_writer *w = *writer;
    *writer = NULL;
    if (!w)
        return;
    if (w->fd >= 0) {
        close(w->fd);
        if (w->temporary[0])
            unlink(w->temporary);
    }
    rf_env *env = w->env;
    rf_free(env, w, sizeof *w);
    rf_env_release(&env);
}
