/* SPDX-License-Identifier: MIT
 * The hosting interfaces for memory, as the .NET Framework's mscoree.h declares them:
 *
 *   IHostMemoryManager              implemented by memreeve, called by the runtime
 *   IHostMalloc                     likewise; made by IHostMemoryManager::CreateMalloc
 *   ICLRMemoryNotificationCallback  implemented by the runtime, called by memreeve
 *   IHostControl                    implemented by memreeve or the host, called by the runtime
 *
 * For C++ they are abstract structs (single inheritance, no virtual destructor, slots in IDL
 * order), for C (or with CINTERFACE) structs with an lpVtbl. Nothing here needs to be linked.
 *
 * Beside a real mscoree.h: include that first, or let it be found as <mscoree.h>, or name it in
 * MEMREEVE_MSCOREE_H; then its declarations are used and only what it lacks is added (mingw's has
 * IHostControl alone). MEMREEVE_NO_MSCOREE_H keeps this header from looking for one.
 *
 * Rules for all methods: success is exactly S_OK; every out parameter is nulled first; a null out
 * pointer is E_POINTER unless the method says otherwise; errno is left alone. */
#ifndef MEMREEVE_HOST_INTERFACES_H
#define MEMREEVE_HOST_INTERFACES_H

#if !defined(MEMREEVE_NO_MSCOREE_H) && !defined(__mscoree_h__)
#if defined(MEMREEVE_MSCOREE_H)
#include MEMREEVE_MSCOREE_H
#elif defined(__has_include)
#if __has_include(<mscoree.h>)
#include <mscoree.h>
#endif
#endif
#endif

#include <memreeve/abi/types.h>

/* The IIDs under names that no other header has. */
MRV_IID_(MRV_IID_IUnknown, 0x00000000, 0x0000, 0x0000, 0xC0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
         0x46);
MRV_IID_(MRV_IID_IHostMemoryManager, 0x7BC698D1, 0xF9E3, 0x4460, 0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9,
         0xFA, 0x25);
MRV_IID_(MRV_IID_IHostMalloc, 0x1831991C, 0xCC53, 0x4A31, 0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64,
         0x79);
MRV_IID_(MRV_IID_ICLRMemoryNotificationCallback, 0x47EB8E57, 0x0846, 0x4546, 0xAF, 0x76, 0x6F, 0x42,
         0xFC, 0xFC, 0x26, 0x49);
MRV_IID_(MRV_IID_IHostControl, 0x02CA073C, 0x7079, 0x4860, 0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9,
         0x91);

/* The SDK's header declares these three without guards of their own, beside the interface. */
#ifndef __IHostMemoryManager_INTERFACE_DEFINED__

/* In C++ the type below is fixed, so that a caller's value that is no enumerator can be refused. */
#if defined(__cplusplus)
#define MRV_ENUM_BASE_ : int
#else
#define MRV_ENUM_BASE_
#endif

/* How much is lost when the request is refused. The ceilings: a request is refused when the memory
 * charged would pass limit - reserve (task), limit - reserve / 2 (domain), limit (process). */
typedef enum EMemoryCriticalLevel MRV_ENUM_BASE_ {
    eTaskCritical = 0,
    eAppDomainCritical = 1,
    eProcessCritical = 2
} EMemoryCriticalLevel;

/* What the runtime is told. Low is a state: it lasts until Neutral or High is sent. */
typedef enum EMemoryAvailable MRV_ENUM_BASE_ {
    eMemoryAvailableLow = 1,
    eMemoryAvailableNeutral = 2,
    eMemoryAvailableHigh = 3
} EMemoryAvailable;

/* Flags of CreateMalloc. Without MALLOC_THREADSAFE the caller serialises its calls. */
typedef enum MALLOC_TYPE MRV_ENUM_BASE_ {
    MALLOC_THREADSAFE = 0x1,
    MALLOC_EXECUTABLE = 0x2
} MALLOC_TYPE;

#endif

#if !defined(__cplusplus) || defined(CINTERFACE)
typedef struct IHostMemoryManager IHostMemoryManager;
typedef struct IHostMalloc IHostMalloc;
typedef struct ICLRMemoryNotificationCallback ICLRMemoryNotificationCallback;
typedef struct IHostControl IHostControl;
#endif

#if defined(__cplusplus) && !defined(CINTERFACE)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

#ifndef __ICLRMemoryNotificationCallback_INTERFACE_DEFINED__
#define __ICLRMemoryNotificationCallback_INTERFACE_DEFINED__
inline constexpr IID IID_ICLRMemoryNotificationCallback = MRV_IID_ICLRMemoryNotificationCallback;
struct ICLRMemoryNotificationCallback : public IUnknown {
    /* Called from memreeve's notifier thread, one call at a time, never from inside a request and
     * under no lock: it may call every method of these interfaces. HOST_E_CLRNOTAVAILABLE as the
     * answer ends the notifications. An exception that leaves it ends the process. */
    virtual HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable eMemoryAvailable) = 0;
};
#endif

#ifndef __IHostMalloc_INTERFACE_DEFINED__
#define __IHostMalloc_INTERFACE_DEFINED__
inline constexpr IID IID_IHostMalloc = MRV_IID_IHostMalloc;
struct IHostMalloc : public IUnknown {
    /* cbSize bytes (0: a block of its own), aligned to 16, contents undefined. */
    virtual HRESULT STDMETHODCALLTYPE Alloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                            void** ppMem) = 0;
    /* Alloc that keeps who asked; the name is copied and may be null. */
    virtual HRESULT STDMETHODCALLTYPE DebugAlloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                                 char* pszFileName, int iLineNo, void** ppMem) = 0;
    /* Null: S_OK. Not a living block of this object: HOST_E_INVALIDOPERATION, nothing changed. */
    virtual HRESULT STDMETHODCALLTYPE Free(void* pMem) = 0;
};
#endif

#ifndef __IHostMemoryManager_INTERFACE_DEFINED__
#define __IHostMemoryManager_INTERFACE_DEFINED__
inline constexpr IID IID_IHostMemoryManager = MRV_IID_IHostMemoryManager;
struct IHostMemoryManager : public IUnknown {
    /* MALLOC_TYPE bits; unknown ones E_INVALIDARG. */
    virtual HRESULT STDMETHODCALLTYPE CreateMalloc(DWORD dwMallocType, IHostMalloc** ppMalloc) = 0;
    /* Win32's VirtualAlloc. Out of budget, address space or commit: E_OUTOFMEMORY. */
    virtual HRESULT STDMETHODCALLTYPE VirtualAlloc(void* pAddress, SIZE_T dwSize,
                                                   DWORD flAllocationType, DWORD flProtect,
                                                   EMemoryCriticalLevel eCriticalLevel,
                                                   void** ppMem) = 0;
    /* Memory of no reservation of this host: HOST_E_INVALIDOPERATION. Never refused for want of memory. */
    virtual HRESULT STDMETHODCALLTYPE VirtualFree(LPVOID lpAddress, SIZE_T dwSize,
                                                  DWORD dwFreeType) = 0;
    /* Any address of the process. dwLength below 48: 0x80070018; lpBuffer null: 0x800703E6; else
     * *pResult is 48. Takes no lock and allocates nothing. */
    virtual HRESULT STDMETHODCALLTYPE VirtualQuery(void* lpAddress, void* lpBuffer, SIZE_T dwLength,
                                                   SIZE_T* pResult) = 0;
    /* Any address and any size, also foreign pages. pflOldProtect null: 0x800703E6, after the check
     * of flNewProtect. */
    virtual HRESULT STDMETHODCALLTYPE VirtualProtect(void* lpAddress, SIZE_T dwSize,
                                                     DWORD flNewProtect, DWORD* pflOldProtect) = 0;
    /* Per cent in use (0..100) of whatever binds: budget, container or machine; bytes left there. */
    virtual HRESULT STDMETHODCALLTYPE GetMemoryLoad(DWORD* pMemoryLoad,
                                                    SIZE_T* pAvailableBytes) = 0;
    /* One per manager; a second replaces the first; null clears, and then no call runs or starts. */
    virtual HRESULT STDMETHODCALLTYPE
    RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback* pCallback) = 0;
    /* After a failed mapping: give address space back. S_OK: a retry can succeed. Else E_OUTOFMEMORY. */
    virtual HRESULT STDMETHODCALLTYPE NeedsVirtualAddressSpace(LPVOID startAddress,
                                                               SIZE_T size) = 0;
    /* Memory got from elsewhere: recorded. Overlapping memory of this host: E_INVALIDARG. */
    virtual HRESULT STDMETHODCALLTYPE AcquiredVirtualAddressSpace(LPVOID startAddress,
                                                                  SIZE_T size) = 0;
    /* The start of what was recorded; an unknown one is S_OK. */
    virtual HRESULT STDMETHODCALLTYPE ReleasedVirtualAddressSpace(LPVOID startAddress) = 0;
};
#endif

#ifndef __IHostControl_INTERFACE_DEFINED__
#define __IHostControl_INTERFACE_DEFINED__
inline constexpr IID IID_IHostControl = MRV_IID_IHostControl;
struct IHostControl : public IUnknown {
    /* The manager of that IID, counted; E_NOINTERFACE when the runtime should use its own. */
    virtual HRESULT STDMETHODCALLTYPE GetHostManager(REFIID riid, void** ppObject) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetAppDomainManager(DWORD dwAppDomainID,
                                                          IUnknown* pUnkAppDomainManager) = 0;
};
#endif

#pragma GCC diagnostic pop

#else /* C */

#define MRV_UNKNOWN_SLOTS_(interface_name)                                                         \
    HRESULT(STDMETHODCALLTYPE* QueryInterface)                                                     \
    (interface_name * This, REFIID riid, void** ppvObject);                                        \
    ULONG(STDMETHODCALLTYPE* AddRef)(interface_name * This);                                       \
    ULONG(STDMETHODCALLTYPE* Release)(interface_name * This);

#ifndef __ICLRMemoryNotificationCallback_INTERFACE_DEFINED__
#define __ICLRMemoryNotificationCallback_INTERFACE_DEFINED__
MRV_IID_(IID_ICLRMemoryNotificationCallback, 0x47EB8E57, 0x0846, 0x4546, 0xAF, 0x76, 0x6F, 0x42,
         0xFC, 0xFC, 0x26, 0x49);
typedef struct ICLRMemoryNotificationCallbackVtbl {
    MRV_UNKNOWN_SLOTS_(ICLRMemoryNotificationCallback)
    HRESULT(STDMETHODCALLTYPE* OnMemoryNotification)
    (ICLRMemoryNotificationCallback* This, EMemoryAvailable eMemoryAvailable);
} ICLRMemoryNotificationCallbackVtbl;
struct ICLRMemoryNotificationCallback {
    const ICLRMemoryNotificationCallbackVtbl* lpVtbl;
};
#endif

#ifndef __IHostMalloc_INTERFACE_DEFINED__
#define __IHostMalloc_INTERFACE_DEFINED__
MRV_IID_(IID_IHostMalloc, 0x1831991C, 0xCC53, 0x4A31, 0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64,
         0x79);
typedef struct IHostMallocVtbl {
    MRV_UNKNOWN_SLOTS_(IHostMalloc)
    HRESULT(STDMETHODCALLTYPE* Alloc)
    (IHostMalloc* This, SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel, void** ppMem);
    HRESULT(STDMETHODCALLTYPE* DebugAlloc)
    (IHostMalloc* This, SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel, char* pszFileName,
     int iLineNo, void** ppMem);
    HRESULT(STDMETHODCALLTYPE* Free)(IHostMalloc* This, void* pMem);
} IHostMallocVtbl;
struct IHostMalloc {
    const IHostMallocVtbl* lpVtbl;
};
#endif

#ifndef __IHostMemoryManager_INTERFACE_DEFINED__
#define __IHostMemoryManager_INTERFACE_DEFINED__
MRV_IID_(IID_IHostMemoryManager, 0x7BC698D1, 0xF9E3, 0x4460, 0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9,
         0xFA, 0x25);
typedef struct IHostMemoryManagerVtbl {
    MRV_UNKNOWN_SLOTS_(IHostMemoryManager)
    HRESULT(STDMETHODCALLTYPE* CreateMalloc)
    (IHostMemoryManager* This, DWORD dwMallocType, IHostMalloc** ppMalloc);
    HRESULT(STDMETHODCALLTYPE* VirtualAlloc)
    (IHostMemoryManager* This, void* pAddress, SIZE_T dwSize, DWORD flAllocationType,
     DWORD flProtect, EMemoryCriticalLevel eCriticalLevel, void** ppMem);
    HRESULT(STDMETHODCALLTYPE* VirtualFree)
    (IHostMemoryManager* This, LPVOID lpAddress, SIZE_T dwSize, DWORD dwFreeType);
    HRESULT(STDMETHODCALLTYPE* VirtualQuery)
    (IHostMemoryManager* This, void* lpAddress, void* lpBuffer, SIZE_T dwLength, SIZE_T* pResult);
    HRESULT(STDMETHODCALLTYPE* VirtualProtect)
    (IHostMemoryManager* This, void* lpAddress, SIZE_T dwSize, DWORD flNewProtect,
     DWORD* pflOldProtect);
    HRESULT(STDMETHODCALLTYPE* GetMemoryLoad)
    (IHostMemoryManager* This, DWORD* pMemoryLoad, SIZE_T* pAvailableBytes);
    HRESULT(STDMETHODCALLTYPE* RegisterMemoryNotificationCallback)
    (IHostMemoryManager* This, ICLRMemoryNotificationCallback* pCallback);
    HRESULT(STDMETHODCALLTYPE* NeedsVirtualAddressSpace)
    (IHostMemoryManager* This, LPVOID startAddress, SIZE_T size);
    HRESULT(STDMETHODCALLTYPE* AcquiredVirtualAddressSpace)
    (IHostMemoryManager* This, LPVOID startAddress, SIZE_T size);
    HRESULT(STDMETHODCALLTYPE* ReleasedVirtualAddressSpace)
    (IHostMemoryManager* This, LPVOID startAddress);
} IHostMemoryManagerVtbl;
struct IHostMemoryManager {
    const IHostMemoryManagerVtbl* lpVtbl;
};
#endif

#ifndef __IHostControl_INTERFACE_DEFINED__
#define __IHostControl_INTERFACE_DEFINED__
MRV_IID_(IID_IHostControl, 0x02CA073C, 0x7079, 0x4860, 0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9,
         0x91);
typedef struct IHostControlVtbl {
    MRV_UNKNOWN_SLOTS_(IHostControl)
    HRESULT(STDMETHODCALLTYPE* GetHostManager)(IHostControl* This, REFIID riid, void** ppObject);
    HRESULT(STDMETHODCALLTYPE* SetAppDomainManager)
    (IHostControl* This, DWORD dwAppDomainID, IUnknown* pUnkAppDomainManager);
} IHostControlVtbl;
struct IHostControl {
    const IHostControlVtbl* lpVtbl;
};
#endif

#endif /* C */

/* The binary form, checked wherever this header is used. */
#if defined(__cplusplus)
#define MRV_STATIC_ASSERT_(condition, sentence) static_assert(condition, sentence)
#else
#define MRV_STATIC_ASSERT_(condition, sentence) _Static_assert(condition, sentence)
#endif
MRV_STATIC_ASSERT_(sizeof(GUID) == 16, "a GUID has 16 bytes");
MRV_STATIC_ASSERT_(sizeof(HRESULT) == 4 && sizeof(DWORD) == 4 && sizeof(ULONG) == 4,
                   "32-bit on every system");
MRV_STATIC_ASSERT_(sizeof(SIZE_T) == sizeof(void*), "SIZE_T is as wide as a pointer");
MRV_STATIC_ASSERT_(sizeof(EMemoryCriticalLevel) == 4 && sizeof(EMemoryAvailable) == 4,
                   "enums have 4 bytes");
#if defined(__x86_64__) || defined(_M_X64)
MRV_STATIC_ASSERT_(sizeof(MEMORY_BASIC_INFORMATION) == 48,
                   "what VirtualQuery fills on 64-bit systems");
MRV_STATIC_ASSERT_(offsetof(MEMORY_BASIC_INFORMATION, AllocationBase) == 8, "offset");
MRV_STATIC_ASSERT_(offsetof(MEMORY_BASIC_INFORMATION, AllocationProtect) == 16, "offset");
MRV_STATIC_ASSERT_(offsetof(MEMORY_BASIC_INFORMATION, RegionSize) == 24, "offset");
MRV_STATIC_ASSERT_(offsetof(MEMORY_BASIC_INFORMATION, State) == 32, "offset");
MRV_STATIC_ASSERT_(offsetof(MEMORY_BASIC_INFORMATION, Protect) == 36, "offset");
MRV_STATIC_ASSERT_(offsetof(MEMORY_BASIC_INFORMATION, Type) == 40, "offset");
#endif
#if !defined(__cplusplus) || defined(CINTERFACE)
MRV_STATIC_ASSERT_(sizeof(IHostMemoryManagerVtbl) == 13 * sizeof(void*), "slots 0 to 12");
MRV_STATIC_ASSERT_(sizeof(IHostMallocVtbl) == 6 * sizeof(void*), "slots 0 to 5");
MRV_STATIC_ASSERT_(sizeof(ICLRMemoryNotificationCallbackVtbl) == 4 * sizeof(void*), "slots 0 to 3");
MRV_STATIC_ASSERT_(sizeof(IHostControlVtbl) == 5 * sizeof(void*), "slots 0 to 4");
#else
MRV_STATIC_ASSERT_(sizeof(IHostMemoryManager) == sizeof(void*), "a vtable pointer and no data");
#endif

#endif
