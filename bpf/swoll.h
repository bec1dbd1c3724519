/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every layout that the kernel side and the Go side share, and nothing else.
 * Go's view (ringstore/layout.go) is generated from the BTF of this header;
 * ARCHITECTURE.md draws the pictures. Nothing here is packed: layouts pad
 * themselves, and the assertions below hold on every architecture.
 */
#ifndef SWOLL_H
#define SWOLL_H

enum swoll_sizes {
	/* Changes whenever anything in this header changes its meaning. A service
	 * adopts pinned maps only when they carry the same number; of older ones it
	 * saves what they hold. So what is new takes the place of what was spare. */
	SWOLL_LAYOUT = 6,
	SWOLL_PAGE = 4096,	   /* bytes of one ring page */
	SWOLL_PAGE_HEAD = 64,	   /* bytes of struct swoll_page */
	SWOLL_RECORD_HEAD = 28,	   /* bytes of struct swoll_record without its tgid */
	SWOLL_SLOTS_AT = 1024,	   /* offset of the slots in the control area */
	SWOLL_SLOT = 128,	   /* bytes of struct swoll_slot */
	SWOLL_NAME = 128,	   /* bytes of a cgroup's name, with its NUL */
	SWOLL_COMM = 16,	   /* bytes of a task's name, with its NUL */
	SWOLL_CAPTURE = 824,	   /* bytes of captures that one call can hold at entry */
	SWOLL_CAPTURE_START = 440, /* no capture begins behind this; so the last one fits */
	SWOLL_CAPTURE_HEAD = 4,	   /* bytes of struct swoll_capture */
	SWOLL_CALL_CAPTURES = 10,   /* captures that one call can have by its rules */
	SWOLL_RECORD_CAPTURES = 15, /* captures that a record can have */
	SWOLL_CALLS = 1024,	   /* rows of the call table, per ABI */
	SWOLL_VARIANT_ROWS = 512,  /* rows behind them, for forms of calls */
	SWOLL_VARIANTS = 1024,	   /* values that select such a row */
	SWOLL_FILTER = 16384,	   /* entries of the cgroup filter */
	SWOLL_ERRNOS = 4096,	   /* rows of the routine error table */
	SWOLL_MAX_LIMIT = 380,	   /* the highest capture limit, bytes */
	SWOLL_PIECE = 128,	   /* bytes of one string of an array, or of one iovec */
	SWOLL_PIECE_MIN = 32,	   /* bytes that each of several iovecs may have at least */
	SWOLL_SELECT_STACK = 254,  /* in swoll_call.select */
	SWOLL_GAPS = 4,		   /* gaps that a ring remembers */
	SWOLL_TURN = 48,	   /* shift: the bits above in swoll_node.generation are the turn */
	SWOLL_LIMITS = 32,	   /* limits that calls may have of their own, and 0: none */
	SWOLL_RULE_LIMIT = 3,	   /* shift, in swoll_capture_rule.arg: number of the limit of
				    * the call's data buffers; 0: it has none of its own */
	SWOLL_STACK_MEMORY = 16384, /* bytes of stack memory taken at a death, at most */
	SWOLL_STACK_PIECE = 1024,  /* it is read, or not, in pieces of that many bytes */
	SWOLL_STACK_FRAMES = 96,   /* frames of the frame-pointer chain */
	SWOLL_STACK_MAPPINGS = 24, /* executable mappings that a stack refers to */
	SWOLL_STACK_AREAS = 48,	   /* mappings looked up, executable or not */
	SWOLL_STACK_REGS = 34,	   /* registers */
	SWOLL_STACK_PATH = 192,	   /* bytes of a mapped file's path */
	SWOLL_STACK_ID = 20,	   /* bytes of a build id, at most */
	SWOLL_CAPTURE_ARG = 7,	   /* the argument, in swoll_capture.arg */
	SWOLL_CAPTURE_FILE = 6,	   /* in its place: a struct swoll_file, no argument */
	SWOLL_FILE_NAME = 368,	   /* bytes that follow a struct swoll_file at most */
	SWOLL_FILE_LIST = 1024,	   /* bytes of a struct swoll_files with its files */
	SWOLL_CAPTURE_CAP = 3,	   /* shift: the bits above are eighths of the most bytes of
				    * each iovec that were gathered; 0: as far as they go */
	SWOLL_URING_ARGS = 8,	   /* enum swoll_uring_arg */
};

/* A record goes to exactly one lane. */
enum swoll_lane {
	SWOLL_LANE_BOOT,	/* the first records of a container; never overwritten */
	SWOLL_LANE_LIFE,	/* exec, fork, exit, signals, mounts, connects, ... */
	SWOLL_LANE_ERROR,	/* failed calls, without the routine errors */
	SWOLL_LANE_RECENT,	/* all the rest */
	SWOLL_LANES,
};

/* Why a record that should have been written was not. */
enum swoll_lost {
	SWOLL_LOST_NO_PAGE,	/* every page of the lane was being written */
	SWOLL_LOST_BUSY,	/* the CPU's slot was in use (nested or shared writer) */
	SWOLL_LOST_STORAGE,	/* the kernel had no memory for the task's storage */
	SWOLL_LOST_FROZEN,	/* the ring was frozen; this is what freezing is for */
	SWOLL_LOST_TOO_LONG,	/* the record did not fit into a page */
	SWOLL_LOST_COPY,	/* the kernel refused to copy captured bytes */
	SWOLL_LOST_DEATH,	/* a death while the ring held an unsaved one */
	SWOLL_LOST_CAUSES = 8,
};

/* What a record is. */
enum swoll_kind {
	SWOLL_CALL = 1,		/* struct swoll_record, arguments, captures */
	SWOLL_FORK,		/* struct swoll_fork */
	SWOLL_EXEC,		/* struct swoll_exec, one string capture (arg 0) */
	SWOLL_EXIT,		/* struct swoll_exit */
	SWOLL_SIGNAL,		/* struct swoll_signal */
	SWOLL_CRED,		/* struct swoll_event: the task's ids or name changed */
	SWOLL_FOLD,		/* struct swoll_fold: the same call again, many times */
	SWOLL_URING,		/* an operation of io_uring: like a call, see swoll_uring_arg */
	SWOLL_FILES,		/* struct swoll_files: what a process has open */
	SWOLL_KINDS,
};

/* swoll_record.flags. The two lowest bits are the ABI. What is no call has none. */
enum swoll_flag {
	SWOLL_ABI = 3,		/* mask: 0 native 64-bit, 1 32-bit compat, 2 x32 */
	SWOLL_LONG_DURATION = 4,/* the duration is a u64 behind the head */
	SWOLL_LONG_RETURN = 8,	/* the return value is an s64 behind the head */
	SWOLL_NO_ENTER = 16,	/* only the exit was seen: start is the time of exit,
				 * the duration is unknown. A seccomp denial looks so. */
	SWOLL_UNFINISHED = 32,	/* the call had not returned when its thread ended
				 * or its ring froze: no return value, no duration. With
				 * SWOLL_NO_ENTER: it was never made, since a filter ended
				 * the thread */
	SWOLL_CUT = 64,		/* at least one capture is incomplete */
	SWOLL_THREAD = 128,	/* the tgid is not the tid, and stands in the head */
};

/*
 * A page of a ring. `state` is the only word that anybody races for:
 *
 *	63                     16 15   14             0
 *	+-------------------------+------+-------------+
 *	| seq, from 1             | OPEN | bytes used  |
 *	+-------------------------+------+-------------+
 *
 * While OPEN is set the page belongs to one slot and nobody else writes it or
 * takes it. Only a page that is not open can be taken, by compare-and-swap.
 */
struct swoll_page {
	__u64 state;
	__u64 last;	 /* when the youngest record was written, ns CLOCK_MONOTONIC */
	__u64 destroyed; /* `last` of the contents that this page replaced; 0: none */
	__u64 first;	 /* the slot's number of the first record here */
	__u64 taken;	 /* when the page was taken, ns */
	__u32 slot;	 /* the slot that took it */
	__u32 lane;
	__u64 life;	 /* swoll_ring.life */
	__u64 spare;
};
enum swoll_page_state {
	SWOLL_OPEN = 0x8000,
	SWOLL_USED = 0x7fff,
	SWOLL_SEQ_SHIFT = 16,
};

/*
 * A record. The head of a call ends before `tgid` where that is the same as `tid`
 * (no SWOLL_THREAD); that of anything else has it always. Behind the head, each only
 * if its flag or count says so:
 *
 *	u64 duration		SWOLL_LONG_DURATION
 *	s64 return value	SWOLL_LONG_RETURN
 *	arguments		shape & 15 of them, 8 bytes if its bit in `wide`
 *				is set, else 4 (zero-extended); then padded to 4
 *	captures		shape >> 4 of them, struct swoll_capture and its
 *				bytes, each padded to 4
 *
 * Records are padded to 8 and never cross a page.
 */
struct swoll_record {
	__u16 len;	/* bytes, with head and padding */
	__u8 kind;
	__u8 flags;
	__u16 nr;	/* system call number in its ABI, without the x32 bit */
	__u8 wide;
	__u8 shape;
	__u64 start;	/* entry, ns CLOCK_MONOTONIC */
	__u32 tid;	/* in the host's pid namespace */
	__u32 duration; /* ns */
	__s32 ret;
	__u32 tgid;
};

/* What an argument pointed to. `len` bytes follow. */
struct swoll_capture {
	__u16 len;
	__u8 arg;	/* argument, 0 to 5; see SWOLL_CAPTURE_ARG */
	__u8 status;	/* enum swoll_capture_status, or-ed */
};
enum swoll_capture_status {
	SWOLL_CAPTURE_CUT = 1,	 /* there was more than the limit */
	SWOLL_CAPTURE_FAULT = 2, /* it could not be read (to its end) */
	SWOLL_CAPTURE_LATE = 4,	 /* read at exit though it belongs to the entry */
	SWOLL_CAPTURE_EXIT = 8,	 /* filled by the kernel, read at exit */
	SWOLL_CAPTURE_NONE = 16, /* not read: payloads are off */
};

/*
 * A run: how often a thread made a call again, with the same arguments, captures and
 * result, and no other call in between. It stands behind the call's record, in the same
 * page, and is written over as the run goes on.
 *
 * A writer fills in the element of `at` that `count` does not select, then stores `count`.
 * So who reads `count`, the element that it selects, and the same `count` again has what
 * belongs together, wherever the writer was stopped.
 */
struct swoll_repeats {
	__u32 end;	/* when the last one returned, ns after the start of the first call */
	__u32 total;	/* duration of all but the first call, ns */
};
struct swoll_fold {
	__u16 len;
	__u8 kind;
	__u8 flags;
	__u32 of;	/* where in the page the call's record begins */
	__u32 count;	/* calls besides the first, from 1 */
	__u32 second;	/* when the second one began, ns after the start of the first */
	struct swoll_repeats at[2]; /* by the lowest bit of `count` */
};

/*
 * The arguments of an operation of io_uring, which are its submission queue entry. Those
 * at the end that are 0 are left out. `nr` is the opcode; SWOLL_NO_OPCODE: a completion
 * of no operation. `start` is the time of submission or, where an operation completes again
 * and again, of the completion before. UNFINISHED with IOSQE_CQE_SKIP_SUCCESS: only if it
 * fails there is another record, which says so.
 */
enum swoll_uring_arg {
	SWOLL_URING_USER_DATA,
	SWOLL_URING_FD,		/* or the directory's */
	SWOLL_URING_FLAGS,	/* u8 flags | u16 ioprio << 8 | u32 flags of the completion << 32 */
	SWOLL_URING_ADDR,
	SWOLL_URING_LEN,	/* u32 | u16 buf_index << 32 | u16 personality << 48 */
	SWOLL_URING_OFF,	/* or a second address */
	SWOLL_URING_OP_FLAGS,	/* u32 | u32 file_index << 32 */
	SWOLL_URING_ADDR3,
};

/*
 * Operations in flight, in a map. They are told apart by user_data; where one is there
 * already with the same, `req` does, else it is 0.
 */
struct swoll_uring_key {
	__u64 ctx;	/* the io_uring instance */
	__u64 user_data;
	__u64 req;
};
struct swoll_uring_op {
	__u64 req;
	__u64 start;	/* ns CLOCK_MONOTONIC */
	__u64 life;	/* swoll_ring.life */
	__u32 ring;
	__u32 tid;	/* who submitted it */
	__u32 tgid;
	__u8 opcode;
	__u8 captures;	/* number of them in a map of their own */
	__u8 flags;	/* enum swoll_uring_flag */
	__u8 pad;
	__u64 args[SWOLL_URING_ARGS];
};
enum swoll_uring_flag {
	SWOLL_URING_UNKNOWN = 1, /* only its completion was seen */
	SWOLL_URING_TWINS = 2,	 /* there were others with the same user_data */
	SWOLL_URING_LATE = 4,	 /* in flight when its ring froze, and over by now */
};
struct swoll_uring_capture {
	__u64 req;
	__u64 nth;	/* from 0 */
};

/* Head of every record that is not a call, nor an operation: who, besides swoll_record. */
struct swoll_event {
	struct swoll_record head;
	__u32 uid;
	__u32 gid;
	char comm[SWOLL_COMM];
};
struct swoll_fork {
	struct swoll_event event;
	__u32 child_tid;
	__u32 child_tgid;
};
struct swoll_exec {
	struct swoll_event event;
	__u32 old_tid;	/* the thread that called execve, before it became the leader */
	__u32 pad;
};
struct swoll_exit {
	struct swoll_event event;
	__u32 status;	/* as wait(2) gives it, with the core flag 0x80 */
	__u32 flags;	/* enum swoll_exit_flag */
};
enum swoll_exit_flag {
	SWOLL_EXIT_GROUP = 1,	/* the last thread of its process */
	SWOLL_EXIT_FIRST = 2,	/* the container's first process */
	SWOLL_EXIT_OOM = 4,	/* chosen by the OOM killer */
};
/* Who sent a signal, as the kernel side saw it; all 0: nobody was seen to. */
struct swoll_sender {
	__u32 tgid;	/* in the host's pid namespace; 0: the kernel, or not known */
	__u32 known;	/* enum swoll_sender_known */
	__u64 cgroup;	/* id of its cgroup */
	char comm[SWOLL_COMM];
};
enum swoll_sender_known {
	SWOLL_SENDER_NOBODY,	/* nobody was seen */
	SWOLL_SENDER_PROCESS,
	SWOLL_SENDER_KERNEL,
};
struct swoll_signal {
	struct swoll_event event;
	__u32 signal;
	__s32 code;	/* si_code */
	__u32 pid;	/* si_pid, as the receiver's namespace sees it */
	__u32 uid;	/* si_uid */
	__u64 addr;	/* si_addr, for faults */
	__u32 flags;	/* enum swoll_signal_flag */
	__s32 error;	/* si_errno */
	__u64 more[3];	/* what follows si_pid and si_uid, or si_addr */
	struct swoll_sender sender;
};
enum swoll_signal_flag {
	SWOLL_SIGNAL_HANDLED = 1,
	SWOLL_SIGNAL_IGNORED = 2,
	SWOLL_SIGNAL_FATAL = 4,
};

/*
 * What a file descriptor stands for. `len` bytes follow, by kind:
 *
 *	PATH		the names on the way from the file to the root of the process, each
 *			with its NUL
 *	CHAR, BLOCK	a u32 with the device's number, then the same
 *	PIPE		a u64, the inode
 *	SOCKET		struct swoll_socket, then of AF_INET and AF_INET6 the local and the
 *			peer's address, of AF_UNIX its name: as many bytes as it has
 *	ANON		the name of the kind, as in anon_inode:NAME, with its NUL
 *	PIDFD		a u32, the process in the host's pid namespace
 */
struct swoll_file {
	__s32 fd;	/* SWOLL_FILE_CWD: the working directory */
	__u8 kind;	/* enum swoll_file_kind */
	__u8 flags;	/* enum swoll_file_flag */
	__u16 len;
};
enum swoll_file_kind {
	SWOLL_FILE_UNKNOWN,	/* it is open; what it is cannot be told */
	SWOLL_FILE_PATH,
	SWOLL_FILE_CHAR,
	SWOLL_FILE_BLOCK,
	SWOLL_FILE_PIPE,
	SWOLL_FILE_SOCKET,
	SWOLL_FILE_ANON,
	SWOLL_FILE_PIDFD,
};
enum swoll_file_flag {
	SWOLL_FILE_CUT = 1,	/* names nearer to the root are missing */
	SWOLL_FILE_DELETED = 2,
};
enum swoll_file_number {
	SWOLL_FILE_CWD = -100,
};
struct swoll_socket {
	__u32 inode;
	__u32 peer;	/* AF_UNIX: the peer's inode; AF_NETLINK: the port's id; 0: none */
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 local_port;
	__u16 peer_port;
	__u16 pad;
};
/*
 * What a process has open: of all descriptors from `from` to below `to` those that are
 * listed, and no other. Four bytes of 0 follow, then struct swoll_file, each padded to 4.
 */
struct swoll_files {
	struct swoll_event event;
	__u32 ring;	/* of the list of all processes; else 0 */
	__u32 bytes;	/* of what follows */
	__u64 life;
	__u32 from;
	__u32 to;
	__u32 count;
	__u32 why;	/* enum swoll_files_why */
};
enum swoll_files_why {
	SWOLL_FILES_LISTED,	/* the service asked */
	SWOLL_FILES_EXEC,	/* a program was executed: that is what it begins with */
	SWOLL_FILES_DEATH,	/* the process dies: that is what it ends with */
};

/* How a process died; in the control area, valid when `ready` is set. */
struct swoll_death {
	__u64 ready;
	__u64 time;	/* ns CLOCK_MONOTONIC; the ring holds nothing younger */
	__u32 kind;	/* enum swoll_death_kind */
	__u32 tgid;
	__u32 tid;
	__u32 status;	/* as wait(2) gives it; for signals before the core is written */
	__u32 signal;
	__s32 code;	/* si_code */
	__u64 addr;	/* si_addr */
	__u32 pid;	/* si_pid */
	__u32 uid;	/* si_uid */
	__u32 flags;	/* enum swoll_death_flag */
	__u32 limit;	/* of `memory`: 1: `limit_pages` is the memory cgroup's that was nearest
			 * to its limit; 0: it has none, or it is not known */
	char comm[SWOLL_COMM];
	__u64 done;	/* when the process's last thread was gone, ns; 0: not yet */
	__u64 more;	/* the first of swoll_signal.more: of SIGSYS the call's number, and its
			 * AUDIT_ARCH above */
	struct swoll_sender sender;
	__u64 ip;	/* user registers at a fault; 0: not known */
	__u64 sp;
	__u64 rss_pages; /* the process held, in pages of the kernel's size; 0: not known */
	__u64 used_pages; /* charged to the memory cgroup of `limit` */
	__u64 limit_pages;
	/* A SIGTERM before SIGKILL that was ignored, and so never delivered: the first
	 * process of a pid namespace ignores what it has no handler for. */
	__u64 told;	/* when, ns; 0: there was none */
	struct swoll_sender teller;
	__u64 spare[4];
};
enum swoll_death_kind {
	SWOLL_DEATH_SIGNAL = 1,
	SWOLL_DEATH_OOM,
	SWOLL_DEATH_EXIT,
};
enum swoll_death_flag {
	SWOLL_DEATH_FIRST = 1,	/* it was the container's first process */
	SWOLL_DEATH_GROUP = 2,	/* its last thread is gone, `status` is final */
};

/* One CPU's (or a few CPUs') place in one lane. */
struct swoll_cursor {
	__u32 page;	/* the open page, ring-relative, from 1; 0: none */
	__u32 busy;	/* somebody is writing through this cursor */
	__u64 records;	/* calls and events written so far; numbers the next record */
};
struct swoll_slot {
	struct swoll_cursor lane[SWOLL_LANES];
	__u64 lost[SWOLL_LOST_CAUSES];	/* by the CPU of this number, not shared */
};

/* A time in which nothing was recorded; the service writes it. */
struct swoll_gap {
	__u64 from;	/* ns CLOCK_MONOTONIC */
	__u64 to;
};

struct swoll_lane_state {
	__u64 next;	/* pages handed out so far */
	__u64 spare[7];	/* a cache line of its own */
};

/* The control area, behind the pages of a ring; its slots are at SWOLL_SLOTS_AT. */
struct swoll_ring {
	__u32 flags;	 /* enum swoll_ring_flag */
	__u32 index;
	__u64 cgroup;	 /* id of the container's cgroup */
	__u64 life;	 /* number of this use of the ring, from 1; 0: free */
	__u64 armed;	 /* when, ns CLOCK_MONOTONIC */
	__u64 frozen;	 /* when, ns; 0: not frozen */
	__u64 boot_done; /* when the boot lane was full, ns; 0: not yet */
	__u32 first;	 /* tgid of the container's first process; 0: not seen */
	__u32 first_by;	 /* enum swoll_first */
	__u64 gone;	 /* when the cgroup was removed, ns; 0: it is there */
	struct swoll_death death;
	struct swoll_lane_state lane[SWOLL_LANES];
	char name[SWOLL_NAME];	 /* the cgroup's base name */
	char parent[SWOLL_NAME]; /* its parent's */
	__u32 limit_data;	/* capture limits of this ring, bytes */
	__u32 limit_string;
	__u64 exited;	 /* when the first process ended cleanly, ns; 0: not */
	__u64 handled;	 /* time of the last death that the service has dealt with */
	__u32 mourned;	 /* tgid of a process whose death was dealt with before its last thread
			  * was gone: what else comes of it is no other death; 0: none */
	__u32 number;	 /* of this life of the container, as the service counts; 0: not
			  * counted, else one more */
	__u32 payload;	 /* the most bytes of a data buffer, beside other limits; 0: no such
			  * limit; takes effect with the next swoll_node.generation */
	__u32 pad;
	__u64 thawed;	 /* when it recorded again after it was frozen, ns; 0: never */
	__u64 spare[2];
	__u32 late;	 /* 1: the service armed it when processes of the cgroup ran already */
	__u32 gaps;	 /* how often it was frozen, and recorded again later */
	struct swoll_gap gap[SWOLL_GAPS]; /* the first ones, and the last one */
};
enum swoll_ring_flag {
	SWOLL_FROZEN = 1,	/* nothing is written */
	SWOLL_DYING = 2,	/* only what a death still owes is written */
	SWOLL_BOOT_DONE = 4,	/* the boot lane is full */
	SWOLL_NO_PAYLOAD = 8,	/* the bytes of data buffers stay out; takes effect with
				 * the next swoll_node.generation */
	SWOLL_USES_URING = 16,	/* a task of it used io_uring */
};
/* How sure the kernel side is of the first process; more replaces less. */
enum swoll_first {
	SWOLL_FIRST_SEEN = 1,	/* the first task that made a call */
	SWOLL_FIRST_EXEC,	/* the first that called execve in the cgroup */
	SWOLL_FIRST_INIT,	/* pid 1 of a pid namespace of its own, at its execve */
	SWOLL_FIRST_SET,	/* the service was told by the runtime */
};

/* Where the lanes lie; the same for every ring of a node. */
struct swoll_lane_shape {
	__u32 first;	/* first page, from 0 */
	__u32 pages;
	__u32 mask;	/* CPU number to cursor: number of cursors - 1 */
	__u32 shared;	/* more than one CPU may use a cursor */
};
struct swoll_shape {
	__u32 layout;	/* SWOLL_LAYOUT */
	__u32 bytes;	/* of a ring: pages, then the control area */
	__u32 pages;
	__u32 rings;
	__u32 slots;
	__u32 hierarchy; /* hierarchy id whose cgroup ids are the keys; 0: v2 */
	__u32 subsystem; /* v1: index into css_set.subsys */
	__u32 pad;
	struct swoll_lane_shape lane[SWOLL_LANES];
};

/* The one piece of global state, in a mapped array of its own. */
struct swoll_node {
	struct swoll_shape shape;
	/* Changes when a cgroup may have lost or changed its ring. Its upper bits (see
	 * SWOLL_TURN) say whose turn it is: which set of programs records, where a service
	 * is just replacing those of another. */
	__u64 generation;
	__u64 life;	  /* last number given to a ring */
	__u64 armed;	  /* rings armed by the kernel side */
	__u64 unarmed;	  /* containers that found the pool empty */
	__u64 alerts_lost;
	__u64 failed[8];  /* failed helpers, enum swoll_place */
	__u64 programs;	  /* the service's hash of the programs whose turn it is, and their tables */
	__u32 turns;	  /* the last turn that was given to a set of programs, from 1 */
	__u32 handover;	  /* 1: an event may just be seen by two sets, of which the first has
			   * recorded it */
	__u32 fold;	  /* 1: runs of the same call are folded */
	__u32 stack_limit; /* bytes of stack memory taken at a death; 0: none. The service's */
	__u32 filter[SWOLL_FILTER]; /* recorded cgroups by the low bits of their id */
};
enum swoll_place {
	SWOLL_FAIL_STORAGE,
	SWOLL_FAIL_ARM,	   /* the cgroup map was full */
	SWOLL_FAIL_WATCH,
	SWOLL_FAIL_COPY,
	SWOLL_FAIL_SEQ,
	SWOLL_FAIL_SENDER,
	SWOLL_FAIL_URING,  /* an operation could not be kept */
};

/* In the cgroup map: what is recorded into which ring. */
struct swoll_arm {
	__u32 ring;
	__u32 own;	/* 1: the container's own cgroup, 0: one below it */
	__u64 life;
};

enum swoll_watch_kubepods {
	SWOLL_WATCH_KUBEPODS = 1, /* QoS levels below it do not count; what it counts down
				   * to are pods, and their containers */
	SWOLL_WATCH_ABOVE = 2,	  /* only kubepods itself counts, once it is made below it */
};

/* In the watch map: a cgroup below which containers appear. */
struct swoll_watch {
	__u32 depth;	/* 1: its children are containers */
	__u32 kubepods;	/* enum swoll_watch_kubepods */
	__u32 consent;	/* enum swoll_consent, of a pod */
	__u32 pad;
};

/*
 * What a pod does not consent to; in the consent map by the name of its cgroup:
 *
 *	31             24 23              8 7             0
 *	+----------------+-----------------+---------------+
 *	| the service's  | swoll_ring      | flags         |
 *	|                | .payload        |               |
 *	+----------------+-----------------+---------------+
 */
enum swoll_consent {
	SWOLL_CONSENT_NO_RECORD = 1,  /* its containers get no ring */
	SWOLL_CONSENT_NO_PAYLOAD = 2, /* the bytes of data buffers stay out */
	SWOLL_CONSENT_FLAGS = 0xff,
	SWOLL_CONSENT_PAYLOAD = 8,    /* shift */
	SWOLL_CONSENT_MOST = 0xffff,  /* bytes */
};
struct swoll_cgroup_name {
	char name[SWOLL_NAME];
};

/* To the service, through a small ring buffer; only hints, the truth is in the
 * control areas. */
struct swoll_alert {
	__u32 kind;	/* enum swoll_alert_kind */
	__u32 ring;
	__u64 life;
	__u64 cgroup;
	__u64 time;
};
enum swoll_alert_kind {
	SWOLL_ALERT_ARMED = 1,
	SWOLL_ALERT_UNARMED, /* the pool was empty */
	SWOLL_ALERT_DEATH,
	SWOLL_ALERT_DEAD,    /* the dying process's last thread is gone */
	SWOLL_ALERT_GONE,    /* the cgroup was removed */
	SWOLL_ALERT_EXITED,  /* the first process ended cleanly */
};

/* A call that has not returned: task storage, and what the iterator prints. */
struct swoll_task {
	__u64 cgroup;	  /* the id that `ring` belongs to */
	__u64 generation;
	__u32 ring;	  /* SWOLL_NO_RING: not recorded */
	__u8 flags;	  /* enum swoll_task_flag */
	__u8 counted;	  /* 1: among the threads of its process, see below */
	__u16 spare;
	__u64 start;
	__u16 nr;
	__u8 abi;
	__u8 captures;	  /* number of them in `capture` */
	__u16 capture_len;
	__u16 payload;	  /* bytes of a data buffer that may be read; as its ring says */
	__u64 place;	  /* scratch of the writer */
	__u16 row;	  /* of the call table */
	__u16 fold;	  /* where in the page of `last` its swoll_fold is; 0: it has none */
	__u32 noted;	  /* when the descriptors that were noted are paid for, in 1024 ns */
	__u64 last;	  /* the thread's last record, if it is a call that may be made again:
			   * page seq << SWOLL_SEQ_SHIFT | offset in the page | lane; 0: none */
	__u64 args[6];
	__u8 capture[SWOLL_CAPTURE];
	/* Only of a task that leads a process: how many of its threads, itself among them, */
	__s32 living;	  /* have not come to their end */
	__s32 unended;	  /* have not been through with it */
};
enum swoll_task_flag {
	SWOLL_TASK_RUNNING = 1,	/* between enter and exit */
	SWOLL_TASK_FAULT = 2,	/* a capture of the entry faulted */
	SWOLL_TASK_CUT = 4,	/* a capture is incomplete */
	SWOLL_TASK_FORKED = 8,	/* next comes the exit of its parent's fork */
	SWOLL_TASK_URING = 16,	/* in a list: no task, but an operation of io_uring in flight;
				 * its record follows in place of captures */
	SWOLL_TASK_FILES = 32,	/* its row has one of SWOLL_CALL_FILES */
	SWOLL_TASK_CRED = 64,	/* its row has SWOLL_CALL_CRED */
};
enum swoll_none {
	SWOLL_NO_OPCODE = 0xff,
	SWOLL_NO_RING = 0x7fffffff,
};

/* One task of a recorded cgroup, as the iterator prints it; `capture_len` bytes
 * of captures follow, padded to 8. */
struct swoll_running {
	__u32 ring;
	__u32 tid;
	__u32 tgid;
	__u32 flags;	/* SWOLL_TASK_RUNNING, or the task is not in a call */
	__u64 life;
	__u64 start;
	__u64 args[6];
	__u16 nr;
	__u8 abi;
	__u8 captures;
	__u32 capture_len;
	__u32 uid;
	__u32 gid;
	char comm[SWOLL_COMM];
};

/*
 * The user stack of a thread that dies by a signal: one slot for each ring, in a map of
 * its own, numbered as the rings are. Written by the dying thread alone; whole once `time` is that of the ring's death.
 */
struct swoll_frame {
	__u64 at;	/* where the frame pointer pointed */
	__u64 address;	/* the return address there, at + 8; it is executable */
};
/* An executable mapping that an address of the stack is in. */
struct swoll_mapping {
	__u64 start;
	__u64 end;
	__u64 offset;	/* of the file, bytes, at `start` */
	__u64 inode;	/* of the file as its file system has it; 0: there is no file */
	__u64 user_inode; /* as its user sees it: overlayfs has inodes of its own */
	__u32 device;	/* as the kernel has it: major << 20 | minor */
	__u32 user_device;
	__u64 size;	/* of the file, bytes */
	__u32 flags;	/* enum swoll_mapping_flag */
	__u32 id_len;	/* bytes of the build id; 0: not found */
	__u8 id[SWOLL_STACK_ID];
	__u32 path_len;	/* bytes of `path` in use */
	/* The names on the way from the file up to the root that its process has, each with
	 * its NUL. */
	char path[SWOLL_STACK_PATH];
};
enum swoll_mapping_flag {
	SWOLL_MAPPING_VDSO = 1,
	SWOLL_MAPPING_CUT = 2,	/* the path's uppermost names are missing */
	SWOLL_MAPPING_UNLINKED = 4, /* the file had no name any more */
};
/* A mapping of any kind that was looked up. */
struct swoll_area {
	__u64 start;	/* the lowest bit: it is executable */
	__u64 end;
};
struct swoll_stack {
	__u64 time;	/* swoll_death.time that it belongs to, set last; 0: there is none */
	__u32 tid;
	__u32 flags;	/* enum swoll_stack_flag */
	__u64 base;	/* the address of memory[0] */
	__u32 pieces;	/* bit n: the n-th piece of `memory` was read */
	__u32 frames;	/* of `frame`, in use */
	__u32 mappings; /* of `mapping`, in use */
	__u32 areas;	/* of `area`, in use */
	__u32 finds;	/* how often a mapping was looked up */
	__u32 pad;
	__u64 known;	/* bit n: regs[n] is known */
	/* Numbered as in DWARF, then ip (x86: 16; arm64: 32), and flags. */
	__u64 regs[SWOLL_STACK_REGS];
	struct swoll_frame frame[SWOLL_STACK_FRAMES];
	struct swoll_mapping mapping[SWOLL_STACK_MAPPINGS];
	struct swoll_area area[SWOLL_STACK_AREAS];
	__u8 memory[SWOLL_STACK_MEMORY];
};
enum swoll_stack_flag {
	SWOLL_STACK_NO_PAYLOAD = 1, /* no memory, no registers but addresses: payloads are off */
	SWOLL_STACK_COMPAT = 2,	    /* a 32-bit process: of it just the registers are known */
	SWOLL_STACK_FULL = 4,	    /* there were more mappings than places for them */
};

/* The call table: what the kernel side must know of one call. */
struct swoll_capture_rule {
	__u8 how;	/* enum swoll_capture_how */
	__u8 arg;	/* the argument that points, and SWOLL_RULE_LIMIT */
	__u8 count;	/* the argument that says how many, or enum swoll_capture_count */
	__u8 flags;	/* enum swoll_capture_rule_flag */
	__u16 size;	/* bytes of one element; of entries, where their length
			 * stands; of iovecs 1 if the result is not their bytes */
	__u8 at;	/* where in what `arg` points to reading begins; with RULE_AT: where
			 * the pointer stands */
	__u8 count_at;	/* with COUNT_AT: where the count does */
};
struct swoll_call {
	__u8 args;	/* number of arguments, 0 to 6 */
	__u8 flags;	/* enum swoll_call_flag */
	__u8 enters;	/* number of rules that apply at entry; they come first */
	__u8 rules;	/* number of all rules */
	__u16 room;	/* bytes that the captures at exit can need, heads and padding too */
	/* Forms of the call with other rules, by the value of an argument or two. */
	__u16 variants;	/* how many values; 0: there is one form */
	__u16 variant;	/* the first one's place in the table of values */
	__u8 select;	/* the argument; SWOLL_SELECT_STACK: none. That is rt_sigreturn: it has
			 * no argument; in place of one stands where the mask lies that it
			 * restores. Its row has one variant, so that other calls pay
			 * nothing for this. */
	__u8 select2;	/* a second one, or 0xff */
	__u32 mask;	/* the bits of the first one that count */
	struct swoll_capture_rule rule[SWOLL_CALL_CAPTURES];
};
/* A value that selects a form. Those of one call stand together, in order. */
struct swoll_variant {
	__u64 key;	/* low half: the first argument; high half: the second, or all
			 * ones: any */
	__u32 row;	/* of the call table */
	__u32 pad;
};
enum swoll_call_flag {
	SWOLL_CALL_LIFE = 1,	/* belongs to the life lane when it succeeds */
	SWOLL_CALL_CRED = 2,	/* may change ids or the name: SWOLL_CRED follows */
	SWOLL_CALL_EXEC = 4,	/* never read again at exit: memory is another's */
	SWOLL_CALL_FORK = 8,	/* returns twice; the child's return is no call */
	/* What is captured at exit of file descriptors, besides what the rules say. */
	SWOLL_CALL_OPENS = 16,	 /* the one that it returns */
	SWOLL_CALL_PAIR = 32,	 /* the two that it stores where its first argument points, or
				  * its fourth of four */
	SWOLL_CALL_RENAMES = 64, /* the one in its first argument, however it returns */
	SWOLL_CALL_CWD = 128,	 /* none, but the working directory */
	SWOLL_CALL_FILES = 240,	 /* mask */
};
enum swoll_capture_how {
	SWOLL_HOW_STRING = 1,	/* NUL-terminated */
	SWOLL_HOW_BYTES,	/* size * count bytes; count 0xfe: just size */
	SWOLL_HOW_SOCKADDR,	/* count is a socklen_t (entry) or points to one (exit) */
	SWOLL_HOW_IOVEC,	/* gathered bytes; count: number of iovecs */
	SWOLL_HOW_POINTERS,	/* a u32: how many pointers stand before a NULL */
	SWOLL_HOW_STRINGS,	/* NULL-terminated array of strings, each with its NUL */
	SWOLL_HOW_ENTRIES,	/* a u32: how many directory entries there are in count bytes */
	SWOLL_HOW_BITS,		/* count bits, in whole words of 8 bytes */
	SWOLL_HOW_OPTION,	/* count points to an int that says how many bytes */
	SWOLL_HOW_PAGES,	/* a byte for each page of count bytes */
	SWOLL_HOW_MSGBUF,	/* size bytes, then count bytes */
};
enum swoll_capture_rule_flag {
	SWOLL_RULE_DATA = 1,	/* bytes of a data buffer: payload limit and consent */
	SWOLL_RULE_EXIT = 2,	/* read at exit, when the call succeeded */
	SWOLL_RULE_ENVIRON = 4,	/* an environment: consent as for payload */
	SWOLL_RULE_AT = 8,	/* the pointer stands in what the argument points to */
	SWOLL_RULE_COUNT4 = 16,	/* COUNT_AT: it has 4 bytes, whatever a pointer has */
};
enum swoll_capture_count {
	SWOLL_COUNT_AT = 0xfd,	/* it stands in what the argument points to */
	SWOLL_COUNT_ONE = 0xfe,
	SWOLL_COUNT_RETURN = 0xff,
};

_Static_assert(sizeof(struct swoll_page) == SWOLL_PAGE_HEAD, "page head");
_Static_assert(sizeof(struct swoll_record) == SWOLL_RECORD_HEAD + 4, "record head");
_Static_assert(sizeof(struct swoll_capture) == SWOLL_CAPTURE_HEAD, "capture head");
/* It replaces a record that is there already, of which none is shorter. */
_Static_assert(sizeof(struct swoll_fold) == 32, "fold");
_Static_assert(sizeof(struct swoll_slot) == SWOLL_SLOT, "slot");
/* The kernel puts 80 bytes before it; more would take twice the memory. */
_Static_assert(sizeof(struct swoll_task) <= 1024 - 80, "task storage");
_Static_assert(SWOLL_CAPTURE_START + SWOLL_CAPTURE_HEAD + SWOLL_MAX_LIMIT <= SWOLL_CAPTURE, "captures");
_Static_assert(sizeof(struct swoll_file) + SWOLL_FILE_NAME <= SWOLL_MAX_LIMIT, "file");
_Static_assert(sizeof(struct swoll_socket) + 108 <= SWOLL_FILE_NAME, "socket");
_Static_assert(sizeof(struct swoll_ring) <= SWOLL_SLOTS_AT, "control area");

#endif
