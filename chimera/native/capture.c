/* capture: many interfaces in many network namespaces, written to pcapng files by one process.
 *
 *   capture --spec NETNS_PATH:INTERFACE:FILE[:SNAPLEN] … [--skip-tcp-port P …] [--ring-kb 4096]
 *
 * FILE exists and holds the Section Header, Name Resolution and Interface Description Blocks that
 * chimera/wire/pcapng.py wrote; this appends Enhanced Packet Blocks (ns resolution, direction flag).
 * Specs that name the same FILE are its interfaces 0, 1, … in the order given. VLAN tags that the kernel
 * took off are put back. NETNS_PATH "-" is the process's own namespace.
 *
 * --ring-kb is what is kept for each interface until it is written: 64 blocks, of which each must hold a whole frame; what
 * it does not hold is cut off.
 *
 * --skip-tcp-port leaves TCP segments from or to a port out, tagged or not, IPv4 or IPv6, in the
 * kernel: for captures that are to be analysed while a bulk stream passes. GSO frames are
 * captured as they pass the interface.
 *
 * `ready` on stdout when every interface is watched. SIGUSR1 writes all that was captured into the files and
 * says `written`; SIGTERM does so, too, and ends it with one line of JSON: captured and dropped frames for each spec.
 *
 * The block: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html, section 4.3.
 */
#include "common.h"
#include "ring.h"

#include <pcap/pcap.h>

#define PORTS_MAX 4
#define SNAPLEN_MAX 262144
#define FILE_BUFFER (64 << 10)
#define BLOCKS 64

struct file {
    const char *path;
    FILE *stream;
    uint32_t interfaces;
};

struct spec {
    const char *netns, *interface, *path;
    uint32_t snaplen, number;
    struct bpf_program program;
    struct file *file;
    struct ring ring;
    uint64_t frames;
};

/* -- the filter -------------------------------------------------------------------------- */

/* A pcap-filter(7) expression: no TCP on the ports, whether or not a tag stands before it. */
static char *expression(const uint16_t *ports, int count) {
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        die("no memory for a filter");
    for (int tagged = 0; count && tagged < 2; tagged++) {
        fputs(tagged ? " and not (vlan and (" : "not (", out);
        for (int i = 0; i < count; i++)
            fprintf(out, "%stcp port %u", i ? " or " : "", ports[i]);
        fputs(tagged ? "))" : ")", out);
    }
    fclose(out);
    return text;
}

/* Compiled by libpcap; what it accepts is cut to the snap length. */
static struct bpf_program build_filter(const char *expression, uint32_t snaplen) {
    struct bpf_program program;
    pcap_t *ethernet = pcap_open_dead(DLT_EN10MB, (int)snaplen);
    if (!ethernet || pcap_compile(ethernet, &program, expression, 1, PCAP_NETMASK_UNKNOWN) != 0)
        die("the filter '%s' does not compile: %s", expression, ethernet ? pcap_geterr(ethernet) : "no memory");
    pcap_close(ethernet);
    return program;
}

/* -- pcapng ------------------------------------------------------------------------------ */

static uint32_t padded(uint32_t length) { return (length + 3) & ~3u; }

static void put_frame_bytes(FILE *f, const struct captured *frame, uint32_t kept, uint32_t tag) {
    static const uint8_t zeros[4];
    if (tag && kept >= MAC_PAIR_BYTES + tag) {
        uint16_t inserted[2] = {htons(frame->tpid), htons(frame->tci)};
        fwrite(frame->data, 1, MAC_PAIR_BYTES, f);
        fwrite(inserted, 1, tag, f);
        fwrite(frame->data + MAC_PAIR_BYTES, 1, kept - tag - MAC_PAIR_BYTES, f);
    } else
        fwrite(frame->data, 1, kept, f);
    fwrite(zeros, 1, padded(kept) - kept, f);
}

static void put_frame(void *context, const struct captured *frame) {
    struct spec *s = context;
    uint32_t tag = frame->tpid && frame->length >= MAC_PAIR_BYTES ? VLAN_TAG_BYTES : 0;
    uint32_t kept = frame->length + tag;
    struct { /* in host byte order: the Section Header, written by the same machine, tells which */
        uint32_t type, total, interface, time_high, time_low, captured, original;
    } head = {6,
              32 + padded(kept) + 12,
              s->number,
              (uint32_t)(frame->time_ns >> 32),
              (uint32_t)frame->time_ns,
              kept,
              frame->wire_length + tag};
    struct {
        uint16_t code, length;
        uint32_t flags;
        uint16_t end_code, end_length;
        uint32_t total;
    } tail = {2, 4, frame->packet_type == PACKET_OUTGOING ? 2 : 1, 0, 0, head.total};
    fwrite(&head, sizeof head, 1, s->file->stream);
    put_frame_bytes(s->file->stream, frame, kept, tag);
    fwrite(&tail, sizeof tail, 1, s->file->stream);
    s->frames++;
}

/* -- set-up and loop --------------------------------------------------------------------- */

static struct spec parse_spec(char *text) {
    struct spec s = {.snaplen = SNAPLEN_MAX};
    s.netns = strsep(&text, ":");
    s.interface = text ? strsep(&text, ":") : NULL;
    s.path = text ? strsep(&text, ":") : NULL;
    if (!s.path || !*s.interface || !*s.path)
        usage_error("capture: --spec needs NETNS_PATH:INTERFACE:FILE[:SNAPLEN]");
    if (text)
        s.snaplen = (uint32_t)parse_number("SNAPLEN", text, 64, SNAPLEN_MAX);
    return s;
}

static struct file *file_of(struct file *files, const char *path) {
    struct file *f = files;
    while (f->path && strcmp(f->path, path))
        f++;
    if (!f->path) {
        f->path = path;
        f->stream = fopen(path, "r+b"); /* it must be there: a pcapng without its header cannot be read */
        if (!f->stream || fseek(f->stream, 0, SEEK_END) != 0 || ftell(f->stream) < 28)
            die("%s has no pcapng header", path);
        setvbuf(f->stream, NULL, _IOFBF, FILE_BUFFER);
    }
    return f;
}

static void flush(struct spec *specs, int count) {
    await_retirement();
    for (int i = 0; i < count; i++)
        drain(&specs[i].ring, put_frame, &specs[i]);
    for (int i = 0; i < count; i++)
        if (fflush(specs[i].file->stream) != 0 || ferror(specs[i].file->stream))
            die("cannot write %s", specs[i].path);
}

static void report(struct spec *specs, int count) {
    fputs("{\"captures\": [", stdout);
    for (int i = 0; i < count; i++) {
        fputs(i ? ", {\"file\": " : "{\"file\": ", stdout);
        json_string(stdout, specs[i].path);
        fputs(", \"interface\": ", stdout);
        json_string(stdout, specs[i].interface);
        printf(", \"frames\": %" PRIu64 ", \"dropped\": %" PRIu64 "}", specs[i].frames, ring_dropped(&specs[i].ring));
    }
    puts("]}");
    fflush(stdout);
}

/* Has the files hold all that passed until now, and says so. */
static void snapshot(struct spec *specs, int count) {
    snapshot_asked = 0;
    flush(specs, count);
    puts("written");
    fflush(stdout);
}

static void watch(struct spec *specs, int count, const sigset_t *mask) {
    struct pollfd *watched = allocate((size_t)count * sizeof *watched);
    for (int i = 0; i < count; i++)
        watched[i] = (struct pollfd){.fd = specs[i].ring.fd, .events = POLLIN};
    while (!stop_asked) {
        if (ppoll(watched, (nfds_t)count, NULL, mask) > 0)
            for (int i = 0; i < count; i++)
                if (watched[i].revents) {
                    clear_error(watched[i].fd);
                    drain(&specs[i].ring, put_frame, &specs[i]);
                }
        if (snapshot_asked)
            snapshot(specs, count);
    }
    free(watched);
}

/* Bytes of a block of a ring of `ring_kb`: a power of two. */
static unsigned ring_block(double ring_kb) {
    unsigned bytes = 4096;
    while (bytes * 2.0 * BLOCKS <= ring_kb * 1024)
        bytes *= 2;
    return bytes;
}

int main(int argc, char **argv) {
    struct spec *specs = allocate((size_t)argc * sizeof *specs);
    struct file *files = allocate((size_t)(argc + 1) * sizeof *files);
    uint16_t ports[PORTS_MAX];
    int count = 0, port_count = 0;
    struct ring_size size = {.block_bytes = (4096 << 10) / BLOCKS, .blocks = BLOCKS};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = option_value(argc, argv, &i);
        if (!strcmp(name, "--spec"))
            specs[count++] = parse_spec((char *)value);
        else if (!strcmp(name, "--skip-tcp-port") && port_count < PORTS_MAX)
            ports[port_count++] = (uint16_t)parse_number(name, value, 1, 65535);
        else if (!strcmp(name, "--ring-kb"))
            size.block_bytes = ring_block(parse_number(name, value, 256, 1 << 20));
        else
            usage_error("capture: unexpected '%s %s'", name, value);
    }
    if (!count)
        usage_error("capture needs a --spec");
    char *wanted = expression(ports, port_count);
    struct opening *openings = allocate((size_t)count * sizeof *openings);
    for (int i = 0; i < count; i++) {
        struct spec *spec = &specs[i];
        spec->program = build_filter(wanted, spec->snaplen);
        spec->file = file_of(files, spec->path);
        spec->number = spec->file->interfaces++;
        struct sock_fprog filter = {
            .len = (uint16_t)spec->program.bf_len, .filter = (struct sock_filter *)spec->program.bf_insns};
        openings[i] = (struct opening){spec->netns, spec->interface, size, true, filter, &spec->ring};
    }
    free(wanted);
    open_rings(openings, count);
    for (int i = 0; i < count; i++)
        pcap_freecode(&specs[i].program);
    sigset_t mask = catch_signals();
    announce_ready();
    watch(specs, count, &mask);
    flush(specs, count);
    report(specs, count);
    close_rings(openings, count);
    return 0;
}
