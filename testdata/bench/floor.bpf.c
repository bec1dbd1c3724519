//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The floors that the recorder is compared with: what any pair of programs on
 * both system call tracepoints costs, and what a pair costs that only finds out
 * that it has nothing to do. Neither stores anything.
 */
typedef unsigned int __u32;
typedef unsigned long long __u64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

enum { BPF_MAP_TYPE_HASH = 1 };

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;

/* Holds nothing: the lookups miss, which is the case that is measured. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u64);
} cgroups SEC(".maps");

SEC("tp_btf/sys_enter")
int empty_enter(void *ctx)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int empty_exit(void *ctx)
{
	return 0;
}

static __attribute__((always_inline)) int miss(void)
{
	__u64 id = bpf_get_current_cgroup_id();
	__u64 *seen = bpf_map_lookup_elem(&cgroups, &id);

	if (seen)
		*seen += 1;	/* an effect, so that the lookup stays */
	return 0;
}

SEC("tp_btf/sys_enter")
int miss_enter(void *ctx)
{
	return miss();
}

SEC("tp_btf/sys_exit")
int miss_exit(void *ctx)
{
	return miss();
}

char LICENSE[] SEC("license") = "GPL";
