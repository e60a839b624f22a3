/* Calls of the system that fail, or at which the process is killed, at a chosen place.

   Loaded before the C library. It counts the calls that change something under the folder FAULT_UNDER. The one whose
   number is FAULT_AT fails with the error FAULT_ERRNO, or the process is killed there: FAULT_HOW is one of "once", "on"
   (all later calls fail too), "before", "after" and "half" (killed when half of a write is written). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int calls;

int fault_calls(void) { return calls; }

/* Count a call; return whether it is to fail, and say whether it is the chosen one. */
static int begins(const char *path, int *is_chosen) {
    const char *folder = getenv("FAULT_UNDER"), *at = getenv("FAULT_AT"), *how = getenv("FAULT_HOW");
    *is_chosen = 0;
    if (!folder || !at || !how || strncmp(path, folder, strlen(folder)) != 0) return 0;
    calls++;
    *is_chosen = calls == atoi(at);
    if (*is_chosen && strcmp(how, "before") == 0) raise(SIGKILL);
    if ((*is_chosen && strcmp(how, "once") == 0) || (calls >= atoi(at) && strcmp(how, "on") == 0)) {
        errno = atoi(getenv("FAULT_ERRNO"));
        return 1;
    }
    return 0;
}

static int begins_on(int file, int *is_chosen) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    *is_chosen = 0;
    if (length < 0) return 0;
    path[length] = 0;
    return begins(path, is_chosen);
}

static void ends(int is_chosen) {
    if (is_chosen && getenv("FAULT_HOW") && strcmp(getenv("FAULT_HOW"), "after") == 0) raise(SIGKILL);
}

static int is_half(int is_chosen) { return is_chosen && strcmp(getenv("FAULT_HOW"), "half") == 0; }

#define CALL(type, name, begun, parameters, arguments)                             \
    type name parameters {                                                         \
        static type(*real) parameters;                                             \
        int is_chosen;                                                             \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);             \
        if (begun) return -1;                                                      \
        type result = real arguments;                                              \
        ends(is_chosen);                                                           \
        return result;                                                             \
    }

#define WRITE(name, parameters, half, whole)                                       \
    ssize_t name parameters {                                                      \
        static ssize_t(*real) parameters;                                          \
        int is_chosen;                                                             \
        if (!real) real = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name);          \
        if (begins_on(file, &is_chosen)) return -1;                                \
        if (is_half(is_chosen) && real half >= 0) raise(SIGKILL);                  \
        ssize_t result = real whole;                                               \
        ends(is_chosen);                                                           \
        return result;                                                             \
    }

#define OPEN(name)                                                                 \
    int name(const char *path, int flags, ...) {                                   \
        static int (*real)(const char *, int, ...);                                \
        va_list rest;                                                              \
        int is_chosen = 0;                                                         \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_start(rest, flags);                                                     \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                  \
        va_end(rest);                                                              \
        if (flags & O_CREAT && begins(path, &is_chosen)) return -1;                \
        int result = real(path, flags, mode);                                      \
        ends(is_chosen);                                                           \
        return result;                                                             \
    }

WRITE(write, (int file, const void *bytes, size_t count), (file, bytes, count / 2), (file, bytes, count))
WRITE(pwrite, (int file, const void *bytes, size_t count, off_t at), (file, bytes, count / 2, at),
      (file, bytes, count, at))
WRITE(pwrite64, (int file, const void *bytes, size_t count, off64_t at), (file, bytes, count / 2, at),
      (file, bytes, count, at))
OPEN(open)
OPEN(open64)
CALL(int, fsync, begins_on(file, &is_chosen), (int file), (file))
CALL(int, fdatasync, begins_on(file, &is_chosen), (int file), (file))
CALL(int, ftruncate, begins_on(file, &is_chosen), (int file, off_t length), (file, length))
CALL(int, ftruncate64, begins_on(file, &is_chosen), (int file, off64_t length), (file, length))
CALL(int, rename, begins(from, &is_chosen), (const char *from, const char *to), (from, to))
CALL(int, link, begins(from, &is_chosen), (const char *from, const char *to), (from, to))
CALL(int, unlink, begins(path, &is_chosen), (const char *path), (path))
CALL(int, mkdir, begins(path, &is_chosen), (const char *path, mode_t mode), (path, mode))
