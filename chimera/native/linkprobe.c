/* linkprobe: what an impaired link really gives, each direction by itself.
 *
 *   linkprobe NETNS_A:IF_A NETNS_B:IF_B [NETNS_A:IF_A NETNS_B:IF_B …] [--frames 200] [--interval-us 500]
 *             [--burst 300]
 *
 * Both ends of a lab's link stand on one machine and share one clock, so one-way figures are exact: the
 * receiver's kernel stamp minus the clock read before the send. All links are probed at once with small
 * frames at a fixed rate: delay, jitter (standard deviation of delay) and loss. Then bursts of big frames, sent
 * as fast as the sender can, give the bandwidth from the pace at which they arrive (least squares over
 * arrival times, first third left out because a token bucket starts full; the median of five bursts). Bursts of fast
 * links take turns, so that they do not measure each other.
 *
 * The frames have the local experimental EtherType 0x88B5 (IEEE 802) and go to 01:80:C2:00:00:0E, which
 * a bridge never forwards (IEEE 802.1Q, 8.6.3; Open vSwitch and Linux hold to it): they stay on their link even
 * when switches already run. Still, measure before the lab's own traffic starts: it would share the link.
 *
 * One line of JSON: {"links": [{"a": …, "b": …, "forward": {…}, "backward": {…}}]}; a figure that could
 * not be had is null. `limited_by_sender` true says that the burst was not faster than the link: the bandwidth
 * given is then a lower bound. The small frames are 1 Mbit/s by default: on a link as slow as that they wait for each
 * other, and a longer --interval-us is needed.
 */
#include "common.h"
#include "ring.h"

#include <net/ethernet.h>
#include <sys/ioctl.h>

#define ETHERTYPE_EXPERIMENTAL 0x88B5
#define SMALL_BYTES 64
#define BIG_BYTES 1514
#define FRAMES_MAX 100000
#define TRIAL_BURST 20
#define BURST_NS (30 * NS_PER_MS)     /* a slow link's burst is cut short to take about this long */
#define TOGETHER_MBPS 400.0           /* bursts run together while their links' rates add up to this */
#define PATIENCE_NS (600 * NS_PER_MS) /* for a first frame */

#define ROUNDS 5 /* odd: the median of the rounds stands, so that a stall of the machine does not */

enum phase { STEADY, TRIAL, BURST, PHASES = BURST + ROUNDS };

struct payload {
    struct ether_header ethernet;
    uint32_t run, flow, phase, sequence;
    uint64_t sent_ns;
} __attribute__((packed));

struct end {
    const char *name;
    int fd;
    uint8_t mac[6];
    uint32_t big_bytes;
};

/* One direction of one link. Times are nanoseconds since the run began. */
struct flow {
    struct end *from, *to;
    uint32_t number, sent[PHASES], received[PHASES];
    double *delays_ms;   /* of STEADY */
    double *arrivals_ns; /* of the phase at hand, TRIAL or later */
    double send_ns;      /* how long sending that phase's burst took */
    double mbps;         /* of that phase; in the end the median over the rounds; 0: not measured */
    double rounds_mbps[ROUNDS];
    uint32_t rounds_limited; /* rounds in which the sender was not faster than the link */
};

static uint64_t epoch_ns;
static enum phase current;
static struct flow *flows;
static uint32_t flow_count, frames = 200, burst = 300, interval_us = 500;

/* -- ends -------------------------------------------------------------------------------- */

static void describe_interface(struct end *e, const char *interface) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if (ioctl(e->fd, SIOCGIFHWADDR, &request) != 0)
        die("address of %s", e->name);
    memcpy(e->mac, request.ifr_hwaddr.sa_data, 6);
    if (ioctl(e->fd, SIOCGIFMTU, &request) != 0)
        die("MTU of %s", e->name);
    uint32_t frame = (uint32_t)request.ifr_mtu + ETHER_HDR_LEN;
    e->big_bytes = frame < BIG_BYTES ? frame : BIG_BYTES;
}

static struct end open_end(const char *name) {
    struct end e = {.name = name};
    char *copy = strdup(name), *interface = strchr(copy, ':');
    if (!interface)
        usage_error("linkprobe: '%s' is not NETNS:INTERFACE", name);
    *interface++ = 0;
    enter_namespace(copy);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_EXPERIMENTAL)};
    address.sll_ifindex = (int)if_nametoindex(interface);
    if (!address.sll_ifindex)
        die("interface %s", name);
    int on = 1, size = 16 << 20;
    struct packet_mreq promiscuous = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    e.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (e.fd < 0 || setsockopt(e.fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0 ||
        setsockopt(e.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0 ||
        setsockopt(e.fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) != 0 ||
        bind(e.fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("packet socket on %s", name);
    for (int forced = 0; forced < 2; forced++) {
        setsockopt(e.fd, SOL_SOCKET, forced ? SO_RCVBUFFORCE : SO_RCVBUF, &size, sizeof size);
        setsockopt(e.fd, SOL_SOCKET, forced ? SO_SNDBUFFORCE : SO_SNDBUF, &size, sizeof size);
    }
    describe_interface(&e, interface);
    errno = 0;
    enter_namespace("");
    free(copy);
    return e;
}

/* -- frames ------------------------------------------------------------------------------ */

static void send_frame(struct flow *f, enum phase phase, uint32_t length) {
    uint8_t bytes[BIG_BYTES] = {0};
    struct payload p = {.ethernet = {.ether_dhost = {0x01, 0x80, 0xc2, 0, 0, 0x0e},
                                     .ether_type = htons(ETHERTYPE_EXPERIMENTAL)},
                        .run = (uint32_t)getpid(),
                        .flow = f->number,
                        .phase = phase,
                        .sequence = f->sent[phase]++};
    memcpy(p.ethernet.ether_shost, f->from->mac, 6);
    p.sent_ns = realtime_ns();
    memcpy(bytes, &p, sizeof p);
    send(f->from->fd, bytes, length, MSG_DONTWAIT); /* a failure is a loss, and shows as one */
}

static void take(const struct payload *p, uint64_t stamp) {
    if (p->run != (uint32_t)getpid() || p->flow >= flow_count || p->phase != current)
        return; /* a straggler of an earlier phase counts as lost there */
    struct flow *f = &flows[p->flow];
    uint32_t index = f->received[p->phase];
    if (index >= f->sent[p->phase])
        return; /* duplicated on the way */
    f->received[p->phase]++;
    if (p->phase == STEADY)
        f->delays_ms[index] = (double)(int64_t)(stamp - p->sent_ns) / 1e6;
    else
        f->arrivals_ns[index] = (double)(stamp - epoch_ns);
}

static void receive_all(const struct end *e) {
    for (;;) {
        struct payload p;
        struct iovec vector = {&p, sizeof p};
        union {
            char bytes[CMSG_SPACE(sizeof(struct timespec))];
            struct cmsghdr aligned;
        } control;
        struct msghdr message = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(e->fd, &message, MSG_DONTWAIT);
        if (length < 0)
            return;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        if ((size_t)length < sizeof p || !c || c->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        struct timespec stamp;
        memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
        take(&p, timespec_ns(&stamp));
    }
}

/* Takes in what arrives until `deadline` (monotonic), or until one poll found something. */
static void listen_until(uint64_t deadline) {
    struct pollfd watched[flow_count];
    for (uint32_t i = 0; i < flow_count; i++)
        watched[i] = (struct pollfd){.fd = flows[i].to->fd, .events = POLLIN};
    uint64_t now = monotonic_ns();
    struct timespec timeout = ns_timespec(deadline > now ? deadline - now : 0);
    if (ppoll(watched, flow_count, &timeout, NULL) > 0)
        for (uint32_t i = 0; i < flow_count; i++)
            if (watched[i].revents)
                receive_all(flows[i].to);
}

static int ascending(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

/* How long a silence means that nothing more comes: from the delays seen. */
static uint64_t patience_ns(enum phase phase) {
    double longest = 0;
    for (uint32_t i = 0; i < flow_count; i++) {
        if (phase == STEADY && !flows[i].received[STEADY])
            return PATIENCE_NS;
        for (uint32_t k = 0; k < flows[i].received[STEADY]; k++)
            longest = flows[i].delays_ms[k] > longest ? flows[i].delays_ms[k] : longest;
    }
    return (uint64_t)(longest * 1.5e6) + 30 * NS_PER_MS;
}

static uint32_t outstanding(const struct flow *some, uint32_t count, enum phase phase) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += some[i].sent[phase] - some[i].received[phase];
    return sum;
}

/* Until every frame of the phase has arrived, or none came for so long that the rest is lost. */
static void await_arrivals(const struct flow *some, uint32_t count, enum phase phase) {
    uint64_t progress = monotonic_ns();
    for (uint32_t left = outstanding(some, count, phase); left;) {
        listen_until(monotonic_ns() + 5 * NS_PER_MS);
        uint32_t now_left = outstanding(some, count, phase);
        if (now_left < left)
            progress = monotonic_ns();
        else if (monotonic_ns() > progress + patience_ns(phase))
            return;
        left = now_left;
    }
}

/* -- phases ------------------------------------------------------------------------------ */

static void probe_steadily(void) {
    uint64_t start = monotonic_ns();
    for (uint32_t k = 0; k < frames; k++) {
        uint64_t when = start + k * interval_us * NS_PER_US;
        while (monotonic_ns() < when)
            listen_until(when);
        for (uint32_t i = 0; i < flow_count; i++)
            send_frame(&flows[i], STEADY, SMALL_BYTES);
    }
    await_arrivals(flows, flow_count, STEADY);
}

/* Bytes per nanosecond from arrival times: the least-squares slope of time over frame number. */
static double arrival_mbps(const struct flow *f, enum phase phase) {
    uint32_t first = f->received[phase] / 3, count = f->received[phase] - first;
    if (count < 5)
        return 0;
    double mean_x = (count - 1) / 2.0, mean_y = 0, covariance = 0, variance = 0;
    for (uint32_t k = 0; k < count; k++)
        mean_y += f->arrivals_ns[first + k] / count;
    for (uint32_t k = 0; k < count; k++) {
        covariance += (k - mean_x) * (f->arrivals_ns[first + k] - mean_y);
        variance += (k - mean_x) * (k - mean_x);
    }
    double ns_per_frame = covariance / variance;
    return ns_per_frame > 0 ? f->from->big_bytes * 8e3 / ns_per_frame : 0;
}

static uint32_t burst_size(const struct flow *f, enum phase phase) {
    double fits = f->mbps * (double)BURST_NS / 8e3 / f->from->big_bytes;
    if (phase == TRIAL || fits < TRIAL_BURST)
        return TRIAL_BURST;
    return fits > burst ? burst : (uint32_t)fits;
}

static void judge_burst(struct flow *f, enum phase phase) {
    double mbps = arrival_mbps(f, phase);
    double sender_mbps = f->sent[phase] * f->from->big_bytes * 8e3 / f->send_ns;
    if (phase == TRIAL)
        f->mbps = mbps;
    else
        f->rounds_mbps[phase - BURST] = mbps;
    f->rounds_limited += phase != TRIAL && mbps > sender_mbps / 1.3;
}

/* Sends the bursts of `count` flows one after the other and waits for all their frames. */
static void run_bursts(struct flow *some, uint32_t count, enum phase phase) {
    current = phase;
    for (uint32_t i = 0; i < count; i++) {
        if (!some[i].received[STEADY])
            continue; /* nothing passes this way */
        uint32_t size = burst_size(&some[i], phase);
        uint64_t begin = monotonic_ns();
        while (some[i].sent[phase] < size)
            send_frame(&some[i], phase, some[i].from->big_bytes);
        some[i].send_ns = (double)(monotonic_ns() - begin);
    }
    await_arrivals(some, count, phase);
    for (uint32_t i = 0; i < count; i++)
        if (some[i].received[phase])
            judge_burst(&some[i], phase);
}

/* The longest run of flows from `first` on whose bursts can go at the same time. */
static uint32_t together(uint32_t first) {
    double sum = flows[first].mbps;
    uint32_t count = 1;
    while (first + count < flow_count && (sum += flows[first + count].mbps) <= TOGETHER_MBPS)
        count++;
    return count;
}

static void measure_bandwidth(void) {
    run_bursts(flows, flow_count, TRIAL);
    for (uint32_t first = 0, count; first < flow_count; first += count) {
        count = together(first);
        for (uint32_t round = 0; round < ROUNDS; round++)
            run_bursts(&flows[first], count, BURST + round);
    }
    for (uint32_t i = 0; i < flow_count; i++) {
        qsort(flows[i].rounds_mbps, ROUNDS, sizeof(double), ascending);
        flows[i].mbps = flows[i].rounds_mbps[ROUNDS / 2];
    }
}

/* -- output ------------------------------------------------------------------------------ */

static void print_delays(struct flow *f) {
    uint32_t count = f->received[STEADY];
    if (!count) {
        fputs("\"delay_ms\": null, \"jitter_ms\": null", stdout);
        return;
    }
    double mean = 0, squares = 0;
    qsort(f->delays_ms, count, sizeof(double), ascending);
    for (uint32_t k = 0; k < count; k++)
        mean += f->delays_ms[k] / count;
    for (uint32_t k = 0; k < count; k++)
        squares += (f->delays_ms[k] - mean) * (f->delays_ms[k] - mean) / count;
    double deviation = squares; /* Newton: a square root without libm, so that `cc NAME.c` stays the whole build */
    for (int i = 0; i < 60 && deviation > 0; i++)
        deviation = (deviation + squares / deviation) / 2;
    printf("\"delay_ms\": %.4f, \"jitter_ms\": %.4f, \"delay_min_ms\": %.4f, \"delay_max_ms\": %.4f", mean, deviation,
           f->delays_ms[0], f->delays_ms[count - 1]);
    static const int percentiles[] = {5, 50, 95, 99};
    for (int i = 0; i < 4; i++)
        printf(", \"delay_p%d_ms\": %.4f", percentiles[i], f->delays_ms[(count - 1) * percentiles[i] / 100]);
}

static void print_flow(const char *name, struct flow *f) {
    printf("\"%s\": {\"sent\": %u, \"received\": %u, \"loss_percent\": %.3f, ", name, f->sent[STEADY],
           f->received[STEADY], 100.0 * (f->sent[STEADY] - f->received[STEADY]) / f->sent[STEADY]);
    print_delays(f);
    if (f->mbps > 0)
        printf(", \"bandwidth_mbps\": %.2f", f->mbps);
    else
        fputs(", \"bandwidth_mbps\": null", stdout);
    printf(", \"limited_by_sender\": %s}", f->rounds_limited > ROUNDS / 2 ? "true" : "false");
}

static void print_results(void) {
    fputs("{\"links\": [", stdout);
    for (uint32_t i = 0; i < flow_count; i += 2) {
        fputs(i ? ", {\"a\": " : "{\"a\": ", stdout);
        json_string(stdout, flows[i].from->name);
        fputs(", \"b\": ", stdout);
        json_string(stdout, flows[i].to->name);
        fputs(", ", stdout);
        print_flow("forward", &flows[i]);
        fputs(", ", stdout);
        print_flow("backward", &flows[i + 1]);
        putchar('}');
    }
    puts("]}");
}

static struct flow new_flow(struct end *from, struct end *to, uint32_t number) {
    uint32_t most = burst > TRIAL_BURST ? burst : TRIAL_BURST;
    return (struct flow){.from = from,
                         .to = to,
                         .number = number,
                         .delays_ms = allocate(frames * sizeof(double)),
                         .arrivals_ns = allocate(most * sizeof(double))};
}

int main(int argc, char **argv) {
    struct end *ends = allocate((size_t)argc * sizeof *ends);
    uint32_t count = 0;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (name[0] != '-' || name[1] != '-')
            ends[count++] = open_end(name);
        else if (!strcmp(name, "--frames"))
            frames = (uint32_t)parse_number(name, option_value(argc, argv, &i), 1, FRAMES_MAX);
        else if (!strcmp(name, "--interval-us"))
            interval_us = (uint32_t)parse_number(name, option_value(argc, argv, &i), 1, 1e6);
        else if (!strcmp(name, "--burst"))
            burst = (uint32_t)parse_number(name, option_value(argc, argv, &i), TRIAL_BURST, FRAMES_MAX);
        else
            usage_error("linkprobe: unexpected '%s'", name);
    }
    if (!count || count % 2)
        usage_error("usage: linkprobe NETNS_A:IF_A NETNS_B:IF_B … (ends come in pairs)");
    flows = allocate(count * sizeof *flows);
    for (flow_count = 0; flow_count < count; flow_count++)
        flows[flow_count] = new_flow(&ends[flow_count], &ends[flow_count ^ 1], flow_count);
    epoch_ns = realtime_ns();
    become_punctual(true);
    probe_steadily();
    measure_bandwidth();
    print_results();
    return 0;
}
