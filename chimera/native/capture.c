/* capture: many interfaces in many network namespaces, written to pcapng files by one process.
 *
 *   capture --spec NETNS_PATH:INTERFACE:FILE[:SNAPLEN] … [--skip-tcp-port P …] [--ring-kb 4096]
 *
 * FILE exists and holds the Section Header, Name Resolution and Interface Description Blocks that
 * chimera/measure/pcapng.py wrote; this appends Enhanced Packet Blocks (ns resolution, direction flag).
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
 * `ready` on stdout when every interface is watched. SIGUSR1 writes all that was captured so far into the
 * files and prints `flushed`. SIGTERM does the same and ends it with one line of JSON: captured and dropped frames
 * for each spec.
 *
 * The block: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html, section 4.3.
 */
#include "common.h"
#include "ring.h"

#define PORTS_MAX 4
#define PROGRAM_MAX 128
#define SNAPLEN_MAX 262144
#define FILE_BUFFER (64 << 10)
#define BLOCKS 64

struct file {
    const char *path;
    FILE *stream;
    uint32_t interfaces;
};

/* Classic BPF whose jumps to the two ends are patched when their place is known. */
struct program {
    struct sock_filter code[PROGRAM_MAX];
    uint16_t length;
};

struct spec {
    const char *netns, *interface, *path;
    uint32_t snaplen, number;
    struct program program;
    struct file *file;
    struct ring ring;
    uint64_t frames;
};

/* -- the filter -------------------------------------------------------------------------- */

enum { NEXT = 0, ACCEPT = 254, DROP = 255 };

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false) {
    if (p->length >= PROGRAM_MAX)
        usage_error("capture: too many ports to skip");
    p->code[p->length++] = (struct sock_filter)BPF_JUMP(code, k, if_true, if_false);
}

static void emit_ports(struct program *p, uint16_t load, uint32_t at, const uint16_t *ports, int count) {
    for (uint32_t side = 0; side < 2; side++) {
        emit(p, BPF_LD | BPF_H | load, at + 2 * side, NEXT, NEXT);
        for (int i = 0; i < count; i++)
            emit(p, BPF_JMP | BPF_JEQ | BPF_K, ports[i], DROP, NEXT);
    }
    emit(p, BPF_RET | BPF_K, UINT32_MAX, NEXT, NEXT); /* length patched to the snap length, as at ACCEPT */
}

/* Frames whose network header starts at `at`: drops TCP on the ports, accepts the rest. */
static void emit_skip(struct program *p, uint32_t at, const uint16_t *ports, int count) {
    emit(p, BPF_LD | BPF_H | BPF_ABS, at - 2, NEXT, NEXT);
    uint16_t to_six = p->length;
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IP, NEXT, NEXT);
    emit(p, BPF_LD | BPF_B | BPF_ABS, at + 9, NEXT, NEXT);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, NEXT, ACCEPT);
    emit(p, BPF_LD | BPF_H | BPF_ABS, at + 6, NEXT, NEXT);
    emit(p, BPF_JMP | BPF_JSET | BPF_K, 0x1fff, ACCEPT, NEXT); /* a later fragment has no ports */
    emit(p, BPF_LDX | BPF_B | BPF_MSH, at, NEXT, NEXT);
    emit_ports(p, BPF_IND, at, ports, count);
    p->code[to_six].jf = (uint8_t)(p->length - to_six - 1);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, NEXT, ACCEPT);
    emit(p, BPF_LD | BPF_B | BPF_ABS, at + 6, NEXT, NEXT);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, NEXT, ACCEPT);
    emit_ports(p, BPF_ABS, at + 40, ports, count);
}

static void patch(struct program *p, uint32_t snaplen) {
    uint16_t accept = p->length, drop = (uint16_t)(p->length + 1);
    for (uint16_t i = 0; i < p->length; i++) {
        struct sock_filter *s = &p->code[i];
        if (s->code == (BPF_RET | BPF_K))
            s->k = snaplen;
        if (BPF_CLASS(s->code) != BPF_JMP)
            continue;
        s->jt = s->jt == ACCEPT ? (uint8_t)(accept - i - 1) : s->jt == DROP ? (uint8_t)(drop - i - 1) : s->jt;
        s->jf = s->jf == ACCEPT ? (uint8_t)(accept - i - 1) : s->jf == DROP ? (uint8_t)(drop - i - 1) : s->jf;
    }
    emit(p, BPF_RET | BPF_K, snaplen, NEXT, NEXT);
    emit(p, BPF_RET | BPF_K, 0, NEXT, NEXT);
}

static struct program build_filter(const uint16_t *ports, int count, uint32_t snaplen) {
    struct program p = {0};
    if (count) {
        emit(&p, BPF_LD | BPF_H | BPF_ABS, MAC_PAIR_BYTES, NEXT, NEXT);
        emit(&p, BPF_JMP | BPF_JEQ | BPF_K, 0x88a8, 1, NEXT);
        uint16_t untagged = p.length;
        emit(&p, BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_VLAN, NEXT, NEXT);
        emit_skip(&p, ETHER_HDR_LEN + VLAN_TAG_BYTES, ports, count);
        p.code[untagged].jf = (uint8_t)(p.length - untagged - 1);
        emit_skip(&p, ETHER_HDR_LEN, ports, count);
    }
    patch(&p, snaplen);
    return p;
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
        if (snapshot_asked) {
            snapshot_asked = 0;
            flush(specs, count);
            puts("flushed");
            fflush(stdout);
        }
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
    struct opening *openings = allocate((size_t)count * sizeof *openings);
    for (int i = 0; i < count; i++) {
        struct spec *spec = &specs[i];
        spec->program = build_filter(ports, port_count, spec->snaplen);
        spec->file = file_of(files, spec->path);
        spec->number = spec->file->interfaces++;
        struct sock_fprog filter = {.len = spec->program.length, .filter = spec->program.code};
        openings[i] = (struct opening){spec->netns, spec->interface, size, true, filter, &spec->ring};
    }
    open_rings(openings, count);
    sigset_t mask = catch_signals();
    announce_ready();
    watch(specs, count, &mask);
    flush(specs, count);
    report(specs, count);
    close_rings(openings, count);
    return 0;
}
