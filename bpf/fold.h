// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Runs of the same call, folded into one record and a count. Part of swoll.bpf.c.
 *
 * A call is written as any other, behind the bytes that count as used. If it then is, byte
 * for byte, what the thread's last record says, it is not committed: the run's count is
 * raised instead. Everything is in the page, nothing in the thread: a thread that is
 * killed, a ring that freezes, a service that dies leave nothing to be written later.
 *
 * The page is this CPU's to write: it is the cursor's open page, and the cursor is held. A
 * run that meets another page, on another CPU or because this one is full, begins anew
 * there.
 */

/* The offset in a page, of swoll_task.last and of places in rings. */
#define IN_PAGE (SWOLL_PAGE - 8)
/* Of longer records no run is made. */
#define FOLD_MAX 1024

/* Makes everything that was stored before seen before it, as publish() does. */
static __always_inline void publish_count(struct swoll_fold *fold, u32 count)
{
#if defined(__TARGET_ARCH_x86)
	barrier();
	*(volatile u32 *)&fold->count = count;
	barrier();
#else
	__sync_lock_test_and_set(&fold->count, count);
#endif
}

/*
 * Counts the call whose record was just written at `at`, `end` bytes long, as one that the
 * thread made again; the cursor is let go then. 0: it is another one.
 */
__noinline int repeat(struct swoll_task *st, u64 at, u64 end, u64 now)
{
	struct swoll_record *record, *first;
	struct swoll_fold *fold;
	struct swoll_page *page;
	struct place place;
	void *ring, *base;
	u64 a, b, since, total, second;
	u32 count;

	if (!st)
		return 0;
	ring = ring_at(st->ring);
	if (!ring || end > FOLD_MAX)
		return 0;
	unpack_place(ring, st->place, &place);
	page = base = ring + below((u64)place.page, shape.pages) * SWOLL_PAGE;
	a = st->last & IN_PAGE;
	b = at & IN_PAGE;
	first = base + a;
	record = base + b;
	/* The start and the duration may differ, all else not. Where either is long, hours
	 * pass before such records push anything out. */
	if (first->tid != record->tid || record->flags & (SWOLL_LONG_DURATION | SWOLL_NO_ENTER | SWOLL_UNFINISHED))
		return 0;
#pragma clang loop unroll(disable)
	for (u32 i = __builtin_offsetof(struct swoll_record, ret); i < FOLD_MAX; i += 8) {
		if (i + 8 > end) {
			if (i + 4 <= end && *(u32 *)(base + a + i) != *(u32 *)(base + b + i))
				return 0;
			break;
		}
		if (*(u64 *)(base + a + i) != *(u64 *)(base + b + i))
			return 0;
	}
	/* The times of a run are told in 32 bits; so it ends after 4.3 s, too. */
	since = now - first->start;
	if (since >> 32)
		return 0;
	total = record->duration;
	if (!st->fold) {
		second = record->start - first->start;
		/* In place of the record, which is at least as long. */
		fold = base + b;
		*(u64 *)fold = sizeof(*fold) | SWOLL_FOLD << 16 | a << 32;
		fold->count = 1;
		fold->second = second;
		*(u64 *)&fold->at[0] = 0;
		*(u64 *)&fold->at[1] = since | total << 32;
		st->fold = b;
		done(ring, &place, sizeof(*fold), now);
		return 1;
	}
	fold = base + (st->fold & IN_PAGE);
	count = fold->count;
	total += fold->at[count & 1].total;
	count++;
	*(volatile u64 *)&fold->at[count & 1] = since | total << 32;
	publish_count(fold, count);
	if (likely(page->last < now))
		page->last = now;
	place.cursor->records++;
	release(place.cursor, place.lane);
	return 1;
}

/* Commits a call that returned, `end` bytes that were written at the place, or counts it
 * as another one of a run. */
static __always_inline void done_call(void *ring, struct place *place, struct swoll_task *st, u64 end, u64 now)
{
	struct swoll_page *page;
	u32 index = place->page;
	u64 at = place->at & IN_PAGE, here;

	if (node.fold && index < shape.pages) {
		page = ring + (u64)index * SWOLL_PAGE;
		here = (page->state & ~((1ull << SWOLL_SEQ_SHIFT) - 1)) | place->lane;
		/* The cheap test first: the last record is in this page, and begins alike: the
		 * same call, of the same length and shape. */
		if (((st->last ^ here) & ~(u64)IN_PAGE) == 0 &&
		    *(u64 *)((void *)page + (st->last & IN_PAGE)) == *(u64 *)((void *)page + at) &&
		    repeat(st, place->at, end, now))
			return;
		st->last = here | at;
		st->fold = 0;
	}
	done(ring, place, (end + 7) & ~7u, now);
}
