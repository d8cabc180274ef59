/* podnet-logger log PATH: writes what a container says to a file, in the CRI's format.

   TIME STREAM F|P TEXT, one line each; P where the line goes on in the next entry (kubernetes,
   cri-api: "Log format"). containerd's shim starts it for a container and gives it the
   container's output as descriptor 3, its error output as 4, and 5 to close when it is ready
   (containerd, runtime/v2/logging). It goes on until both have ended, whoever is restarted
   meanwhile. A log that is longer than LOG_BYTES begins anew, as the kubelet's do. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS = 2, FIRST_FD = 3, READY_FD = 5, PIECE_BYTES = 8192, HEAD_BYTES = 64 };
static const long long LOG_BYTES = 10 << 20;

static const char *path;
static int file = -1;
static long long size;

/* The log is open for writing, and empty if `anew`. Readers of the old one see another inode. */
static int open_log(int anew) {
    if (file >= 0)
        close(file);
    if (anew)
        unlink(path);
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    size = file < 0 ? 0 : lseek(file, 0, SEEK_END);
    return file < 0 ? -1 : 0;
}

/* What can't be written, on a full disk, is dropped: the container must not wait for it. */
static void write_entry(const char *stream, char tag, const char *text, size_t length) {
    char head[HEAD_BYTES];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t at = strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &parts);
    at += (size_t)snprintf(head + at, sizeof head - at, ".%09ldZ %s %c ", now.tv_nsec, stream, tag);
    if (size + (long long)(at + length + 1) > LOG_BYTES && size > 0 && open_log(1) < 0)
        return;
    struct iovec entry[] = {{head, at}, {(void *)text, length}, {"\n", 1}};
    ssize_t written = writev(file, entry, 3);
    if (written > 0)
        size += written;
}

/* Entries for what was read: whole lines, and the piece of one that is not yet. */
static void write_entries(const char *stream, const char *text, size_t length) {
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t line = end ? (size_t)(end - text) : length;
        write_entry(stream, end ? 'F' : 'P', text, line);
        text += line + (end != NULL);
        length -= line + (end != NULL);
    }
}

int main(int argc, char **argv) {
    static const char *const names[STREAMS] = {"stdout", "stderr"};
    struct pollfd streams[STREAMS];
    char piece[PIECE_BYTES];
    if (argc < 3) {
        fprintf(stderr, "podnet-logger: containerd starts it, as binary:///PROGRAM?log=PATH\n");
        return 2;
    }
    path = argv[2];
    signal(SIGTERM, SIG_IGN); /* the shim's: what is in the pipes is still to be written */
    signal(SIGPIPE, SIG_IGN);
    if (open_log(0) < 0) {
        fprintf(stderr, "podnet-logger: %s: %s\n", path, strerror(errno));
        return 1;
    }
    for (int each = 0; each < STREAMS; each++)
        streams[each] = (struct pollfd){.fd = FIRST_FD + each, .events = POLLIN};
    close(READY_FD);
    for (int left = STREAMS; left > 0;) {
        if (poll(streams, STREAMS, -1) < 0 && errno != EINTR)
            return 1;
        for (int each = 0; each < STREAMS; each++) {
            if (streams[each].fd < 0 || streams[each].revents == 0)
                continue;
            ssize_t got = read(streams[each].fd, piece, sizeof piece);
            if (got > 0) {
                write_entries(names[each], piece, (size_t)got);
            } else if (got == 0 || errno != EINTR) {
                streams[each].fd = -1;
                left--;
            }
        }
    }
    return 0;
}
