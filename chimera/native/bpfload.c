/* bpfload: load one eBPF object and attach its programs to interfaces of the namespace it runs in.
 *
 *   bpfload OBJECT FOLDER HOOK:INTERFACE:PROGRAM …      HOOK is xdp, ingress or egress
 *
 * Every map is pinned in FOLDER (of a bpffs), where the lab fills and reads it. Only the programs that are named are
 * loaded. XDP is the driver's own: the generic kind passes over frames that another program redirected, and those are
 * what a core made of programs sends. The driver takes that as a wish for GRO, too, whose merged segments no packet
 * socket could read: it is switched off again. What is attached goes with the interface. Exit status 1 and the
 * kernel's words where it refuses.
 */
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>

#define MOST_HOOKS 256

struct hook {
	char kind[8];
	char interface[IF_NAMESIZE];
	char program[64];
};

#define MOST_LINES 12

static char said[1 << 18]; /* what libbpf said: the verifier's reason stands near the end of it */
static size_t said_bytes;

static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	const char *end = said + said_bytes, *line = end;
	for (int lines = 0; line > said && lines <= MOST_LINES; line--)
		lines += line[-1] == '\n';
	fprintf(stderr, "\n%s", line);
	exit(1);
}

static int remember(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level != LIBBPF_WARN)
		return 0;
	int bytes = vsnprintf(said + said_bytes, sizeof(said) - said_bytes, format, arguments);
	if (bytes > 0)
		said_bytes += (size_t)bytes < sizeof(said) - said_bytes ? (size_t)bytes : sizeof(said) - said_bytes - 1;
	return bytes;
}

static void choose_programs(struct bpf_object *object, const struct hook *hooks, int count)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		const struct hook *user = NULL;
		for (int i = 0; i < count; i++)
			if (strcmp(hooks[i].program, bpf_program__name(program)) == 0)
				user = &hooks[i];
		bpf_program__set_autoload(program, user != NULL);
	}
}

static void pin_maps(struct bpf_object *object, const char *folder)
{
	struct bpf_map *map;
	char path[512];

	bpf_object__for_each_map(map, object) {
		if (bpf_map__is_internal(map))
			continue; /* constants: nobody else's */
		snprintf(path, sizeof(path), "%s/%s", folder, bpf_map__name(map));
		if (bpf_map__set_pin_path(map, path))
			die("map %s cannot be pinned at %s", bpf_map__name(map), path);
	}
}

static void attach_tc(int ifindex, enum bpf_tc_attach_point point, int program, const struct hook *hook)
{
	LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, what, .prog_fd = program, .handle = 1, .priority = 1, .flags = BPF_TC_F_REPLACE);
	int failed = bpf_tc_hook_create(&where);

	if (failed && failed != -EEXIST)
		die("no clsact on %s: %s", hook->interface, strerror(-failed));
	where.attach_point = point;
	failed = bpf_tc_attach(&where, &what);
	if (failed)
		die("%s cannot be attached to %s of %s: %s", hook->program, hook->kind, hook->interface, strerror(-failed));
}

static void disable_gro(const char *interface)
{
	struct ethtool_value off = {.cmd = ETHTOOL_SGRO, .data = 0};
	struct ifreq request = {.ifr_data = (void *)&off};
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(request.ifr_name, interface, IF_NAMESIZE);
	if (control < 0 || ioctl(control, SIOCETHTOOL, &request))
		die("GRO cannot be switched off at %s: %s", interface, strerror(errno));
	close(control);
}

static void attach_xdp(int ifindex, int program, const struct hook *hook)
{
	int failed = bpf_xdp_attach(ifindex, program, XDP_FLAGS_DRV_MODE, NULL);

	if (failed)
		die("%s cannot be attached to %s: %s", hook->program, hook->interface, strerror(-failed));
	disable_gro(hook->interface);
}

static void attach(struct bpf_object *object, const struct hook *hook)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, hook->program);
	int ifindex = if_nametoindex(hook->interface);

	if (!program || !ifindex)
		die("no %s %s", program ? "interface" : "program", program ? hook->interface : hook->program);
	int loaded = bpf_program__fd(program);
	if (strcmp(hook->kind, "xdp") == 0)
		attach_xdp(ifindex, loaded, hook);
	else
		attach_tc(ifindex, strcmp(hook->kind, "ingress") == 0 ? BPF_TC_INGRESS : BPF_TC_EGRESS, loaded, hook);
}

static struct hook parse(const char *text)
{
	struct hook hook;

	if (sscanf(text, "%7[a-z]:%15[^:]:%63s", hook.kind, hook.interface, hook.program) != 3 ||
	    (strcmp(hook.kind, "xdp") && strcmp(hook.kind, "ingress") && strcmp(hook.kind, "egress")))
		die("'%s' is no HOOK:INTERFACE:PROGRAM, with a hook of xdp, ingress, egress", text);
	return hook;
}

int main(int argc, char **argv)
{
	static struct hook hooks[MOST_HOOKS];
	int count = argc - 3;

	if (count < 1 || count > MOST_HOOKS)
		die("usage: bpfload OBJECT FOLDER HOOK:INTERFACE:PROGRAM ...");
	for (int i = 0; i < count; i++)
		hooks[i] = parse(argv[i + 3]);
	libbpf_set_print(remember);
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		die("%s cannot be read: %s", argv[1], strerror(errno));
	choose_programs(object, hooks, count);
	pin_maps(object, argv[2]);
	if (bpf_object__load(object))
		die("the kernel does not take %s: %s", argv[1], strerror(errno));
	for (int i = 0; i < count; i++)
		attach(object, &hooks[i]);
	return 0;
}
