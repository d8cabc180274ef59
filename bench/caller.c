/* Calls CNI plugins as libcni does: environment, standard input, JSON back. The same for every
 * contender, and little of it: what is timed is the plugins.
 *
 * Reads jobs from standard input; a job is calls one after the other, an attachment's chain:
 *
 *   job
 *   call PROGRAM CONFIG            CONFIG is the rest of the line, a JSON object
 *   next PROGRAM CONFIG            as call; prevResult, what the one before printed, is added to it
 *   env NAME=VALUE                 of the call before it
 *   go WORKERS                     carry out all jobs so far, so many at once
 *
 * Prints for each job, in order, "NANOSECONDS RESULT" from before the first process is started to
 * the end of the last; RESULT is what that printed, on one line. Then "all NANOSECONDS". A plugin
 * that fails ends the program: a contender that does less is none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS = 2048, CALLS = 4, VARIABLES = 12, WORKERS = 128, BYTES = 1 << 16 };

struct call {
    int chained, variables;
    char *program, *config, *variable[VARIABLES + 1];
};

struct job {
    int calls;
    struct call call[CALLS];
    long long nanoseconds;
    char *result;
};

static struct job jobs[JOBS];
static int count;
static atomic_int next_job;

static _Noreturn void die(const char *format, ...)
{
    va_list words;
    va_start(words, format);
    fprintf(stderr, "caller: ");
    vfprintf(stderr, format, words);
    fprintf(stderr, "\n");
    exit(1);
}

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

/* Run one plugin with this input; what it prints goes to `answer`. */
static void run(struct call *call, const char *input, char *answer)
{
    int in[2], out[2], status;
    size_t length = strlen(input), got = 0;
    posix_spawn_file_actions_t actions;
    char *argv[] = {call->program, NULL};
    pid_t child;
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
        die("pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    if ((errno = posix_spawn(&child, call->program, &actions, NULL, argv, call->variable)))
        die("%s: %s", call->program, strerror(errno));
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    if (write(in[1], input, length) != (ssize_t)length)
        die("%s does not read", call->program);
    close(in[1]);
    for (ssize_t more; (more = read(out[0], answer + got, BYTES - 1 - got)) > 0;)
        got += (size_t)more;
    close(out[0]);
    answer[got] = '\0';
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (status)
        die("%s, status %d: %s", call->program, status, answer);
}

static void carry_out(struct job *job)
{
    char *input = malloc(2 * BYTES), *answer = malloc(BYTES);
    *answer = '\0';
    long long before = now();
    for (int each = 0; each < job->calls; each++) {
        struct call *call = &job->call[each];
        const char *config = call->config;
        if (call->chained && *answer) {
            size_t length = strlen(config) - 1; /* without the last brace */
            snprintf(input, 2 * BYTES, "%.*s, \"prevResult\": %s}", (int)length, config, answer);
            config = input;
        }
        run(call, config, answer);
    }
    job->nanoseconds = now() - before;
    for (char *at = answer; *at; at++)
        if (*at == '\n')
            *at = ' ';
    job->result = answer;
    free(input);
}

static void *work(void *unused)
{
    for (int mine; (mine = atomic_fetch_add(&next_job, 1)) < count;)
        carry_out(&jobs[mine]);
    return unused;
}

static void go(int workers)
{
    pthread_t threads[WORKERS];
    if (workers < 1 || workers > WORKERS)
        die("%d workers", workers);
    next_job = 0;
    long long before = now();
    for (int each = 0; each < workers; each++)
        if (pthread_create(&threads[each], NULL, work, NULL))
            die("no thread");
    for (int each = 0; each < workers; each++)
        pthread_join(threads[each], NULL);
    long long all = now() - before;
    for (int each = 0; each < count; each++) {
        printf("%lld %s\n", jobs[each].nanoseconds, jobs[each].result);
        free(jobs[each].result);
        for (int part = 0; part < jobs[each].calls; part++) {
            struct call *call = &jobs[each].call[part];
            free(call->program);
            free(call->config);
            for (int variable = 0; variable < call->variables; variable++)
                free(call->variable[variable]);
        }
    }
    printf("all %lld\n", all);
    fflush(stdout);
    memset(jobs, 0, sizeof *jobs * (size_t)count);
    count = 0;
}

static void add_call(struct job *job, int chained, char *line)
{
    char *config = strchr(line, ' ');
    if (job->calls == CALLS || !config)
        die("not a call: %s", line);
    *config++ = '\0';
    job->call[job->calls++] = (struct call){
        .chained = chained, .program = strdup(line), .config = strdup(config)};
}

static void add_variable(struct call *call, const char *line)
{
    if (call->variables == VARIABLES)
        die("too many variables: %s", line);
    call->variable[call->variables++] = strdup(line);
}

int main(void)
{
    static char line[BYTES];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        struct job *job = &jobs[count > 0 ? count - 1 : 0];
        if (!strcmp(line, "job") && count < JOBS)
            count++;
        else if (count && (!strncmp(line, "call ", 5) || !strncmp(line, "next ", 5)))
            add_call(job, *line == 'n', line + 5);
        else if (count && job->calls && !strncmp(line, "env ", 4))
            add_variable(&job->call[job->calls - 1], line + 4);
        else if (!strncmp(line, "go ", 3))
            go(atoi(line + 3));
        else
            die("not understood: %s", line);
    }
    return 0;
}
