//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The recorder's kernel side. It turns every system call of a recorded cgroup
 * into one record in that cgroup's ring, and arms, freezes and retires rings.
 *
 * Rules:
 *  - nothing here waits, and nothing allocates but task storage;
 *  - every program that writes records runs in task context with preemption
 *    off, so a CPU's cursor is never entered twice; `busy` proves it;
 *  - it knows cgroup ids and ring numbers, nothing of pods.
 */
#include "kernel.h"
#include "swoll.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() asm volatile("" ::: "memory")

/* A page that was taken longer ago than this may lag behind its lane. A busy
 * CPU fills a page much faster and never looks at the shared counter. */
#define PAGE_AGE_NS 100000
/* Up to how many bytes are read by way of this CPU's scratch. */
#define SMALL 64
/* How often a writer looks for a page that nobody has open. */
#define TAKE_TRIES 64
/* How often a writer looks for a free cursor where CPUs share them: some 20 µs, in which a
 * stalled holder usually comes back. */
#define CURSOR_TRIES 1024
/* Up to how many words of captures are copied one by one, and how. */
#define COPY_WORDS 12
/* Up to how many pointers or directory entries are counted. */
#define MAX_COUNTED 1024
/* Up to how many strings of an array, and iovecs, are read. */
#define MAX_STRINGS 33
#define MAX_PIECES 16
#define COPY4(i)                             \
	do {                                 \
		to[(i)] = words[(i)];         \
		to[(i) + 1] = words[(i) + 1]; \
		to[(i) + 2] = words[(i) + 2]; \
		to[(i) + 3] = words[(i) + 3]; \
	} while (0)

/* At most `max`, in the one form that the verifier follows whatever the compiler
 * makes of the code around it. */
#define at_most(value, max)                                          \
	({                                                           \
		u64 v_ = (value);                                    \
		asm volatile("if %[v] <= %[m] goto +1; %[v] = %[m];" \
			     : [v] "+r"(v_)                          \
			     : [m] "i"(max));                        \
		v_;                                                  \
	})

/* The value if it is below the limit, else 0; see at_most(). */
#define below(value, limit)                                         \
	({                                                          \
		u64 v_ = (value), l_ = (limit);                     \
		asm volatile("if %[v] < %[l] goto +1; %[v] = 0;"    \
			     : [v] "+r"(v_)                         \
			     : [l] "r"(l_));                        \
		v_;                                                 \
	})

/* 1, or 0 for 0, of a value below 2^32. Without a branch: else the verifier follows each
 * way on its own. */
#define any(value)                                               \
	({                                                       \
		u64 v_ = (value);                                \
		asm volatile("%[v] += %[m]; %[v] >>= 32;"        \
			     : [v] "+r"(v_)                      \
			     : [m] "r"(0xffffffffull));          \
		v_;                                              \
	})

/* Set by the service before loading; the verifier takes them as constants. */
const volatile struct swoll_shape shape = {};
const volatile u64 turn = 1;
const volatile u32 limit_data = 64;
const volatile u32 limit_string = 256;
/* Of data buffers, by call: see SWOLL_RULE_LIMIT. */
const volatile u32 limits[SWOLL_LIMITS] = {};
const volatile struct swoll_call calls[2 * SWOLL_CALLS + SWOLL_VARIANT_ROWS] = {};
const volatile struct swoll_variant variants[SWOLL_VARIANTS] = {};
const volatile u8 routine[SWOLL_ERRNOS] = {};

struct swoll_node node = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* set by the service */
	__type(key, u32);
	__uint(value_size, 1 << 20);	/* set by the service */
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct swoll_task);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct swoll_arm);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct swoll_watch);
} watches SEC(".maps");

/* The pods that do not consent to all. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct swoll_cgroup_name);
	__type(value, u32);
} consents SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);		/* set by the service */
	__type(value, u32);
} pool SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} alerts SEC(".maps");

/*
 * Who sent the signals that recorded tasks have not taken yet: SIGKILL brings no siginfo
 * along, and the others tell a number that may be another namespace's. The oldest go first.
 */
struct pending_key {
	u32 tid;	/* of the thread, or of the process */
	u32 signal;
};
struct pending {
	u64 start_time; /* the receiver's: ids are used again */
	u64 time;
	s32 code;
	u32 ignored;	/* it is not going to be delivered */
	struct swoll_sender sender;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct pending_key);
	__type(value, struct pending);
} senders SEC(".maps");

/* Room to build what is too large for the stack. */
struct scratch {
	union {
		u8 bytes[1024];
		struct swoll_fork fork;
		struct swoll_exec exec;
		struct swoll_exit exit;
		struct swoll_signal signal;
		struct swoll_files files;
		struct swoll_event event;
	};
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* The iterator's: it can be preempted, so it shares with no program that cannot. The
 * service runs one iterator at a time, and it stays on its CPU. */
struct listing {
	struct swoll_running running;
	u8 capture[SWOLL_CAPTURE];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct listing);
} listings SEC(".maps");

static __always_inline u64 cgroup_of(struct task_struct *task)
{
	if (shape.hierarchy)
		return task->cgroups->subsys[shape.subsystem & 15]->cgroup->kn->id;
	return task->cgroups->dfl_cgrp->kn->id;
}

static __always_inline bool maybe_recorded(u64 cgroup)
{
	return node.filter[cgroup & (SWOLL_FILTER - 1)];
}

/*
 * Whether this set of programs is the one that records. When a service replaces programs,
 * both sets are attached for a moment, and each event is seen by both, one after the other.
 */
static __always_inline bool my_turn(u64 generation)
{
	return generation >> SWOLL_TURN == turn;
}

static __always_inline void *ring_at(u32 index)
{
	return bpf_map_lookup_elem(&rings, &index);
}

static __always_inline struct swoll_ring *control_of(void *ring)
{
	return ring + (u64)shape.pages * SWOLL_PAGE;
}

/* The slot of a CPU, for its losses. */
static __always_inline struct swoll_slot *slot_of(void *ring, u64 cpu)
{
	return (void *)control_of(ring) + SWOLL_SLOTS_AT + below(cpu, shape.slots) * SWOLL_SLOT;
}

static __always_inline void lose(void *ring, u32 cause)
{
	struct swoll_slot *slot = slot_of(ring, bpf_get_smp_processor_id());

	__sync_fetch_and_add(&slot->lost[cause & (SWOLL_LOST_CAUSES - 1)], 1);
}

static __always_inline void failed(u32 place)
{
	__sync_fetch_and_add(&node.failed[place & 7], 1);
}

static __always_inline void alert(u32 kind, u32 ring, u64 life, u64 cgroup, u64 time)
{
	struct swoll_alert a = {
		.kind = kind, .ring = ring, .life = life, .cgroup = cgroup, .time = time,
	};

	if (bpf_ringbuf_output(&alerts, &a, sizeof(a), 0))
		__sync_fetch_and_add(&node.alerts_lost, 1);
}

/*
 * Publishes a page's new state: all stores before it are seen before it. Plain
 * stores keep their order on x86; elsewhere an exchange is a full barrier.
 */
static __always_inline void publish(struct swoll_page *page, u64 state)
{
#if defined(__TARGET_ARCH_x86)
	barrier();
	*(volatile u64 *)&page->state = state;
	barrier();
#else
	__sync_lock_test_and_set(&page->state, state);
#endif
}

/*
 * Hands the cursor a new page, and gives up the one it had. Returns the new
 * page, counted from 1, or 0: the lane has none (the boot lane is full, or all
 * its pages are open); the cursor keeps its old page then.
 *
 * The old page is given up last: so each cursor always has its newest page, and
 * the number of records ever written can be told from pages alone.
 *
 * Like all functions here that are not static, it is verified by itself, once,
 * and not again at every place that calls it.
 */
__noinline u32 take_page(u32 ring_index, u32 lane, u32 number, u64 now)
{
	struct swoll_cursor *cursor;
	struct swoll_ring *control;
	u32 pages, old_page;
	void *ring = ring_at(ring_index);

	lane &= SWOLL_LANES - 1;
	pages = shape.lane[lane].pages;
	if (!ring || !pages || number >= shape.slots)
		return 0;
	control = control_of(ring);
	cursor = &slot_of(ring, number)->lane[lane];
	old_page = cursor->page;
	for (int i = 0; i < TAKE_TRIES; i++) {
		struct swoll_page *page;
		u64 n, state, last;
		u32 index;

		n = __sync_fetch_and_add(&control->lane[lane].next, 1) + 1;
		if (lane == SWOLL_LANE_BOOT && n > pages) {
			if (!control->boot_done)
				control->boot_done = now;
			__sync_fetch_and_or(&control->flags, SWOLL_BOOT_DONE);
			return 0;
		}
		index = shape.lane[lane].first + (u32)(n % pages);
		if (index >= shape.pages)
			return 0;
		page = ring + (u64)index * SWOLL_PAGE;
		state = page->state;
		if (state & SWOLL_OPEN || state >> SWOLL_SEQ_SHIFT >= n)
			continue;
		/* Without bytes used the head is not valid yet. */
		if (__sync_val_compare_and_swap(&page->state, state, n << SWOLL_SEQ_SHIFT | SWOLL_OPEN) != state)
			continue;
		last = page->last;
		page->destroyed = last;
		page->first = cursor->records;
		page->taken = now;
		page->slot = number;
		page->lane = lane;
		page->life = control->life;
		publish(page, n << SWOLL_SEQ_SHIFT | SWOLL_OPEN | SWOLL_PAGE_HEAD);
		cursor->page = index + 1;
		old_page--; /* none wraps to what is beyond all */
		if (old_page < shape.pages) {
			page = ring + (u64)old_page * SWOLL_PAGE;
			publish(page, page->state & ~(u64)SWOLL_OPEN);
		}
		return index + 1;
	}
	return 0;
}

/*
 * Where a record goes: `at` bytes into the ring, through `cursor`, which is
 * held until done() or abandon().
 */
struct place {
	struct swoll_cursor *cursor;
	u32 lane;
	u32 number; /* of the cursor */
	u64 at;
};

static __always_inline bool hold(struct swoll_cursor *cursor, u32 lane)
{
	if (shape.lane[lane].shared)
		return __sync_lock_test_and_set(&cursor->busy, 1) == 0;
	if (unlikely(cursor->busy))
		return false;
	*(volatile u32 *)&cursor->busy = 1;
	barrier();
	return true;
}

static __always_inline void release(struct swoll_cursor *cursor, u32 lane)
{
	barrier();
#if !defined(__TARGET_ARCH_x86)
	if (shape.lane[lane].shared) {
		__sync_lock_test_and_set(&cursor->busy, 0);
		return;
	}
#endif
	*(volatile u32 *)&cursor->busy = 0;
	barrier();
}

/*
 * Gets hold of any cursor of a lane whose cursors CPUs share; -1: all were busy
 * all the time. Who holds one is running, and lets go after some 50 ns.
 */
__noinline int hold_shared(u32 ring_index, u32 lane, u32 number)
{
	void *ring = ring_at(ring_index);

	lane &= SWOLL_LANES - 1;
	if (!ring)
		return -1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < CURSOR_TRIES; i++) {
		struct swoll_cursor *cursor;

		number = (number + 1) & shape.lane[lane].mask;
		if (number >= shape.slots)
			return -1;
		cursor = &slot_of(ring, number)->lane[lane];
		/* Looking costs the holder less than trying. */
		if (!*(volatile u32 *)&cursor->busy && hold(cursor, lane))
			return number;
	}
	return -1;
}

/* Finds room for `need` bytes in a lane; 0 if there is, else the cause of loss + 1. */
static __always_inline int find_in_lane(void *ring, u32 lane, u32 need, u64 now, struct place *place)
{
	struct swoll_ring *control = control_of(ring);
	u32 number = bpf_get_smp_processor_id() & shape.lane[lane].mask;
	struct swoll_cursor *cursor;
	struct swoll_page *page;
	u32 index, used;
	u64 state;

	if (number >= shape.slots)
		return SWOLL_LOST_BUSY + 1;
	cursor = &slot_of(ring, number)->lane[lane];
	if (unlikely(!hold(cursor, lane))) {
		int held;

		if (!shape.lane[lane].shared)
			return SWOLL_LOST_BUSY + 1;
		held = hold_shared(control->index, lane, number);
		if (held < 0)
			return SWOLL_LOST_BUSY + 1;
		number = below(held, shape.slots);
		cursor = &slot_of(ring, number)->lane[lane];
	}
	index = cursor->page - 1; /* none wraps to what is beyond all */
	if (likely(index < shape.pages)) {
		page = ring + (u64)index * SWOLL_PAGE;
		state = page->state;
		used = state & SWOLL_USED;
		if (unlikely(now - page->taken > PAGE_AGE_NS) && lane != SWOLL_LANE_BOOT &&
		    control->lane[lane].next - (state >> SWOLL_SEQ_SHIFT) > shape.lane[lane].pages / 2)
			used = SWOLL_PAGE;
		if (likely(used + need <= SWOLL_PAGE))
			goto found;
	}
	index = take_page(control->index, lane, number, now) - 1;
	if (index >= shape.pages) {
		release(cursor, lane);
		return SWOLL_LOST_NO_PAGE + 1;
	}
	used = SWOLL_PAGE_HEAD;
	if (used + need > SWOLL_PAGE) {
		release(cursor, lane);
		return SWOLL_LOST_TOO_LONG + 1;
	}
found:
	place->cursor = cursor;
	place->lane = lane;
	place->number = number;
	place->at = index * SWOLL_PAGE + (used & (SWOLL_PAGE - 1));
	return 0;
}

/* The same in the boot lane, as long as that has room; else in the wanted one. */
static __always_inline int find_place(void *ring, u32 lane, u32 need, u64 now, struct place *place)
{
	struct swoll_ring *control = control_of(ring);
	u32 wanted = lane;
	int cause;

	if (unlikely(!(control->flags & SWOLL_BOOT_DONE)))
		lane = SWOLL_LANE_BOOT;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 2; i++) {
		cause = find_in_lane(ring, lane & (SWOLL_LANES - 1), need, now, place);
		if (likely(!cause) || lane == wanted || !(control->flags & SWOLL_BOOT_DONE))
			break;
		lane = wanted;
	}
	return cause;
}

/*
 * A place in one word. Through memory, or out of a function that is verified by
 * itself, it lets the verifier forget the many ways that lead to a place: else
 * it follows each of them through all that comes after.
 *
 *	 63   62  61  58 57  50  49 48 47        32 31                0
 *	+---+----+------+-------+-----+------------+-------------------+
 *	| 1 |more|head/4| flags |lane |   cursor   |        at         |
 *	+---+----+------+-------+-----+------------+-------------------+
 */
#define PLACE_FOUND (1ull << 63)
/* The kernel has filled something in, to be captured. */
#define PLACE_MORE (1ull << 62)

static __always_inline u64 pack_place(struct place *place)
{
	return PLACE_FOUND | (u64)place->lane << 48 | (u64)place->number << 32 | place->at;
}

static __always_inline void unpack_place(void *ring, u64 packed, struct place *place)
{
	place->lane = packed >> 48 & (SWOLL_LANES - 1);
	place->number = packed >> 32 & 0xffff;
	place->at = below(packed & 0xffffffff, shape.bytes - SWOLL_PAGE + 1);
	place->cursor = &slot_of(ring, place->number)->lane[place->lane];
}

/* find_place() for all but the hot path. The cause of loss + 1 is without PLACE_FOUND. */
__noinline u64 find_place_far(u32 ring_index, u32 lane, u32 need, u64 now)
{
	struct place place = {};
	void *ring = ring_at(ring_index);
	int cause;

	if (!ring)
		return SWOLL_LOST_NO_PAGE + 1;
	cause = find_place(ring, lane & (SWOLL_LANES - 1), need, now, &place);
	return cause ? cause : pack_place(&place);
}

/* Commits `len` bytes that were written at the place. */
static __always_inline void done(void *ring, struct place *place, u32 len, u64 now)
{
	struct swoll_page *page;
	u32 index = place->at / SWOLL_PAGE;

	if (index < shape.pages) {
		page = ring + (u64)index * SWOLL_PAGE;
		/* Where CPUs share the cursor, another one's time may be ahead. */
		if (likely(page->last < now))
			page->last = now;
		place->cursor->records++;
		publish(page, page->state + len);
	}
	release(place->cursor, place->lane);
}

#include "fold.h"

/* Writes the record that was built in this CPU's scratch. */
__noinline int emit(u32 ring_index, u32 lane, u64 now, u32 len)
{
	struct place place = {};
	struct scratch *scratch;
	void *ring = ring_at(ring_index);
	u32 zero = 0;
	u64 found;

	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!ring || !scratch)
		return 0;

	len = (len + 7) & ~7u;
	if (len > sizeof(struct scratch))
		return 0;
	found = find_place_far(ring_index, lane, len, now);
	if (!(found & PLACE_FOUND)) {
		lose(ring, found - 1);
		return 0;
	}
	unpack_place(ring, found, &place);
	if (place.at > shape.bytes - SWOLL_PAGE ||
	    bpf_probe_read_kernel(ring + place.at, len, scratch)) {
		release(place.cursor, place.lane);
		lose(ring, SWOLL_LOST_COPY);
		return 0;
	}
	done(ring, &place, len, now);
	return 0;
}

/*
 * Writes an event that is no call. It is in this CPU's scratch, and the caller
 * has filled in what follows the head.
 */
static __always_inline int write_event(u32 ring_index, struct task_struct *task, struct swoll_event *event,
				       u32 kind, u32 len, u32 lane, u64 now)
{
	event->head = (struct swoll_record){
		.len = (len + 7) & ~7u, .kind = kind, .start = now,
		.tid = task->pid, .tgid = task->tgid,
	};
	event->uid = task->cred->uid.val;
	event->gid = task->cred->gid.val;
	bpf_probe_read_kernel_str(event->comm, sizeof(event->comm), task->comm);
	return emit(ring_index, lane, now, len);
}

/* Whether the first process of a ring is this one; remembers better candidates. */
static __always_inline void see_first(struct swoll_ring *control, u32 tgid, u32 by)
{
	if (control->first_by < by) {
		control->first = tgid;
		control->first_by = by;
	}
}

/* How many bytes of a data buffer a ring may have. */
static __always_inline u16 payload_of(struct swoll_ring *control)
{
	u32 most = control->payload;

	if (control->flags & SWOLL_NO_PAYLOAD)
		return 0;
	return most && most < SWOLL_MAX_LIMIT ? most : SWOLL_MAX_LIMIT;
}

/* A task's storage, made if there is none. A thread may just be making its leader's. */
static __always_inline struct swoll_task *make_task(struct task_struct *task)
{
	struct swoll_task *st = bpf_task_storage_get(&tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	return st ? st : bpf_task_storage_get(&tasks, task, 0, 0);
}

/* What is kept of the process that a counted task belongs to: with its leader. */
static __always_inline struct swoll_task *process_of(struct task_struct *task, struct swoll_task *st)
{
	return st->counted ? bpf_task_storage_get(&tasks, task->group_leader, 0, 0) : 0;
}

/*
 * Counts a thread of its process. signal->live is no measure of which end is the last one:
 * it is lowered before sched_process_exit, and several threads may come there and see 0, in
 * any order. Each thread is seen before it lowers it: it is forked, makes a call, or is
 * delivered the signal that it dies of.
 */
static __always_inline void count_thread(struct task_struct *task, struct swoll_task *st)
{
	struct swoll_task *process = make_task(task->group_leader);

	if (!process)
		return;
	st->counted = 1;
	__sync_fetch_and_add(&process->living, 1);
	__sync_fetch_and_add(&process->unended, 1);
}

/*
 * The storage of a task, made or brought up to date: the slow path of every
 * program. NULL if the task is not recorded.
 */
static __noinline struct swoll_task *find_task(struct task_struct *task, u64 cgroup)
{
	struct swoll_task *st;
	struct swoll_ring *control;
	struct swoll_arm *arm;
	void *ring;
	u64 generation = node.generation;

	if (unlikely(!my_turn(generation) || node.handover)) {
		st = bpf_task_storage_get(&tasks, task, 0, 0);
		if (!my_turn(generation)) {
			/* So that the other set, which comes next, sees that this event is its own. */
			if (st && my_turn(st->generation))
				st->generation = 0;
			return 0;
		}
		/* The other set was there first, and the turn changed in between: done. */
		if (st && st->generation && !my_turn(st->generation))
			return 0;
	}
	barrier();
	arm = bpf_map_lookup_elem(&cgroups, &cgroup);
	if (!arm) {
		st = bpf_task_storage_get(&tasks, task, 0, 0);
		if (st) {
			st->ring = SWOLL_NO_RING;
			st->cgroup = cgroup;
			st->generation = generation;
			st->flags = 0;
		}
		return 0;
	}
	ring = ring_at(arm->ring);
	if (!ring)
		return 0;
	st = make_task(task);
	if (!st) {
		lose(ring, SWOLL_LOST_STORAGE);
		failed(SWOLL_FAIL_STORAGE);
		return 0;
	}
	control = control_of(ring);
	/* A call that began elsewhere is not this ring's, nor one of an earlier use of it. */
	if (st->cgroup && (st->ring != arm->ring || st->start < control->armed))
		st->flags = 0;
	st->ring = arm->ring;
	st->cgroup = cgroup;
	st->generation = generation;
	st->last = 0;
	if (st->payload > payload_of(control)) {
		/* Consent was withdrawn, maybe while the task was in a call. What it
		 * captured earlier must go, too: write_call() copies whole words. */
		st->captures = 0;
		st->capture_len = 0;
#pragma clang loop unroll(disable)
		for (int i = 0; i < SWOLL_CAPTURE / 8; i++)
			*(volatile u64 *)(st->capture + i * 8) = 0;
	}
	st->payload = payload_of(control);
	if (!st->counted)
		count_thread(task, st);
	see_first(control, task->tgid, SWOLL_FIRST_SEEN);
	return st;
}

static __always_inline struct swoll_task *task_of(struct task_struct *task)
{
	u64 cgroup = cgroup_of(task), generation;
	struct swoll_task *st;

	if (likely(!maybe_recorded(cgroup)))
		return 0;
	st = bpf_task_storage_get(&tasks, task, 0, 0);
	generation = node.generation;
	if (unlikely(!st || st->cgroup != cgroup || st->generation != generation || !my_turn(generation))) {
		st = find_task(task, cgroup);
		if (!st)
			return 0;
	}
	if (st->ring == SWOLL_NO_RING)
		return 0;
	return st;
}

static __always_inline u8 abi_of(struct task_struct *task, u64 nr)
{
#if defined(__TARGET_ARCH_x86)
	if (unlikely(task->thread_info.status & TS_COMPAT))
		return 1;
	if (unlikely(nr & 0x40000000))
		return 2;
#else
	if (unlikely(task->thread_info.flags & (1ul << TIF_32BIT)))
		return 1;
#endif
	return 0;
}

static __always_inline void read_args(u64 *args, struct pt_regs *regs, u8 abi)
{
#if defined(__TARGET_ARCH_x86)
	if (unlikely(abi == 1)) {
		args[0] = (u32)regs->bx;
		args[1] = (u32)regs->cx;
		args[2] = (u32)regs->dx;
		args[3] = (u32)regs->si;
		args[4] = (u32)regs->di;
		args[5] = (u32)regs->bp;
		return;
	}
	args[0] = regs->di;
	args[1] = regs->si;
	args[2] = regs->dx;
	args[3] = regs->r10;
	args[4] = regs->r8;
	args[5] = regs->r9;
#else
	args[0] = regs->orig_x0;
	args[1] = regs->regs[1];
	args[2] = regs->regs[2];
	args[3] = regs->regs[3];
	args[4] = regs->regs[4];
	args[5] = regs->regs[5];
#endif
}

/* The row of a call; a number beyond the table has the last one, which is empty. */
static __always_inline u32 row_of(u32 nr, u8 abi)
{
	u64 row = at_most(nr, SWOLL_CALLS - 1);

	if (abi == 1)
		row += SWOLL_CALLS;
	return row;
}

static __always_inline const volatile struct swoll_call *call_at(u32 row)
{
	return &calls[below(row, 2 * SWOLL_CALLS + SWOLL_VARIANT_ROWS)];
}

static __always_inline const volatile struct swoll_call *call_of(u32 nr, u8 abi)
{
	return call_at(row_of(nr, abi));
}

/*
 * The row of the form that a call has, of those that begin at `first`: the one with this
 * key. 0 if it has none of its own. (No form has row 0: those rows come last.)
 */
__noinline u32 variant_of(u32 first, u32 count, u64 key)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < 11; i++) {
		u32 half = count / 2;
		const volatile struct swoll_variant *v = &variants[below((u64)first + half, SWOLL_VARIANTS)];

		if (!count)
			break;
		if (v->key == key)
			return v->row;
		if (v->key < key) {
			first += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return 0;
}

/* Where a signal's frame has the mask: in the ucontext, which begins at the stack pointer on
 * x86 (the return address is gone by then), behind a siginfo on arm64. */
#if defined(__TARGET_ARCH_x86)
#define SIGFRAME_MASK 296
#else
#define SIGFRAME_MASK (128 + 40)
#endif

/* The same by the arguments of a call that has several forms. */
__noinline u32 select_row(struct swoll_task *st, u32 row)
{
	const volatile struct swoll_call *call = call_at(row);
	u64 a, b = 0xffffffff;
	u32 found;

	if (!st)
		return row;
	if (call->select == SWOLL_SELECT_STACK) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

		st->args[0] = regs->sp + SIGFRAME_MASK;
		return row;
	}
	a = *(u64 *)((void *)st->args + below((u64)call->select, 6) * 8) & call->mask;
	if (call->select2 < 6) {
		b = *(u64 *)((void *)st->args + below((u64)call->select2, 6) * 8);
		found = variant_of(call->variant, call->variants, a | b << 32);
		if (found)
			return found;
		b = 0xffffffff;
	}
	found = variant_of(call->variant, call->variants, a | b << 32);
	return found ? found : row;
}

/* Room for one capture, whatever its rule. */
struct capture_room {
	u8 bytes[SWOLL_CAPTURE_HEAD + SWOLL_MAX_LIMIT];
};

/* What capture() needs besides a rule, in the rule's flags. */
enum capture_mode {
	MODE_COMPAT = 0x20, /* pointers and sizes are 4 bytes */
	MODE_LATE = 0x80,
};

/* Beside how a rule reads: what is written to standard error is what a verdict quotes. */
#define RULE_WORDS 0x80

static __always_inline u8 how_of(u64 rule)
{
	return rule & 0x7f;
}

/*
 * What capture() leaves to do behind a capture's head, for the functions that have loops:
 * called from there they would find too little stack.
 */
struct left_over {
	u64 head;
	u64 from;
	u64 count;
	u64 limit;
};

static __always_inline u32 word_of(u64 rule)
{
	return rule >> 24 & MODE_COMPAT ? 4 : 8;
}

/* The bytes that a capture takes. */
static __always_inline int used_by(struct swoll_capture *head)
{
	return (SWOLL_CAPTURE_HEAD + at_most(head->len, SWOLL_MAX_LIMIT) + 3) & ~3u;
}

/* Clears what pads the last word of `len` bytes. It stands in the ring, where something
 * else was before, and differ() compares it. */
static __always_inline void pad_word(u8 *data, u64 len)
{
	u32 *last = (u32 *)(data + at_most(len & ~3ull, SWOLL_MAX_LIMIT - 4));

	if (len & 3)
		*last &= (1u << (len & 3) * 8) - 1;
}

/* What the following two return beside the count. */
#define COUNT_FAULT 0x80000000u

/* How many pointers stand before a NULL. */
__noinline u32 count_pointers(struct capture_room *to, u64 rule)
{
	u32 i, word = word_of(rule);
	u64 from;

	if (!to)
		return 0;
	from = ((struct left_over *)to)->from;

#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_COUNTED; i++) {
		u64 next = 0;

		if (bpf_probe_read_user(&next, word == 4 ? 4 : 8, (void *)from))
			return i | COUNT_FAULT;
		if (!next)
			break;
		from += word;
	}
	return i;
}

/* How many directory entries there are; the rule's size is where the length of each
 * stands. */
__noinline u32 count_entries(struct capture_room *to, u64 rule)
{
	u32 i, at = rule >> 32 & 0xffff;
	u64 from, end;

	if (!to)
		return 0;
	from = ((struct left_over *)to)->from;
	end = from + ((struct left_over *)to)->count;

#pragma clang loop unroll(disable)
	for (i = 0; i < MAX_COUNTED && from < end; i++) {
		u16 next = 0;

		if (bpf_probe_read_user(&next, 2, (void *)from + at) || !next)
			return i | COUNT_FAULT;
		from += next;
	}
	return i;
}

/*
 * Reads an array of strings behind a capture's head, each with its NUL, up to about the
 * limit. What loops add up lives in memory, of which the verifier knows nothing:
 * then all rounds look alike to it.
 */
__noinline int gather_strings(struct capture_room *to, u64 rule)
{
	struct swoll_capture *head = (void *)to;
	u32 len, word = word_of(rule);
	u64 from, limit;
	long n;

	if (!to)
		return 0;
	from = ((struct left_over *)to)->from;
	limit = ((struct left_over *)to)->limit;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_STRINGS; i++) {
		u64 string = 0;

		if (bpf_probe_read_user(&string, word == 4 ? 4 : 8, (void *)from)) {
			head->status |= SWOLL_CAPTURE_FAULT;
			return 0;
		}
		if (!string)
			return 0;
		from += word;
		len = head->len;
		if (len >= limit || len > SWOLL_MAX_LIMIT - SWOLL_PIECE) {
			head->status |= SWOLL_CAPTURE_CUT;
			return 0;
		}
		n = bpf_probe_read_user_str(to->bytes + SWOLL_CAPTURE_HEAD + len, SWOLL_PIECE, (void *)string);
		if (n < 0) {
			head->status |= SWOLL_CAPTURE_FAULT;
			return 0;
		}
		if (n >= SWOLL_PIECE)
			head->status |= SWOLL_CAPTURE_CUT;
		head->len = len + n;
	}
	head->status |= SWOLL_CAPTURE_CUT;
	return 0;
}

/* Gathers behind a capture's head what iovecs point to; at exit, no more than `ret`
 * bytes, unless the rule's size says that those are not what it counts. */
__noinline int gather(struct capture_room *to, u64 rule, s64 ret)
{
	struct swoll_capture *head = (void *)to;
	u64 limit, most = SWOLL_PIECE, left, from, count, vector[2];
	volatile u64 *rest;
	u32 word = word_of(rule), len;

	if (!to)
		return 0;
	from = ((struct left_over *)to)->from;
	count = ((struct left_over *)to)->count;
	limit = ((struct left_over *)to)->limit;
	left = ret >= 0 && rule >> 24 & SWOLL_RULE_EXIT && !(rule >> 32 & 0xffff) ? ret : ~0ull;
	/* Of several buffers each has its share, and a little at least. */
	if (count > 1) {
		most = limit / 2 < SWOLL_PIECE_MIN ? SWOLL_PIECE_MIN : limit / 2;
		if (most > limit)
			most = limit;
		most = at_most(most & ~7ull, SWOLL_PIECE);
		limit *= 4;
		head->arg |= most / 8 << SWOLL_CAPTURE_CAP;
	}
	limit = at_most(limit, SWOLL_MAX_LIMIT - SWOLL_PIECE - 8);
	/* Behind what can be gathered: see gather_strings(). */
	rest = (u64 *)(to->bytes + sizeof(to->bytes) - 8);
	*rest = left;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_PIECES; i++) {
		u64 piece;

		left = *rest;
		if (i >= count || !left)
			goto out;
		len = head->len;
		if (len >= limit || len > SWOLL_MAX_LIMIT - SWOLL_PIECE - 8) {
			head->status |= SWOLL_CAPTURE_CUT;
			goto out;
		}
		vector[0] = vector[1] = 0;
		if (bpf_probe_read_user(vector, word == 4 ? 8 : 16, (void *)from)) {
			head->status |= SWOLL_CAPTURE_FAULT;
			goto out;
		}
		if (word == 4) {
			vector[1] = vector[0] >> 32;
			vector[0] = (u32)vector[0];
		}
		from += word * 2;
		piece = vector[1] < left ? vector[1] : left;
		*rest = left - piece;
		if (piece > most) {
			piece = most;
			head->status |= SWOLL_CAPTURE_CUT;
		}
		if (piece > limit - len) {
			piece = limit - len;
			head->status |= SWOLL_CAPTURE_CUT;
		}
		piece = at_most(piece, SWOLL_PIECE);
		if (piece && bpf_probe_read_user(to->bytes + SWOLL_CAPTURE_HEAD + len, piece, (void *)vector[0])) {
			head->status |= SWOLL_CAPTURE_FAULT;
			goto out;
		}
		head->len = len + piece;
	}
	if (count > MAX_PIECES)
		head->status |= SWOLL_CAPTURE_CUT;
out:
	pad_word(to->bytes + SWOLL_CAPTURE_HEAD, head->len);
	return used_by(head);
}

/* Up to how many bytes are read by way of the stack. With 64, the kernel would give read_few()
 * a stack that is none to it; with 48, the deepest chain of calls would have too much. */
#define FEW 32

/* Copies word i of those that hold so many bytes, if it is one of them. */
#define COPY_WORD(i, to, from, bytes)  \
	if ((bytes) > (i) * 8)         \
		(to)[i] = (from)[i];

/* Copies up to SMALL bytes, in whole words. */
static __always_inline void copy_small(u64 *to, const u64 *from, u64 bytes)
{
	COPY_WORD(0, to, from, bytes) COPY_WORD(1, to, from, bytes)
	COPY_WORD(2, to, from, bytes) COPY_WORD(3, to, from, bytes)
	COPY_WORD(4, to, from, bytes) COPY_WORD(5, to, from, bytes)
	COPY_WORD(6, to, from, bytes) COPY_WORD(7, to, from, bytes)
}

struct few {
	u64 word[FEW / 8];
};

/*
 * Reads that many bytes, and clears what pads the last word, which differ() compares. Hardened
 * kernels look long at where they copy to, but for the stack.
 */
__noinline int read_few(struct few *to, u64 from, u64 bytes)
{
	struct few few = {};

	if (!to || bpf_probe_read_user(&few, at_most(bytes, FEW), (void *)from))
		return -1;
	COPY_WORD(0, to->word, few.word, bytes) COPY_WORD(1, to->word, few.word, bytes)
	COPY_WORD(2, to->word, few.word, bytes) COPY_WORD(3, to->word, few.word, bytes)
	return 0;
}

/*
 * Reads what one rule says: `from` is the pointer, `count` what the rule counts
 * by, `rule` the bytes of the swoll_capture_rule with the mode in its flags,
 * `payload` the most bytes of a data buffer, beside what all of them have.
 * Returns the bytes used, padded to 4. Global, so that the verifier looks at it
 * once and not at every place that calls it.
 */
__noinline int capture(struct capture_room *to, u64 from, u64 count, u64 rule, u64 payload)
{
	u8 how = how_of(rule), arg = rule >> 8 & SWOLL_CAPTURE_ARG, flags = rule >> 24, mode = flags, words = rule & RULE_WORDS;
	u32 size = rule >> 32 & 0xffff, word = mode & MODE_COMPAT ? 4 : 8;
	struct swoll_capture *head;
	u32 len, status;
	u8 *data;
	u64 limit;
	long n;

	if (!to)
		return 0;
	head = (void *)to->bytes;
	data = to->bytes + SWOLL_CAPTURE_HEAD;
	limit = limit_string;
	if (flags & (SWOLL_RULE_DATA | SWOLL_RULE_ENVIRON)) {
		/* Words have the larger one of both, but where there is to be nothing. */
		if (!words || limit_data > limit_string || !limit_data)
			limit = limit_data;
		if (limit > payload)
			limit = payload;
	}
	status = (flags & SWOLL_RULE_EXIT ? SWOLL_CAPTURE_EXIT : 0) |
		 (mode & MODE_LATE ? SWOLL_CAPTURE_LATE : 0);
	len = 0;
	if (!limit) {
		status |= SWOLL_CAPTURE_NONE;
		goto whole;
	}
	if (!from)
		goto whole;
	if (flags & SWOLL_RULE_AT) {
		u64 pointer = 0;

		if ((u8)(rule >> 16) == SWOLL_COUNT_AT) {
			count = 0;
			if (bpf_probe_read_user(&count, flags & SWOLL_RULE_COUNT4 ? 4 : word,
						(void *)from + (u8)(rule >> 56)))
				status |= SWOLL_CAPTURE_FAULT;
		}
		if (bpf_probe_read_user(&pointer, word, (void *)from + (u8)(rule >> 48)))
			status |= SWOLL_CAPTURE_FAULT;
		from = pointer;
		if (!from || status & SWOLL_CAPTURE_FAULT)
			goto whole;
	} else {
		from += (u8)(rule >> 48);
	}

	if (how == SWOLL_HOW_STRING) {
		u32 max = at_most(limit, SWOLL_MAX_LIMIT);

		if (flags & SWOLL_RULE_EXIT) {
			n = bpf_probe_read_user_str(data, max, (void *)from);
		} else {
			/* Hardened kernels look long at what they copy to in task storage. */
			u32 zero = 0;
			u64 *small = bpf_map_lookup_elem(&scratches, &zero);

			n = small ? bpf_probe_read_user_str(small, max, (void *)from) : -1;
			if (n > SMALL) {
				if (bpf_probe_read_kernel(data, at_most(n, SWOLL_MAX_LIMIT), small))
					n = -1;
			} else if (n > 0) {
				copy_small((u64 *)data, small, n);
			}
		}
		if (n < 0) {
			status |= SWOLL_CAPTURE_FAULT;
		} else if (n > 0) {
			len = n - 1;
			pad_word(data, len);
			if (len + 1 >= max) {
				/* Full: only the byte behind tells whether that was all. */
				u8 next = 1;

				if (bpf_probe_read_user(&next, 1, (void *)from + len) || next)
					status |= SWOLL_CAPTURE_CUT;
			}
		}
		goto whole;
	}
	if (how == SWOLL_HOW_BYTES || how == SWOLL_HOW_SOCKADDR || how >= SWOLL_HOW_BITS) {
		u64 bytes;

		if (how == SWOLL_HOW_SOCKADDR || how == SWOLL_HOW_OPTION) {
			if (how == SWOLL_HOW_SOCKADDR)
				limit = 128; /* sizeof(struct sockaddr_storage) */
			if (flags & SWOLL_RULE_EXIT) {
				u32 got = 0;

				/* The kernel says how much there was, not what fitted. */
				if (!count || bpf_probe_read_user(&got, 4, (void *)count))
					status |= SWOLL_CAPTURE_FAULT;
				bytes = got;
			} else {
				bytes = (u32)count;
			}
		} else {
			bytes = count * size;
			if (how == SWOLL_HOW_BITS)
				bytes = ((u32)count + 63) / 64 * 8;
			else if (how == SWOLL_HOW_PAGES)
				bytes = (count + SWOLL_PAGE - 1) / SWOLL_PAGE;
			else if (how == SWOLL_HOW_MSGBUF)
				bytes = count + size;
			/* Structures are whole or not at all. */
			if (!(flags & SWOLL_RULE_DATA))
				limit = SWOLL_MAX_LIMIT;
		}
		if (bytes > limit) {
			status |= SWOLL_CAPTURE_CUT;
			bytes = limit;
			if (!(flags & SWOLL_RULE_DATA) && size > 1)
				bytes -= bytes % size;
		}
		bytes = at_most(bytes, SWOLL_MAX_LIMIT);
		if (!bytes)
			goto whole;
		if (bytes <= FEW) {
			if (read_few((void *)data, from, bytes))
				status |= SWOLL_CAPTURE_FAULT;
			else
				len = bytes;
			goto whole;
		}
		if (bytes <= SMALL) {
			/* Hardened kernels look long at what they copy to in task storage and rings. */
			u32 zero = 0;
			u64 *small = bpf_map_lookup_elem(&scratches, &zero);

			if (small) {
				small[(bytes - 1) / 8 & (SMALL / 8 - 1)] = 0;
				if (!bpf_probe_read_user(small, at_most(bytes, SMALL), (void *)from)) {
					len = bytes;
					copy_small((u64 *)data, small, bytes);
					goto whole;
				}
			}
			status |= SWOLL_CAPTURE_FAULT;
			goto whole;
		}
		/* What pads the last word is part of what differ() compares. */
		*(u32 *)(data + (at_most(bytes, SWOLL_MAX_LIMIT - 4) & ~3ull)) = 0;
		if (bpf_probe_read_user(data, bytes, (void *)from))
			status |= SWOLL_CAPTURE_FAULT;
		else
			len = bytes;
		goto whole;
	}

	head->len = 0;
	head->arg = arg;
	head->status = status;
	((struct left_over *)to)->from = from;
	((struct left_over *)to)->count = count;
	((struct left_over *)to)->limit = limit;
	return -1;
whole:
	/* One store, so that who copies it at once need not wait for several. */
	len = at_most(len, SWOLL_MAX_LIMIT);
	*(u32 *)head = len | (u32)arg << 16 | status << 24;
	return (SWOLL_CAPTURE_HEAD + len + 3) & ~3u;
}

/* Does what capture() left to do, but for gather(). */
__noinline int finish(struct capture_room *to, u64 rule)
{
	struct swoll_capture *head = (void *)to;
	u32 found;

	if (!to)
		return 0;
	if (how_of(rule) == SWOLL_HOW_STRINGS) {
		gather_strings(to, rule);
	} else {
		found = how_of(rule) == SWOLL_HOW_ENTRIES ? count_entries(to, rule) : count_pointers(to, rule);
		if (found & COUNT_FAULT)
			head->status |= SWOLL_CAPTURE_FAULT;
		found &= ~COUNT_FAULT;
		if (found >= MAX_COUNTED)
			head->status |= SWOLL_CAPTURE_CUT;
		*(u32 *)&to->bytes[SWOLL_CAPTURE_HEAD] = found;
		head->len = 4;
	}
	return used_by(head);
}

/* One rule of a call, to where capture_room bytes may be written. */
static __always_inline u32 apply(void *to, const volatile struct swoll_capture_rule *rule,
				 struct swoll_task *st, s64 ret, u32 mode, bool entry)
{
	u64 bits = *(const volatile u64 *)rule;
	u8 arg = bits >> 8 & SWOLL_CAPTURE_ARG, by = bits >> 16;
	u32 own = bits >> (8 + SWOLL_RULE_LIMIT) & (SWOLL_LIMITS - 1);
	u64 count = 1, payload = st->payload;
	const u64 *args = st->args;
	int used;

	if (arg > 5)
		arg = 0;
	if (by == SWOLL_COUNT_RETURN)
		count = ret > 0 ? ret : 0;
	else if (by < 6)
		count = *(const u64 *)((const void *)args + (by & 7) * 8);
	bits |= (u64)mode << 24;
	if (entry && unlikely((u32)args[0] == 2) && arg == 1)
		bits |= RULE_WORDS;
	if (unlikely(own) && payload > limits[own])
		payload = limits[own];
	used = capture(to, *(const u64 *)((const void *)args + (arg & 7) * 8), count, bits, payload);
	if (used < 0)
		used = how_of(bits) == SWOLL_HOW_IOVEC ? gather(to, bits, ret) : finish(to, bits);
	if (used < 0 || used > sizeof(struct capture_room))
		return 0;
	return used;
}

static __always_inline u32 mode_of(struct swoll_task *st)
{
	return st->abi ? MODE_COMPAT : 0;
}

/* What is wrong with a capture, as swoll_task.flags. */
static __always_inline u32 trouble(struct swoll_capture *head)
{
	u8 status = head->status;

	return (status & SWOLL_CAPTURE_FAULT ? SWOLL_TASK_FAULT : 0) |
	       (status & SWOLL_CAPTURE_CUT ? SWOLL_TASK_CUT : 0);
}

/* Reads what belongs to a call's entry into its task storage. */
__noinline int capture_entry(struct swoll_task *st, u32 nr, u32 late)
{
	const volatile struct swoll_call *call;
	u32 len = 0, captures = 0, flags;

	if (!st)
		return 0;
	st->row = row_of(nr, st->abi);
	call = call_at(st->row);
	if (call->variants) {
		st->row = select_row(st, st->row);
		call = call_at(st->row);
	}
	flags = st->flags & ~(SWOLL_TASK_FAULT | SWOLL_TASK_CUT);
#pragma clang loop unroll(disable)
	for (int i = 0; i < SWOLL_CALL_CAPTURES; i++) {
		struct swoll_capture *head;

		if (i >= call->enters || len > SWOLL_CAPTURE_START)
			break;
		head = (void *)st->capture + len;
		len += apply(head, &call->rule[i], st, 0, mode_of(st) | (late ? MODE_LATE : 0), true);
		flags |= trouble(head);
		captures++;
	}
	st->flags = flags;
	st->captures = captures;
	st->capture_len = len;
	return 0;
}

/* What capture_exit() returns. */
enum exit_result {
	EXIT_BYTES = 0xfff,
	EXIT_CUT = 0x1000,
	EXIT_COUNT_SHIFT = 13,
};

/* Reads what the kernel filled in, to `at` bytes into the task's ring. */
__noinline int capture_exit(struct swoll_task *st, u32 at, s64 ret)
{
	const volatile struct swoll_call *call;
	u32 from = at, got = 0; /* one word of two things: stack is scarce here */
	void *ring;

	if (!st)
		return 0;
	call = call_at(st->row);
	ring = ring_at(st->ring);
	if (!ring)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SWOLL_CALL_CAPTURES; i++) {
		struct swoll_capture *head;

		if (i < call->enters)
			continue;
		if (i >= call->rules || at > shape.bytes - sizeof(struct capture_room))
			break;
		head = ring + at;
		at += apply(head, &call->rule[i], st, ret, mode_of(st), false);
		if (head->status & SWOLL_CAPTURE_CUT)
			got |= EXIT_CUT;
		got += 1 << EXIT_COUNT_SHIFT;
	}
	return ((at - from) & EXIT_BYTES) | got;
}

#include "files.h"

/* What the exit of a call has to do besides its record, as swoll_task.flags: so that it need
 * not look at the call's row for that. */
static __always_inline u32 exit_work(const volatile struct swoll_call *call)
{
	u32 flags = call->flags;

	_Static_assert(SWOLL_CALL_CRED << 5 == SWOLL_TASK_CRED, "credentials");
	return (flags & SWOLL_CALL_CRED) << 5 | any(flags & SWOLL_CALL_FILES) * SWOLL_TASK_FILES;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st = task_of(task);
	const volatile struct swoll_call *call;
	u32 nr, row;
	u8 abi;

	if (likely(!st))
		return 0;
	/* Nobody may take a half-written call for a whole one: the iterator
	 * believes only what is marked running, and looks twice at start. */
	st->flags = 0;
	barrier();
	abi = abi_of(task, id);
	nr = (u32)id & ~0x40000000u;
	read_args(st->args, regs, abi);
	st->nr = nr;
	st->abi = abi;
	row = row_of(nr, abi);
	call = call_at(row);
	if (unlikely(call->variants)) {
		row = select_row(st, row);
		call = call_at(row);
	}
	st->row = row;
	if (!call->enters) {
		st->captures = 0;
		st->capture_len = 0;
	} else if (call->enters == 1) {
		st->capture_len = apply(st->capture, &call->rule[0], st, 0, mode_of(st), true);
		st->captures = 1;
		st->flags = trouble((void *)st->capture);
	} else {
		capture_entry(st, nr, 0);
	}
	st->start = bpf_ktime_get_ns();
	barrier();
	st->flags |= SWOLL_TASK_RUNNING | exit_work(call);
	return 0;
}

/*
 * Writes the record of a call. `finished`: it returned `ret`; else it is
 * recorded as having not.
 */
static __always_inline int write_call(void *ring, struct swoll_task *st, struct task_struct *task, s64 ret,
				      bool finished, bool entered, bool hot, const void *again)
{
	const volatile struct swoll_call *call;
	struct swoll_record *record;
	struct place place;
	void *next;
	u32 lane = SWOLL_LANE_RECENT, need, at, head, captures = 0, len, nargs;
	u32 bytes = shape.bytes;
	u64 now, start, duration, found, more = 0, yes, error, word;
	u8 flags, wide = 0, rules, enters;

	call = call_at(st->row);
	rules = call->rules;
	enters = call->enters;
	if (unlikely(ret < 0 && ret >= -4095)) {
		/* What failed has filled nothing in. */
		rules = enters;
		error = -ret;
		/* So that the compiler does not subtract from the table's address. */
		asm volatile("" : "+r"(error));
		if (!routine[error & (SWOLL_ERRNOS - 1)] && finished)
			lane = SWOLL_LANE_ERROR;
		else if (call->flags & SWOLL_CALL_LIFE)
			lane = SWOLL_LANE_LIFE;
	} else if (call->flags & SWOLL_CALL_LIFE) {
		lane = SWOLL_LANE_LIFE;
	}
	flags = st->abi & SWOLL_ABI;
	if (unlikely(!finished)) {
		flags |= SWOLL_UNFINISHED;
		rules = enters;
		ret = 0;
	}
	now = bpf_ktime_get_ns();
	start = st->start;
	duration = 0;
	if (unlikely(!entered)) {
		flags |= SWOLL_NO_ENTER;
		start = now;
	} else if (likely(finished)) {
		duration = now - start;
	}
	head = SWOLL_RECORD_HEAD;
	yes = any((u32)(task->pid ^ task->tgid));
	flags |= yes * SWOLL_THREAD;
	head += yes * 4;
	yes = any(duration >> 32);
	flags |= yes * SWOLL_LONG_DURATION;
	head += yes * 8;
	yes = any((u64)(ret + (1ll << 31)) >> 32);
	flags |= yes * SWOLL_LONG_RETURN;
	head += yes * 8;
	len = st->capture_len;
	need = head + call->args * 8 + len + any(len) * 32 + 16;
	if (rules > enters) {
		u32 room = call->room;

		/* The usual one rule that takes what the return value says, and what
		 * capture() may leave for finish(). */
		if (rules - enters == 1 && call->rule[below((u64)enters, SWOLL_CALL_CAPTURES)].count == SWOLL_COUNT_RETURN) {
			u64 most = ret * call->rule[below((u64)enters, SWOLL_CALL_CAPTURES)].size + SWOLL_PIECE_MIN;

			if (most < room)
				room = most;
		}
		need += room;
		more = PLACE_MORE;
	}

	if (hot) {
		int cause;

		*(volatile u64 *)&st->place = (u64)lane << 32 | need;
		found = *(volatile u64 *)&st->place;
		cause = find_place(ring, found >> 32 & (SWOLL_LANES - 1), found & 0xfff, now, &place);
		found = cause ? cause : pack_place(&place);
	} else {
		found = find_place_far(control_of(ring)->index, lane, need, now);
	}
	if (unlikely(!(found & PLACE_FOUND))) {
		lose(ring, found - 1);
		st->last = 0;
		return 0;
	}
	*(volatile u64 *)&st->place = found | more | (u64)flags << 50 | (u64)(head / 4) << 58;
	found = *(volatile u64 *)&st->place;
	unpack_place(ring, found, &place);
	flags = found >> 50;
	head = (found >> 58 & 15) * 4;
	at = place.at;
	if (at > bytes - SWOLL_PAGE)
		goto drop;
	record = ring + at;
	at += head;
	/* Now, though the rest comes last, and read again: else the stack has to keep it,
	 * of which there is little, and the verifier all that it can be. */
	if (hot) {
		start = *(volatile u64 *)&st->start;
		duration = now - start;
		ret = *(volatile u64 *)again;
	}
	record->start = start;
	record->tid = *(volatile int *)&task->pid;
	record->duration = duration;
	record->ret = ret;
	next = (void *)record + SWOLL_RECORD_HEAD;
	if (flags & SWOLL_THREAD) {
		record->tgid = *(volatile int *)&task->tgid;
		next += 4;
	}
	if (unlikely(flags & SWOLL_LONG_DURATION)) {
		*(u64 *)next = duration;
		next += 8;
	}
	if (flags & SWOLL_LONG_RETURN)
		*(u64 *)next = ret;
	nargs = at_most(*(const volatile u8 *)&call->args, 6);
	len = at_most(*(volatile u16 *)&st->capture_len, SWOLL_CAPTURE);

	/* Eight bytes each time; the next one begins where this one's end. Without
	 * branches: the verifier would follow each way of each argument. */
#define ARG(i)                                                               \
	if (nargs > i) {                                                     \
		u64 value = st->args[i], high = any(value >> 32);            \
                                                                             \
		if (at > bytes - SWOLL_PAGE + 128)                           \
			goto drop;                                           \
		*(u64 *)(ring + at) = value;                                 \
		at += 4 + ((high & 1) << 2);                                 \
		wide |= (high & 1) << i;                                     \
	}
	ARG(0) ARG(1) ARG(2) ARG(3) ARG(4) ARG(5)
#undef ARG
	/* To memory and back: whatever ways led here, they look alike from here on. */
	*(volatile u64 *)&st->place = at - place.at;
	at = place.at + (*(volatile u64 *)&st->place & 127);
	if (len) {
		if (at > bytes - SWOLL_PAGE + 256)
			goto drop;
		if (len <= COPY_WORDS * 8) {
			/* The helper costs more than this. What is copied beyond
			 * the end fits into `need`, and is overwritten next. */
			u64 *to = ring + at, *words = (u64 *)st->capture;

			COPY4(0);
			if (len > 32)
				COPY4(4);
			if (len > 64)
				COPY4(8);
		} else if (bpf_probe_read_kernel(ring + at, len, st->capture)) {
			goto drop;
		}
		at += len;
		captures = st->captures;
	}
	enters = call->enters;
	if (!(found & PLACE_MORE)) {
		/* That was all. */
	} else if (call->rules - enters == 1) {
		struct swoll_capture *filled = ring + at;

		if (at > bytes - sizeof(struct capture_room))
			goto drop;
		at += apply(filled, &call->rule[below((u64)enters, SWOLL_CALL_CAPTURES)], st, ret, mode_of(st), false);
		captures++;
		if (filled->status & SWOLL_CAPTURE_CUT)
			flags |= SWOLL_CUT;
	} else {
		u32 result = capture_exit(st, at, ret);

		at += result & EXIT_BYTES;
		captures += result >> EXIT_COUNT_SHIFT & 15;
		if (result & EXIT_CUT)
			flags |= SWOLL_CUT;
	}
	if (st->flags & SWOLL_TASK_CUT)
		flags |= SWOLL_CUT;
	len = (at - place.at + 7) & ~7u;
	/* In one word, which is read again at once. */
	word = len | SWOLL_CALL << 16 | (u64)flags << 24 | (u64)st->nr << 32 | (u64)wide << 48 |
	       (u64)(nargs | captures << 4) << 56;
	*(u64 *)record = word;
	if (hot)
		done_call(ring, &place, st, at - place.at, now);
	else
		done(ring, &place, len, now);
	return 0;
drop:
	release(place.cursor, place.lane);
	lose(ring, SWOLL_LOST_TOO_LONG);
	st->last = 0;
	return 0;
}

/* The rare kinds of calls. */
enum odd {
	ODD_UNFINISHED, /* it has not returned */
	ODD_RETURN,     /* only its return was seen */
	ODD_NOT_MADE,   /* a filter ended the thread that wanted to make it */
};

__noinline int write_odd_call(struct swoll_task *st, s64 ret, u32 how)
{
	void *ring;

	if (!st)
		return 0;
	ring = ring_at(st->ring);
	if (!ring)
		return 0;
	st->last = 0;
	return write_call(ring, st, bpf_get_current_task_btf(), ret, how == ODD_RETURN, how == ODD_UNFINISHED, false, 0);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st = task_of(task);
	struct swoll_ring *control;
	void *ring;
	u32 flags, state;

	if (likely(!st))
		return 0;
	ring = ring_at(st->ring);
	if (!ring)
		return 0;
	control = control_of(ring);
	flags = st->flags;
	state = control->flags;
	if (unlikely(state & (SWOLL_FROZEN | SWOLL_DYING))) {
		/* A call that began before a death and outlived it was running then. */
		if (!(state & SWOLL_FROZEN) && flags & SWOLL_TASK_RUNNING &&
		    st->start < control->death.time)
			write_odd_call(st, 0, ODD_UNFINISHED);
		else
			lose(ring, SWOLL_LOST_FROZEN);
		st->last = 0;
		goto out;
	}
	if (unlikely(!(flags & SWOLL_TASK_RUNNING))) {
		/* The child's side of a fork is no call. Else nobody saw the entry:
		 * a seccomp filter answered, or recording began inside the call. */
		if (flags & SWOLL_TASK_FORKED)
			goto out;
#if defined(__TARGET_ARCH_x86)
		st->abi = abi_of(task, regs->orig_ax);
		st->nr = (u32)regs->orig_ax & ~0x40000000u;
		if ((s64)regs->orig_ax < 0)
			goto out;
#else
		st->abi = abi_of(task, 0);
		st->nr = regs->syscallno;
		if (regs->syscallno < 0)
			goto out;
#endif
		if (!ret && call_of(st->nr, st->abi)->flags & SWOLL_CALL_FORK)
			goto out;
		read_args(st->args, regs, st->abi);
		st->row = row_of(st->nr, st->abi);
		if (call_at(st->row)->select == SWOLL_SELECT_STACK)
			st->args[0] = 0;
		st->captures = 0;
		st->capture_len = 0;
		/* Killed while a tracer held it at the entry: it never got further. */
		if (ret == -38 /* ENOSYS */ && task->signal->flags & SIGNAL_GROUP_EXIT) {
			st->start = bpf_ktime_get_ns();
			write_odd_call(st, 0, ODD_UNFINISHED);
			goto out;
		}
		if (!(call_at(st->row)->flags & SWOLL_CALL_EXEC))
			capture_entry(st, st->nr, 1);
		write_odd_call(st, ret, ODD_RETURN);
		goto out;
	}
	if (unlikely(flags & (SWOLL_TASK_FAULT | SWOLL_TASK_FILES))) {
		if (flags & SWOLL_TASK_FAULT && !(call_at(st->row)->flags & SWOLL_CALL_EXEC))
			capture_entry(st, st->nr, 1);
		if (flags & SWOLL_TASK_FILES)
			note_files(st, ret);
	}
	write_call(ring, st, task, ret, true, true, true, ctx + 1);
	/* Read again: the stack is full. */
	if (unlikely(*(volatile u8 *)&st->flags & SWOLL_TASK_CRED) && *(volatile s64 *)(ctx + 1) >= 0) {
		u32 zero = 0;
		struct scratch *scratch = bpf_map_lookup_elem(&scratches, &zero);

		if (scratch)
			write_event(st->ring, task, &scratch->event, SWOLL_CRED, sizeof(scratch->event),
				    SWOLL_LANE_LIFE, bpf_ktime_get_ns());
		st->last = 0;
	}
out:
	/* Only now: until the record is committed the call counts as running. */
	barrier();
	st->flags = 0;
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st;
	struct scratch *scratch;
	struct swoll_ring *control;
	u64 cgroup = cgroup_of(child);
	void *ring;
	u32 zero = 0;

	if (maybe_recorded(cgroup)) {
		st = find_task(child, cgroup);
		if (st)
			st->flags = SWOLL_TASK_FORKED;
	}
	st = task_of(task);
	if (!st)
		return 0;
	ring = ring_at(st->ring);
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!ring || !scratch)
		return 0;
	control = control_of(ring);
	if (control->flags & (SWOLL_FROZEN | SWOLL_DYING)) {
		lose(ring, SWOLL_LOST_FROZEN);
		return 0;
	}
	st->last = 0;
	scratch->fork.child_tid = child->pid;
	scratch->fork.child_tgid = child->tgid;
	write_event(st->ring, task, &scratch->event, SWOLL_FORK, sizeof(scratch->fork),
		    SWOLL_LANE_LIFE, bpf_ktime_get_ns());
	return 0;
}

/* Whether the task is the first of a pid namespace of its own. */
static __always_inline bool is_init(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;
	u32 level = pid->level;
	u32 nr = 0;

	if (!level)
		return false;
	bpf_core_read(&nr, sizeof(nr), &pid->numbers[level].nr);
	return nr == 1;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st = task_of(task);
	struct swoll_capture *head;
	struct swoll_ring *control;
	struct scratch *scratch;
	void *ring;
	u32 zero = 0, len = 0;
	long n;

	if (!st)
		return 0;
	ring = ring_at(st->ring);
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!ring || !scratch)
		return 0;
	control = control_of(ring);
	/* All other threads are gone. This one may have become the leader only now. */
	st->living = st->unended = st->counted;
	see_first(control, task->tgid, is_init(task) ? SWOLL_FIRST_INIT : SWOLL_FIRST_EXEC);
	if (control->flags & (SWOLL_FROZEN | SWOLL_DYING)) {
		lose(ring, SWOLL_LOST_FROZEN);
		return 0;
	}
	st->last = 0;
	scratch->exec.old_tid = old_pid;
	scratch->exec.pad = 0;
	head = (void *)(&scratch->exec + 1);
	head->arg = 0;
	head->status = 0;
	n = bpf_probe_read_kernel_str(head + 1, 256, bprm->filename);
	if (n > 0)
		len = (n - 1) & 0xff;
	if (n < 0)
		head->status = SWOLL_CAPTURE_FAULT;
	if (n >= 256)
		head->status = SWOLL_CAPTURE_CUT;
	head->len = len;
	write_event(st->ring, task, &scratch->event, SWOLL_EXEC,
		    sizeof(scratch->exec) + SWOLL_CAPTURE_HEAD + len, SWOLL_LANE_LIFE, bpf_ktime_get_ns());
	write_files(st->ring, SWOLL_FILES_EXEC);
	return 0;
}

/* Bits of signals by number. */
#define SIG(n) (1ull << (n))
#define SIG_CORE (SIG(3) | SIG(4) | SIG(5) | SIG(6) | SIG(7) | SIG(8) | SIG(11) | SIG(24) | SIG(25) | SIG(31))
/* Whose default is not to end the process: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH. */
#define SIG_HARMLESS (SIG(17) | SIG(18) | SIG(19) | SIG(20) | SIG(21) | SIG(22) | SIG(23) | SIG(28))
/* Handled ones that come by the thousand: timers, and what runtimes preempt with. */
#define SIG_ROUTINE (SIG(14) | SIG(23) | SIG(26) | SIG(27))

/* include/uapi/asm-generic/siginfo.h */
#define SI_USER 0
#define SI_KERNEL 0x80
#define SI_QUEUE -1
#define SI_TKILL -6
/* include/trace/events/signal.h */
#define TRACE_SIGNAL_IGNORED 1

static __always_inline bool in_set(u64 set, u32 signal)
{
	return signal < 64 && set >> signal & 1;
}

/*
 * Notes who sends a signal to a recorded task. It runs under the receiver's siglock, at
 * times in an interrupt: so it writes no record, and nothing that a CPU has but once.
 */
SEC("tp_btf/signal_generate")
int BPF_PROG(signal_generate, int sig, struct kernel_siginfo *info, struct task_struct *target, int group, int result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending_key key = { .signal = sig };
	struct pending pending = {};
	u64 from = (u64)info;
	u64 cgroup = cgroup_of(target);

	if (likely(!maybe_recorded(cgroup)))
		return 0;
	/* Of what is not to be delivered, only one means something. */
	pending.ignored = result == TRACE_SIGNAL_IGNORED && sig == 15;
	if ((result && !pending.ignored) || sig >= 32 || in_set(SIG_ROUTINE | SIG_HARMLESS, sig))
		return 0;
	/* SEND_SIG_NOINFO is a process's, SEND_SIG_PRIV the kernel's. */
	if (from == 1)
		pending.code = SI_KERNEL;
	else if (from)
		bpf_probe_read_kernel(&pending.code, sizeof(pending.code), &info->si_code);
	if (pending.code == SI_USER || pending.code == SI_QUEUE || pending.code == SI_TKILL) {
		pending.sender.known = SWOLL_SENDER_PROCESS;
		pending.sender.tgid = task->tgid;
		pending.sender.cgroup = cgroup_of(task);
		bpf_probe_read_kernel_str(pending.sender.comm, sizeof(pending.sender.comm), task->comm);
	} else if (sig == 9) {
		pending.sender.known = SWOLL_SENDER_KERNEL;
	} else {
		return 0; /* timers, faults: what there is to know comes along */
	}
	key.tid = group ? target->tgid : target->pid;
	pending.time = bpf_ktime_get_ns();
	pending.start_time = group ? BPF_CORE_READ(target, group_leader, start_time) : target->start_time;
	if (bpf_map_update_elem(&senders, &key, &pending, BPF_ANY))
		failed(SWOLL_FAIL_SENDER);
	return 0;
}

/* Finds who sent the signal that a task takes; false: nobody was seen. */
static __always_inline bool sender_of(struct task_struct *task, u32 signal, struct swoll_sender *sender, s32 *code)
{
	struct pending_key key = { .tid = task->pid, .signal = signal };
	struct pending *pending;
	u64 start_time = task->start_time;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 2; i++) {
		pending = bpf_map_lookup_elem(&senders, &key);
		if (pending && pending->start_time == start_time && !pending->ignored) {
			*sender = pending->sender;
			*code = pending->code;
			return true;
		}
		key.tid = task->tgid;
		start_time = BPF_CORE_READ(task, group_leader, start_time);
	}
	__builtin_memset(sender, 0, sizeof(*sender));
	return false;
}

/* Whether a process that SIGKILL ends had been told to end, and ignored it. */
static __noinline void was_told(struct task_struct *task, struct swoll_death *death)
{
	struct pending_key key = { .tid = task->tgid, .signal = 15 };
	struct pending *pending = bpf_map_lookup_elem(&senders, &key);

	if (pending && pending->ignored &&
	    pending->start_time == BPF_CORE_READ(task, group_leader, start_time)) {
		death->told = pending->time;
		death->teller = pending->sender;
	}
}

/* How much memory a dying process holds, and how much it was allowed. */
static __noinline void weigh(struct task_struct *task, struct swoll_death *death)
{
	struct mm_struct *mm = task->mm;
	struct page_counter *counter;
	struct mem_cgroup *memcg;
	u64 best = ~0ull;
	s64 rss = 0;

	if (!mm)
		mm = task->signal->oom_mm;
	if (mm) {
		if (bpf_core_type_exists(struct mm_rss_stat)) {
			struct mm_struct___counts *old = (void *)mm;

			rss = BPF_CORE_READ(old, rss_stat.count[MM_FILEPAGES].counter) +
			      BPF_CORE_READ(old, rss_stat.count[MM_ANONPAGES].counter) +
			      BPF_CORE_READ(old, rss_stat.count[MM_SHMEMPAGES].counter);
		} else {
			rss = BPF_CORE_READ(mm, rss_stat[MM_FILEPAGES].count) +
			      BPF_CORE_READ(mm, rss_stat[MM_ANONPAGES].count) +
			      BPF_CORE_READ(mm, rss_stat[MM_SHMEMPAGES].count);
		}
		death->rss_pages = rss > 0 ? rss : 0;
	}
	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return;
	/* The css is the first member of its controller's own structure. */
	memcg = (void *)BPF_CORE_READ(task, cgroups, subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id) & 15]);
	if (!memcg)
		return;
	counter = &memcg->memory;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 8 && counter; i++) {
		u64 max = BPF_CORE_READ(counter, max);
		s64 used = BPF_CORE_READ(counter, usage.counter);
		u64 left = used < (s64)max ? max - used : 0;

		/* Without a limit, max is as large as a number can be. */
		if (max < 1ull << 48 && left < best) {
			best = left;
			death->limit = 1;
			death->limit_pages = max;
			death->used_pages = used > 0 ? used : 0;
		}
		counter = BPF_CORE_READ(counter, parent);
	}
}

/* Fills in how the process dies; 0 if this ring holds another death already. */
static __always_inline bool begin_death(void *ring, struct task_struct *task, u32 kind, u64 now)
{
	struct swoll_ring *control = control_of(ring);
	struct swoll_death *death = &control->death;
	u32 old;

	if (control->mourned == task->tgid)
		return false;
	if (control->flags & (SWOLL_FROZEN | SWOLL_DYING) || death->ready) {
		if (death->tgid != task->tgid)
			lose(ring, SWOLL_LOST_DEATH);
		return false;
	}
	/* Before the flag: who sees DYING compares with the time. */
	if (__sync_val_compare_and_swap(&death->time, 0, now))
		return false;
	death->kind = kind;
	death->done = 0;
	death->tgid = task->tgid;
	death->tid = task->pid;
	death->flags = control->first == task->tgid ? SWOLL_DEATH_FIRST : 0;
	bpf_probe_read_kernel_str(death->comm, sizeof(death->comm), task->comm);
	control->frozen = now;
	barrier();
	old = __sync_fetch_and_or(&control->flags, SWOLL_DYING);
	return !(old & (SWOLL_FROZEN | SWOLL_DYING));
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(signal_deliver, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st = task_of(task);
	struct swoll_ring *control;
	struct swoll_death *death;
	struct scratch *scratch;
	void *ring;
	u64 now, fields = 0, handler;
	u32 zero = 0, flags = 0, signal = sig;
	bool first, oom;
	s32 code;

	/* The threads that the kernel made for io_uring die of it, too; others tell better. */
	if (!st || task->flags & PF_IO_WORKER)
		return 0;
	ring = ring_at(st->ring);
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!ring || !scratch)
		return 0;
	control = control_of(ring);
	st->last = 0;
	now = bpf_ktime_get_ns();
	scratch->signal.code = 0;
	scratch->signal.error = 0;
	if (signal == 9) {
		/* How a process ends whatever kills it; the cause stands in the exit code.
		 * exit_group and execve end other threads in this way, too. */
		if (!(task->signal->flags & SIGNAL_GROUP_EXIT))
			return 0;
		signal = task->signal->group_exit_code & 0x7f;
		if (!signal)
			return 0;
		flags = SWOLL_SIGNAL_FATAL;
		sender_of(task, signal, &scratch->signal.sender, &scratch->signal.code);
	} else {
		handler = (u64)ka->sa.sa_handler;
		if (handler > 1)
			flags = SWOLL_SIGNAL_HANDLED;
		else if (handler == 1)
			flags = SWOLL_SIGNAL_IGNORED;
		else if (!in_set(SIG_HARMLESS, signal) && !(task->signal->flags & SIGNAL_UNKILLABLE))
			flags = SWOLL_SIGNAL_FATAL;
		/* Some kernels take this pointer for one that may be none. */
		scratch->signal.code = BPF_CORE_READ(info, si_code);
		scratch->signal.error = BPF_CORE_READ(info, si_errno);
		bpf_probe_read_kernel(&fields, sizeof(fields), (void *)info + 16);
		bpf_probe_read_kernel(scratch->signal.more, sizeof(scratch->signal.more), (void *)info + 24);
		sender_of(task, signal, &scratch->signal.sender, &code);
		if (!(control->flags & (SWOLL_FROZEN | SWOLL_DYING))) {
			scratch->signal.signal = signal;
			scratch->signal.pid = fields;
			scratch->signal.uid = fields >> 32;
			scratch->signal.addr = fields;
			scratch->signal.flags = flags;
			write_event(st->ring, task, &scratch->event, SWOLL_SIGNAL, sizeof(scratch->signal),
				    flags & SWOLL_SIGNAL_HANDLED && in_set(SIG_ROUTINE, signal) ?
					    SWOLL_LANE_RECENT : SWOLL_LANE_LIFE, now);
		} else {
			lose(ring, SWOLL_LOST_FROZEN);
		}
	}
	if (!(flags & SWOLL_SIGNAL_FATAL))
		return 0;
	first = control->first == task->tgid;
	/* The OOM killer marks its victim just after it has sent the signal: who is
	 * faster is put right when the process exits. */
	oom = task->signal->oom_mm != 0;
	if (!first && !oom && !in_set(SIG_CORE, signal))
		return 0;
	if (!begin_death(ring, task, oom ? SWOLL_DEATH_OOM : SWOLL_DEATH_SIGNAL, now))
		return 0;
	death = &control->death;
	death->status = signal;
	death->signal = signal;
	death->code = scratch->signal.code;
	death->addr = fields;
	death->pid = fields;
	death->uid = fields >> 32;
	death->more = signal == 9 ? 0 : scratch->signal.more[0];
	death->sender = scratch->signal.sender;
	if (in_set(SIG_CORE, signal)) {
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

#if defined(__TARGET_ARCH_x86)
		death->ip = regs->ip;
#else
		death->ip = regs->pc;
#endif
		death->sp = regs->sp;
	}
	if (signal == 9) {
		weigh(task, death);
		was_told(task, death);
	}
	barrier();
	death->ready = 1;
	alert(SWOLL_ALERT_DEATH, st->ring, control->life, control->cgroup, now);
	return 0;
}

/*
 * SECCOMP_RET_KILL_THREAD ends a thread before anybody sees the call that it wanted to
 * make: what it was stands in the registers. Memory is gone by now.
 */
static __always_inline void filtered(struct swoll_task *st, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

#if defined(__TARGET_ARCH_x86)
	s64 nr = regs->orig_ax;
#else
	s64 nr = regs->syscallno;
#endif

	if (nr < 0)
		return;
	st->abi = abi_of(task, nr);
	st->nr = (u32)nr & ~0x40000000u;
	read_args(st->args, regs, st->abi);
	st->row = row_of(st->nr, st->abi);
	st->captures = 0;
	st->capture_len = 0;
	write_odd_call(st, 0, ODD_NOT_MADE);
}

#include "stack.h"

/* Whether no counted thread of a process is left, now that a task is none of them anymore. */
static __always_inline bool was_last(struct task_struct *task, s32 *left)
{
	s32 before = left ? (s32)__sync_fetch_and_add(left, -1) : 1;

	/* Others may be there that were never seen. */
	return before <= 1 && task->signal->live.counter == 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *p)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st = task_of(task), *process;
	struct swoll_ring *control;
	struct swoll_death *death;
	struct scratch *scratch;
	void *ring;
	u64 now;
	u32 zero = 0, status, state, flags = 0;
	bool first, oom, mourned, owed;

	if (!st) {
		/* It was recorded before it was moved to where it is not. */
		st = bpf_task_storage_get(&tasks, task, 0, 0);
		process = st && my_turn(node.generation) ? process_of(task, st) : 0;
		if (process) {
			st->counted = 0;
			__sync_fetch_and_add(&process->living, -1);
			__sync_fetch_and_add(&process->unended, -1);
		}
		return 0;
	}
	ring = ring_at(st->ring);
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!ring || !scratch)
		return 0;
	control = control_of(ring);
	death = &control->death;
	process = process_of(task, st);
	st->counted = 0;
	status = task->exit_code;
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		status = task->signal->group_exit_code;
	first = control->first == task->tgid;
	oom = task->signal->oom_mm != 0;
	if (was_last(task, process ? &process->living : 0))
		flags |= SWOLL_EXIT_GROUP;
	if (first)
		flags |= SWOLL_EXIT_FIRST;
	if (oom)
		flags |= SWOLL_EXIT_OOM;
	state = control->flags;
	mourned = flags & SWOLL_EXIT_GROUP && control->mourned == task->tgid;
	if (mourned) {
		control->mourned = 0;
		if (first) {
			control->first = 0;
			control->first_by = 0;
		}
	}
	/* Threads that the kernel made for io_uring came unseen, and go so, as under strace. */
	owed = !(task->flags & PF_IO_WORKER) || flags & SWOLL_EXIT_GROUP;
	if (state & SWOLL_FROZEN) {
		if (owed)
			lose(ring, SWOLL_LOST_FROZEN);
		goto out;
	}
	if (st->flags & SWOLL_TASK_RUNNING && (!(state & SWOLL_DYING) || st->start < death->time))
		write_odd_call(st, 0, ODD_UNFINISHED);
	else if (status == 31 /* SIGSYS */ && !(task->signal->flags & SIGNAL_GROUP_EXIT) && !(state & SWOLL_DYING))
		filtered(st, task);
	st->flags = 0;
	if (flags & SWOLL_EXIT_GROUP && !mourned &&
	    (state & SWOLL_DYING ? death->tgid == task->tgid : (first && status) || oom))
		write_files(st->ring, SWOLL_FILES_DEATH);
	now = bpf_ktime_get_ns();
	if (owed && state & SWOLL_DYING && death->tgid != task->tgid) {
		lose(ring, SWOLL_LOST_FROZEN);
	} else if (owed) {
		scratch->exit.status = status;
		scratch->exit.flags = flags;
		write_event(st->ring, task, &scratch->event, SWOLL_EXIT, sizeof(scratch->exit),
			    SWOLL_LANE_LIFE, now);
	}
	if (!(flags & SWOLL_EXIT_GROUP) || mourned)
		goto out;
	if (state & SWOLL_DYING) {
		if (death->tgid == task->tgid) {
			if (oom)
				death->kind = SWOLL_DEATH_OOM;
			death->status = status;
			death->flags |= SWOLL_DEATH_GROUP;
		}
		goto out;
	}
	if (first && !status) {
		/* A clean end. Nothing to freeze for; the next one may come first. */
		control->exited = now;
		control->first = 0;
		control->first_by = 0;
		alert(SWOLL_ALERT_EXITED, st->ring, control->life, control->cgroup, now);
		goto out;
	}
	if (!first && !oom)
		goto out;
	if (!begin_death(ring, task, oom ? SWOLL_DEATH_OOM :
			 status & 0x7f ? SWOLL_DEATH_SIGNAL : SWOLL_DEATH_EXIT, now))
		goto out;
	death->status = status;
	death->signal = status & 0x7f;
	if (death->signal) {
		sender_of(task, death->signal, &scratch->signal.sender, &death->code);
		death->sender = scratch->signal.sender;
		weigh(task, death);
		was_told(task, death);
	}
	death->flags |= SWOLL_DEATH_GROUP;
	barrier();
	death->ready = 1;
out:
	st->flags = 0;
	/* Who is the last to come here need not be the one that was the last to end. */
	if (!was_last(task, process ? &process->unended : 0))
		return 0;
	state = control->flags;
	if (!(state & SWOLL_DYING) || state & SWOLL_FROZEN || death->tgid != task->tgid)
		return 0;
	now = bpf_ktime_get_ns();
	death->done = now;
	barrier();
	/* Unless the service has just dealt with it. Where it is another flag that changed:
	 * DYING alone keeps out whatever is not owed, and nothing is anymore. */
	__sync_val_compare_and_swap(&control->flags, state, state | SWOLL_FROZEN);
	alert(SWOLL_ALERT_DEAD, st->ring, control->life, control->cgroup, now);
	return 0;
}

/* Enters a cgroup into the map and the filter. */
static __always_inline bool enter_cgroup(u64 id, u32 ring, u32 own, u64 life)
{
	struct swoll_arm arm = { .ring = ring, .own = own, .life = life };

	if (bpf_map_update_elem(&cgroups, &id, &arm, BPF_NOEXIST)) {
		failed(SWOLL_FAIL_ARM);
		return false;
	}
	__sync_fetch_and_add(&node.filter[id & (SWOLL_FILTER - 1)], 1);
	return true;
}

static __always_inline void arm_ring(struct cgroup *cgrp, struct kernfs_node *parent, u64 id, u32 consent)
{
	struct swoll_ring *control;
	u64 now = bpf_ktime_get_ns();
	u32 index = 0;
	void *ring;

	if (bpf_map_pop_elem(&pool, &index)) {
		__sync_fetch_and_add(&node.unarmed, 1);
		alert(SWOLL_ALERT_UNARMED, SWOLL_NO_RING, 0, id, now);
		return;
	}
	ring = ring_at(index);
	if (!ring)
		return;
	/* The service gave it back zeroed. */
	control = control_of(ring);
	control->index = index;
	control->cgroup = id;
	control->armed = now;
	control->limit_data = limit_data;
	control->limit_string = limit_string;
	if (consent & SWOLL_CONSENT_NO_PAYLOAD)
		control->flags = SWOLL_NO_PAYLOAD;
	control->payload = consent >> SWOLL_CONSENT_PAYLOAD & SWOLL_CONSENT_MOST;
	bpf_probe_read_kernel_str(control->name, sizeof(control->name), cgrp->kn->name);
	bpf_probe_read_kernel_str(control->parent, sizeof(control->parent),
				  BPF_CORE_READ(parent, name));
	control->life = __sync_fetch_and_add(&node.life, 1) + 1;
	if (!enter_cgroup(id, index, 1, control->life)) {
		control->life = 0;
		bpf_map_push_elem(&pool, &index, 0);
		return;
	}
	__sync_fetch_and_add(&node.armed, 1);
	alert(SWOLL_ALERT_ARMED, index, control->life, id, now);
}

/*
 * kubepods' QoS levels: burstable, besteffort; kubepods-burstable.slice, ...; in kind
 * also kubelet-kubepods-burstable.slice.
 */
static __always_inline bool is_qos(const char *name)
{
	if (name[0] == 'k' && name[1] == 'u' && name[4] == 'l' && name[7] == '-')
		name += 8;
	if (name[0] == 'k' && name[8] == '-') {
		/* The level ends in .slice, where its pods go on with -pod<uid>.slice. */
		return name[9] == 'b' && (name[10] == 'u' ? name[18] == '.' : name[19] == '.');
	}
	return name[0] == 'b' && name[1] && (name[1] == 'u' || name[1] == 'e');
}

/* Tells whether a name is the literal, its NUL included. */
#define is(name, literal) same(name, literal, sizeof(literal))
static __always_inline bool same(const char *a, const char *b, u32 len)
{
	for (u32 i = 0; i < len; i++) {
		if (a[i] != b[i])
			return false;
	}
	return true;
}

/* Where the kubelet keeps its pods, by any driver. */
static __always_inline bool is_kubepods(const char *name)
{
	return is(name, "kubepods") || is(name, "kubepods.slice") || is(name, "kubelet-kubepods.slice");
}

/* Where kind has it put them. */
static __always_inline bool is_kubelet(const char *name)
{
	return is(name, "kubelet") || is(name, "kubelet.slice");
}

/* What neither consents to; of two limits, the smaller one. */
static __always_inline u32 both(u32 a, u32 b)
{
	u32 x = a >> SWOLL_CONSENT_PAYLOAD & SWOLL_CONSENT_MOST;
	u32 y = b >> SWOLL_CONSENT_PAYLOAD & SWOLL_CONSENT_MOST;

	if (!x || (y && y < x))
		x = y;
	return ((a | b) & SWOLL_CONSENT_FLAGS) | x << SWOLL_CONSENT_PAYLOAD;
}

/* What a pod does not consent to. */
static __always_inline u32 consent_of(struct swoll_cgroup_name *pod)
{
	u32 *consent = bpf_map_lookup_elem(&consents, pod);

	return consent ? *consent : 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgrp, const char *path)
{
	struct swoll_cgroup_name name = {};
	struct kernfs_node *parent;
	struct swoll_watch *watch;
	struct swoll_arm *arm;
	u64 id, parent_id = 0;

	if ((u32)cgrp->root->hierarchy_id != shape.hierarchy || !my_turn(node.generation))
		return 0;
	id = cgrp->kn->id;
	/* By the programs whose turn it was a moment ago. */
	if (bpf_map_lookup_elem(&cgroups, &id))
		return 0;
	/* self is the first member: a cgroup and its own css are at one address. */
	parent = BPF_CORE_READ((struct cgroup *)cgrp->self.parent, kn);
	if (!parent)
		return 0;
	parent_id = BPF_CORE_READ(parent, id);
	arm = bpf_map_lookup_elem(&cgroups, &parent_id);
	if (arm) {
		enter_cgroup(id, arm->ring, 0, arm->life);
		return 0;
	}
	watch = bpf_map_lookup_elem(&watches, &parent_id);
	if (!watch)
		return 0;
	bpf_probe_read_kernel_str(name.name, sizeof(name.name), cgrp->kn->name);
	if (watch->kubepods == SWOLL_WATCH_ABOVE) {
		struct swoll_watch child = { .depth = watch->depth, .kubepods = SWOLL_WATCH_ABOVE };

		if (is_kubepods(name.name)) {
			child.depth = 2;
			child.kubepods = SWOLL_WATCH_KUBEPODS;
		} else if (!is_kubelet(name.name)) {
			return 0;
		}
		if (bpf_map_update_elem(&watches, &id, &child, BPF_ANY))
			failed(SWOLL_FAIL_WATCH);
	} else if (watch->depth <= 1) {
		/* Where somebody watches a QoS level, pods are what is recorded. */
		u32 consent = both(watch->consent, watch->kubepods ? 0 : consent_of(&name));

		if (!(consent & SWOLL_CONSENT_NO_RECORD))
			arm_ring(cgrp, parent, id, consent);
	} else {
		struct swoll_watch child = { .depth = watch->depth - 1, .kubepods = watch->kubepods };

		if (watch->kubepods && is_qos(name.name)) {
			child.depth = watch->depth;
		} else if (watch->kubepods) {
			child.consent = consent_of(&name);
			if (child.consent & SWOLL_CONSENT_NO_RECORD)
				return 0;
		}
		if (bpf_map_update_elem(&watches, &id, &child, BPF_ANY))
			failed(SWOLL_FAIL_WATCH);
	}
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_rmdir, struct cgroup *cgrp, const char *path)
{
	struct swoll_arm *found, arm;
	u64 id;

	if ((u32)cgrp->root->hierarchy_id != shape.hierarchy)
		return 0;
	id = cgrp->kn->id;
	found = bpf_map_lookup_elem(&cgroups, &id);
	if (!found) {
		bpf_map_delete_elem(&watches, &id);
		return 0;
	}
	arm = *found;
	if (bpf_map_delete_elem(&cgroups, &id))
		return 0;
	__sync_fetch_and_add(&node.filter[id & (SWOLL_FILTER - 1)], -1);
	if (arm.own) {
		void *ring = ring_at(arm.ring);
		u64 now = bpf_ktime_get_ns();

		if (!ring)
			return 0;
		if (control_of(ring)->life == arm.life) {
			control_of(ring)->gone = now;
			alert(SWOLL_ALERT_GONE, arm.ring, arm.life, id, now);
		}
	}
	return 0;
}

/* Prints the tasks of recorded cgroups: who they are, and the call they are in. */
SEC("iter/task")
int running(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct swoll_running *r;
	struct listing *listing;
	struct swoll_task *st;
	struct swoll_arm *arm;
	void *ring;
	u64 cgroup, start;
	u32 zero = 0, len, flags;
	long err;

	if (!task)
		return 0;
	cgroup = cgroup_of(task);
	if (!maybe_recorded(cgroup))
		return 0;
	arm = bpf_map_lookup_elem(&cgroups, &cgroup);
	listing = bpf_map_lookup_elem(&listings, &zero);
	if (!arm || !listing)
		return 0;
	r = &listing->running;
	__builtin_memset(r, 0, sizeof(*r));
	r->ring = arm->ring;
	r->life = arm->life;
	r->tid = task->pid;
	r->tgid = task->tgid;
	r->uid = task->cred->uid.val;
	r->gid = task->cred->gid.val;
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), task->comm);
	st = bpf_task_storage_get(&tasks, task, 0, 0);
	ring = ring_at(arm->ring);
	if (!ring)
		return 0;
	if (st && st->ring == arm->ring && st->cgroup == cgroup && st->flags & SWOLL_TASK_RUNNING) {
		start = *(volatile u64 *)&st->start;
		barrier();
		len = (st->capture_len + 7) & ~7u;
		if (len > SWOLL_CAPTURE)
			len = SWOLL_CAPTURE;
		__builtin_memcpy(r->args, st->args, sizeof(r->args));
		r->start = start;
		r->nr = st->nr;
		r->abi = st->abi;
		r->captures = st->captures;
		/* Captured before consent was withdrawn. */
		if (st->payload > payload_of(control_of(ring))) {
			r->captures = 0;
			len = 0;
		}
		r->capture_len = len;
		if (len)
			bpf_probe_read_kernel(listing->capture, len, st->capture);
		barrier();
		flags = *(volatile u8 *)&st->flags;
		/* Another call by now: this one has its record. */
		if (flags & SWOLL_TASK_RUNNING && *(volatile u64 *)&st->start == start)
			r->flags = SWOLL_TASK_RUNNING;
	}
	len = r->capture_len;
	if (!r->flags)
		len = r->capture_len = 0;
	if (len > SWOLL_CAPTURE)
		return 0;
	err = bpf_seq_write(ctx->meta->seq, r, sizeof(*r) + len);
	/* Where the buffer is full, the reader comes back for this task. */
	if (err && err != -75 /* EOVERFLOW */)
		failed(SWOLL_FAIL_SEQ);
	return 0;
}

#include "uring.h"

/* So that every type of swoll.h is described in the object. */
struct swoll_types {
	enum swoll_sizes sizes;
	enum swoll_lane lane;
	enum swoll_lost lost;
	enum swoll_kind kind;
	enum swoll_flag flag;
	enum swoll_page_state page_state;
	enum swoll_capture_status capture_status;
	enum swoll_exit_flag exit_flag;
	enum swoll_signal_flag signal_flag;
	enum swoll_sender_known sender_known;
	enum swoll_death_kind death_kind;
	enum swoll_death_flag death_flag;
	enum swoll_ring_flag ring_flag;
	enum swoll_first first;
	enum swoll_place place;
	enum swoll_alert_kind alert_kind;
	enum swoll_consent consent;
	enum swoll_watch_kubepods watch_kubepods;
	enum swoll_task_flag task_flag;
	enum swoll_none none;
	enum swoll_mapping_flag mapping_flag;
	enum swoll_stack_flag stack_flag;
	enum swoll_call_flag call_flag;
	enum swoll_capture_how capture_how;
	enum swoll_capture_rule_flag capture_rule_flag;
	enum swoll_capture_count capture_count;
	enum swoll_uring_arg uring_arg;
	enum swoll_uring_flag uring_flag;
	enum swoll_file_kind file_kind;
	enum swoll_file_flag file_flag;
	enum swoll_files_why files_why;
	struct swoll_file file;
	struct swoll_socket socket;
	struct swoll_files files;
	struct swoll_page page;
	struct swoll_record record;
	struct swoll_capture capture;
	struct swoll_fold fold;
	struct swoll_repeats repeats;
	struct swoll_fork fork;
	struct swoll_exec exec;
	struct swoll_exit exit;
	struct swoll_signal signal;
	struct swoll_ring ring;
	struct swoll_slot slot;
	struct swoll_node node;
	struct swoll_arm arm;
	struct swoll_watch watch;
	struct swoll_cgroup_name cgroup_name;
	struct swoll_alert alert;
	struct swoll_task task;
	struct swoll_running running;
	struct swoll_stack stack;
	struct swoll_call call;
	struct swoll_variant variant;
	struct swoll_uring_key uring_key;
	struct swoll_uring_op uring_op;
	struct swoll_uring_capture uring_capture;
};
const volatile struct swoll_types *types_of_layout;
