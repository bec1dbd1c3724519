/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is done through io_uring: one record for each operation, written when it completes.
 *
 * An operation is submitted by one task and may complete in another: a worker of io-wq, the
 * thread that polls the submission queue, a kernel worker at the ring's end. So who
 * submitted it, and what, is kept from the submission on, by the io_uring instance and the
 * operation's user_data. All of these run in task context: the kernel takes plain spin locks and
 * mutexes around what is traced here, so none of it can interrupt another writer.
 *
 * These programs are optional: the service loads those whose tracepoints the kernel has,
 * in the form that it has them.
 */
#ifndef SWOLL_URING_H
#define SWOLL_URING_H

/* include/uapi/linux/io_uring.h: what the operations here have in common. */
struct uring_sqe {
	u8 opcode;
	u8 flags;
	u16 ioprio;
	u32 fd;
	u64 off;
	u64 addr;
	u32 len;
	u32 op_flags;
	u64 user_data;
	u16 buf_index;
	u16 personality;
	u32 file_index;
	u64 addr3;
	u64 pad;
};
_Static_assert(sizeof(struct uring_sqe) == 64, "submission queue entry");
enum uring_opcode {
	URING_POLL_ADD = 6,
	URING_POLL_REMOVE = 7,
	URING_RECVMSG = 10,
	URING_TIMEOUT = 11,
	URING_TIMEOUT_REMOVE = 12,
	URING_ACCEPT = 13,
	URING_ASYNC_CANCEL = 14,
	URING_LINK_TIMEOUT = 15,
	URING_CONNECT = 16,
	URING_OPENAT = 18,
	URING_STATX = 21,
	URING_SEND = 26,
	URING_RECV = 27,
	URING_OPENAT2 = 28,
	URING_RENAMEAT = 35,
	URING_UNLINKAT = 36,
	URING_MKDIRAT = 37,
	URING_SYMLINKAT = 38,
	URING_LINKAT = 39,
	URING_SETXATTR = 42,
	URING_GETXATTR = 44,
	URING_URING_CMD = 46,
	URING_SEND_ZC = 47,
	URING_SENDMSG_ZC = 48,
	URING_READ_MULTISHOT = 49,
	URING_BIND = 56,
	URING_LISTEN = 57,
	URING_RECV_ZC = 58,
};
/* What can complete more than once. */
#define URING_REPEATS                                                                         \
	(1ull << URING_POLL_ADD | 1ull << URING_RECVMSG | 1ull << URING_TIMEOUT |             \
	 1ull << URING_ACCEPT | 1ull << URING_SEND | 1ull << URING_RECV |                     \
	 1ull << URING_URING_CMD | 1ull << URING_SEND_ZC | 1ull << URING_SENDMSG_ZC |         \
	 1ull << URING_READ_MULTISHOT | 1ull << URING_RECV_ZC)
#define URING_CQE_SKIP_SUCCESS (1u << 6) /* sqe.flags */
#define URING_CQE_MORE (1u << 1)	 /* cqe.flags */
#define URING_CQE_NOTIF (1u << 3)
#define URING_SETUP_SQE128 (1u << 10)
#define URING_SETUP_NO_SQARRAY (1u << 16)

struct io_cqe {
	u64 user_data;
	s32 res;
	u32 flags;
} CO_RE;
struct io_ring_ctx {
	unsigned int flags;
	u32 *sq_array;
	void *sq_sqes;
	unsigned int cached_sq_head;
	unsigned int sq_entries;
} CO_RE;
struct io_uring_task {
	struct task_struct *task;
} CO_RE;
struct io_kiocb {
	u8 opcode;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
	struct io_uring_task *tctx;
} CO_RE;
/* As in Linux 6.1 and 6.12. */
struct io_kiocb___task {
	struct task_struct *task;
} CO_RE;
/* An operation's own part is where its io_kiocb begins. */
struct filename {
	const char *name;
} CO_RE;
struct io_open {
	struct filename *filename;
} CO_RE;
struct io_statx {
	struct filename *filename;
} CO_RE;
struct io_unlink {
	struct filename *filename;
} CO_RE;
struct io_mkdir {
	struct filename *filename;
} CO_RE;
struct io_xattr {
	struct filename *filename;
} CO_RE;
struct io_rename {
	struct filename *oldpath;
	struct filename *newpath;
} CO_RE;
struct io_link {
	struct filename *oldpath;
	struct filename *newpath;
} CO_RE;
struct bpf_map;
struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} CO_RE;

/*
 * The operations in flight. Some completions have no request: those but the last of several
 * of one operation, and those for which the completion queue has no room. So user_data comes
 * first in telling them apart; programs need it for that themselves.
 *
 * The least recently used go when it is full. That costs no record: it then says that only
 * the completion was seen.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct swoll_uring_key);
	__type(value, struct swoll_uring_op);
} uring_ops SEC(".maps");

/* What their arguments pointed to, of the few that have a path or an address. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct swoll_uring_capture);
	__type(value, struct capture_room);
} uring_captures SEC(".maps");

/* What a program works on, as it has little stack. */
struct uring_work {
	struct swoll_uring_op op;
	struct uring_sqe sqe;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct uring_work);
} uring_works SEC(".maps");

static __always_inline struct uring_work *uring_work(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&uring_works, &zero);
}

/* The iterator's; see `listings`. */
struct uring_listing {
	struct swoll_running running;
	struct scratch record;
	struct swoll_uring_op op;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct uring_listing);
} uring_listings SEC(".maps");

/* The n-th argument of a program as a number: of the pointers some kernels say what they
 * point to, some do not. */
static __always_inline u64 number_at(void *ctx, u32 n)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + n * 8);
	return value;
}

static __always_inline void uring_args(struct swoll_uring_op *op, struct uring_sqe *sqe)
{
	op->args[SWOLL_URING_USER_DATA] = sqe->user_data;
	op->args[SWOLL_URING_FD] = sqe->fd;
	op->args[SWOLL_URING_FLAGS] = sqe->flags | (u32)sqe->ioprio << 8;
	op->args[SWOLL_URING_ADDR] = sqe->addr;
	op->args[SWOLL_URING_LEN] = sqe->len | (u64)sqe->buf_index << 32 | (u64)sqe->personality << 48;
	op->args[SWOLL_URING_OFF] = sqe->off;
	op->args[SWOLL_URING_OP_FLAGS] = sqe->op_flags | (u64)sqe->file_index << 32;
	op->args[SWOLL_URING_ADDR3] = sqe->addr3;
}

/* Reads the entry that was submitted last; false: it is not the request's any more. */
static __always_inline bool last_sqe(struct io_kiocb *req, struct uring_sqe *sqe)
{
	struct io_ring_ctx *ctx = BPF_CORE_READ(req, ctx);
	u32 flags = BPF_CORE_READ(ctx, flags), entries = BPF_CORE_READ(ctx, sq_entries);
	u64 index = (BPF_CORE_READ(ctx, cached_sq_head) - 1) & (entries - 1);
	u32 from = 0;

	if (!(flags & URING_SETUP_NO_SQARRAY)) {
		if (bpf_probe_read_kernel(&from, sizeof(from), BPF_CORE_READ(ctx, sq_array) + index))
			return false;
		index = from;
	}
	if (index >= entries)
		return false;
	if (flags & URING_SETUP_SQE128)
		index <<= 1;
	if (bpf_probe_read_kernel(sqe, sizeof(*sqe), BPF_CORE_READ(ctx, sq_sqes) + index * sizeof(*sqe)))
		return false;
	/* The program can write there at any time. */
	return sqe->opcode == BPF_CORE_READ(req, opcode) && sqe->user_data == BPF_CORE_READ(req, cqe.user_data);
}

/* Keeps a path: the kernel's copy of it or, where there is none, the program's. */
__noinline int keep_path(u64 req, u64 filename, u64 user, u32 nth_arg)
{
	struct swoll_uring_capture key = { .req = req, .nth = nth_arg >> 8 };
	struct capture_room *room;
	struct swoll_capture *head;
	u32 max = at_most(limit_string, SWOLL_MAX_LIMIT), zero = 0, status = 0, len = 0;
	u64 from = 0;
	u8 next = 1;
	long n = -1;

	room = bpf_map_lookup_elem(&scratches, &zero);
	if (!room)
		return 0;
	head = (void *)room;
	if (filename && filename < -4095ull)
		bpf_probe_read_kernel(&from, sizeof(from), (void *)filename + bpf_core_field_offset(struct filename, name));
	if (from)
		n = bpf_probe_read_kernel_str(room->bytes + SWOLL_CAPTURE_HEAD, max, (void *)from);
	else if (user)
		n = bpf_probe_read_user_str(room->bytes + SWOLL_CAPTURE_HEAD, max, (void *)user);
	if (n < 0) {
		status = SWOLL_CAPTURE_FAULT;
	} else if (n > 0) {
		len = n - 1;
		/* Full: only the byte behind tells whether that was all. */
		if (len + 1 >= max) {
			if (from)
				bpf_probe_read_kernel(&next, 1, (void *)from + len);
			else
				bpf_probe_read_user(&next, 1, (void *)user + len);
			if (next)
				status = SWOLL_CAPTURE_CUT;
		}
	}
	*(u32 *)head = len | (nth_arg & 0xff) << 16 | status << 24;
	return bpf_map_update_elem(&uring_captures, &key, room, BPF_ANY) ? 0 : 1;
}

/* Keeps a socket address. */
__noinline int keep_address(u64 req, u64 user, u64 len, u32 arg)
{
	struct swoll_uring_capture key = { .req = req };
	struct capture_room *room;
	u32 zero = 0, status = 0;

	room = bpf_map_lookup_elem(&scratches, &zero);
	if (!room)
		return 0;
	len = at_most((u32)len, 128); /* sizeof(struct sockaddr_storage) */
	if (len && bpf_probe_read_user(room->bytes + SWOLL_CAPTURE_HEAD, len, (void *)user)) {
		status = SWOLL_CAPTURE_FAULT;
		len = 0;
	}
	*(u32 *)room = len | arg << 16 | status << 24;
	return bpf_map_update_elem(&uring_captures, &key, room, BPF_ANY) ? 0 : 1;
}

#define FILENAME(type, field)                                                          \
	({                                                                             \
		u64 name_ = 0;                                                         \
		if (bpf_core_field_exists(struct type, field))                         \
			bpf_probe_read_kernel(&name_, sizeof(name_),                   \
					      (void *)req + bpf_core_field_offset(struct type, field)); \
		name_;                                                                 \
	})

/* Keeps what the arguments of an operation point to; `prepared`: the kernel has read it. */
__noinline int keep_captures(struct swoll_uring_op *op, u32 prepared)
{
	u64 first = 0, second = 0, req, addr, off;
	int kept;

	if (!op)
		return 0;
	req = op->req;
	addr = op->args[SWOLL_URING_ADDR];
	off = op->args[SWOLL_URING_OFF];
	switch (op->opcode) {
	case URING_CONNECT:
	case URING_BIND:
		return keep_address(req, addr, off, SWOLL_URING_ADDR);
	case URING_OPENAT:
	case URING_OPENAT2:
		first = FILENAME(io_open, filename);
		break;
	case URING_STATX:
		first = FILENAME(io_statx, filename);
		break;
	case URING_UNLINKAT:
		first = FILENAME(io_unlink, filename);
		break;
	case URING_MKDIRAT:
		first = FILENAME(io_mkdir, filename);
		break;
	case URING_SETXATTR:
	case URING_GETXATTR:
		first = FILENAME(io_xattr, filename);
		return keep_path(req, prepared ? first : 0, op->args[SWOLL_URING_ADDR3], SWOLL_URING_ADDR3);
	case URING_RENAMEAT:
		first = FILENAME(io_rename, oldpath);
		second = FILENAME(io_rename, newpath);
		break;
	case URING_SYMLINKAT:
	case URING_LINKAT:
		first = FILENAME(io_link, oldpath);
		second = FILENAME(io_link, newpath);
		break;
	default:
		return 0;
	}
	kept = keep_path(req, prepared ? first : 0, addr, SWOLL_URING_ADDR);
	if (kept && (op->opcode == URING_RENAMEAT || op->opcode == URING_SYMLINKAT || op->opcode == URING_LINKAT))
		kept += keep_path(req, prepared ? second : 0, off, SWOLL_URING_OFF | 1 << 8);
	return kept;
}

/* How a record of an operation is written, beside its result. */
enum uring_mode {
	URING_FINISHED,
	URING_UNFINISHED,
};

/* Builds the record of an operation, and returns its length. */
__noinline u32 build_uring(struct scratch *to, struct swoll_uring_op *op, u64 result, u64 now, u32 mode)
{
	struct swoll_record *record;
	struct swoll_uring_capture key = {};
	u64 duration = 0, value, more;
	u32 at, nargs = 0, wide = 0, captures = 0, flags = 0, len;
	s32 res = result;

	if (!to || !op)
		return 0;
	record = (void *)to;
	record->start = op->start;
	if (mode == URING_UNFINISHED) {
		flags |= SWOLL_UNFINISHED;
		res = 0;
	} else if (op->flags & SWOLL_URING_UNKNOWN) {
		flags |= SWOLL_NO_ENTER;
	} else {
		duration = now - op->start;
	}
	record->kind = SWOLL_URING;
	record->nr = op->opcode;
	record->tid = op->tid;
	record->duration = duration;
	record->ret = res;
	at = SWOLL_RECORD_HEAD;
	if (op->tid != op->tgid) {
		record->tgid = op->tgid;
		flags |= SWOLL_THREAD;
		at += 4;
	}
	if (duration >> 32) {
		flags |= SWOLL_LONG_DURATION;
		*(u64 *)(to->bytes + (at & 63)) = duration;
		at += 8;
	}
	/* Zeros at the end are left out. Through memory, as everywhere: all rounds look alike
	 * to the verifier then. */
	more = result >> 32 << 32; /* flags of the completion */
	*(volatile u16 *)&record->len = at;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SWOLL_URING_ARGS; i++) {
		value = op->args[i & (SWOLL_URING_ARGS - 1)];
		if (i == SWOLL_URING_FLAGS)
			value |= more;
		if (value)
			nargs = i + 1;
	}
	*(volatile u8 *)&record->shape = nargs;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SWOLL_URING_ARGS; i++) {
		if (i >= *(volatile u8 *)&record->shape)
			break;
		value = op->args[i & (SWOLL_URING_ARGS - 1)];
		if (i == SWOLL_URING_FLAGS)
			value |= more;
		at = *(volatile u16 *)&record->len;
		*(u64 *)(to->bytes + (at & 127)) = value;
		at += 4;
		if (value >> 32) {
			wide |= 1u << (i & 7);
			at += 4;
		}
		*(volatile u16 *)&record->len = at;
	}
	key.req = op->req;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 2; i++) {
		struct capture_room *room;
		struct swoll_capture *head;

		at = *(volatile u16 *)&record->len;
		if (i >= op->captures || at > sizeof(to->bytes) - sizeof(*room) - 8)
			break;
		head = (void *)(to->bytes + at);
		key.nth = i;
		room = bpf_map_lookup_elem(&uring_captures, &key);
		/* Where it had to make room for others, maybe just now, that is what it says. */
		if (!room || bpf_probe_read_kernel(head, sizeof(*room), room) ||
		    bpf_map_lookup_elem(&uring_captures, &key) != room)
			*(u32 *)head = SWOLL_URING_ADDR << 16 | SWOLL_CAPTURE_FAULT << 24;
		if (head->status & SWOLL_CAPTURE_CUT)
			flags |= SWOLL_CUT;
		*(volatile u16 *)&record->len = at + used_by(head);
		captures++;
	}
	at = *(volatile u16 *)&record->len;
	/* What pads the record is nobody's. */
	if (at > sizeof(to->bytes) - 8)
		return 0;
	*(u32 *)(to->bytes + at) = 0;
	*(u32 *)(to->bytes + at + 4) = 0;
	len = (at + 7) & ~7u;
	record->len = len;
	record->flags = flags;
	record->wide = wide;
	record->shape = nargs | captures << 4;
	return len;
}

/* The lane of an operation. What is routine of it beyond the errors of all calls: that a
 * timeout is over or not needed, that there is nothing left to cancel. */
static __always_inline u32 uring_lane(u32 opcode, s32 res)
{
	u32 error = -res;

	if (res < 0 && res >= -4095) {
		bool times = opcode == URING_TIMEOUT || opcode == URING_LINK_TIMEOUT;
		bool cancels = opcode == URING_ASYNC_CANCEL || opcode == URING_POLL_REMOVE ||
			       opcode == URING_TIMEOUT_REMOVE;

		asm volatile("" : "+r"(error));
		if (times && (error == 62 /* ETIME */ || error == 125 /* ECANCELED */))
			return SWOLL_LANE_RECENT;
		if (cancels && (error == 2 /* ENOENT */ || error == 114 /* EALREADY */))
			return SWOLL_LANE_RECENT;
		if (!routine[error & (SWOLL_ERRNOS - 1)])
			return SWOLL_LANE_ERROR;
	}
	if (opcode == URING_CONNECT || opcode == URING_BIND || opcode == URING_LISTEN)
		return SWOLL_LANE_LIFE;
	return SWOLL_LANE_RECENT;
}

/*
 * Writes the record of an operation: `result` is what completed it, the flags of the
 * completion above. Returns 1 if it was in flight when the ring froze, and is nowhere else.
 */
__noinline int write_uring(struct swoll_uring_op *op, u64 result, u32 mode)
{
	struct swoll_ring *control;
	struct scratch *scratch;
	u32 zero = 0, state, len;
	void *ring;
	u64 now;

	if (!op)
		return 0;
	ring = ring_at(op->ring);
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!ring || !scratch)
		return 0;
	control = control_of(ring);
	if (control->life != op->life)
		return 0;
	state = control->flags;
	if (unlikely(state & (SWOLL_FROZEN | SWOLL_DYING))) {
		if (state & SWOLL_FROZEN || op->start >= control->death.time) {
			lose(ring, SWOLL_LOST_FROZEN);
			return state & SWOLL_FROZEN && op->start < control->frozen;
		}
		/* It was in flight when the death began. */
		mode = URING_UNFINISHED;
	}
	now = bpf_ktime_get_ns();
	if (op->flags & SWOLL_URING_UNKNOWN)
		op->start = now;
	len = build_uring(scratch, op, result, now, mode);
	if (!len)
		return 0;
	emit(op->ring, mode == URING_UNFINISHED ? SWOLL_LANE_RECENT : uring_lane(op->opcode, result), now, len);
	return 0;
}

static __always_inline void uses_uring(struct swoll_task *st)
{
	void *ring = ring_at(st->ring);

	if (ring && !(control_of(ring)->flags & SWOLL_USES_URING))
		__sync_fetch_and_or(&control_of(ring)->flags, SWOLL_USES_URING);
}

/* Takes in an operation; `sqe` is NULL where it has to be found. */
static __always_inline int submit_uring(struct io_kiocb *req, void *from, bool prepared)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st = task_of(task);
	struct swoll_uring_key key = {};
	struct swoll_uring_op *op, *other;
	struct uring_work *work;
	void *ring;

	if (likely(!st))
		return 0;
	ring = ring_at(st->ring);
	work = uring_work();
	if (!ring || !work)
		return 0;
	uses_uring(st);
	op = &work->op;
	__builtin_memset(op, 0, sizeof(*op));
	key.user_data = BPF_CORE_READ(req, cqe.user_data);
	if (from) {
		if (bpf_probe_read_kernel(&work->sqe, sizeof(work->sqe), from))
			return 0;
		op->opcode = work->sqe.opcode;
		uring_args(op, &work->sqe);
	} else {
		op->opcode = BPF_CORE_READ(req, opcode);
		if (last_sqe(req, &work->sqe))
			uring_args(op, &work->sqe);
	}
	op->args[SWOLL_URING_USER_DATA] = key.user_data;
	key.ctx = (u64)BPF_CORE_READ(req, ctx);
	op->req = (u64)req;
	op->ring = st->ring;
	op->life = control_of(ring)->life;
	op->tid = task->pid;
	op->tgid = task->tgid;
	other = bpf_map_lookup_elem(&uring_ops, &key);
	if (other && other->req != op->req) {
		other->flags |= SWOLL_URING_TWINS;
		key.req = op->req;
		other = bpf_map_lookup_elem(&uring_ops, &key);
	}
	/* It was submitted, and failed a moment later. */
	if (!prepared && other && other->req == op->req)
		return 0;
	op->captures = keep_captures(op, prepared);
	op->start = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&uring_ops, &key, op, BPF_ANY))
		failed(SWOLL_FAIL_URING);
	/* Of those only a failure is ever told. */
	if (op->args[SWOLL_URING_FLAGS] & URING_CQE_SKIP_SUCCESS)
		write_uring(op, 0, URING_UNFINISHED);
	return 0;
}

/* Forgets an operation. */
static __always_inline void forget_uring(struct swoll_uring_key *key, u64 req, u32 captures)
{
	struct swoll_uring_capture which = { .req = req };

	if (captures) {
		bpf_map_delete_elem(&uring_captures, &which);
		which.nth = 1;
		if (captures > 1)
			bpf_map_delete_elem(&uring_captures, &which);
	}
	bpf_map_delete_elem(&uring_ops, key);
}

/*
 * The completion of an operation of which nothing is known: it was submitted before
 * recording began, or had to make room. A completion without a request belongs to no
 * operation at all: another instance sent it, or it tells that a registered resource is free.
 */
static __noinline int complete_unknown(u64 req, u64 user_data, u64 result)
{
	struct task_struct *current = bpf_get_current_task_btf(), *task = current;
	struct uring_work *work;
	struct swoll_uring_op *op;
	struct swoll_arm *arm;
	u64 cgroup;
	void *ring;

	if (req) {
		task = 0;
		if (bpf_core_field_exists(struct io_kiocb___task, task))
			task = BPF_CORE_READ((struct io_kiocb___task *)req, task);
		else if (bpf_core_field_exists(struct io_kiocb, tctx))
			task = BPF_CORE_READ((struct io_kiocb *)req, tctx, task);
		if (!task)
			return 0;
	}
	/* Most are not recorded, and complete where they were submitted. */
	if (task == current)
		cgroup = cgroup_of(current);
	else if (shape.hierarchy)
		cgroup = BPF_CORE_READ(task, cgroups, subsys[shape.subsystem & 15], cgroup, kn, id);
	else
		cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	if (likely(!maybe_recorded(cgroup)))
		return 0;
	arm = bpf_map_lookup_elem(&cgroups, &cgroup);
	work = uring_work();
	if (!arm || !work)
		return 0;
	op = &work->op;
	__builtin_memset(op, 0, sizeof(*op));
	op->flags = SWOLL_URING_UNKNOWN;
	op->opcode = req ? BPF_CORE_READ((struct io_kiocb *)req, opcode) : SWOLL_NO_OPCODE;
	op->tid = BPF_CORE_READ(task, pid);
	op->tgid = BPF_CORE_READ(task, tgid);
	op->ring = arm->ring;
	op->life = arm->life;
	op->args[SWOLL_URING_USER_DATA] = user_data;
	ring = ring_at(op->ring);
	if (ring && !(control_of(ring)->flags & SWOLL_USES_URING))
		__sync_fetch_and_or(&control_of(ring)->flags, SWOLL_USES_URING);
	op->start = bpf_ktime_get_ns();
	return write_uring(op, result, URING_FINISHED);
}

/*
 * Takes in a completion. `overflow`: there was no room for it in the queue, and what it is
 * of must be told by user_data alone.
 */
static __always_inline int complete_uring(u64 ctx, u64 req, u64 user_data, s32 res, u32 flags, bool overflow)
{
	struct swoll_uring_key key = { .ctx = ctx, .user_data = user_data };
	u64 result = (u32)res | (u64)flags << 32;
	struct swoll_uring_op *found = 0, *op;
	struct uring_work *work;

	if (unlikely(!my_turn(node.generation)))
		return 0;
	if (req || overflow || flags & URING_CQE_MORE) {
		found = bpf_map_lookup_elem(&uring_ops, &key);
		/* That memory is free again comes by a request of its own. */
		if (found && req && found->req != req && !(flags & URING_CQE_NOTIF)) {
			key.req = req;
			found = bpf_map_lookup_elem(&uring_ops, &key);
		}
	}
	work = uring_work();
	if (unlikely(!found || !work)) {
		/* The other set may have just written its record, and forgotten it. */
		if (!node.handover)
			complete_unknown(req, user_data, result);
		return 0;
	}
	op = &work->op;
	*op = *found;
	barrier();
	/* It may have had to make room for another one meanwhile. */
	if (unlikely(bpf_map_lookup_elem(&uring_ops, &key) != found)) {
		complete_unknown(req, user_data, result);
		return 0;
	}
	if (!req && ((overflow && op->flags & SWOLL_URING_TWINS) ||
		     (!overflow && (op->opcode > 63 || !(URING_REPEATS >> (op->opcode & 63) & 1))))) {
		/* Of which of those with this user_data it is cannot be told. */
		if (overflow)
			forget_uring(&key, op->req, op->captures);
		complete_unknown(req, user_data, result);
		return 0;
	}
	if (write_uring(op, result, URING_FINISHED)) {
		/* Who reads the frozen ring is told that it was. */
		op->flags |= SWOLL_URING_LATE;
		bpf_map_update_elem(&uring_ops, &key, op, BPF_EXIST);
		return 0;
	}
	/* Only now: until its record is committed it counts as running. */
	barrier();
	if (flags & URING_CQE_MORE) {
		op->start = bpf_ktime_get_ns();
		bpf_map_update_elem(&uring_ops, &key, op, BPF_EXIST);
	} else {
		forget_uring(&key, op->req, op->captures);
	}
	return 0;
}

/* As in Linux 6.12 and 6.18. */
SEC("tp_btf/io_uring_submit_req")
int io_uring_submit_req(u64 *ctx)
{
	return submit_uring((void *)number_at(ctx, 0), 0, true);
}

/* As in 6.1. */
SEC("tp_btf/io_uring_submit_sqe")
int io_uring_submit_sqe(u64 *ctx)
{
	return submit_uring((void *)number_at(ctx, 0), 0, true);
}

/* What the kernel refuses has not been submitted before. */
SEC("tp_btf/io_uring_req_failed")
int io_uring_req_failed(u64 *ctx)
{
	return submit_uring((void *)number_at(ctx, 1), (void *)number_at(ctx, 0), false);
}

/* As in Linux 6.18: (ctx, req, cqe) */
SEC("tp_btf/io_uring_complete")
int io_uring_complete(u64 *ctx)
{
	u64 ring_ctx = number_at(ctx, 0), req = number_at(ctx, 1), cqe = number_at(ctx, 2);
	struct {
		u64 user_data;
		s32 res;
		u32 flags;
	} c = {};

	bpf_probe_read_kernel(&c, sizeof(c), (void *)cqe);
	return complete_uring(ring_ctx, req, c.user_data, c.res, c.flags, false);
}

/* As in 6.1 and 6.12: (ctx, req, user_data, res, flags, ...) */
SEC("tp_btf/io_uring_complete")
int io_uring_complete_args(u64 *ctx)
{
	return complete_uring(number_at(ctx, 0), number_at(ctx, 1), number_at(ctx, 2), number_at(ctx, 3),
			      number_at(ctx, 4), false);
}

SEC("tp_btf/io_uring_cqe_overflow")
int io_uring_cqe_overflow(u64 *ctx)
{
	return complete_uring(number_at(ctx, 0), 0, number_at(ctx, 1), number_at(ctx, 2), number_at(ctx, 3), true);
}

SEC("tp_btf/io_uring_create")
int io_uring_create(u64 *ctx)
{
	struct swoll_task *st = task_of(bpf_get_current_task_btf());

	if (st)
		uses_uring(st);
	return 0;
}

/* Prints the operations in flight. */
SEC("iter/bpf_map_elem")
int uring_running(struct bpf_iter__bpf_map_elem *ctx)
{
	struct swoll_uring_op *found = ctx->value, *op;
	struct uring_listing *listing;
	u32 zero = 0, len;
	void *ring;
	long err;

	if (!ctx->key || !found)
		return 0;
	listing = bpf_map_lookup_elem(&uring_listings, &zero);
	if (!listing)
		return 0;
	op = &listing->op;
	*op = *found;
	ring = ring_at(op->ring);
	/* Of those that tell only of failures, nobody knows whether they are in flight. */
	if (!ring || control_of(ring)->life != op->life ||
	    op->args[SWOLL_URING_FLAGS] & URING_CQE_SKIP_SUCCESS)
		return 0;
	if (op->flags & SWOLL_URING_LATE && !(control_of(ring)->flags & SWOLL_FROZEN))
		return 0;
	__builtin_memset(&listing->running, 0, sizeof(listing->running));
	len = at_most(build_uring(&listing->record, op, 0, 0, URING_UNFINISHED), sizeof(struct scratch));
	if (!len)
		return 0;
	listing->running.ring = op->ring;
	listing->running.life = op->life;
	listing->running.tid = op->tid;
	listing->running.tgid = op->tgid;
	listing->running.flags = SWOLL_TASK_RUNNING | SWOLL_TASK_URING;
	listing->running.start = op->start;
	listing->running.capture_len = len;
	err = bpf_seq_write(ctx->meta->seq, listing, sizeof(listing->running) + len);
	if (err && err != -75 /* EOVERFLOW */)
		failed(SWOLL_FAIL_SEQ);
	return 0;
}

#endif
