/* SPDX-License-Identifier: Apache-2.0 */
/* Included after each expansion of attrs.def (no include guard on purpose). */
#undef RF_AT_BEGIN
#undef RF_AT_INT
#undef RF_AT_INTS
#undef RF_AT_LIST
#undef RF_AT_REAL
#undef RF_AT_ENUM
#undef RF_AT_END
