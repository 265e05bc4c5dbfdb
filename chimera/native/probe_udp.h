/* `probe send` and `probe echo`: UDP probes on a fixed schedule, their answers, and the heartbeat of who answers.
 *
 * The sender keeps an absolute schedule (start + k * interval), so the rate does not drift. After a
 * stall of the prober itself the ticks it slept through are skipped, not made up for: a burst would measure
 * queues, and the header counts the skips so that a stalled prober is not mistaken for a network
 * outage. Sequence numbers are consecutive over the probes that were sent.
 *
 * Sent times are the clock read just before the send (the kernel's own transmit stamp would arrive
 * through the error queue, a second system call per probe, to gain a few microseconds).
 * Arrival times are the kernel's receive stamps: a late wake-up of the prober does not show.
 */
#ifndef CHIMERA_PROBE_UDP_H
#define CHIMERA_PROBE_UDP_H

#include "common.h"
#include "probe.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

struct peer {
    struct sockaddr_storage address;
    socklen_t length;
};

static inline struct peer resolve(const char *host, const char *port, int type) {
    struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;
    int problem = getaddrinfo(host, port, &hints, &found);
    errno = 0;
    if (problem)
        usage_error("probe: '%s' port '%s': %s", host, port, gai_strerror(problem));
    struct peer peer = {.length = found->ai_addrlen};
    memcpy(&peer.address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return peer;
}

static inline void enable(int fd, int option) {
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, option, &on, sizeof on) != 0)
        die("socket option %d", option);
}

/* Room for what comes while the process waits for its turn: the default holds a quarter of a second of probes. */
static inline void deepen(int fd) {
    int size = 4 << 20;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    errno = 0;
}

/* A socket bound to a port on every address, IPv6 and IPv4; IPv4 alone where the kernel has no IPv6. */
static inline int open_server(int type, uint16_t port) {
    int zero = 0;
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
    bool six = fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) == 0;
    if (!six)
        fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    enable(fd, SO_REUSEADDR);
    if (six ? bind(fd, (struct sockaddr *)&any6, sizeof any6) : bind(fd, (struct sockaddr *)&any4, sizeof any4))
        die("bind to port %u", port);
    errno = 0;
    return fd;
}

/* -- send -------------------------------------------------------------------------------- */

struct recorder {
    struct recording_header header;
    struct recording_record *records;
    size_t count, room;
};

static inline void record(struct recorder *r, struct recording_record entry) {
    if (r->count == r->room) {
        r->room = r->room ? 2 * r->room : 1 << 14;
        r->records = reallocate(r->records, r->room * sizeof *r->records);
    }
    r->records[r->count++] = entry;
}

static inline void write_recording(struct recorder *r, const char *path) {
    struct output out = output_open(path);
    struct recording_header header = r->header; /* little-endian on every machine */
    header.flow = htole32(header.flow);
    header.interval_us = htole32(header.interval_us);
    header.started_ns = htole64(header.started_ns);
    header.ended_ns = htole64(realtime_ns());
    header.skipped = htole64(header.skipped);
    fwrite(&header, sizeof header, 1, out.file);
    for (size_t i = 0; i < r->count; i++) {
        const struct recording_record *e = &r->records[i];
        struct recording_record entry = {htole32(e->sequence), htole16(e->kind), htole16(e->error),
                                         htole64(e->time_ns), htole64(e->answered_ns)};
        fwrite(&entry, sizeof entry, 1, out.file);
    }
    output_commit(&out);
}

static inline void send_probe(int fd, const struct peer *to, struct recorder *r, uint32_t sequence) {
    struct probe probe = {.magic = PROBE_MAGIC_BYTES, .flow = htobe32(r->header.flow), .sequence = htobe32(sequence)};
    uint64_t now = realtime_ns();
    probe.sent_ns = htobe64(now);
    ssize_t sent = sendto(fd, &probe, sizeof probe, MSG_DONTWAIT, (const struct sockaddr *)&to->address, to->length);
    record(r, (struct recording_record){.sequence = sequence,
                                        .kind = RECORD_SENT,
                                        .error = (uint16_t)(sent < 0 ? errno : 0),
                                        .time_ns = now});
}

static inline uint64_t kernel_stamp(struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            return timespec_ns(&stamp);
        }
    return realtime_ns();
}

static inline void collect_answers(int fd, struct recorder *r) {
    for (;;) {
        struct probe probe;
        struct iovec vector = {&probe, sizeof probe};
        union {
            char bytes[CMSG_SPACE(sizeof(struct timespec))];
            struct cmsghdr aligned;
        } control;
        struct msghdr message = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
        if (length < 0)
            return; /* nothing more, or an error that reading took away */
        if (!is_probe(&probe, (size_t)length) || probe.direction != PROBE_ANSWER ||
            be32toh(probe.flow) != r->header.flow)
            continue;
        record(r, (struct recording_record){.sequence = be32toh(probe.sequence),
                                            .kind = RECORD_ANSWER,
                                            .time_ns = kernel_stamp(&message),
                                            .answered_ns = be64toh(probe.answered_ns)});
    }
}

/* Waits for answers until `deadline` (monotonic) or a signal. */
static inline void await_answers(int fd, struct recorder *r, uint64_t deadline, const sigset_t *mask) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    uint64_t now = monotonic_ns();
    struct timespec timeout = ns_timespec(deadline > now ? deadline - now : 0);
    if (ppoll(&watched, 1, &timeout, mask) > 0)
        collect_answers(fd, r);
}

struct send_options {
    const char *to, *port, *out, *bind;
    uint32_t flow, interval_us;
    uint64_t grace_ms;
};

static inline int open_prober(const struct send_options *o, const struct peer *to) {
    int fd = socket(to->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    enable(fd, SO_TIMESTAMPNS);
    deepen(fd);
    if (o->bind) {
        struct peer from = resolve(o->bind, "0", SOCK_DGRAM);
        if (bind(fd, (struct sockaddr *)&from.address, from.length) != 0)
            die("bind to %s", o->bind);
    }
    return fd;
}

static inline int probe_send(const struct send_options *o) {
    struct peer to = resolve(o->to, o->port, SOCK_DGRAM);
    int fd = open_prober(o, &to);
    struct recorder r = {.header = {.magic = RECORDING_MAGIC_BYTES,
                                    .flow = o->flow,
                                    .interval_us = o->interval_us,
                                    .started_ns = realtime_ns()}};
    const uint64_t interval = o->interval_us * NS_PER_US;
    sigset_t mask = catch_signals();
    become_punctual(true);
    announce_ready();
    uint64_t next = monotonic_ns();
    for (uint32_t sequence = 0; !stop_asked;) {
        uint64_t now = monotonic_ns();
        if (now >= next) {
            send_probe(fd, &to, &r, sequence++);
            uint64_t missed = (now - next) / interval;
            r.header.skipped += missed;
            next += (missed + 1) * interval;
        }
        await_answers(fd, &r, next, &mask);
        if (snapshot_asked) {
            snapshot_asked = 0;
            write_recording(&r, o->out);
        }
    }
    for (uint64_t end = monotonic_ns() + o->grace_ms * NS_PER_MS; monotonic_ns() < end;)
        await_answers(fd, &r, end, &mask);
    write_recording(&r, o->out);
    return 0;
}

/* -- echo -------------------------------------------------------------------------------- */

/* The heartbeat: a process that notes the time at least every `interval_us`, and keeps the pauses in which it did not.
 *
 * What makes it worth having is where it beats: in the process that answers probes. A pause of it is then a time in
 * which nothing was answered because this process was not run (frozen with its VM, or waiting for a processor), and
 * that is exactly what has to be told from a network that carried nothing. */
#define PAUSES_MAX 65536
#define PAUSE_BEATS 2 /* a pause is longer than this many intervals */

struct heart {
    uint32_t interval_us;
    uint64_t started_ns, last_ns; /* CLOCK_REALTIME, as the stamps of packets */
    uint64_t count;               /* of pauses; the first PAUSES_MAX are kept */
    struct pause {
        uint64_t from_ns, to_ns;
    } *pauses;
};

static inline uint64_t beat(struct heart *h) {
    uint64_t now = realtime_ns();
    if (now > h->last_ns + PAUSE_BEATS * h->interval_us * NS_PER_US && h->count++ < PAUSES_MAX)
        h->pauses[h->count - 1] = (struct pause){h->last_ns, now};
    h->last_ns = now;
    return now;
}

static inline void write_heart(const struct heart *h, const char *path) {
    struct output out = output_open(path);
    fprintf(out.file, "{\"interval_us\": %u, \"started_ns\": %" PRIu64 ", \"ended_ns\": %" PRIu64, h->interval_us,
            h->started_ns, h->last_ns);
    fprintf(out.file, ", \"pause_count\": %" PRIu64 ", \"pauses\": [", h->count);
    for (uint64_t i = 0; i < h->count && i < PAUSES_MAX; i++)
        fprintf(out.file, "%s[%" PRIu64 ", %" PRIu64 "]", i ? ", " : "", h->pauses[i].from_ns, h->pauses[i].to_ns);
    fputs("]}\n", out.file);
    output_commit(&out);
}

struct echo_options {
    uint16_t port;
    uint32_t interval_us; /* of the heartbeat */
    const char *out;      /* where the heartbeat goes; NULL: nowhere */
};

/* Answers every probe, and beats. Frozen with its VM, it answers after the thaw what its socket took in before the
 * port went down: late, and genuine. An answer bears the time of a beat, so no answer lies inside a pause. */
static inline int probe_echo(const struct echo_options *o) {
    int fd = open_server(SOCK_DGRAM, o->port);
    deepen(fd);
    struct heart heart = {.interval_us = o->interval_us, .pauses = allocate(PAUSES_MAX * sizeof(struct pause))};
    sigset_t mask = catch_signals();
    become_punctual(true);
    heart.started_ns = heart.last_ns = realtime_ns();
    announce_ready();
    while (!stop_asked) {
        struct pollfd watched = {.fd = fd, .events = POLLIN};
        struct timespec interval = ns_timespec(o->interval_us * NS_PER_US);
        int ready = ppoll(&watched, 1, o->out ? &interval : NULL, &mask);
        uint64_t now = beat(&heart);
        if (snapshot_asked && o->out) {
            snapshot_asked = 0;
            write_heart(&heart, o->out);
        }
        if (ready <= 0)
            continue;
        struct probe probe;
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, &probe, sizeof probe, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
        if (length < 0 || !is_probe(&probe, (size_t)length) || probe.direction != PROBE_REQUEST)
            continue;
        probe.direction = PROBE_ANSWER;
        probe.answered_ns = htobe64(now);
        sendto(fd, &probe, sizeof probe, MSG_DONTWAIT, (struct sockaddr *)&from, size); /* lost if it fails */
    }
    if (o->out)
        write_heart(&heart, o->out);
    return 0;
}

#endif
