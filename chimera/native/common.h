/* What the native tools share: clocks, fatal errors, argument parsing, atomic output files.
 *
 * Header-only, so that each tool is one `cc -O2 -Wall -Wextra -o NAME NAME.c`.
 */
#ifndef CHIMERA_COMMON_H
#define CHIMERA_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_US 1000ULL

/* Ends the program with status 1 and a message on stderr; appends errno's text where there is one. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    int saved = errno;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (saved)
        fprintf(stderr, ": %s", strerror(saved));
    fputc('\n', stderr);
    exit(1);
}

/* Ends the program with status 2: the caller's arguments are wrong. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void usage_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static inline uint64_t timespec_ns(const struct timespec *t) {
    return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_nsec;
}

static inline uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return timespec_ns(&t);
}

static inline uint64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static inline uint64_t realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }

static inline struct timespec ns_timespec(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static inline void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (!memory)
        die("out of memory (%zu bytes)", size);
    return memory;
}

static inline void *reallocate(void *memory, size_t size) {
    void *larger = realloc(memory, size);
    if (!larger)
        die("out of memory (%zu bytes)", size);
    return larger;
}

/* The number `text` holds, or the end of the program where it holds none or one outside [low, high]. */
static inline double parse_number(const char *name, const char *text, double low, double high) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= low && value <= high)) {
        errno = 0;
        usage_error("%s: '%s' is not a number from %g to %g", name, text, low, high);
    }
    return value;
}

/* The argument that follows option number *index, which it moves on to. */
static inline const char *option_value(int argc, char **argv, int *index) {
    if (*index + 1 >= argc)
        usage_error("%s needs a value", argv[*index]);
    return argv[++*index];
}

/* Says that the tool is at work: callers wait for this line. */
static inline void announce_ready(void) {
    puts("ready");
    fflush(stdout);
}

/* Timers on the nanosecond, and ahead of ordinary processes where the system allows it: a measuring
 * instrument that waits for its turn behind what it measures shows the scheduler, not the network. */
static inline void become_punctual(bool realtime) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    struct sched_param priority = {.sched_priority = 1};
    if (realtime && sched_setscheduler(0, SCHED_RR, &priority) != 0)
        errno = 0; /* a container may forbid it: less exact under load, otherwise the same */
}

/* An output file that appears under its name only when it is complete. */
struct output {
    FILE *file;
    const char *path;
    char *temporary;
};

static inline struct output output_open(const char *path) {
    struct output out = {.path = path};
    if (asprintf(&out.temporary, "%s.%d.tmp", path, (int)getpid()) < 0)
        die("out of memory");
    out.file = fopen(out.temporary, "wb");
    if (!out.file)
        die("cannot write %s", out.temporary);
    return out;
}

static inline void output_commit(struct output *out) {
    if (fclose(out->file) != 0 || rename(out->temporary, out->path) != 0)
        die("cannot write %s", out->path);
    free(out->temporary);
}

/* JSON text with quotes; control characters, which no path or errno text of ours holds, become '?'. */
static inline void json_string(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        fputc((unsigned char)*text < 0x20 ? '?' : *text, file);
    }
    fputc('"', file);
}

static volatile sig_atomic_t stop_asked, snapshot_asked;

static inline void note_signal(int number) {
    if (number == SIGUSR1)
        snapshot_asked = 1;
    else
        stop_asked = 1;
}

/* Blocks SIGTERM, SIGINT and SIGUSR1 except inside ppoll with the returned mask: a signal is then
 * always noticed, and never between looking at the flag and going to sleep. */
static inline sigset_t catch_signals(void) {
    sigset_t blocked, original;
    struct sigaction action = {.sa_handler = note_signal};
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, &original);
    sigdelset(&original, SIGTERM);
    sigdelset(&original, SIGINT);
    sigdelset(&original, SIGUSR1);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    return original;
}

#endif
