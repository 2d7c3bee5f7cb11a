// SPDX-License-Identifier: MIT
#include "prim/file_view.hpp"

#include "prim/prim.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

namespace memreeve::prim {
namespace {

long number(const void* p) noexcept { return reinterpret_cast<long>(p); }

// The kernel's encoding of st_dev, as mapping::device has it.
std::uint32_t device_of(std::uint64_t st_dev) noexcept {
    const std::uint64_t major = (st_dev >> 8 & 0xfff) | (st_dev >> 32 & ~std::uint64_t{0xfff});
    const std::uint64_t minor = (st_dev & 0xff) | (st_dev >> 12 & ~std::uint64_t{0xff});
    return static_cast<std::uint32_t>(major << 20 | (minor & 0xfffff));
}

int describe(const char* path, int fd, int flags, file_description* out) noexcept {
    struct stat about {};
    const long r = sys(SYS_newfstatat, fd, number(path), number(&about), flags);
    if (r < 0) {
        return static_cast<int>(-r);
    }
    out->inode = about.st_ino;
    out->size = static_cast<std::uint64_t>(about.st_size);
    out->links = about.st_nlink;
    out->device = device_of(about.st_dev);
    out->is_regular = S_ISREG(about.st_mode);
    return 0;
}

// A name of /proc/self/fd; -1 for "." and "..".
int descriptor_of(const char* name) noexcept {
    int n = 0;
    for (; *name != '\0'; ++name) {
        if (*name < '0' || *name > '9') {
            return -1;
        }
        n = n * 10 + (*name - '0');
    }
    return n;
}

} // namespace

int describe_file(int fd, file_description* out) noexcept {
    return describe("", fd, AT_EMPTY_PATH, out);
}

int describe_path(const char* path, file_description* out) noexcept {
    return describe(path, AT_FDCWD, AT_SYMLINK_NOFOLLOW, out);
}

bool lies_in_memory(int fd) noexcept {
    constexpr long tmpfs = 0x01021994;
    constexpr long hugetlbfs = 0x958458f6;
    struct statfs about {};
    return sys(SYS_fstatfs, fd, number(&about)) == 0 &&
           (about.f_type == tmpfs || about.f_type == hugetlbfs);
}

int find_descriptor(std::uint32_t device, std::uint64_t inode) noexcept {
    constexpr int none = -1;
    constexpr int unknown = -2;
    struct entry { // linux_dirent64: kernel ABI
        std::uint64_t inode;
        std::int64_t next;
        std::uint16_t size;
        unsigned char type;
        char name[1];
    };
    const long list =
        sys(SYS_openat, AT_FDCWD, number("/proc/self/fd"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (list < 0) {
        return unknown;
    }
    alignas(entry) char buffer[2048];
    int found = none;
    long size = 0;
    while (found == none && (size = sys(SYS_getdents64, list, number(buffer), sizeof buffer)) > 0) {
        for (long at = 0; at < size && found == none;) {
            const auto* e = reinterpret_cast<const entry*>(buffer + at);
            const int fd = descriptor_of(e->name);
            file_description about;
            if (fd >= 0 && describe_file(fd, &about) == 0 && about.inode == inode &&
                about.device == device) {
                found = fd;
            }
            at += e->size;
        }
    }
    (void)close(static_cast<int>(list));
    return size < 0 && found == none ? unknown : found;
}

int describe_segment(int id, std::uint64_t* size) noexcept {
    struct shmid_ds about {};
    const long r = sys(SYS_shmctl, id, IPC_STAT, number(&about));
    if (r < 0) {
        return static_cast<int>(-r);
    }
    *size = about.shm_segsz;
    return 0;
}

long pass_memfd_create(const char* name, unsigned flags) noexcept {
    return sys(SYS_memfd_create, number(name), static_cast<long>(flags));
}

long pass_ftruncate(int fd, std::int64_t size) noexcept { return sys(SYS_ftruncate, fd, size); }

long pass_fallocate(int fd, int mode, std::int64_t offset, std::int64_t size) noexcept {
    return sys(SYS_fallocate, fd, mode, offset, size);
}

long pass_shmat(int id, address where, int flags) noexcept {
    return sys(SYS_shmat, id, static_cast<long>(where), flags);
}

long pass_shmdt(address where) noexcept { return sys(SYS_shmdt, static_cast<long>(where)); }

} // namespace memreeve::prim
