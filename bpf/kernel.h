/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The few kernel types that the programs read. Only names and types count:
 * offsets are those of the running kernel (CO-RE).
 */
#ifndef SWOLL_KERNEL_H
#define SWOLL_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
enum { false, true };

#define CO_RE __attribute__((preserve_access_index))

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	u32 val;
} kuid_t;
typedef struct {
	u32 val;
} kgid_t;

struct kernfs_node {
	const char *name;
	u64 id;
} CO_RE;

struct cgroup_root {
	int hierarchy_id;
} CO_RE;

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} CO_RE;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
} CO_RE;

enum cgroup_subsys_id {
	memory_cgrp_id = 4, /* as the running kernel has it, see bpf_core_enum_value */
};

typedef struct {
	long counter;
} atomic_long_t;

struct page_counter {
	atomic_long_t usage;
	unsigned long max;
	struct page_counter *parent;
} CO_RE;

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
} CO_RE;

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
} CO_RE;

enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES, NR_MM_COUNTERS };

struct percpu_counter {
	s64 count;
} CO_RE;

struct mm_struct {
	struct percpu_counter rss_stat[NR_MM_COUNTERS];
} CO_RE;

/* Before Linux 6.2. */
struct mm_rss_stat {
	atomic_long_t count[NR_MM_COUNTERS];
} CO_RE;
struct mm_struct___counts {
	struct mm_rss_stat rss_stat;
} CO_RE;

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
	struct mm_struct *oom_mm;
} CO_RE;

struct cred {
	kuid_t uid;
	kgid_t gid;
} CO_RE;

struct upid {
	int nr;
} CO_RE;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} CO_RE;

struct thread_info {
	unsigned long flags;
	u32 status;
} CO_RE;

struct dentry;
struct vfsmount;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} CO_RE;

struct qstr {
	u64 hash_len;
	const char *name;
} CO_RE;

struct super_block {
	u32 s_dev;
	unsigned long s_magic;
} CO_RE;

struct inode {
	unsigned short i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	u32 i_rdev;
	u32 i_nlink;
	s64 i_size;
	void *i_private;
} CO_RE;

struct dentry {
	unsigned int d_flags;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
} CO_RE;

struct hlist_bl_node {
	struct hlist_bl_node *next, **pprev;
} CO_RE;

/* dentry as far as it tells whether it was removed. */
struct dentry___hash {
	struct hlist_bl_node d_hash;
} CO_RE;

struct vfsmount {
	struct dentry *mnt_root;
} CO_RE;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
} CO_RE;

struct file {
	struct path f_path;
	struct inode *f_inode;
	u32 f_mode;
	void *private_data;
} CO_RE;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
	unsigned long *open_fds;
} CO_RE;

struct files_struct {
	struct fdtable *fdt;
} CO_RE;

struct fs_struct {
	struct path root, pwd;
} CO_RE;

struct in6_addr {
	u8 bytes[16];
};

struct sock_common {
	u32 skc_daddr, skc_rcv_saddr;
	u16 skc_family;
	u16 skc_dport;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
} CO_RE;

struct socket;
struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	u16 sk_type;
	u16 sk_protocol;
} CO_RE;

struct socket {
	struct sock *sk;
} CO_RE;

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
} CO_RE;

struct inet_sock {
	u16 inet_sport;
} CO_RE;

struct unix_address {
	int len;
	char name[0];
} CO_RE;

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
} CO_RE;

struct netlink_sock {
	u32 portid;
} CO_RE;

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	u64 start_time;
	struct mm_struct *mm;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *cred;
	char comm[16];
	struct signal_struct *signal;
	struct files_struct *files;
	struct fs_struct *fs;
	struct css_set *cgroups;
} CO_RE;

struct kernel_siginfo {
	int si_signo;
	int si_errno;
	int si_code;
} CO_RE;

struct sigaction {
	void *sa_handler;
} CO_RE;

struct k_sigaction {
	struct sigaction sa;
} CO_RE;

struct linux_binprm {
	const char *filename;
} CO_RE;

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} CO_RE;
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} CO_RE;

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bp, bx, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, sp;
} CO_RE;
struct pt_regs___high {
	unsigned long r11, r12, r13, r14, r15, flags;
} CO_RE;
#define TS_COMPAT 2
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 orig_x0;
	s32 syscallno;
} CO_RE;
struct pt_regs___high {
	u64 pstate;
} CO_RE;
#define TIF_32BIT 22
#else
#error "no register layout for this architecture"
#endif

/* include/linux/sched/signal.h */
#define SIGNAL_GROUP_EXIT 0x4
#define SIGNAL_UNKILLABLE 0x40
/* include/linux/sched.h */
#define PF_IO_WORKER 0x10

#endif
