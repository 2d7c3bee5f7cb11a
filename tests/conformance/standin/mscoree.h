/* SPDX-License-Identifier: MIT
 * Stands in for the Windows SDK's mscoree.h: the same include guard, interface guards, spelling of
 * IID definitions and anonymous enums without guards (hosting-api section 5), over types declared as
 * a platform layer for Linux declares them. For tests only. */
#ifndef __mscoree_h__
#define __mscoree_h__

#include <stddef.h>
#include <stdint.h>

#ifndef MEMREEVE_WIN32_TYPES_DEFINED
#define MEMREEVE_WIN32_TYPES_DEFINED
typedef int HRESULT;
typedef int BOOL;
typedef unsigned int ULONG;
typedef unsigned int DWORD;
typedef unsigned long SIZE_T;
typedef void* LPVOID;
typedef void* PVOID;
#endif
#ifndef GUID_DEFINED
#define GUID_DEFINED
typedef struct _GUID {
    unsigned int Data1;
    unsigned short Data2;
    unsigned short Data3;
    unsigned char Data4[8];
} GUID;
#endif
#ifndef __IID_DEFINED__
#define __IID_DEFINED__
typedef GUID IID;
#endif
#ifndef _REFIID_DEFINED
#define _REFIID_DEFINED
#define REFIID const IID&
#endif
#define STDMETHODCALLTYPE
#define MIDL_INTERFACE(x) struct
#define EXTERN_GUID(itf, l1, s1, s2, c1, c2, c3, c4, c5, c6, c7, c8)                               \
    extern "C" const IID __attribute__((weak)) itf = {l1, s1, s2, {c1, c2, c3, c4, c5, c6, c7, c8}}

EXTERN_GUID(IID_IHostMemoryManager, 0x7BC698D1, 0xF9E3, 0x4460, 0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9,
            0xFA, 0x25);
EXTERN_GUID(IID_IHostMalloc, 0x1831991C, 0xCC53, 0x4A31, 0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64,
            0x79);
EXTERN_GUID(IID_ICLRMemoryNotificationCallback, 0x47EB8E57, 0x0846, 0x4546, 0xAF, 0x76, 0x6F, 0x42,
            0xFC, 0xFC, 0x26, 0x49);
EXTERN_GUID(IID_IHostControl, 0x02CA073C, 0x7079, 0x4860, 0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9,
            0x91);

#ifndef __IUnknown_INTERFACE_DEFINED__
#define __IUnknown_INTERFACE_DEFINED__
extern "C" const IID IID_IUnknown;
MIDL_INTERFACE("00000000-0000-0000-C000-000000000046") IUnknown {
public:
    virtual HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** ppvObject) = 0;
    virtual ULONG STDMETHODCALLTYPE AddRef(void) = 0;
    virtual ULONG STDMETHODCALLTYPE Release(void) = 0;
};
#endif

typedef enum {
    eMemoryAvailableLow = 1,
    eMemoryAvailableNeutral = 2,
    eMemoryAvailableHigh = 3
} EMemoryAvailable;
typedef enum {
    eTaskCritical = 0,
    eAppDomainCritical = 1,
    eProcessCritical = 2
} EMemoryCriticalLevel;
typedef enum { MALLOC_THREADSAFE = 0x1, MALLOC_EXECUTABLE = 0x2 } MALLOC_TYPE;

#ifndef __ICLRMemoryNotificationCallback_INTERFACE_DEFINED__
#define __ICLRMemoryNotificationCallback_INTERFACE_DEFINED__
extern "C" const IID IID_ICLRMemoryNotificationCallback;
MIDL_INTERFACE("47EB8E57-0846-4546-AF76-6F42FCFC2649")
ICLRMemoryNotificationCallback : public IUnknown {
public:
    virtual HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable eMemoryAvailable) = 0;
};
#endif

#ifndef __IHostMalloc_INTERFACE_DEFINED__
#define __IHostMalloc_INTERFACE_DEFINED__
extern "C" const IID IID_IHostMalloc;
MIDL_INTERFACE("1831991C-CC53-4A31-B218-04E910446479") IHostMalloc : public IUnknown {
public:
    virtual HRESULT STDMETHODCALLTYPE Alloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                            void** ppMem) = 0;
    virtual HRESULT STDMETHODCALLTYPE DebugAlloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                                 char* pszFileName, int iLineNo, void** ppMem) = 0;
    virtual HRESULT STDMETHODCALLTYPE Free(void* pMem) = 0;
};
#endif

#ifndef __IHostMemoryManager_INTERFACE_DEFINED__
#define __IHostMemoryManager_INTERFACE_DEFINED__
extern "C" const IID IID_IHostMemoryManager;
MIDL_INTERFACE("7BC698D1-F9E3-4460-9CDE-D04248E9FA25") IHostMemoryManager : public IUnknown {
public:
    virtual HRESULT STDMETHODCALLTYPE CreateMalloc(DWORD dwMallocType, IHostMalloc * *ppMalloc) = 0;
    virtual HRESULT STDMETHODCALLTYPE VirtualAlloc(
        void* pAddress, SIZE_T dwSize, DWORD flAllocationType, DWORD flProtect,
        EMemoryCriticalLevel eCriticalLevel, void** ppMem) = 0;
    virtual HRESULT STDMETHODCALLTYPE VirtualFree(LPVOID lpAddress, SIZE_T dwSize,
                                                  DWORD dwFreeType) = 0;
    virtual HRESULT STDMETHODCALLTYPE VirtualQuery(void* lpAddress, void* lpBuffer, SIZE_T dwLength,
                                                   SIZE_T* pResult) = 0;
    virtual HRESULT STDMETHODCALLTYPE VirtualProtect(void* lpAddress, SIZE_T dwSize,
                                                     DWORD flNewProtect, DWORD* pflOldProtect) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetMemoryLoad(DWORD * pMemoryLoad,
                                                    SIZE_T * pAvailableBytes) = 0;
    virtual HRESULT STDMETHODCALLTYPE RegisterMemoryNotificationCallback(
        ICLRMemoryNotificationCallback * pCallback) = 0;
    virtual HRESULT STDMETHODCALLTYPE NeedsVirtualAddressSpace(LPVOID startAddress,
                                                               SIZE_T size) = 0;
    virtual HRESULT STDMETHODCALLTYPE AcquiredVirtualAddressSpace(LPVOID startAddress,
                                                                  SIZE_T size) = 0;
    virtual HRESULT STDMETHODCALLTYPE ReleasedVirtualAddressSpace(LPVOID startAddress) = 0;
};
#endif

#ifndef __IHostControl_INTERFACE_DEFINED__
#define __IHostControl_INTERFACE_DEFINED__
extern "C" const IID IID_IHostControl;
MIDL_INTERFACE("02CA073C-7079-4860-880A-C2F7A449C991") IHostControl : public IUnknown {
public:
    virtual HRESULT STDMETHODCALLTYPE GetHostManager(REFIID riid, void** ppObject) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetAppDomainManager(DWORD dwAppDomainID,
                                                          IUnknown * pUnkAppDomainManager) = 0;
};
#endif

/* Nothing of memreeve's: declared by no interface above, present in the real header. */
#define MSCOREE_STANDIN 1

#endif
