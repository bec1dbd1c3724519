/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Takes the user stack of a thread that dies by a signal, into the slot of its ring: a
 * second program on the signal's delivery, which runs after the one that finds the death.
 * Preemption and interrupts are off, and a ring has one death at a time: so a slot has one
 * writer.
 *
 * With interrupts off, bpf_find_vma() works once and then is busy, so mappings are looked
 * up in the process's maple tree by hand: without a lock, by reads that cannot fault. Other
 * threads may change it meanwhile. What is found counts only if it is a mapping of this
 * process and has the address in it.
 */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set by the service: as many as there are rings */
	__type(key, u32);
	__type(value, struct swoll_stack);
} stacks SEC(".maps");

/* Since Linux 6.5: a file of a file system above another, overlayfs above all. */
struct backing_file {
	struct file file;
	struct path user_path;
} CO_RE;
struct vm_area_struct {
	struct mm_struct *vm_mm;
	u64 vm_start;
	u64 vm_end;
	u64 vm_flags;
	u64 vm_pgoff;
	struct file *vm_file;
} CO_RE;
/* A tree of mappings: a node's type is in its pointer. */
struct maple_range_64 {
	u64 pivot[15];
	void *slot[16];
} CO_RE;
struct maple_arange_64 {
	u64 pivot[9];
	void *slot[10];
} CO_RE;
struct maple_tree {
	void *ma_root;
} CO_RE;
struct mm_struct___tree {
	struct maple_tree mm_mt;
} CO_RE;
struct mm_struct___vdso {
	struct {
		void *vdso;
	} context;
} CO_RE;

/* include/linux/mm.h, include/linux/fs.h */
#define VM_EXEC 4
#define FMODE_BACKING (1u << 25)
/* lib/maple_tree.c */
#define MAPLE_NODE(entry) ((entry) & ~255ull)
#define MAPLE_TYPE(entry) ((entry) >> 3 & 15)
#define MAPLE_NODE_BYTES 256
#define MAPLE_LEAF 1
#define MAPLE_ARANGE 3
/* Deeper than any tree of mappings. */
#define MAPLE_LEVELS 10
/* How often mappings are looked up for one stack. */
#define MAX_FINDS 512
/* How many pages above the stack pointer the stack is looked for. */
#define MAX_OVERFLOW 64
/* What can be an address of a user: none is below, and no more bits count. */
#define LOWEST_ADDRESS 0x10000
#define ADDRESS_BITS 48
#define PAGE_OFFSETS 4095ull

#if defined(__TARGET_ARCH_x86)
enum { STACK_FP = 6, STACK_SP = 7, STACK_IP = 16, STACK_FLAGS = 17, STACK_LR = 7 };
#else
enum { STACK_FP = 29, STACK_SP = 31, STACK_IP = 32, STACK_FLAGS = 33, STACK_LR = 30 };
#endif

static __always_inline struct swoll_stack *stack_at(u32 index)
{
	return bpf_map_lookup_elem(&stacks, &index);
}

/* A place on the way from a file to its root, and where its name goes. */
struct ascent {
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct dentry *root;
	struct vfsmount *root_mnt;
	u32 index;
	u32 mapping;
};

static long ascend(u32 step, struct ascent *a)
{
	struct swoll_stack *s = stack_at(a->index);
	struct swoll_mapping *m;
	struct dentry *parent, *dentry = a->dentry;
	struct vfsmount *mnt = a->mnt;
	struct mount *mount;
	u64 at;
	long len;

	if (!s)
		return 1;
	m = &s->mapping[below(a->mapping, SWOLL_STACK_MAPPINGS)];
	if (dentry == a->root && mnt == a->root_mnt)
		goto up;
	if (dentry == BPF_CORE_READ(mnt, mnt_root)) {
		mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		parent = BPF_CORE_READ(mount, mnt_mountpoint);
		mount = BPF_CORE_READ(mount, mnt_parent);
		if ((void *)mount + bpf_core_field_offset(struct mount, mnt) == (void *)mnt)
			goto up;
		a->mnt = (void *)mount + bpf_core_field_offset(struct mount, mnt);
		a->dentry = parent;
		return 0;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	if (parent == dentry)
		goto up;
	/* What the verifier takes for a write behind the path is one into what follows it. */
	at = at_most(m->path_len, SWOLL_STACK_PATH - 1);
	len = bpf_probe_read_kernel_str(m->path + at, at_most(SWOLL_STACK_PATH - at, SWOLL_STACK_PATH),
					BPF_CORE_READ(dentry, d_name.name));
	if (len <= 1)
		return 1;
	m->path_len = at + len;
	if (at + len >= SWOLL_STACK_PATH)
		return 1; /* maybe the name was cut, too */
	a->dentry = parent;
	return 0;
up:
	m->flags &= ~SWOLL_MAPPING_CUT;
	return 1;
}

/* Notes which file is mapped, under which name. */
static __noinline void name_file(struct task_struct *task, struct file *file, u32 index, u32 mapping)
{
	struct ascent a = { .index = index, .mapping = mapping };
	struct swoll_stack *s = stack_at(index);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct swoll_mapping *m;
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct dentry *dentry;

	if (!s)
		return;
	m = &s->mapping[below(mapping, SWOLL_STACK_MAPPINGS)];
	m->inode = BPF_CORE_READ(inode, i_ino);
	m->device = BPF_CORE_READ(inode, i_sb, s_dev);
	m->size = BPF_CORE_READ(inode, i_size);
	a.mnt = BPF_CORE_READ(file, f_path.mnt);
	a.dentry = BPF_CORE_READ(file, f_path.dentry);
	if (bpf_core_type_exists(struct backing_file) && BPF_CORE_READ(file, f_mode) & FMODE_BACKING) {
		struct backing_file *backing = (void *)file;

		a.mnt = BPF_CORE_READ(backing, user_path.mnt);
		a.dentry = BPF_CORE_READ(backing, user_path.dentry);
	}
	dentry = a.dentry;
	inode = BPF_CORE_READ(dentry, d_inode);
	m->user_inode = BPF_CORE_READ(inode, i_ino);
	m->user_device = BPF_CORE_READ(inode, i_sb, s_dev);
	m->flags = SWOLL_MAPPING_CUT;
	if (!BPF_CORE_READ(inode, i_nlink))
		m->flags |= SWOLL_MAPPING_UNLINKED;
	a.root = BPF_CORE_READ(fs, root.dentry);
	a.root_mnt = BPF_CORE_READ(fs, root.mnt);
	bpf_loop(MAX_NAMES, ascend, &a, 0);
}

/*
 * The mapping that has an address, as the tree has it; 0: none. The tree's node is copied
 * to this CPU's scratch.
 */
static __noinline u64 find_vma(struct mm_struct *mm, u64 address)
{
	struct scratch *scratch;
	u64 entry, *node, end;
	u32 zero = 0;

	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch)
		return 0;
	node = (u64 *)scratch->bytes;
	entry = (u64)BPF_CORE_READ((struct mm_struct___tree *)mm, mm_mt.ma_root);
	if ((entry & 3) != 2)
		return entry;
#pragma clang loop unroll(disable)
	for (int level = 0; level < MAPLE_LEVELS; level++) {
		u32 pivots = bpf_core_field_size(struct maple_range_64, pivot) / 8;
		u32 pivot = bpf_core_field_offset(struct maple_range_64, pivot) / 8;
		u32 slot = bpf_core_field_offset(struct maple_range_64, slot) / 8;
		u64 type = MAPLE_TYPE(entry);
		u32 i;

		if (bpf_probe_read_kernel(node, MAPLE_NODE_BYTES, (void *)MAPLE_NODE(entry)))
			return 0;
		if (type == MAPLE_ARANGE) {
			pivots = bpf_core_field_size(struct maple_arange_64, pivot) / 8;
			pivot = bpf_core_field_offset(struct maple_arange_64, pivot) / 8;
			slot = bpf_core_field_offset(struct maple_arange_64, slot) / 8;
		}
		/* The first slot whose last address is not before this one. Behind those in
		 * use, the last addresses are 0. */
#pragma clang loop unroll(disable)
		for (i = 0; i < 15; i++) {
			if (i >= pivots)
				break;
			end = node[below((u64)pivot + i, MAPLE_NODE_BYTES / 8)];
			if (end >= address || !end)
				break;
		}
		entry = node[below((u64)slot + i, MAPLE_NODE_BYTES / 8)];
		if (type <= MAPLE_LEAF)
			return entry;
	}
	return 0;
}

/* Looks a mapping up, and enters it. */
static __noinline void enter_mapping(struct task_struct *task, u32 index, u64 address)
{
	struct swoll_stack *s = stack_at(index);
	struct mm_struct *mm = task->mm;
	struct vm_area_struct *vma;
	struct swoll_mapping *m;
	struct swoll_area *area;
	u64 start, end, offset;
	struct file *file;
	bool executable;
	u32 n;

	if (!s || !mm)
		return;
	vma = (void *)find_vma(mm, address);
	if ((s64)vma >= 0)
		return; /* no pointer of the kernel's */
	start = BPF_CORE_READ(vma, vm_start);
	end = BPF_CORE_READ(vma, vm_end);
	file = BPF_CORE_READ(vma, vm_file);
	offset = BPF_CORE_READ(vma, vm_pgoff) << 12;
	executable = BPF_CORE_READ(vma, vm_flags) & VM_EXEC;
	if (BPF_CORE_READ(vma, vm_mm) != mm || start > address || end <= address)
		return;
	n = s->areas;
	if (n >= SWOLL_STACK_AREAS) {
		s->flags |= SWOLL_STACK_FULL;
		return;
	}
	area = &s->area[below(n, SWOLL_STACK_AREAS)];
	area->end = end;
	area->start = start | executable;
	s->areas = n + 1;
	if (!executable)
		return;
	n = s->mappings;
	if (n >= SWOLL_STACK_MAPPINGS) {
		s->flags |= SWOLL_STACK_FULL;
		return;
	}
	m = &s->mapping[below(n, SWOLL_STACK_MAPPINGS)];
	s->mappings = n + 1;
	m->start = start;
	m->end = end;
	m->offset = m->inode = m->user_inode = m->size = 0;
	m->device = m->user_device = m->flags = m->id_len = m->path_len = 0;
	if (file) {
		m->offset = offset;
		name_file(task, file, index, n);
	} else if (start == (u64)BPF_CORE_READ((struct mm_struct___vdso *)mm, context.vdso)) {
		m->flags = SWOLL_MAPPING_VDSO;
	}
}

/*
 * What the address of a user is mapped to. 0: nothing that could be found; 1: what is not
 * executable; 2: what is.
 */
__noinline u32 mapped(u32 index, u64 address)
{
	struct swoll_stack *s = stack_at(index);
	u32 known;

	if (!s || address < LOWEST_ADDRESS || address >> ADDRESS_BITS)
		return 0;
	for (int pass = 0; pass < 2; pass++) {
		known = s->areas;
#pragma clang loop unroll(disable)
		for (u32 i = 0; i < SWOLL_STACK_AREAS; i++) {
			if (i >= known)
				break;
			if (address >= (s->area[i].start & ~1ull) && address < s->area[i].end)
				return 1 + (s->area[i].start & 1);
		}
		if (pass || s->finds >= MAX_FINDS)
			return 0;
		s->finds++;
		enter_mapping(bpf_get_current_task_btf(), index, address);
	}
	return 0;
}

/* One step along the frame pointers. */
static long next_frame(u32 i, u64 *ctx)
{
	struct swoll_stack *s = stack_at(ctx[0]);
	u64 at = ctx[1], pair[2];

	if (!s || at & 7 || at < LOWEST_ADDRESS || at >> ADDRESS_BITS)
		return 1;
	if (bpf_probe_read_user(pair, sizeof(pair), (void *)at))
		return 1;
#if defined(__TARGET_ARCH_arm64)
	pair[1] &= (1ull << ADDRESS_BITS) - 1; /* without the pointer's authentication */
#endif
	if (mapped(ctx[0], pair[1]) != 2)
		return 1;
	i = below(i, SWOLL_STACK_FRAMES);
	s->frame[i].at = at;
	s->frame[i].address = pair[1];
	s->frames = i + 1;
	ctx[1] = pair[0];
	return pair[0] == at;
}

/* Finds the mapping of one word of the stack. */
static long classify(u32 i, u64 *ctx)
{
	struct swoll_stack *s = stack_at(ctx[0]);
	u64 at = below((u64)i * 8, SWOLL_STACK_MEMORY - 7);

	if (!s || s->finds >= MAX_FINDS || s->areas >= SWOLL_STACK_AREAS)
		return 1;
	if (s->base + at >= ctx[1] && s->pieces >> (at / SWOLL_STACK_PIECE) & 1)
		mapped(ctx[0], *(u64 *)(s->memory + at)
#if defined(__TARGET_ARCH_arm64)
				       & ((1ull << ADDRESS_BITS) - 1)
#endif
		);
	return 0;
}

/* Looks at 8 bytes of a file's first page for the head of its build id's note. */
static long find_note(u32 i, u64 *ctx)
{
	struct swoll_stack *s = stack_at(ctx[0]);
	struct swoll_mapping *m;
	u64 at = below((u64)i * 4, SWOLL_PAGE - 16 - SWOLL_STACK_ID);
	u32 *note;

	if (!s)
		return 1;
	note = (u32 *)(s->memory + at);
	/* sizes of name and content, NT_GNU_BUILD_ID, "GNU" */
	if (note[0] != 4 || note[2] != 3 || note[3] != 0x554e47 || !note[1] || note[1] > SWOLL_STACK_ID)
		return 0;
	m = &s->mapping[below(ctx[1], SWOLL_STACK_MAPPINGS)];
	m->id_len = note[1];
	bpf_probe_read_kernel(m->id, SWOLL_STACK_ID, note + 4);
	return 1;
}

/* Finds the build id of a mapped file, in what is mapped of its first page. */
static long identify(u32 i, u64 *from)
{
	struct swoll_stack *s = stack_at(*from);
	u64 ctx[2] = { *from, i };
	struct swoll_mapping *m;
	u64 base;

	if (!s || i >= s->mappings)
		return 1;
	m = &s->mapping[below(i, SWOLL_STACK_MAPPINGS)];
	if (!m->inode)
		return 0;
	/* Linkers let the addresses of the later segments be some pages ahead. */
	base = m->start - m->offset;
#pragma clang loop unroll(disable)
	for (int k = 0; k < 4; k++) {
		if (!bpf_probe_read_user(s->memory, SWOLL_PAGE, (void *)base) &&
		    *(u32 *)s->memory == 0x464c457f) {
			bpf_loop((SWOLL_PAGE - 16 - SWOLL_STACK_ID) / 4, find_note, ctx, 0);
			return 0;
		}
		base -= 4096;
	}
	return 0;
}

static long read_piece(u32 i, u64 *ctx)
{
	struct swoll_stack *s = stack_at(ctx[0]);
	u64 at = below((u64)i * SWOLL_STACK_PIECE, SWOLL_STACK_MEMORY - SWOLL_STACK_PIECE + 1);

	if (!s || at >= node.stack_limit)
		return 1;
	if (!bpf_probe_read_user(s->memory + at, SWOLL_STACK_PIECE, (void *)(s->base + at)))
		s->pieces |= 1u << (i & 15);
	return 0;
}

/* A stack that overflowed ends somewhere above the stack pointer. */
static long find_base(u32 i, u64 *from)
{
	struct swoll_stack *s = stack_at(*from);
	u64 word, at;

	if (!s)
		return 1;
	at = (s->regs[STACK_SP] & ~PAGE_OFFSETS) + (u64)i * 4096;
	if (bpf_probe_read_user(&word, sizeof(word), (void *)at))
		return 0;
	if (i)
		s->base = at;
	return 1;
}

static long wipe(u32 i, u64 *from)
{
	struct swoll_stack *s = stack_at(*from);

	if (!s)
		return 1;
	*(volatile u64 *)(s->memory + below((u64)i * 8, SWOLL_STACK_MEMORY - 7)) = 0;
	return 0;
}

static __always_inline void take_regs(struct swoll_stack *s, struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	u64 r[] = { regs->ax, regs->dx, regs->cx, regs->bx, regs->si, regs->di, regs->bp, regs->sp };

#pragma clang loop unroll(full)
	for (int i = 0; i < 8; i++)
		s->regs[i] = r[i];
	s->regs[8] = regs->r8;
	s->regs[9] = regs->r9;
	s->regs[10] = regs->r10;
	s->regs[11] = BPF_CORE_READ((struct pt_regs___high *)regs, r11);
	s->regs[12] = BPF_CORE_READ((struct pt_regs___high *)regs, r12);
	s->regs[13] = BPF_CORE_READ((struct pt_regs___high *)regs, r13);
	s->regs[14] = BPF_CORE_READ((struct pt_regs___high *)regs, r14);
	s->regs[15] = BPF_CORE_READ((struct pt_regs___high *)regs, r15);
	s->regs[STACK_IP] = regs->ip;
	s->regs[STACK_FLAGS] = BPF_CORE_READ((struct pt_regs___high *)regs, flags);
#else
	bpf_probe_read_kernel(s->regs, 31 * 8, regs);
	s->regs[STACK_SP] = regs->sp;
	s->regs[STACK_IP] = regs->pc;
	s->regs[STACK_FLAGS] = BPF_CORE_READ((struct pt_regs___high *)regs, pstate);
#endif
	s->known = (2ull << STACK_FLAGS) - 1;
}

/* With payloads off, of the registers those stay that are addresses, or next to nothing. */
static long keep_register(u32 i, u64 *from)
{
	struct swoll_stack *s = stack_at(*from);
	u64 value;

	if (!s || i >= SWOLL_STACK_REGS)
		return 1;
	i = below(i, SWOLL_STACK_REGS);
	value = s->regs[i];
	if (i == STACK_FLAGS || i == STACK_SP || i == STACK_IP || value < 4096 || mapped(*from, value))
		return 0;
	s->regs[i] = 0;
	s->known &= ~(1ull << (i & 63));
	return 0;
}

/* Takes the stack of the current thread, if it is the one that a ring's death is about. */
SEC("tp_btf/signal_deliver")
int BPF_PROG(stack_at_death, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct swoll_task *st = task_of(task);
	struct swoll_ring *control;
	struct swoll_stack *s;
	u64 at[2], time;
	u32 flags = 0;
	void *ring;

	if (!st)
		return 0;
	ring = ring_at(st->ring);
	s = stack_at(st->ring);
	if (!ring || !s)
		return 0;
	control = control_of(ring);
	if (!(control->flags & SWOLL_DYING) || control->flags & SWOLL_FROZEN || !control->death.ready ||
	    control->death.tid != task->pid || control->death.tgid != task->tgid ||
	    s->time == control->death.time || !task->mm)
		return 0;
	time = control->death.time;
	s->time = 0;
	barrier();
	s->tid = task->pid;
	s->pieces = 0;
	s->frames = 0;
	s->finds = 0;
	s->areas = 0;
	/* An earlier death's were wiped by the service; of one that it has not seen whole,
	 * mappings may be left, which hold what only the process's files are called. */
	s->mappings = 0;
	if (control->flags & SWOLL_NO_PAYLOAD || control->payload || !control->limit_data || !node.stack_limit)
		flags |= SWOLL_STACK_NO_PAYLOAD;
	if (abi_of(task, 0) == 1)
		flags |= SWOLL_STACK_COMPAT;
	s->flags = flags;
	take_regs(s, (struct pt_regs *)bpf_task_pt_regs(task));
	s->base = s->regs[STACK_SP] & ~(SWOLL_STACK_PIECE - 1ull);
	at[0] = st->ring;
	bpf_loop(MAX_OVERFLOW, find_base, at, 0);
	mapped(st->ring, s->regs[STACK_IP]);
	mapped(st->ring, s->regs[STACK_SP]);
	if (!(flags & SWOLL_STACK_COMPAT)) {
#if defined(__TARGET_ARCH_arm64)
		mapped(st->ring, s->regs[STACK_LR] & ((1ull << ADDRESS_BITS) - 1));
#endif
		at[1] = s->regs[STACK_FP];
		bpf_loop(SWOLL_STACK_FRAMES, next_frame, at, 0);
	}
	if (flags & SWOLL_STACK_NO_PAYLOAD) {
		bpf_loop(SWOLL_STACK_REGS, keep_register, at, 0);
	} else if (!(flags & SWOLL_STACK_COMPAT)) {
		bpf_loop(SWOLL_STACK_MEMORY / SWOLL_STACK_PIECE, read_piece, at, 0);
		at[1] = s->regs[STACK_SP];
		bpf_loop(SWOLL_STACK_MEMORY / 8, classify, at, 0);
	}
	/* Files' first pages are looked at where the memory goes. */
	bpf_loop(SWOLL_STACK_MAPPINGS, identify, at, 0);
	bpf_loop(SWOLL_STACK_MEMORY / 8, wipe, at, 0);
	if (!(flags & (SWOLL_STACK_COMPAT | SWOLL_STACK_NO_PAYLOAD))) {
		s->pieces = 0;
		bpf_loop(SWOLL_STACK_MEMORY / SWOLL_STACK_PIECE, read_piece, at, 0);
	}
	/* If consent is withdrawn meanwhile: who withdraws it wipes the slot when all programs
	 * that run have ended, and so has this one. */
	barrier();
	__sync_lock_test_and_set(&s->time, time);
	return 0;
}
