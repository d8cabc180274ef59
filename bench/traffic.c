/* One TCP connection between two network namespaces, both ends in this process.
 *
 *   traffic CLIENT SERVER ADDRESS SECONDS      CLIENT and SERVER are open descriptors of namespaces,
 *                                              ADDRESS is the server's
 *
 * Prints "BYTES CPU REQUEST": bytes that arrived within SECONDS, the seconds of processor time that
 * this process took for them, at both ends, and the median time in nanoseconds of one byte there
 * and one back, with both ends on one processor: no wake-up of another is in it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUESTS = 20000, CHUNK = 128 << 10, PORT = 5201 };

static int client, server, listener;
static double seconds;
static const char *address;
static char in[CHUNK], out[CHUNK];
static long long times[REQUESTS];

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static double processor(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void enter(int netns)
{
    if (setns(netns, CLONE_NEWNET))
        die("setns");
}

static int connected(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, address, &to.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
        die(address);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int accepted(void)
{
    int one = 1, fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void *sink(void *bytes)
{
    int fd = accepted();
    for (ssize_t got; (got = recv(fd, in, sizeof in, 0)) > 0;)
        *(long long *)bytes += got;
    close(fd);
    return NULL;
}

static void *echo(void *unused)
{
    char one;
    int fd = accepted();
    while (recv(fd, &one, 1, 0) == 1)
        if (send(fd, &one, 1, 0) != 1)
            die("send");
    close(fd);
    return unused;
}

static int by_size(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

static void one_processor(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    pthread_t other;
    long long bytes = 0;
    int one = 1;
    if (argc != 5)
        return 2;
    client = atoi(argv[1]), server = atoi(argv[2]), address = argv[3], seconds = atof(argv[4]);
    enter(server);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4))
        die("listen");
    enter(client);

    pthread_create(&other, NULL, sink, &bytes);
    int fd = connected();
    double before = processor();
    for (long long end = now() + (long long)(seconds * 1e9); now() < end;)
        if (send(fd, out, sizeof out, 0) < 0)
            die("send");
    close(fd);
    pthread_join(other, NULL);
    double used = processor() - before;

    one_processor(); /* the thread that is made now has it from this one */
    pthread_create(&other, NULL, echo, NULL);
    fd = connected();
    for (int each = 0; each < REQUESTS; each++) {
        long long start = now();
        if (send(fd, out, 1, 0) != 1 || recv(fd, in, 1, 0) != 1)
            die("request");
        times[each] = now() - start;
    }
    close(fd);
    pthread_join(other, NULL);
    qsort(times, REQUESTS, sizeof *times, by_size);
    printf("%lld %f %lld\n", bytes, used, times[REQUESTS / 2]);
    return 0;
}
