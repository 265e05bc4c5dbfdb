/* delayline: what netem does, in user space, for kernels without netem.
 *
 *   delayline IFA IFB [--fwd IMPAIRMENT] [--bwd IMPAIRMENT] [--queue-packets N] [--seed S] [--no-realtime]
 *   IMPAIRMENT: bandwidth_mbps=M,delay_ms=D,jitter_ms=J,loss=PERCENT   (each optional, 0 = none)
 *
 * One process is one cable: a frame that arrives on IFA leaves on IFB as `fwd` says, and the reverse as
 * `bwd` says. Both interfaces stand in the process's own network namespace.
 *
 *   arrival --loss?--> queue (at most N frames, tail drop) --bandwidth--> pipe (delay +- jitter) --> departure
 *
 * - Bandwidth counts layer-2 frame bytes, as netem's `rate` does (no preamble, gap or FCS).
 * - The queue holds frames that wait for the transmitter; frames in the pipe do not count, so what
 *   the line can hold is the bandwidth-delay product plus N frames, whatever the delay.
 * - Jitter is uniform in [-J, +J] and never reorders: a frame leaves no earlier than the one before it.
 * - Delay counts from the kernel's receive stamp: waking up late costs nothing while delay remains.
 * - 802.1Q and 802.1ad tags, which the kernel moves into auxiliary data, are put back.
 * - Partial checksums and GSO frames pass intact (virtio_net_hdr on both sides); a GSO frame occupies the
 *   transmitter for the bytes of all its segments.
 * - An interface that goes down loses its frames and works again when it is up.
 *
 * Commands on stdin, one a line (DIRECTION is fwd or bwd):
 *   cut [DIRECTION]            lose everything, also what is in the line
 *   restore [DIRECTION]
 *   set DIRECTION IMPAIRMENT   the keys given; the others stay
 *   stats                      answers one line of JSON
 * End of file on stdin changes nothing. `ready` on stdout says that frames pass. SIGTERM ends it.
 */
#include "common.h"
#include "delay.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#define BATCH 64
#define FRAME_MAX (65536 + 256) /* a GSO frame and its headers */
#define SOCKET_BUFFER (32 << 20)

static struct direction directions[2] = {{.name = "fwd"}, {.name = "bwd"}};

/* -- receiving ------------------------------------------------------------------------- */

static unsigned char receive_buffers[BATCH][FRAME_MAX];
static struct mmsghdr receive_messages[BATCH];
static struct iovec receive_vectors[BATCH];
static union {
    char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata)) + CMSG_SPACE(sizeof(struct timespec))];
    struct cmsghdr aligned;
} receive_controls[BATCH];

static struct reception read_control(struct msghdr *message) {
    struct reception found = {0};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
            struct tpacket_auxdata aux;
            memcpy(&aux, CMSG_DATA(c), sizeof aux);
            found.tagged = aux.tp_status & TP_STATUS_VLAN_VALID;
            found.tci = aux.tp_vlan_tci;
            found.tpid = aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETHERTYPE_VLAN;
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            found.realtime_ns = timespec_ns(&stamp);
        }
    }
    return found;
}

/* Empties the socket as far as one batch goes; an interface that is down yields nothing. */
static void receive(struct direction *d) {
    for (int i = 0; i < BATCH; i++) {
        receive_vectors[i] = (struct iovec){receive_buffers[i], FRAME_MAX};
        receive_messages[i].msg_hdr = (struct msghdr){.msg_iov = &receive_vectors[i],
                                                      .msg_iovlen = 1,
                                                      .msg_control = &receive_controls[i],
                                                      .msg_controllen = sizeof receive_controls[i]};
    }
    int count = recvmmsg(d->in, receive_messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
    uint64_t now = monotonic_ns();
    uint64_t epoch = realtime_ns() - now; /* kernel stamps are real time, which may step: convert at once */
    for (int i = 0; i < count; i++) {
        size_t length = receive_messages[i].msg_len;
        if (length > FRAME_MAX || length < sizeof(struct virtio_net_hdr) + ETHER_HDR_LEN) {
            d->counters.dropped_send++;
            continue;
        }
        struct reception how = read_control(&receive_messages[i].msg_hdr);
        uint64_t arrival = how.realtime_ns ? how.realtime_ns - epoch : now;
        if (arrival > now || now - arrival > NS_PER_S)
            arrival = now;
        enter(d, receive_buffers[i], length, &how, arrival, now);
    }
}

/* -- departure --------------------------------------------------------------------------- */

/* Sends what is due, a batch at a time. Returns false where the socket is full: try again a little later. */
static bool release(struct direction *d) {
    static struct mmsghdr messages[BATCH];
    static struct iovec vectors[BATCH];
    for (;;) {
        uint64_t now = monotonic_ns();
        note_transmissions(d, now);
        unsigned count = 0;
        for (struct frame *f = d->head; f && f->due_ns <= now && count < BATCH; f = f->next, count++) {
            vectors[count] = (struct iovec){f->data, f->length};
            messages[count].msg_hdr = (struct msghdr){.msg_iov = &vectors[count], .msg_iovlen = 1};
        }
        if (count == 0)
            return true;
        int sent = sendmmsg(d->out, messages, count, MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN)
            return false;
        if (sent < 0) { /* down, or longer than its MTU: the frame is lost, the line goes on */
            d->counters.dropped_send++;
            drop_head(d);
        }
        for (int i = 0; i < sent; i++) {
            count_departure(d, d->head, now);
            drop_head(d);
        }
    }
}

/* -- commands ---------------------------------------------------------------------------- */

/* Changes the keys that `text` names. Returns a static message where it is not well-formed, else NULL. */
static const char *parse_impairment(struct impairment *changed, char *text) {
    struct impairment result = *changed;
    for (char *rest = text, *part; (part = strsep(&rest, ", ")) != NULL;) {
        if (!*part)
            continue;
        char *value = strchr(part, '=');
        char *end = value;
        double number = value ? strtod(value + 1, &end) : 0;
        if (!value || end == value + 1 || *end || !(number >= 0 && number <= 1e9))
            return "an impairment is KEY=NUMBER,…";
        *value = 0;
        if (!strcmp(part, "bandwidth_mbps"))
            result.bandwidth_mbps = number;
        else if (!strcmp(part, "delay_ms"))
            result.delay_ms = number;
        else if (!strcmp(part, "jitter_ms"))
            result.jitter_ms = number;
        else if (!strcmp(part, "loss") || !strcmp(part, "loss_percent"))
            result.loss_percent = number;
        else
            return "the keys are bandwidth_mbps, delay_ms, jitter_ms and loss";
    }
    *changed = result;
    return NULL;
}

static void note_kernel_drops(struct direction *d) {
    struct tpacket_stats statistics; /* reading them resets them */
    socklen_t size = sizeof statistics;
    if (getsockopt(d->in, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0)
        d->counters.dropped_kernel += statistics.tp_drops;
}

static void print_direction(struct direction *d) {
    note_kernel_drops(d);
    const struct counters *c = &d->counters;
    printf("\"%s\": {\"frames\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"dropped_loss\": %" PRIu64
           ", \"dropped_queue\": %" PRIu64 ", \"dropped_cut\": %" PRIu64 ", \"dropped_send\": %" PRIu64
           ", \"dropped_kernel\": %" PRIu64 ", \"queue_max\": %" PRIu64 ", \"late\": %" PRIu64
           ", \"late_mean_us\": %.1f, \"late_max_us\": %.1f}",
           d->name, c->frames, c->bytes, c->dropped_loss, c->dropped_queue, c->dropped_cut, c->dropped_send,
           c->dropped_kernel, c->queue_max, c->late, c->frames ? (double)c->late_sum_ns / 1e3 / (double)c->frames : 0.0,
           (double)c->late_max_ns / 1e3);
}

static void print_stats(void) {
    putchar('{');
    print_direction(&directions[0]);
    fputs(", ", stdout);
    print_direction(&directions[1]);
    puts("}");
    fflush(stdout);
}

static struct direction *direction_named(const char *name) {
    for (int i = 0; name && i < 2; i++)
        if (!strcmp(name, directions[i].name))
            return &directions[i];
    return NULL;
}

static const char *execute(char *line) {
    const char *verb = strsep(&line, " ");
    if (!strcmp(verb, "stats")) {
        print_stats();
        return NULL;
    }
    if (!strcmp(verb, "set")) {
        struct direction *d = direction_named(line ? strsep(&line, " ") : NULL);
        return d && line ? parse_impairment(&d->impairment, line) : "set needs fwd or bwd, and an impairment";
    }
    if (!strcmp(verb, "cut") || !strcmp(verb, "restore")) {
        if (line && !direction_named(line))
            return "a direction is fwd or bwd";
        for (int i = 0; i < 2; i++)
            if (!line || !strcmp(line, directions[i].name))
                set_cut(&directions[i], verb[0] == 'c');
        return NULL;
    }
    return *verb ? "the commands are cut, restore, set and stats" : NULL;
}

/* Reads what is there and executes whole lines. Returns false at the end of the file. */
static bool read_commands(void) {
    static char pending[4096];
    static size_t length;
    ssize_t count = read(STDIN_FILENO, pending + length, sizeof pending - 1 - length);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (count <= 0)
        return false;
    length += (size_t)count;
    pending[length] = 0;
    char *start = pending;
    for (char *end; (end = strchr(start, '\n')) != NULL; start = end + 1) {
        *end = 0;
        const char *complaint = execute(start);
        if (complaint)
            fprintf(stderr, "delayline: %s\n", complaint);
    }
    length = start == pending && length == sizeof pending - 1 ? 0 : length - (size_t)(start - pending);
    memmove(pending, start, length);
    return true;
}

/* -- set-up and loop --------------------------------------------------------------------- */

static void set_option(int fd, int level, int option, int value, const char *name) {
    if (setsockopt(fd, level, option, &value, sizeof value) != 0)
        die("%s", name);
}

static void set_buffer(int fd, int forced, int ordinary) {
    int size = SOCKET_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof size) != 0) /* needs CAP_NET_ADMIN of the first namespace */
        setsockopt(fd, SOL_SOCKET, ordinary, &size, sizeof size);
    errno = 0;
}

static int open_interface(const char *name) {
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    address.sll_ifindex = (int)if_nametoindex(name);
    if (!address.sll_ifindex)
        die("interface %s", name);
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("packet socket");
    set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING");
    set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR");
    set_option(fd, SOL_PACKET, PACKET_AUXDATA, 1, "PACKET_AUXDATA");
    set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS");
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    struct packet_mreq promiscuous = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) != 0)
        die("promiscuous mode of %s", name);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("bind to %s", name);
    return fd;
}

/* How long nothing needs doing: until the next departure; forever (NULL) where the line is empty. */
static struct timespec *until_next(struct timespec *timeout, bool blocked) {
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < 2; i++)
        if (directions[i].head && directions[i].head->due_ns < next)
            next = directions[i].head->due_ns;
    if (next == UINT64_MAX)
        return NULL;
    uint64_t now = monotonic_ns();
    if (blocked && next < now + 50 * NS_PER_US)
        next = now + 50 * NS_PER_US;
    *timeout = ns_timespec(next > now ? next - now : 0);
    return timeout;
}

__attribute__((noreturn)) static void run(void) {
    struct pollfd watched[3] = {{.fd = directions[0].in, .events = POLLIN},
                                {.fd = directions[1].in, .events = POLLIN},
                                {.fd = STDIN_FILENO, .events = POLLIN}};
    bool blocked = false;
    for (;;) {
        struct timespec timeout;
        if (ppoll(watched, 3, until_next(&timeout, blocked), NULL) < 0 && errno != EINTR)
            die("ppoll");
        for (int i = 0; i < 2; i++)
            if (watched[i].revents) /* POLLERR too: reading takes the ENETDOWN away */
                receive(&directions[i]);
        blocked = !release(&directions[0]);
        blocked |= !release(&directions[1]);
        if (watched[2].revents && !read_commands())
            watched[2].fd = -1;
    }
}

int main(int argc, char **argv) {
    const char *interfaces[2];
    int found = 0;
    bool realtime = true;
    uint64_t seed = realtime_ns();
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--fwd") || !strcmp(argv[i], "--bwd")) {
            struct direction *d = direction_named(argv[i] + 2);
            const char *complaint = parse_impairment(&d->impairment, (char *)option_value(argc, argv, &i));
            if (complaint)
                usage_error("delayline: %s", complaint);
        } else if (!strcmp(argv[i], "--queue-packets"))
            queue_packets = (uint64_t)parse_number("--queue-packets", option_value(argc, argv, &i), 1, 1e6);
        else if (!strcmp(argv[i], "--seed"))
            seed = (uint64_t)parse_number("--seed", option_value(argc, argv, &i), 0, 9e15);
        else if (!strcmp(argv[i], "--no-realtime"))
            realtime = false;
        else if (argv[i][0] != '-' && found < 2)
            interfaces[found++] = argv[i];
        else
            usage_error("delayline: unexpected argument '%s'", argv[i]);
    }
    if (found != 2)
        usage_error("usage: delayline IFA IFB [--fwd IMPAIRMENT] [--bwd IMPAIRMENT] [--queue-packets N] [--seed S]");
    int first = open_interface(interfaces[0]), second = open_interface(interfaces[1]);
    directions[0].in = directions[1].out = first;
    directions[0].out = directions[1].in = second;
    directions[0].random = seed;
    directions[1].random = ~seed;
    become_punctual(realtime);
    announce_ready();
    run();
}
