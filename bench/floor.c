/* The floor: what the agent tells the kernel for one attachment, told by C and by nothing else.
 *
 * Reads jobs from standard input, carries each out when it is complete, prints its nanoseconds.
 * A job is lines, in the order in which the agent acts; then "go":
 *
 *   netns PATH                    the pod's namespace
 *   ifname NAME                   the pod end, whose index the pod's messages need
 *   host COUNT HEX OFFSET...      one send to the node, COUNT messages; the namespace's file
 *                                 descriptor goes to each OFFSET
 *   pod COUNT HEX OFFSET...       one send in the pod; the pod end's index goes to each OFFSET
 *   sysctl PATH VALUE             in the pod
 *   go
 *
 * Parsing is not timed. A refusal ends the program: a floor that does less is none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind { HOST, POD, SYSCTL };

struct step {
    enum kind kind;
    int messages, patches;
    size_t size;
    size_t patch[16];
    char path[256], value[64];
    unsigned char bytes[4096];
};

static struct {
    char netns[256], ifname[IFNAMSIZ];
    int count;
    struct step steps[32];
} job;

static int home, node;

static _Noreturn void die(const char *format, ...)
{
    int code = errno;
    va_list words;
    va_start(words, format);
    fprintf(stderr, "floor: ");
    vfprintf(stderr, format, words);
    fprintf(stderr, ": %s\n", strerror(code));
    exit(1);
}

static int route_socket(void)
{
    int one = 1, route = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (route < 0 || setsockopt(route, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one))
        die("route socket");
    return route;
}

static void send_and_read_acks(int route, const struct step *step)
{
    static char answer[1 << 16];
    if (send(route, step->bytes, step->size, 0) != (ssize_t)step->size)
        die("send");
    for (int pending = step->messages; pending > 0;) {
        int left = recv(route, answer, sizeof answer, 0);
        if (left < 0)
            die("recv");
        for (struct nlmsghdr *head = (void *)answer; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
            if (head->nlmsg_type != NLMSG_ERROR)
                continue;
            pending--;
            errno = -((struct nlmsgerr *)NLMSG_DATA(head))->error;
            if (errno)
                die("the kernel refuses a message for %s", job.netns);
        }
    }
}

static void patch(struct step *step, int number)
{
    for (int n = 0; n < step->patches; n++)
        memcpy(step->bytes + step->patch[n], &number, sizeof number);
}

static int index_of(int inside, const char *ifname)
{
    struct ifreq question = {0};
    memcpy(question.ifr_name, ifname, IFNAMSIZ);
    if (ioctl(inside, SIOCGIFINDEX, &question))
        die("no interface %s", ifname);
    return question.ifr_ifindex;
}

static void set(const struct step *step)
{
    int file = open(step->path, O_WRONLY | O_CLOEXEC);
    size_t size = strlen(step->value);
    if (file < 0 || write(file, step->value, size) != (ssize_t)size)
        die("%s", step->path);
    close(file);
}

static void carry_out(void)
{
    int netns = open(job.netns, O_RDONLY | O_CLOEXEC), inside = -1, here = 1;
    if (netns < 0)
        die("%s", job.netns);
    for (int n = 0; n < job.count; n++) {
        struct step *step = &job.steps[n];
        if (here && step->kind != HOST) {
            if (setns(netns, CLONE_NEWNET))
                die("setns %s", job.netns);
            here = 0;
            if (inside < 0)
                inside = route_socket();
        }
        if (step->kind == SYSCTL) {
            set(step);
        } else if (step->kind == HOST) {
            patch(step, netns);
            send_and_read_acks(node, step);
        } else {
            patch(step, index_of(inside, job.ifname));
            send_and_read_acks(inside, step);
        }
    }
    if (!here && setns(home, CLONE_NEWNET))
        die("setns back");
    if (inside >= 0)
        close(inside);
    close(netns);
}

static void parse(char *line)
{
    struct step *step = &job.steps[job.count];
    char *word = strtok(line, " \n");
    if (!word)
        return;
    if (!strcmp(word, "netns")) {
        snprintf(job.netns, sizeof job.netns, "%s", strtok(NULL, " \n"));
        return;
    }
    if (!strcmp(word, "ifname")) {
        snprintf(job.ifname, sizeof job.ifname, "%s", strtok(NULL, " \n"));
        return;
    }
    if (++job.count > (int)(sizeof job.steps / sizeof *job.steps))
        die("too many steps");
    memset(step, 0, sizeof *step);
    if (!strcmp(word, "sysctl")) {
        step->kind = SYSCTL;
        snprintf(step->path, sizeof step->path, "%s", strtok(NULL, " \n"));
        snprintf(step->value, sizeof step->value, "%s", strtok(NULL, "\n"));
        return;
    }
    step->kind = strcmp(word, "host") ? POD : HOST;
    step->messages = atoi(strtok(NULL, " \n"));
    char *hex = strtok(NULL, " \n");
    for (unsigned byte; step->size < sizeof step->bytes && sscanf(hex, "%2x", &byte) == 1; hex += 2)
        step->bytes[step->size++] = byte;
    while ((word = strtok(NULL, " \n")) && step->patches < 16)
        step->patch[step->patches++] = strtoul(word, NULL, 10);
}

int main(void)
{
    static char line[1 << 14];
    struct timespec before, after;
    home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    node = route_socket();
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "go\n")) {
            parse(line);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &before);
        carry_out();
        clock_gettime(CLOCK_MONOTONIC, &after);
        printf("%lld\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec);
        fflush(stdout);
        job.count = 0;
    }
    return 0;
}
