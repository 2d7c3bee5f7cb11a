/* SPDX-License-Identifier: MIT
 * Off Windows: the few Win32 types, GUID and IUnknown that the hosting interfaces are written in.
 * Sizes are Windows' own on a 64-bit system, so DWORD and HRESULT are 32 bits wide (never `long`).
 * A program that brings these types from elsewhere (a PAL) says so by MEMREEVE_WIN32_TYPES_DEFINED
 * for the scalars and by the usual guards for the rest (GUID_DEFINED, __IUnknown_INTERFACE_DEFINED__,
 * MEMREEVE_MEMORY_BASIC_INFORMATION_DEFINED). Redefining a scalar by the same type is legal anyway. */
#ifndef MEMREEVE_ABI_TYPES_H
#define MEMREEVE_ABI_TYPES_H

/* Defines an IID: internal linkage in C, inline in C++; nothing to link either way. */
#if defined(__cplusplus)
#define MRV_IID_(name, a, b, c, d0, d1, d2, d3, d4, d5, d6, d7)                                    \
    inline constexpr IID name = {a, b, c, {d0, d1, d2, d3, d4, d5, d6, d7}}
#else
#define MRV_IID_(name, a, b, c, d0, d1, d2, d3, d4, d5, d6, d7)                                    \
    static const IID name = {a, b, c, {d0, d1, d2, d3, d4, d5, d6, d7}}
#endif

#if defined(_WIN32)

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <unknwn.h>
#include <windows.h>

#else

#include <stddef.h>
#include <stdint.h>

#ifndef STDMETHODCALLTYPE
#if defined(__i386__)
#define STDMETHODCALLTYPE __attribute__((stdcall))
#else
#define STDMETHODCALLTYPE
#endif
#endif

#ifndef MEMREEVE_WIN32_TYPES_DEFINED
#define MEMREEVE_WIN32_TYPES_DEFINED
typedef int32_t HRESULT;
typedef int32_t BOOL;
typedef int32_t LONG;
typedef uint32_t ULONG;
typedef uint32_t DWORD;
typedef uint16_t WORD;
typedef size_t SIZE_T;
typedef void* LPVOID;
typedef void* PVOID;
#endif

#ifndef GUID_DEFINED
#define GUID_DEFINED
typedef struct _GUID {
    uint32_t Data1;
    uint16_t Data2;
    uint16_t Data3;
    uint8_t Data4[8];
} GUID;
#endif
#ifndef __IID_DEFINED__
#define __IID_DEFINED__
typedef GUID IID;
#endif

#if defined(__cplusplus) && !defined(CINTERFACE)
#ifndef _REFIID_DEFINED
#define _REFIID_DEFINED
#define REFIID const IID&
#endif
#elif !defined(_REFIID_DEFINED)
#define _REFIID_DEFINED
#define REFIID const IID*
#endif

/* As winnt.h has it; AllocationBase is filled. The padding behind AllocationProtect (PartitionId
 * in newer SDKs) is written as zero. */
#ifndef MEMREEVE_MEMORY_BASIC_INFORMATION_DEFINED
#define MEMREEVE_MEMORY_BASIC_INFORMATION_DEFINED
typedef struct _MEMORY_BASIC_INFORMATION {
    PVOID BaseAddress;
    PVOID AllocationBase;
    DWORD AllocationProtect;
    SIZE_T RegionSize;
    DWORD State;
    DWORD Protect;
    DWORD Type;
} MEMORY_BASIC_INFORMATION;
#endif

#ifndef __IUnknown_INTERFACE_DEFINED__
#define __IUnknown_INTERFACE_DEFINED__
MRV_IID_(IID_IUnknown, 0x00000000, 0x0000, 0x0000, 0xC0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46);
typedef struct IUnknown IUnknown;
#if defined(__cplusplus) && !defined(CINTERFACE)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
struct IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** ppvObject) = 0;
    virtual ULONG STDMETHODCALLTYPE AddRef(void) = 0;
    virtual ULONG STDMETHODCALLTYPE Release(void) = 0;
};
#pragma GCC diagnostic pop
#else
typedef struct IUnknownVtbl {
    HRESULT(STDMETHODCALLTYPE* QueryInterface)(IUnknown* This, REFIID riid, void** ppvObject);
    ULONG(STDMETHODCALLTYPE* AddRef)(IUnknown* This);
    ULONG(STDMETHODCALLTYPE* Release)(IUnknown* This);
} IUnknownVtbl;
struct IUnknown {
    const IUnknownVtbl* lpVtbl;
};
#endif
#endif /* __IUnknown_INTERFACE_DEFINED__ */

#endif /* !_WIN32 */

#include <memreeve/abi/hresult_values.h>
#include <memreeve/abi/memory_constants.h>

#endif
