/* podnet-cni: the CNI plugin that containerd starts. It asks the agent and prints the answer.

   The CNI variables travel as headers and standard input as the body of one `POST /cni` over the
   agent's Unix socket; docs/cni.md has the exchange. 200 is a result, 422 a CNI error, both printed
   as they are. Where no agent answers, ADD and CHECK are to be tried again (code 11), STATUS is not
   available (50), and DEL and GC are written down for the agent and succeed. The input is not
   interpreted here. Everything is bounded, in size and in time: the kubelet, which gives up after
   two minutes, never has to. */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Tests compile it with a folder of their own, shorter seconds and a shorter queue. */
#ifndef FOLDER
#define FOLDER "/run/podnet" /* nodeagent/podnet_agent/paths.py */
#endif
#ifndef SECOND_MS
#define SECOND_MS 1000
#endif
#define SOCKET FOLDER "/agent.sock"

#include "queue.h"

/* CNI specification 1.1.0, "Error". */
enum { ENVIRONMENT = 4, IO_FAILED = 5, NOT_DECODED = 6, TRY_AGAIN = 11, NOT_AVAILABLE = 50 };
enum { OK = 200, CNI_ERROR = 422 };
/* One header is 8190 bytes at most for aiohttp. */
enum { INPUT_BYTES = 1 << 20, ANSWER_BYTES = 1 << 20, VALUE_BYTES = 4096, HEAD_BYTES = 32768 };

struct verb {
    const char *name;
    int seconds;
    int away; /* the error's code where no agent answers */
    bool later; /* or it is written down */
};
/* containerd asks for STATUS with a lock held and no timeout of its own. Behind an ADD that failed it
   asks for DEL, which it kills after a minute: that has to be written down before, and both to be
   over before the kubelet's two minutes are. */
static const struct verb verbs[] = {
    {"ADD", 90, TRY_AGAIN, false}, {"DEL", 20, TRY_AGAIN, true},
    {"CHECK", 30, TRY_AGAIN, false}, {"GC", 20, TRY_AGAIN, true},
    {"STATUS", 3, NOT_AVAILABLE, false}, {"VERSION", 3, TRY_AGAIN, false}};

static const char *const variables[][2] = {
    {"CNI_COMMAND", "Cni-Command"}, {"CNI_CONTAINERID", "Cni-Containerid"},
    {"CNI_NETNS", "Cni-Netns"}, {"CNI_IFNAME", "Cni-Ifname"},
    {"CNI_ARGS", "Cni-Args"}, {"CNI_PATH", "Cni-Path"}};

static char input[INPUT_BYTES + 1], received[ANSWER_BYTES], head[HEAD_BYTES];
static size_t input_bytes;
static struct timespec end;

struct answer {
    int status;
    const char *body;
    size_t bytes;
};

/* Milliseconds until everything has to be over; 0 when it should be already. */
static int left(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long ms = (end.tv_sec - now.tv_sec) * 1000LL + (end.tv_nsec - now.tv_nsec) / 1000000;
    return ms > 0 ? (int)ms : 0;
}

/* Whether it can be read or written before the end; else errno says why not. */
static bool is_ready(int fd, short events) {
    struct pollfd one = {.fd = fd, .events = events};
    int found;
    do
        found = poll(&one, 1, left());
    while (found < 0 && errno == EINTR);
    if (found == 0)
        errno = ETIMEDOUT;
    return found > 0;
}

static void print(const char *text, size_t bytes) {
    while (bytes > 0) {
        ssize_t done = write(STDOUT_FILENO, text, bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            _exit(1);
        text += done;
        bytes -= (size_t)done;
    }
}

/* The input's cniVersion, which answers have to repeat; ours where it names none. The first one is
   the network's own: libcni sorts the names. */
static const char *version_of(const char *text, size_t bytes) {
    static char found[16];
    static const char name[] = "\"cniVersion\"";
    const char *stop = text + bytes, *at = memmem(text, bytes, name, sizeof name - 1);
    size_t length = 0;
    if (at) {
        at += sizeof name - 1;
        while (at < stop && memchr(" \t\r\n:", *at, 5))
            at++;
        if (at < stop && *at == '"')
            for (at++; at < stop && length + 1 < sizeof found && strchr("0123456789.", *at) && *at;)
                found[length++] = *at++;
        if (at >= stop || *at != '"')
            length = 0;
    }
    found[length] = '\0';
    return length ? found : "1.1.0";
}

/* A CNI error on standard output. Neither text holds what JSON has to escape. */
static int fail(int code, const char *sentence, const char *details) {
    static const char form[] =
        "{\"cniVersion\": \"%s\", \"code\": %d, \"msg\": \"%s\", \"details\": \"%s\"}\n";
    char text[1024];
    const char *version = version_of(input, input_bytes);
    print(text, (size_t)snprintf(text, sizeof text, form, version, code, sentence, details));
    return 1;
}

static bool read_input(void) {
    for (;;) {
        if (!is_ready(STDIN_FILENO, POLLIN))
            return false;
        ssize_t got = read(STDIN_FILENO, input + input_bytes, sizeof input - input_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        input_bytes += (size_t)got;
        if (got == 0 || input_bytes == sizeof input)
            return true;
    }
}

/* Whether a header can carry the value as it is: what surrounds it there is blanks. */
static bool is_plain(const char *value) {
    size_t bytes = strlen(value);
    for (size_t at = 0; at < bytes; at++)
        if ((unsigned char)value[at] < ' ' || value[at] == 0x7f)
            return false;
    return bytes <= VALUE_BYTES && (bytes == 0 || (value[0] != ' ' && value[bytes - 1] != ' '));
}

/* The request's head; its length, or 0 where `*wrong` names a variable that can't be sent. */
static size_t write_head(const char **wrong) {
    size_t at = (size_t)snprintf(head, sizeof head,
                                 "POST /cni HTTP/1.0\r\nContent-Type: application/json\r\n"
                                 "Content-Length: %zu\r\n",
                                 input_bytes);
    for (size_t each = 0; each < sizeof variables / sizeof *variables; each++) {
        const char *value = getenv(variables[each][0]);
        if (!value)
            continue;
        if (!is_plain(value)) {
            *wrong = variables[each][0];
            return 0;
        }
        at += (size_t)snprintf(head + at, sizeof head - at, "%s: %s\r\n", variables[each][1],
                               value);
    }
    return at + (size_t)snprintf(head + at, sizeof head - at, "\r\n");
}

/* 1 when the answer is whole, 0 when more is to come, -1 when it is none of the agent's. */
static int parse_answer(const char *text, size_t bytes, struct answer *answer) {
    const char *body = memmem(text, bytes, "\r\n\r\n", 4), *line = text, *at;
    size_t length = 0, digits = 0;
    if (!body)
        return 0;
    body += 4;
    if (body - text < 12 || memcmp(text, "HTTP/1.", 7) != 0 || text[8] != ' ')
        return -1;
    answer->status = 0;
    for (int each = 9; each < 12; each++) {
        if (text[each] < '0' || text[each] > '9')
            return -1;
        answer->status = answer->status * 10 + text[each] - '0';
    }
    for (; line < body; line = (const char *)memchr(line, '\n', (size_t)(body - line)) + 1) {
        static const char name[] = "Content-Length:";
        if ((size_t)(body - line) < sizeof name || strncasecmp(line, name, sizeof name - 1) != 0)
            continue;
        at = line + sizeof name - 1 + strspn(line + sizeof name - 1, " ");
        for (length = digits = 0; *at >= '0' && *at <= '9' && digits < 8; digits++)
            length = length * 10 + (size_t)(*at++ - '0');
        if (*at != '\r')
            return -1;
    }
    if (digits == 0)
        return -1;
    answer->body = body;
    answer->bytes = length;
    return bytes - (size_t)(body - text) >= length;
}

/* Whether all was taken; else errno says why not. In one piece where there is room: connecting has
   woken the agent, which is about to look. */
static bool send_all(int fd, const struct iovec request[2]) {
    struct iovec rest[] = {request[0], request[1]};
    struct msghdr message = {.msg_iov = rest, .msg_iovlen = 2};
    while (rest[0].iov_len + rest[1].iov_len > 0) {
        ssize_t done = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && (errno == EINTR || (errno == EAGAIN && is_ready(fd, POLLOUT))))
            continue;
        if (done < 0)
            return false;
        for (int each = 0; each < 2; each++) {
            size_t part = (size_t)done < rest[each].iov_len ? (size_t)done : rest[each].iov_len;
            rest[each].iov_base = (char *)rest[each].iov_base + part;
            rest[each].iov_len -= part;
            done -= (ssize_t)part;
        }
    }
    return true;
}

/* Whether the agent has answered in whole; else `*why` says what was in the way. */
static bool ask(struct iovec request[2], struct answer *answer, const char **why) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ms = left(), whole = 0;
    struct timeval wait = {ms / 1000, ms % 1000 * 1000 + 1}; /* none at all would be for ever */
    *why = NULL; /* errno has it */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return false;
    if (!send_all(fd, request))
        return false;
    for (size_t bytes = 0; whole == 0;) {
        if (!is_ready(fd, POLLIN))
            return false;
        ssize_t got = recv(fd, received + bytes, sizeof received - bytes, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            return false;
        if (got == 0) {
            *why = bytes < sizeof received ? "it ended before it had answered" : "a long answer";
            return false;
        }
        bytes += (size_t)got;
        whole = parse_answer(received, bytes, answer);
    }
    if (whole < 0)
        *why = "its answer is not HTTP with a Content-Length";
    return whole > 0;
}

static int ask_or_write_down(const struct verb *verb, struct iovec request[2]) {
    struct answer answer;
    const char *why, *sentence = "podnet's agent does not answer on this node", *place = SOCKET;
    char details[256];
    if (ask(request, &answer, &why)) {
        if (answer.status == OK || answer.status == CNI_ERROR) {
            print(answer.body, answer.bytes);
            return answer.status != OK;
        }
        snprintf(details, sizeof details, "HTTP status %d: its log says why", answer.status);
        return fail(verb->away, "podnet's agent failed on this node", details);
    }
    if (!why)
        why = strerror(errno);
    if (verb->later) {
        sentence = "podnet's agent does not answer on this node, and can't be told later";
        place = QUEUE;
        why = write_down(request);
        if (!why)
            return 0;
    }
    snprintf(details, sizeof details, "%s: %s", place, why);
    return fail(verb->away, sentence, details);
}

/* The verb that is asked for, if there is one of that name. */
static const struct verb *find(const char *command) {
    for (size_t each = 0; command && each < sizeof verbs / sizeof *verbs; each++)
        if (strcmp(command, verbs[each].name) == 0)
            return &verbs[each];
    return NULL;
}

static void end_after(long long ms) {
    clock_gettime(CLOCK_MONOTONIC, &end);
    ms += end.tv_nsec / 1000000;
    end.tv_sec += ms / 1000;
    end.tv_nsec = ms % 1000 * 1000000;
}

static int print_versions(void) {
    static const char form[] = "{\"cniVersion\": \"%s\", \"supportedVersions\": "
                               "[\"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\"]}\n";
    char text[256];
    print(text, (size_t)snprintf(text, sizeof text, form, version_of(input, input_bytes)));
    return 0;
}

int main(int argc, char **argv) {
    const char *command = getenv("CNI_COMMAND"), *wrong = NULL;
    const struct verb *verb = find(command);
    if (argc > 1 || (!command && isatty(STDIN_FILENO))) {
        fprintf(stderr, "%s is a CNI plugin: containerd starts it, `podnet cni install` puts it"
                        " where that looks\n", argv[0]);
        return 2;
    }
    end_after((verb ? verb->seconds : 3) * (long long)SECOND_MS);
    if (!read_input())
        return fail(IO_FAILED, "standard input can't be read", strerror(errno));
    if (input_bytes > INPUT_BYTES)
        return fail(NOT_DECODED, "the configuration on standard input is longer than 1 MiB", "");
    if (!command)
        return fail(ENVIRONMENT, "CNI_COMMAND is not set", "");
    if (!verb)
        return fail(ENVIRONMENT, "there is no such CNI_COMMAND",
                    "ADD, DEL, CHECK, GC, STATUS and VERSION are there");
    if (strcmp(command, "VERSION") == 0)
        return print_versions();
    struct iovec request[] = {{head, write_head(&wrong)}, {input, input_bytes}};
    if (wrong)
        return fail(ENVIRONMENT, "a variable holds control characters, blanks around its value or"
                                 " more than 4096 bytes", wrong);
    return ask_or_write_down(verb, request);
}
