/* SPDX-License-Identifier: MIT
 * MRV_API marks what libmemreeve.so exports; everything else in it is hidden. */
#ifndef MEMREEVE_EXPORT_H
#define MEMREEVE_EXPORT_H

#if defined(_WIN32)
#define MRV_API
#else
#define MRV_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#define MRV_NOEXCEPT noexcept
#else
#define MRV_NOEXCEPT
#endif

#endif
