/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the image files: the orientation parser is shared with its tests.
 */
#ifndef RF_LOADERS_IMAGE_H
#define RF_LOADERS_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* EXIF orientation 1..8 from the bytes of a JPEG APP1 segment; 1 where there is none. */
int rf_exif_orientation(const uint8_t *bytes, size_t n);

#endif
