/* SPDX-License-Identifier: Apache-2.0
 *
 * All of Refold's public API.
 */
#ifndef REFOLD_REFOLD_H
#define REFOLD_REFOLD_H

#include <refold/base.h>
#include <refold/dlpack.h>
#include <refold/graph.h>
#include <refold/io.h>
#include <refold/model.h>
#include <refold/session.h>
#include <refold/tensor.h>

#endif
