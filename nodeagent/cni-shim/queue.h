/* The queue: requests that wait for the agent as files, written down while none answers. shim.c's. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef QUEUE_FILES
#define QUEUE_FILES 4096
#endif
#define QUEUE FOLDER "/cni"
enum { QUEUE_BYTES = 16 << 20 };

/* Whether one more request may wait, by number and bytes of those that do. */
static bool has_room(DIR *queue) {
    struct stat one;
    size_t files = 0, bytes = 0;
    for (struct dirent *entry; (entry = readdir(queue));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        files++;
        if (fstatat(dirfd(queue), entry->d_name, &one, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (size_t)one.st_size;
    }
    return files < QUEUE_FILES && bytes < QUEUE_BYTES;
}

/* The request is a file of the queue now, or what is returned says why not. A name that begins
   with a dot is not whole yet. Names sort by time. */
static const char *write_down(struct iovec request[2]) {
    char name[64];
    struct timespec now;
    mkdir(FOLDER, 0700);
    mkdir(QUEUE, 0700);
    DIR *queue = opendir(QUEUE);
    if (!queue)
        return strerror(errno);
    if (!has_room(queue))
        return "too many requests wait there";
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, sizeof name, ".%011lld.%09ld-%d", (long long)now.tv_sec, now.tv_nsec, getpid());
    int file = openat(dirfd(queue), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        return strerror(errno);
    errno = ENOSPC; /* where less is written than asked for */
    if (writev(file, request, 2) == (ssize_t)(request[0].iov_len + request[1].iov_len) &&
        close(file) == 0 && renameat(dirfd(queue), name, dirfd(queue), name + 1) == 0)
        return NULL;
    const char *why = strerror(errno);
    unlinkat(dirfd(queue), name, 0);
    return why;
}
