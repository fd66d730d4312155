/* The file system as a process sees it, written down: loaded before libc (LD_PRELOAD), compiled when a test needs it.
 *
 *   HEARTHBEAT_RECORD_BELOW  absolute folder; only files below it are looked at, *-shm never (it is rebuilt at a start)
 *   HEARTHBEAT_RECORD_TO     trace: every operation with its bytes, in one total order (operations are made one by one)
 *   HEARTHBEAT_SYNC_DELAY_US every fsync takes so much longer
 *   HEARTHBEAT_SYNC_FAULT    a file; while it holds "NAME", the next fsync of a file of this name fails with EIO, once,
 *                            and the file is emptied: the test writes it at the moment it wants the fault. While it
 *                            holds "!", every write fails with EROFS, as when the kernel turned the disk read-only
 *
 * A record: begin, end (CLOCK_MONOTONIC, ns), operation, handle, offset, length, then `length` bytes.
 * What the model does not know (shared writable mappings, fallocate, copies inside the kernel) is recorded as UNKNOWN,
 * so that a test fails rather than proves nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, CLOSE, SYNC_FAILED, RMDIR, UNKNOWN = 99 };
enum { CREATED = 1, EMPTIED = 2, FOLDER = 4 };
enum { FDS = 65536 };

struct record { uint64_t begin, end; uint32_t op; int32_t handle; uint64_t offset, length; };

static char below[PATH_MAX], fault[PATH_MAX];
static size_t below_length;
static int trace = -1, handles, ready;
static long delay_us;
static int handle_of[FDS];              /* 0: not ours */
static char *name_of[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside;             /* our own calls are not looked at */

#define REAL(name, result, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

__attribute__((constructor)) static void prepare(void) {
    if (ready) return;
    ready = 1;
    const char *folder = getenv("HEARTHBEAT_RECORD_BELOW"), *to = getenv("HEARTHBEAT_RECORD_TO");
    const char *slow = getenv("HEARTHBEAT_SYNC_DELAY_US"), *broken = getenv("HEARTHBEAT_SYNC_FAULT");
    if (folder) below_length = (size_t)snprintf(below, sizeof below, "%s", folder);
    if (slow) delay_us = atol(slow);
    if (broken) snprintf(fault, sizeof fault, "%s", broken);
    if (to) trace = (int)syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int ours(const char *path) {
    size_t n = path ? strlen(path) : 0;
    if (!below_length || n < below_length || strncmp(path, below, below_length)) return 0;
    if (path[below_length] && path[below_length] != '/') return 0;
    return n < 4 || strcmp(path + n - 4, "-shm");
}

static void tell(uint64_t begin, uint32_t op, int handle, uint64_t offset, const struct iovec *parts, int count) {
    if (trace < 0) return;
    struct record r = { begin, now(), op, handle, offset, 0 };
    struct iovec all[65];
    int n = 1;
    for (int i = 0; i < count && n < 65; i++) { all[n++] = parts[i]; r.length += parts[i].iov_len; }
    all[0] = (struct iovec){ &r, sizeof r };
    uint64_t left = sizeof r + r.length;
    for (int first = 0; left;) {
        ssize_t done = syscall(SYS_writev, trace, all + first, n - first);
        if (done < 0) { if (errno == EINTR) continue; _exit(97); }
        left -= (uint64_t)done;
        while (first < n && (size_t)done >= all[first].iov_len) done -= (ssize_t)all[first++].iov_len;
        if (first < n) { all[first].iov_base = (char *)all[first].iov_base + done; all[first].iov_len -= (size_t)done; }
    }
}

static void tell_path(uint64_t begin, uint32_t op, int handle, uint64_t flags, const char *a, const char *b) {
    struct iovec parts[3] = { { (void *)a, strlen(a) }, { "", 1 }, { (void *)b, b ? strlen(b) : 0 } };
    tell(begin, op, handle, flags, parts, b ? 3 : 1);
}

static int mine(int fd) { return fd >= 0 && fd < FDS && handle_of[fd] ? handle_of[fd] : 0; }
static void enter(void) { if (trace >= 0) pthread_mutex_lock(&lock); }
static void leave(void) { int e = errno; if (trace >= 0) pthread_mutex_unlock(&lock); errno = e; }

/* --- names ------------------------------------------------------------------------------------------------------ */
static int opened(int dir, const char *path, int flags, mode_t mode) {
    prepare();
    if (inside || !ours(path)) return (int)syscall(SYS_openat, dir, path, flags, mode);
    enter();
    struct stat st;
    uint64_t what = 0, begin = now();
    int there = fstatat(dir, path, &st, 0) == 0;
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        int saved = errno;
        if ((flags & O_CREAT) && !there) what |= CREATED;
        if ((flags & O_TRUNC) && there) what |= EMPTIED;
        if (there && S_ISDIR(st.st_mode)) what |= FOLDER;
        handle_of[fd] = ++handles;
        free(name_of[fd]);
        name_of[fd] = strdup(path);
        tell_path(begin, OPEN, handle_of[fd], what, path, NULL);
        errno = saved;
    }
    leave();
    return fd;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list v; va_start(v, flags); mode = va_arg(v, mode_t); va_end(v); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE return opened(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE return opened(dir, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    int h = mine(fd);
    if (!h) return (int)syscall(SYS_close, fd);
    enter();
    uint64_t begin = now();
    handle_of[fd] = 0;
    int done = (int)syscall(SYS_close, fd);
    tell(begin, CLOSE, h, 0, NULL, 0);
    leave();
    return done;
}

static int named(uint32_t op, const char *path, const char *other, int done, uint64_t begin) {
    if (done == 0) tell_path(begin, op, 0, 0, path, other);
    leave();
    return done;
}

int rename(const char *a, const char *b) {
    if (!ours(a) && !ours(b)) return (int)syscall(SYS_rename, a, b);
    enter();
    uint64_t begin = now();
    return named(RENAME, a, b, (int)syscall(SYS_rename, a, b), begin);
}
int renameat(int d, const char *a, int e, const char *b) {
    if (!ours(a) && !ours(b)) return (int)syscall(SYS_renameat2, d, a, e, b, 0);
    enter();
    uint64_t begin = now();
    return named(RENAME, a, b, (int)syscall(SYS_renameat2, d, a, e, b, 0), begin);
}
int unlink(const char *path) {
    if (!ours(path)) return (int)syscall(SYS_unlink, path);
    enter();
    uint64_t begin = now();
    return named(UNLINK, path, NULL, (int)syscall(SYS_unlink, path), begin);
}
int unlinkat(int d, const char *path, int flags) {
    if (!ours(path)) return (int)syscall(SYS_unlinkat, d, path, flags);
    enter();
    uint64_t begin = now();
    return named(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, NULL, (int)syscall(SYS_unlinkat, d, path, flags), begin);
}
int mkdir(const char *path, mode_t mode) {
    if (!ours(path)) return (int)syscall(SYS_mkdir, path, mode);
    enter();
    uint64_t begin = now();
    return named(MKDIR, path, NULL, (int)syscall(SYS_mkdir, path, mode), begin);
}
int rmdir(const char *path) {
    if (!ours(path)) return (int)syscall(SYS_rmdir, path);
    enter();
    uint64_t begin = now();
    return named(RMDIR, path, NULL, (int)syscall(SYS_rmdir, path), begin);
}

static int wish(char *into, size_t room) {
    if (!fault[0]) return -1;
    int f = (int)syscall(SYS_openat, AT_FDCWD, fault, O_RDWR | O_CLOEXEC, 0);
    if (f < 0) return -1;
    ssize_t n = syscall(SYS_read, f, into, room - 1);
    into[n > 0 ? n : 0] = 0;
    into[strcspn(into, "\n")] = 0;
    return f;
}

/* Whether the disk is read-only from here on. */
static int refused(int fd) {
    char text[256];
    if (!fault[0] || !mine(fd)) return 0;
    int f = wish(text, sizeof text);
    if (f >= 0) syscall(SYS_close, f);
    int hit = f >= 0 && text[0] == '!';
    if (hit) errno = EROFS;
    return hit;
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */
static ssize_t written(int fd, const struct iovec *parts, int count, off_t at) {
    int h = mine(fd);
    if (!h) return at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
    if (refused(fd)) return -1;
    enter();
    uint64_t begin = now();
    off_t offset = at;
    if (at < 0) {
        struct stat st;
        int append = fcntl(fd, F_GETFL) & O_APPEND;
        offset = append && fstat(fd, &st) == 0 ? st.st_size : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t done = at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
    if (done > 0) {
        struct iovec cut[64];
        size_t left = (size_t)done;
        int n = 0;
        for (int i = 0; i < count && i < 64 && left; i++) {
            cut[n] = parts[i];
            if (cut[n].iov_len > left) cut[n].iov_len = left;
            left -= cut[n++].iov_len;
        }
        tell(begin, left ? UNKNOWN : WRITE, h, (uint64_t)offset, cut, n);
    }
    leave();
    return done;
}

ssize_t write(int fd, const void *b, size_t n) {
    if (!mine(fd)) return syscall(SYS_write, fd, b, n);
    struct iovec one = { (void *)b, n };
    return written(fd, &one, 1, -1);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) {
    if (!mine(fd)) return syscall(SYS_pwrite64, fd, b, n, at);
    struct iovec one = { (void *)b, n };
    return written(fd, &one, 1, at);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) { return pwrite(fd, b, n, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return mine(fd) ? written(fd, parts, count, -1) : syscall(SYS_writev, fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return written(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return written(fd, parts, count, at); }

int ftruncate(int fd, off_t size) {
    int h = mine(fd);
    if (!h) return (int)syscall(SYS_ftruncate, fd, size);
    if (refused(fd)) return -1;
    enter();
    uint64_t begin = now();
    int done = (int)syscall(SYS_ftruncate, fd, size);
    if (done == 0) tell(begin, TRUNCATE, h, (uint64_t)size, NULL, 0);
    leave();
    return done;
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

/* Whether the test wants this fsync to fail; takes the wish. */
static int wished(int fd) {
    if (!fault[0] || !name_of[fd]) return 0;
    char text[256];
    int f = wish(text, sizeof text);
    if (f < 0) return 0;
    const char *slash = strrchr(name_of[fd], '/');
    int hit = text[0] && slash && !strcmp(slash + 1, text);
    if (hit && syscall(SYS_ftruncate, f, 0)) hit = 0;
    syscall(SYS_close, f);
    return hit;
}

static int synced(int fd, long number) {
    int h = mine(fd);
    if (!h) return (int)syscall(number, fd);
    if (delay_us) {
        struct timespec t = { delay_us / 1000000, delay_us % 1000000 * 1000 };
        nanosleep(&t, NULL);
    }
    enter();
    uint64_t begin = now();
    int fail = wished(fd);
    int done = fail ? -1 : (int)syscall(number, fd);
    tell(begin, done ? SYNC_FAILED : SYNC, h, 0, NULL, 0);
    if (fail) errno = EIO;
    leave();
    return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

/* --- what the model does not know ------------------------------------------------------------------------------- */
static void unknown(int fd, const char *what) {
    int h = mine(fd);
    if (!h) return;
    enter();
    tell_path(now(), UNKNOWN, h, 0, what, NULL);
    leave();
}
int posix_fallocate(int fd, off_t at, off_t n) { unknown(fd, "posix_fallocate"); REAL("posix_fallocate", int, int, off_t, off_t) return real(fd, at, n); }
int posix_fallocate64(int fd, off64_t at, off64_t n) { return posix_fallocate(fd, at, n); }
int fallocate(int fd, int mode, off_t at, off_t n) { unknown(fd, "fallocate"); return (int)syscall(SYS_fallocate, fd, mode, at, n); }
int fallocate64(int fd, int mode, off64_t at, off64_t n) { return fallocate(fd, mode, at, n); }
ssize_t copy_file_range(int a, off64_t *x, int b, off64_t *y, size_t n, unsigned f) { unknown(b, "copy_file_range"); return syscall(SYS_copy_file_range, a, x, b, y, n, f); }
void *mmap(void *a, size_t n, int prot, int flags, int fd, off_t at) {
    if ((prot & PROT_WRITE) && (flags & MAP_SHARED)) unknown(fd, "a shared writable mapping");
    return (void *)syscall(SYS_mmap, a, n, prot, flags, fd, at);
}
void *mmap64(void *a, size_t n, int prot, int flags, int fd, off64_t at) { return mmap(a, n, prot, flags, fd, at); }
