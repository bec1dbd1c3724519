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
	/* In steps in which it was just written: a larger word would have to wait for its parts. */
#pragma clang loop unroll(disable)
	for (u32 i = SWOLL_RECORD_HEAD; i < FOLD_MAX; i += 4) {
		if (i >= end)
			break;
		if (*(u32 *)(base + a + i) != *(u32 *)(base + b + i))
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

/* Commits a call that returned, `end` bytes that were written at the place and begin with
 * `word` and have this result, or counts it as another one of a run. */
static __always_inline void done_call(void *ring, struct place *place, struct swoll_task *st, u64 word,
				      s32 ret, u64 end, u64 now)
{
	struct swoll_record *last;
	struct swoll_page *page;
	u64 at = place->at & IN_PAGE, here;

	if (node.fold) {
		page = ring + below((u64)place->page, shape.pages) * SWOLL_PAGE;
		last = (void *)page + (st->last & IN_PAGE);
		here = (page->state & ~((1ull << SWOLL_SEQ_SHIFT) - 1)) | place->lane;
		/* The cheap test first: the thread's last record is in this page, and is of the
		 * same call, length and shape, with the same result. */
		if (((st->last ^ here) & ~(u64)IN_PAGE) == 0 && *(u64 *)last == word && last->ret == ret &&
		    repeat(st, place->at, end, now))
			return;
		st->last = here | at;
		st->fold = 0;
	}
	done(ring, place, (end + 7) & ~7u, now);
}
