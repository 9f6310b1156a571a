/* SPDX-License-Identifier: Apache-2.0
 *
 * Error plumbing: every failure is made by rf_fail, every call that can fail is wrapped in RF_TRY.
 */
#ifndef RF_BASE_STATUS_H
#define RF_BASE_STATUS_H

#include <refold/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Fills `err` (may be NULL) and returns `code`. */
rf_status rf_fail_at(rf_error *err, const char *file, int line, rf_status code, const char *fmt,
                     ...) __attribute__((format(printf, 5, 6)));
#define rf_fail(err, code, ...) rf_fail_at(err, __FILE__, __LINE__, code, __VA_ARGS__)

/* Returns the status from the enclosing function unless it is RF_OK. */
#define RF_TRY(expr)                                                                               \
    do {                                                                                           \
        rf_status rf_try_status_ = (expr);                                                         \
        if (rf_try_status_ != RF_OK)                                                               \
            return rf_try_status_;                                                                 \
    } while (0)
/* The same for functions with owners to release: sets `status` and jumps to `done`. */
#define RF_TRY_DONE(expr)                                                                          \
    do {                                                                                           \
        if ((status = (expr)) != RF_OK)                                                            \
            goto done;                                                                             \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
