/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints of PyTorch: the zip container of torch.save and the stream of releases before 1.6.
 */
#ifndef RF_LOADERS_PTH_H
#define RF_LOADERS_PTH_H

#include "loaders/loader.h"

extern const rf_loader rf_loader_pth;

#endif
