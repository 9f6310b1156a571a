/* SPDX-License-Identifier: Apache-2.0
 *
 * Refold: what every other public header needs: export macro, version, status, error, dtypes,
 * allocator and log hooks.
 *
 * Conventions of the whole API:
 *  - Functions that can fail return rf_status and take `rf_error *err` last; err may be NULL.
 *  - Params structs start with `size_t size`, set to sizeof the struct. Zero in any other field
 *    means "the default", so an older caller's shorter struct works with a newer library, and a
 *    newer caller's longer one with an older library as long as it is zero beyond what that knows
 *    (else RF_ERR_UNSUPPORTED).
 *  - Info structs, which calls fill, start with the same member, set before the call. A newer
 *    library fills what an older caller's struct has room for; of a newer caller's, an older
 * library zeroes what it does not know.
 *  - The library never prints, exits or aborts; it speaks through rf_status, rf_error, rf_logger.
 *  - Counts are n_x, sizes in bytes x_bytes, strides are in elements.
 */
#ifndef REFOLD_BASE_H
#define REFOLD_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RF_API __attribute__((visibility("default")))

/* ABI version: the major number changes when a caller must be recompiled. */
#define RF_VERSION_MAJOR 0
#define RF_VERSION_MINOR 1
#define RF_VERSION_PATCH 0

/* Version of the library at run time as major << 16 | minor << 8 | patch. */
RF_API uint32_t rf_version(void);
/* "0.1.0", static storage. */
RF_API const char *rf_version_string(void);
/* What the library was built with, for reports: "gcc 12.2.0, onednn 2.6.2, libpng 1.6.39, ...".
 * Static storage. */
RF_API const char *rf_build_info(void);

typedef enum rf_status {
    RF_OK = 0,
    RF_ERR_ARGUMENT = 1,    /* the caller's argument is wrong */
    RF_ERR_FORMAT = 2,      /* a file is malformed */
    RF_ERR_UNSUPPORTED = 3, /* well-formed, but Refold cannot do it */
    RF_ERR_MEMORY = 4,      /* allocation failed or a memory cap would be exceeded */
    RF_ERR_IO = 5,          /* the operating system refused a read or write */
    RF_ERR_DEVICE = 6,      /* device missing or lost */
    RF_ERR_CANCELLED = 7,   /* rf_session_cancel stopped a run */
    RF_ERR_INTERNAL = 8     /* a bug in Refold */
} rf_status;

#define RF_NODISCARD __attribute__((warn_unused_result))

/* Why something failed. Plain data owned by the caller; every failing call overwrites it. */
typedef struct rf_error {
    rf_status code;
    char text[256];   /* what, where, expected, found; always terminated; cut in the middle */
    const char *file; /* source position inside Refold, for bug reports */
    int line;
} rf_error;

/* Static text of a status, e.g. "malformed file". Never NULL. */
RF_API const char *rf_status_text(rf_status status);

typedef enum rf_dtype {
    RF_F32 = 0,
    RF_F64,
    RF_F16,
    RF_BF16,
    RF_I8,
    RF_U8,
    RF_I16,
    RF_U16,
    RF_I32,
    RF_U32,
    RF_I64,
    RF_U64,
    RF_BOOL,
    RF_DTYPE_COUNT
} rf_dtype;

/* "f32", "bf16", ...; NULL for a value outside the enum. */
RF_API const char *rf_dtype_name(rf_dtype dtype);
/* Bytes of one element; 0 for a value outside the enum. */
RF_API size_t rf_dtype_bytes(rf_dtype dtype);

typedef enum rf_log_level { RF_LOG_ERROR, RF_LOG_WARN, RF_LOG_INFO, RF_LOG_DEBUG } rf_log_level;

/* Receives log lines without a newline. May be called from any thread that is inside the API. */
typedef struct rf_logger {
    void (*log)(void *user, rf_log_level level, const char *text); /* NULL: no log */
    void *user;
    rf_log_level max_level; /* lines above this level are not produced */
} rf_logger;

/* Replaces malloc for everything Refold itself allocates (third-party parsers keep malloc).
 * Both functions must be thread-safe. `align` is a power of two; NULL means failure and is
 * reported as RF_ERR_MEMORY. `free` receives the size that was asked for and never NULL. */
typedef struct rf_allocator {
    void *(*alloc)(void *user, size_t bytes, size_t align); /* NULL: the C library */
    void (*free)(void *user, void *ptr, size_t bytes);
    void *user;
} rf_allocator;

/* Hooks are copied into the object that is created with them and inherited by what is made
 * from that object; there is no global state. */
typedef struct rf_hooks {
    size_t size;
    rf_allocator allocator;
    rf_logger logger;
} rf_hooks;

#ifdef __cplusplus
}
#endif
#endif
