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
/* Bytes of arguments, and of what stands before them behind a record's head. Of calls with
 * longer captures than that no run is made. */
#define FOLD_ARGS (4 + 2 * 8 + 6 * 8)
#define FOLD_CAPTURES 896

/* Behind where any record of a ring begins there is as much at least. */
struct fold_room {
	u8 bytes[SWOLL_RECORD_HEAD + FOLD_ARGS + FOLD_CAPTURES + 12];
};
_Static_assert(sizeof(struct fold_room) <= SWOLL_SLOTS_AT, "fold_room");

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
 * Whether two records differ in what stands behind their heads: arguments, up to `args`
 * bytes into each, and captures, up to `end`. In steps in which it was just written: a larger
 * word would have to wait for its parts.
 */
__noinline int differ(struct fold_room *first, struct fold_room *record, u64 args, u64 end)
{
	u32 *x = (void *)first + SWOLL_RECORD_HEAD, *y = (void *)record + SWOLL_RECORD_HEAD;
	u32 n;

	if (!first || !record || end - args > FOLD_CAPTURES)
		return 1;
	end -= args;
	n = (args - SWOLL_RECORD_HEAD) / 4;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < FOLD_ARGS / 4 && i < n; i++) {
		if (*x++ != *y++)
			return 1;
	}
	n = end / 16;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < FOLD_CAPTURES / 16 && i < n; i++) {
		if ((*(u64 *)x ^ *(u64 *)y) | (*(u64 *)(x + 2) ^ *(u64 *)(y + 2)))
			return 1;
		x += 4;
		y += 4;
	}
	n = (end + 3) / 4 & 3;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < 3 && i < n; i++) {
		if (*x++ != *y++)
			return 1;
	}
	return 0;
}

/*
 * Counts the call whose record stands at `at` in the page as one that the thread made again.
 * Returns how many bytes the page has more by that; less than 0: the times of
 * a run are told in 32 bits, so it ends after 4.3 s.
 */
static __always_inline s64 repeat(struct swoll_task *st, void *page, u64 at, u64 now)
{
	struct swoll_record *record = page + at, *first = page + (st->last & IN_PAGE);
	struct swoll_fold *fold = (void *)record;
	u64 since = now - first->start, total;

	if (since >> 32)
		return -1;
	total = (u64)record->duration << 32;
	if (!st->fold) {
		u32 second = record->start - first->start;

		/* In place of the record, which is at least as long. */
		*(u64 *)fold = sizeof(*fold) | SWOLL_FOLD << 16 | (st->last & IN_PAGE) << 32;
		fold->count = 1;
		fold->second = second;
		*(u64 *)&fold->at[0] = 0;
		*(u64 *)&fold->at[1] = since | total;
		st->fold = at;
		return sizeof(*fold);
	}
	fold = page + (st->fold & IN_PAGE);
	total += (u64)fold->at[fold->count & 1].total << 32;
	*(volatile u64 *)&fold->at[(fold->count + 1) & 1] = since | total;
	publish_count(fold, fold->count + 1);
	return 0;
}

/* Commits a call that returned, `end` bytes that were written at the place; st->place says
 * where its arguments end. Or counts it as another one of a run. */
static __always_inline void done_call(void *ring, struct place *place, struct swoll_task *st, u64 end, u64 now)
{
	u64 at = place->at & IN_PAGE, here;
	struct swoll_record *last, *record;
	struct swoll_page *page;
	s64 len;

	if (node.fold) {
		page = ring + below(place->at / SWOLL_PAGE, shape.pages) * SWOLL_PAGE;
		last = (void *)page + (st->last & IN_PAGE);
		record = (void *)page + at;
		here = (page->state & ~((1ull << SWOLL_SEQ_SHIFT) - 1)) | place->lane;
		/* The cheap tests first: the thread's last record is in this page, and is of the
		 * same call, length and shape, with the same result. Its start and its duration
		 * may differ, all else not. Where a duration is long, hours pass before such
		 * records push anything out. */
		if (((st->last ^ here) & ~(u64)IN_PAGE) == 0 && *(u64 *)last == *(u64 *)record && last->ret == record->ret &&
		    !(record->flags & SWOLL_LONG_DURATION) &&
		    (end == SWOLL_RECORD_HEAD || !differ((void *)last, (void *)record, st->place, end))) {
			len = repeat(st, page, at, now);
			if (len >= 0)
				goto again;
		}
		st->last = here | at;
		st->fold = 0;
	}
	len = (end + 7) & ~7u;
again:
	done(ring, place, len, now);
}
