/* `probe tcp-server` and `probe tcp-client`: one TCP session that lives through a migration, or does not.
 *
 * The client streams bytes that follow from their offset alone; the server verifies them and echoes
 * them; the client verifies the echo. Nothing reconnects. A checkpoint (SIGUSR1, and SIGTERM before the end)
 * sends a last request and waits for its echo: `alive` says whether the session can still talk.
 */
#ifndef CHIMERA_PROBE_TCP_H
#define CHIMERA_PROBE_TCP_H

#include "probe_udp.h"

#include <fcntl.h>
#include <netinet/tcp.h>

#define SESSIONS_MAX 64
#define CHUNK 16384
#define LAST_REQUEST 1024 /* bytes */
#define BURST_MAX 65536   /* bytes the client may send at once after it could not send for a while */
#define TICK_NS (5 * NS_PER_MS)

/* Byte number `offset` of the stream: xorshift64* keyed by the offset, eight bytes a round. */
static inline uint64_t pattern_word(uint64_t index) {
    uint64_t x = index * 0x9e3779b97f4a7c15ULL + 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 0x2545f4914f6cdd1dULL;
}

static inline uint8_t pattern_byte(uint64_t offset) {
    return (uint8_t)(pattern_word(offset / 8) >> (offset % 8 * 8));
}

static inline void pattern_fill(uint8_t *bytes, uint64_t offset, size_t length) {
    for (size_t i = 0; i < length; i++)
        bytes[i] = pattern_byte(offset + i);
}

static inline bool pattern_holds(const uint8_t *bytes, uint64_t offset, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != pattern_byte(offset + i))
            return false;
    return true;
}

static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* -- server ------------------------------------------------------------------------------ */

struct echoed_session {
    int fd;
    uint64_t received;
    size_t begin, end; /* of what is still to be echoed */
    uint8_t bytes[CHUNK];
};

/* Reads and verifies, or writes back. Returns false where the session is over. */
static inline bool serve(struct echoed_session *s) {
    if (s->begin == s->end) {
        ssize_t count = recv(s->fd, s->bytes, sizeof s->bytes, MSG_DONTWAIT);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR;
        if (count == 0 || !pattern_holds(s->bytes, s->received, (size_t)count))
            return false; /* a wrong byte: the client sees the session end, and says so */
        s->received += (uint64_t)count;
        s->begin = 0;
        s->end = (size_t)count;
    }
    ssize_t sent = send(s->fd, s->bytes + s->begin, s->end - s->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    s->begin += (size_t)sent;
    return true;
}

/* One process without children for all sessions: to freeze a VM is to freeze the processes one knows. */
static inline int probe_tcp_server(uint16_t port) {
    static struct echoed_session sessions[SESSIONS_MAX];
    struct pollfd watched[1 + SESSIONS_MAX];
    int count = 0, listener = open_server(SOCK_STREAM, port);
    if (listen(listener, SESSIONS_MAX) != 0)
        die("listen on port %u", port);
    sigset_t mask = catch_signals();
    announce_ready();
    while (!stop_asked) {
        watched[0] = (struct pollfd){.fd = count < SESSIONS_MAX ? listener : -1, .events = POLLIN};
        for (int i = 0; i < count; i++) {
            bool pending = sessions[i].begin < sessions[i].end;
            watched[1 + i] = (struct pollfd){.fd = sessions[i].fd, .events = pending ? POLLOUT : POLLIN};
        }
        if (ppoll(watched, (nfds_t)(1 + count), NULL, &mask) < 0)
            continue;
        for (int i = count - 1; i >= 0; i--)
            if (watched[1 + i].revents && !serve(&sessions[i])) {
                close(sessions[i].fd);
                sessions[i] = sessions[--count];
            }
        if (watched[0].revents) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd >= 0) {
                no_delay(fd);
                sessions[count].fd = fd;
                sessions[count].received = sessions[count].begin = sessions[count].end = 0;
                count++;
            }
        }
    }
    return 0;
}

/* -- client ------------------------------------------------------------------------------ */

struct client_options {
    const char *to, *port, *out, *bind;
    double rate_kbps;
    uint64_t deadline_ms; /* without an echoed byte; twice that to connect */
};

struct client {
    int fd;
    bool connected, intact, alive;
    uint64_t connected_at_ns, connect_took_ns;
    uint64_t sent, echoed;
    uint64_t progress_ns;                           /* monotonic: last echo, or when bytes became outstanding */
    uint64_t longest_stall_ns, longest_stall_end_ns; /* the end in real time */
    uint64_t recent_stall_ns;                       /* since the last checkpoint */
    unsigned checkpoints;
    char error[128];
};

static inline void fail(struct client *c, const char *reason) {
    if (!*c->error)
        snprintf(c->error, sizeof c->error, "%s", reason);
}

static inline void note_stall(struct client *c, uint64_t now) {
    uint64_t stall = now - c->progress_ns;
    if (stall > c->recent_stall_ns)
        c->recent_stall_ns = stall;
    if (stall > c->longest_stall_ns) {
        c->longest_stall_ns = stall;
        c->longest_stall_end_ns = realtime_ns();
    }
}

static inline void take_echo(struct client *c) {
    uint8_t bytes[CHUNK];
    ssize_t count = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail(c, strerror(errno));
        return;
    }
    if (count == 0) {
        fail(c, "the server ended the session");
        return;
    }
    if (!pattern_holds(bytes, c->echoed, (size_t)count) || c->echoed + (uint64_t)count > c->sent) {
        c->intact = false;
        fail(c, "an echoed byte is wrong");
    }
    uint64_t now = monotonic_ns();
    note_stall(c, now);
    c->progress_ns = now;
    c->echoed += (uint64_t)count;
}

static inline void stream(struct client *c, uint64_t limit) {
    uint8_t bytes[CHUNK];
    while (c->sent < limit && !*c->error) {
        size_t length = limit - c->sent < CHUNK ? (size_t)(limit - c->sent) : CHUNK;
        pattern_fill(bytes, c->sent, length);
        ssize_t count = send(c->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0) {
            if (errno != EAGAIN && errno != EINTR)
                fail(c, strerror(errno));
            return;
        }
        if (c->sent == c->echoed)
            c->progress_ns = monotonic_ns(); /* nothing was outstanding: a stall begins now at the earliest */
        c->sent += (uint64_t)count;
    }
}

/* Sends up to `limit`, takes what comes, for at most `timeout_ns`. */
static inline void pump(struct client *c, uint64_t limit, uint64_t timeout_ns, const sigset_t *mask) {
    stream(c, limit);
    struct pollfd watched = {.fd = *c->error ? -1 : c->fd, .events = POLLIN};
    struct timespec timeout = ns_timespec(timeout_ns);
    if (ppoll(&watched, 1, &timeout, mask) > 0)
        take_echo(c);
}

/* The last request and its echo: everything outstanding must come back as well. As long as something does, it is waited
 * for: on a slow machine there may be much of it. */
static inline void exchange(struct client *c, const struct client_options *o, const sigset_t *mask) {
    uint64_t limit = c->sent + LAST_REQUEST, echoed = c->echoed, since = monotonic_ns();
    while (c->connected && !*c->error && c->echoed < limit && monotonic_ns() - since < o->deadline_ms * NS_PER_MS) {
        pump(c, limit, TICK_NS, mask);
        if (c->echoed != echoed) {
            echoed = c->echoed;
            since = monotonic_ns();
        }
    }
    c->alive = c->connected && !*c->error && c->echoed >= limit;
    if (c->connected && c->echoed < c->sent)
        note_stall(c, monotonic_ns());
}

static inline void write_client(const struct client *c, const char *path) {
    struct output out = output_open(path);
    fprintf(out.file,
            "{\"connected\": %s, \"connected_at_ns\": %" PRIu64 ", \"connect_ms\": %.3f, \"bytes_sent\": %" PRIu64
            ", \"bytes_echoed\": %" PRIu64 ", \"intact\": %s, \"alive\": %s, \"longest_stall_ms\": %.3f"
            ", \"longest_stall_end_ns\": %" PRIu64 ", \"recent_stall_ms\": %.3f, \"checkpoints\": %u, \"error\": ",
            c->connected ? "true" : "false", c->connected_at_ns, (double)c->connect_took_ns / 1e6, c->sent, c->echoed,
            c->intact ? "true" : "false", c->alive ? "true" : "false", (double)c->longest_stall_ns / 1e6,
            c->longest_stall_end_ns, (double)c->recent_stall_ns / 1e6, c->checkpoints);
    json_string(out.file, c->error);
    fputs("}\n", out.file);
    output_commit(&out);
}

static inline void checkpoint(struct client *c, const struct client_options *o, const sigset_t *mask) {
    exchange(c, o, mask);
    c->checkpoints++;
    write_client(c, o->out);
    c->recent_stall_ns = 0;
}

static inline void connect_client(struct client *c, const struct client_options *o) {
    struct peer to = resolve(o->to, o->port, SOCK_STREAM);
    c->fd = socket(to.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket");
    no_delay(c->fd);
    if (o->bind) {
        struct peer from = resolve(o->bind, "0", SOCK_STREAM);
        if (bind(c->fd, (struct sockaddr *)&from.address, from.length) != 0)
            die("bind to %s", o->bind);
    }
    uint64_t begin = monotonic_ns();
    int problem = connect(c->fd, (struct sockaddr *)&to.address, to.length) == 0 ? 0 : errno;
    if (problem == EINPROGRESS) {
        struct pollfd watched = {.fd = c->fd, .events = POLLOUT};
        socklen_t size = sizeof problem;
        if (poll(&watched, 1, 2 * (int)o->deadline_ms) > 0)
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
        else
            problem = ETIMEDOUT;
    }
    errno = 0;
    c->connect_took_ns = monotonic_ns() - begin;
    c->connected_at_ns = realtime_ns();
    c->connected = problem == 0;
    if (problem)
        fail(c, strerror(problem));
}

/* `ready` says that the session is open and has carried a first request; where that fails, the file
 * says why and the exit status is 1. */
static inline int probe_tcp_client(const struct client_options *o) {
    struct client c = {.intact = true};
    connect_client(&c, o);
    sigset_t mask = catch_signals();
    exchange(&c, o, &mask);
    if (!c.alive) {
        fail(&c, "no answer to the first request");
        write_client(&c, o->out);
        return 1;
    }
    c.longest_stall_ns = c.longest_stall_end_ns = c.recent_stall_ns = 0;
    announce_ready();
    const double bytes_per_ns = o->rate_kbps * 1000 / 8 / 1e9;
    double allowance = 0;
    for (uint64_t last = monotonic_ns(); !stop_asked;) {
        uint64_t now = monotonic_ns();
        allowance += (double)(now - last) * bytes_per_ns;
        if (allowance > BURST_MAX)
            allowance = BURST_MAX;
        last = now;
        uint64_t before = c.sent;
        pump(&c, c.sent + (uint64_t)allowance, TICK_NS, &mask);
        allowance -= (double)(c.sent - before);
        if (snapshot_asked) {
            snapshot_asked = 0;
            checkpoint(&c, o, &mask);
            last = monotonic_ns();
        }
    }
    checkpoint(&c, o, &mask);
    return 0;
}

#endif
