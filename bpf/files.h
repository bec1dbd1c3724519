/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What file descriptors stand for. Included by swoll.bpf.c.
 *
 * A descriptor's name is taken at the exit of the call that opened it, or gave it another
 * name, and added to what was captured at its entry: so other calls pay for no more than a
 * look at their row's flags. The table as a whole is written at an exec and at a death, and
 * printed by an iterator when the service asks.
 *
 * Nothing here takes a lock. A name that is changed while it is read may be mixed of
 * both; memory that is given back meanwhile is kept by RCU until the program ends.
 */

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFBLK 0060000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
/* include/uapi/linux/magic.h */
#define PIPEFS_MAGIC 0x50495045
#define SOCKFS_MAGIC 0x534F434B
#define ANON_INODE_FS_MAGIC 0x09041934
#define PID_FS_MAGIC 0x50494446
#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
/* include/linux/kdev_t.h */
#define MINORBITS 20

/* Bytes of one name on a path; a longer one ends it. And how many there can be. */
#define NAME_PIECE 128
#define NAME_START 240 /* no name begins behind this; so the last one fits */
#define MAX_NAMES 48
/* Descriptors that are looked at, and records that are made of them. */
#define MAX_FDS 1024
#define MAX_LISTS 4

/* Room for a struct swoll_file with what follows, behind a capture's head. */
struct file_room {
	struct swoll_capture head;
	struct swoll_file file;
	u8 name[SWOLL_FILE_NAME];
};
_Static_assert(sizeof(struct file_room) <= sizeof(struct capture_room), "file_room");
_Static_assert(NAME_START + NAME_PIECE <= SWOLL_FILE_NAME, "names");

/* A pointer that the verifier knows, as the number that functions take which are verified
 * by themselves: through memory, of which it knows nothing. */
#define number(place, pointer)                         \
	({                                             \
		*(volatile u64 *)(place) = (u64)(pointer); \
		*(volatile u64 *)(place);              \
	})

#define READ(to, from) bpf_probe_read_kernel(to, sizeof(*(to)), (const void *)(from))

/* A directory entry as far as a path needs it. */
struct name_of {
	struct dentry *parent;
	struct qstr name;
};

static __always_inline int read_name(struct name_of *to, struct dentry *dentry)
{
	/* They follow each other on all kernels so far. */
	if (bpf_core_field_offset(struct dentry, d_name) ==
	    bpf_core_field_offset(struct dentry, d_parent) + sizeof(void *))
		return READ(to, &dentry->d_parent);
	return READ(&to->parent, &dentry->d_parent) || READ(&to->name, &dentry->d_name) ? -1 : 0;
}

/* Adds a name and its NUL; false: there is no room. The verifier knows nothing of what is
 * in memory: so all rounds of a loop look alike to it. */
static __always_inline bool add_name(struct file_room *to, const struct qstr *name)
{
	u64 len = name->hash_len >> 32;
	u32 at = *(volatile u16 *)&to->file.len;

	if (at > NAME_START || len >= NAME_PIECE)
		return false;
	/* Again, in the form that the verifier follows. */
	at = below(at, NAME_START + 1);
	len = below(len, NAME_PIECE);
	if (bpf_probe_read_kernel(to->name + at, len, name->name))
		return false;
	to->name[at + len] = 0;
	*(volatile u16 *)&to->file.len = at + len + 1;
	return true;
}

/* The head of a directory entry, as it lies in memory; short names follow it. */
struct name_block {
	struct name_of of;
	struct inode *inode;
	u64 inlined[5];
};

/* Whether it lies like that, as it does on all kernels so far. Else things are read one by
 * one. */
#define BLOCKS                                              \
	(bpf_core_field_offset(struct dentry, d_name) ==     \
		 bpf_core_field_offset(struct dentry, d_parent) + 8 && \
	 bpf_core_field_offset(struct dentry, d_inode) ==    \
		 bpf_core_field_offset(struct dentry, d_parent) + 24)

/*
 * Adds the name of a directory entry, and returns what is above it; 0: it could not.
 * Reading once for each name counts: it is done for each file that is opened. So what is
 * read goes where the name is to stand, which is moved over the rest.
 */
static __always_inline struct dentry *climb(struct file_room *to, struct dentry *dentry)
{
	struct name_of d = {};
	struct name_block *block;
	u64 at, len;

	if (!BLOCKS) {
		if (read_name(&d, dentry) || !add_name(to, &d.name))
			return 0;
		return d.parent;
	}
	at = *(volatile u16 *)&to->file.len;
	if (at > NAME_START)
		return 0;
	at = below(at, NAME_START + 1);
	block = (void *)to->name + at;
	if (READ(block, &dentry->d_parent))
		return 0;
	d = block->of;
	len = d.name.hash_len >> 32;
	if ((u64)d.name.name != (u64)&dentry->d_parent + __builtin_offsetof(struct name_block, inlined) ||
	    len >= sizeof(block->inlined)) {
		if (!add_name(to, &d.name))
			return 0;
		return d.parent;
	}
	len = below(len, sizeof(block->inlined));
	((u64 *)block)[0] = block->inlined[0];
	((u64 *)block)[1] = block->inlined[1];
	((u64 *)block)[2] = block->inlined[2];
	((u64 *)block)[3] = block->inlined[3];
	((u64 *)block)[4] = block->inlined[4];
	to->name[at + len] = 0;
	*(volatile u16 *)&to->file.len = at + len + 1;
	return d.parent;
}
_Static_assert(NAME_START + sizeof(struct name_block) <= SWOLL_FILE_NAME, "name_block");

/* The path of an entry in a mount, up to what the process has for its root. */
__noinline int name_path(struct file_room *to, u64 dentry_at, u64 mnt_at, u64 root_path)
{
	struct path at = { .dentry = (void *)dentry_at, .mnt = (void *)mnt_at }, root = {};
	struct dentry *top = 0, *parent;

	if (!to)
		return 0;
	if (READ(&root, root_path) || READ(&top, &at.mnt->mnt_root))
		goto cut;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_NAMES; i++) {
		if (at.dentry == root.dentry && at.mnt == root.mnt)
			return 0;
		if (at.dentry == top) {
			struct mount *m = (void *)at.mnt - bpf_core_field_offset(struct mount, mnt), *above = 0;

			if (READ(&above, &m->mnt_parent))
				goto cut;
			if (above == m)
				return 0; /* the root of all, or of what is mounted nowhere */
			if (READ(&at.dentry, &m->mnt_mountpoint))
				goto cut;
			at.mnt = (void *)above + bpf_core_field_offset(struct mount, mnt);
			if (READ(&top, &at.mnt->mnt_root))
				goto cut;
			continue;
		}
		parent = climb(to, at.dentry);
		if (!parent || parent == at.dentry)
			goto cut;
		at.dentry = parent;
	}
cut:
	to->file.flags |= SWOLL_FILE_CUT;
	return 0;
}

/* What a socket is connected to. */
__noinline int name_socket(struct file_room *to, u64 file)
{
	struct swoll_socket *s;
	struct socket *sock = 0;
	struct sock *sk = 0;

	if (!to)
		return 0;
	s = (void *)to->name;
	s->peer = 0;
	s->local_port = s->peer_port = 0;
	s->family = s->type = s->protocol = s->pad = 0;
	to->file.len = sizeof(*s);
	if (READ(&sock, &((struct file *)file)->private_data) || !sock || READ(&sk, &sock->sk) || !sk)
		return 0;
	READ(&s->family, &sk->__sk_common.skc_family);
	READ(&s->type, &sk->sk_type);
	READ(&s->protocol, &sk->sk_protocol);
	if (s->family == AF_INET) {
		u32 *address = (u32 *)(s + 1);

		if (READ(address, &sk->__sk_common.skc_rcv_saddr) || READ(address + 1, &sk->__sk_common.skc_daddr))
			return 0;
		to->file.len = sizeof(*s) + 8;
	} else if (s->family == AF_INET6) {
		u8 *address = (u8 *)(s + 1);

		if (bpf_probe_read_kernel(address, 16, &sk->__sk_common.skc_v6_rcv_saddr) ||
		    bpf_probe_read_kernel(address + 16, 16, &sk->__sk_common.skc_v6_daddr))
			return 0;
		to->file.len = sizeof(*s) + 32;
	} else if (s->family == AF_UNIX) {
		struct unix_sock *u = (void *)sk;
		struct unix_address *addr = 0;
		struct sock *peer = 0;
		struct socket_alloc *other = 0;
		unsigned long inode = 0;
		u32 len = 0;

		if (!READ(&peer, &u->peer) && peer && !READ(&other, &peer->sk_socket) && other)
			READ(&inode, &other->vfs_inode.i_ino);
		s->peer = inode;
		if (!READ(&addr, &u->addr) && addr && !READ(&len, &addr->len) && len > 2) {
			u64 n = at_most(len - 2, 108);

			/* Behind the length comes the address, and its family first. */
			if (!bpf_probe_read_kernel(s + 1, n, (void *)&addr->len + 4 + 2))
				to->file.len = sizeof(*s) + n;
		}
		return 0;
	} else {
		if (s->family == AF_NETLINK)
			READ(&s->peer, &((struct netlink_sock *)sk)->portid);
		return 0;
	}
	READ(&s->local_port, &((struct inet_sock *)sk)->inet_sport);
	READ(&s->peer_port, &sk->__sk_common.skc_dport);
	s->local_port = __builtin_bswap16(s->local_port);
	s->peer_port = __builtin_bswap16(s->peer_port);
	return 0;
}

/* What is on no path: pipes, sockets, and the many kinds of files that have no other. */
__noinline int name_pseudo(struct file_room *to, u64 file, u64 inode_at, u64 dentry)
{
	struct inode *inode = (void *)inode_at;
	struct super_block *sb = 0;
	struct name_of d = {};
	unsigned long magic = 0, ino = 0;

	if (!to)
		return 0;
	if (READ(&sb, &inode->i_sb) || READ(&magic, &sb->s_magic) || READ(&ino, &inode->i_ino) ||
	    read_name(&d, (void *)dentry))
		return 0;
	if (magic == SOCKFS_MAGIC) {
		struct swoll_socket *s = (void *)to->name;

		s->inode = ino;
		to->file.kind = SWOLL_FILE_SOCKET;
	} else if (magic == PIPEFS_MAGIC) {
		to->file.kind = SWOLL_FILE_PIPE;
		to->file.len = 8;
		*(u64 *)to->name = ino;
	} else if (magic == ANON_INODE_FS_MAGIC || magic == PID_FS_MAGIC) {
		char kind[8] = {};
		void *pid = 0;
		int nr = 0;

		bpf_probe_read_kernel(kind, sizeof(kind), d.name.name);
		if (magic == PID_FS_MAGIC)
			READ(&pid, &inode->i_private);
		else if (*(u64 *)kind == 0x005d64666469705bull /* "[pidfd]" */)
			READ(&pid, &((struct file *)file)->private_data);
		if (pid) {
			if (READ(&nr, &((struct pid *)pid)->numbers[0].nr))
				return 0;
			to->file.kind = SWOLL_FILE_PIDFD;
			to->file.len = 4;
			*(u32 *)to->name = nr;
		} else if (magic == ANON_INODE_FS_MAGIC && add_name(to, &d.name)) {
			to->file.kind = SWOLL_FILE_ANON;
		}
	} else if ((magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC) && add_name(to, &d.name)) {
		to->file.kind = SWOLL_FILE_PATH;
		to->file.flags = SWOLL_FILE_DELETED;
	}
	return 0;
}

/*
 * Describes what a descriptor stands for: `path` is where the kernel has its struct path,
 * `root_path` that of the process's root; `file` is 0 for a directory. Returns the bytes
 * used, with the head of the capture and padded to 4.
 */
__noinline int describe(struct file_room *to, u64 fd, u64 path, u64 file, u64 root_path)
{
	struct path at = {};
	struct {
		void *hashed;
		struct name_of of;
		struct inode *inode;
	} d = {};
	struct dentry *top = 0;
	u16 mode = 0;
	u32 len, kind = SWOLL_FILE_PATH;

	if (!to)
		return 0;
	to->file.fd = fd;
	to->file.flags = 0;
	to->file.kind = SWOLL_FILE_UNKNOWN;
	to->file.len = 0;
	if (READ(&at, path))
		goto out;
	if (BLOCKS && bpf_core_field_offset(struct dentry___hash, d_hash.pprev) + 8 ==
			      bpf_core_field_offset(struct dentry, d_parent)) {
		if (READ(&d, &((struct dentry___hash *)at.dentry)->d_hash.pprev))
			goto out;
	} else if (READ(&d.hashed, &((struct dentry___hash *)at.dentry)->d_hash.pprev) ||
		   READ(&d.of.parent, &at.dentry->d_parent) || READ(&d.inode, &at.dentry->d_inode)) {
		goto out;
	}
	if (READ(&mode, &d.inode->i_mode))
		goto out;
	if (d.of.parent == at.dentry) {
		if (READ(&top, &at.mnt->mnt_root))
			goto out;
		/* What is not mounted by itself. */
		if (top != at.dentry || (mode & S_IFMT) == S_IFSOCK || (mode & S_IFMT) == S_IFIFO) {
			if (file)
				name_pseudo(to, file, (u64)d.inode, (u64)at.dentry);
			/* Not from there: chains of calls have little stack. */
			if (to->file.kind == SWOLL_FILE_SOCKET)
				name_socket(to, file);
			goto out;
		}
	} else if (!d.hashed) {
		to->file.flags = SWOLL_FILE_DELETED;
	}
	mode &= S_IFMT;
	if (mode == S_IFCHR || mode == S_IFBLK) {
		READ((u32 *)to->name, &d.inode->i_rdev);
		to->file.len = 4;
		kind = mode == S_IFCHR ? SWOLL_FILE_CHAR : SWOLL_FILE_BLOCK;
	}
	to->file.kind = kind;
	name_path(to, (u64)at.dentry, (u64)at.mnt, root_path);
out:
	len = at_most(to->file.len, SWOLL_FILE_NAME) + sizeof(struct swoll_file);
	to->head.len = len;
	to->head.arg = SWOLL_CAPTURE_FILE;
	to->head.status = SWOLL_CAPTURE_EXIT;
	return (SWOLL_CAPTURE_HEAD + len + 3) & ~3u;
}

/*
 * A thread that opens more than that is not held up any longer: of the rest, nothing is
 * noted. So what it costs is bounded whatever a program does: half a microsecond, once in
 * NOTE_PERIOD µs after NOTE_BURST of them.
 */
#define NOTE_PERIOD 256
#define NOTE_BURST 128

static __always_inline bool may_note(struct swoll_task *st)
{
	/* `noted` is when the last one will have been paid for. It wraps. */
	u32 now = st->start / 1024, ahead = st->noted - now;

	if (ahead > 2 * NOTE_PERIOD * NOTE_BURST)
		ahead = 0; /* it is in the past */
	if (ahead > NOTE_PERIOD * NOTE_BURST)
		return false;
	st->noted = now + ahead + NOTE_PERIOD;
	return true;
}

/* Adds what a descriptor stands for to the captures of the call that is running. */
__noinline int note_file(struct swoll_task *st, u32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 file = 0, path, root;
	u32 len;
	int used;

	if (!st)
		return 0;
	root = number(&st->place, task->fs);
	if (!root)
		return 0;
	path = (u64)&((struct fs_struct *)root)->pwd;
	if (fd != (u32)SWOLL_FILE_CWD) {
		struct fdtable *fdt = task->files->fdt;
		u64 table = (u64)fdt->fd;

		if (fd >= fdt->max_fds || READ(&file, table + fd * 8ull) || !file)
			return 0;
		path = (u64)&((struct file *)file)->f_path;
	}
	len = st->capture_len;
	if (len > SWOLL_CAPTURE_START) {
		st->flags |= SWOLL_TASK_CUT;
		return 0;
	}
	used = describe((void *)st->capture + len, fd, path, file, (u64)&((struct fs_struct *)root)->root);
	if (used < 0 || used > sizeof(struct capture_room))
		return 0;
	/* The iterator takes only what the length says. */
	barrier();
	st->captures++;
	st->capture_len = len + used;
	return 0;
}

/* The same for all descriptors that a call which returned `ret` has opened or renamed. */
__noinline int note_files(struct swoll_task *st, s64 ret)
{
	const volatile struct swoll_call *call;
	u32 pair[2] = {};

	if (!st)
		return 0;
	call = call_at(st->row);
	if (call->flags & SWOLL_CALL_RENAMES) {
		/* Whatever it returned: a connect may go on. */
		note_file(st, st->args[0]);
	} else if (ret < 0 || !may_note(st)) {
		return 0;
	} else if (call->flags & SWOLL_CALL_OPENS) {
		note_file(st, ret);
	} else if (call->flags & SWOLL_CALL_CWD) {
		note_file(st, (u32)SWOLL_FILE_CWD);
	} else if (!bpf_probe_read_user(pair, sizeof(pair), (void *)(call->args == 4 ? st->args[3] : st->args[0]))) {
		note_file(st, pair[0]);
		note_file(st, pair[1]);
	}
	return 0;
}

/* Where a list of what a process has open is built. */
struct files_room {
	struct swoll_files files;
	u8 bytes[SWOLL_FILE_LIST - sizeof(struct swoll_files)];
};
_Static_assert(sizeof(struct files_room) == SWOLL_FILE_LIST, "files_room");

/* Adds one to the list; false: the list is full. */
static __always_inline bool list_file(struct files_room *to, u32 fd, u64 path, u64 file, u64 root)
{
	u64 at = below(*(volatile u32 *)&to->files.bytes, sizeof(to->bytes) - sizeof(struct capture_room) + 1);
	int used;

	if (!at)
		return false;
	/* The capture's head lies on the end of what is before it, which is put back. */
	{
		u8 *place = to->bytes + at - SWOLL_CAPTURE_HEAD;
		u32 before = *(u32 *)place;

		used = describe((void *)place, fd, path, file, root);
		*(u32 *)place = before;
	}
	if (used < SWOLL_CAPTURE_HEAD || used > sizeof(struct capture_room))
		return false;
	*(volatile u32 *)&to->files.bytes = at + used - SWOLL_CAPTURE_HEAD;
	to->files.count++;
	return true;
}

/*
 * Lists what a task has open, from one descriptor on. Returns what to go on with, or 0:
 * that was all, as far as anybody looks.
 */
__noinline u32 list_files(struct files_room *to, u64 task_at, u32 first)
{
	struct task_struct *task = (void *)task_at;
	struct files_struct *files = 0;
	struct fs_struct *fs = 0;
	struct fdtable *fdt = 0;
	struct file **table = 0;
	unsigned long *open = 0;
	u32 max = 0, fd, end;

	if (!to)
		return 0;
	to->files.bytes = SWOLL_CAPTURE_HEAD; /* room for a head, see list_file() */
	to->files.count = 0;
	to->files.from = first;
	to->files.to = first;
	*(u32 *)to->bytes = 0;
	if (READ(&files, &task->files) || !files || READ(&fs, &task->fs) || !fs || READ(&fdt, &files->fdt) ||
	    READ(&max, &fdt->max_fds) || READ(&table, &fdt->fd) || READ(&open, &fdt->open_fds))
		return 0;
	if (!first)
		list_file(to, (u32)SWOLL_FILE_CWD, (u64)&fs->pwd, 0, (u64)&fs->root);
	end = max < MAX_FDS ? max : MAX_FDS;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_FDS / 64 + 128; i++) {
		unsigned long word = 0;
		struct file *file = 0;

		fd = *(volatile u32 *)&to->files.to;
		if (fd >= end) {
			/* Of those beyond, none can be open; or nobody looked. */
			if (max <= MAX_FDS)
				to->files.to = ~0u;
			return 0;
		}
		if (READ(&word, open + fd / 64))
			return 0;
		word >>= fd & 63;
		if (!word) {
			*(volatile u32 *)&to->files.to = (fd | 63) + 1;
			continue;
		}
		if (word & 1) {
			if (READ(&file, table + fd))
				return 0;
			/* Without a file it is reserved by a call that goes on. */
			if (file && !list_file(to, fd, (u64)&file->f_path, (u64)file, (u64)&fs->root))
				return fd;
		}
		*(volatile u32 *)&to->files.to = fd + 1;
	}
	return to->files.to;
}

/* Writes what this task has open into the life lane. */
__noinline int write_files(u32 ring_index, u32 why)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct scratch *scratch;
	u32 zero = 0, next = 0;

	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_LISTS; i++) {
		next = list_files((void *)scratch->bytes, bpf_get_current_task(), next);
		scratch->files.ring = 0;
		scratch->files.life = 0;
		scratch->files.why = why;
		write_event(ring_index, task, &scratch->event, SWOLL_FILES,
			    sizeof(scratch->files) + at_most(scratch->files.bytes, SWOLL_FILE_LIST - sizeof(struct swoll_files)),
			    SWOLL_LANE_LIFE, bpf_ktime_get_ns());
		if (!next)
			break;
	}
	return 0;
}

/* The iterator's: see listings. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct files_room);
} files_rooms SEC(".maps");

/* Prints what the processes of recorded cgroups have open. */
SEC("iter/task")
int open_files(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *leader;
	struct files_room *room;
	struct swoll_event *event;
	struct swoll_arm *arm;
	u32 zero = 0, next = 0;
	u64 cgroup;

	if (!task)
		return 0;
	cgroup = cgroup_of(task);
	if (!maybe_recorded(cgroup))
		return 0;
	leader = task->group_leader;
	/* Threads mostly share one table. */
	if (task->pid != task->tgid && leader->files == task->files)
		return 0;
	arm = bpf_map_lookup_elem(&cgroups, &cgroup);
	room = bpf_map_lookup_elem(&files_rooms, &zero);
	if (!arm || !room)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 2 * MAX_LISTS; i++) {
		u64 bytes;
		long err;

		event = &room->files.event;
		__builtin_memset(event, 0, sizeof(*event));
		event->head.kind = SWOLL_FILES;
		event->head.tid = task->pid;
		event->head.tgid = task->tgid;
		event->head.start = bpf_ktime_get_ns();
		room->files.why = SWOLL_FILES_LISTED;
		room->files.ring = arm->ring;
		next = list_files(room, number(&room->files.life, task), next);
		room->files.life = arm->life;
		bytes = at_most(room->files.bytes, sizeof(room->bytes));
		bytes = (bytes + 7) & ~7ull;
		event->head.len = sizeof(room->files) + bytes;
		bytes = at_most(bytes, sizeof(room->bytes));
		err = bpf_seq_write(ctx->meta->seq, room, sizeof(room->files) + bytes);
		if (err) {
			if (err != -75 /* EOVERFLOW: the reader comes back for this task */)
				failed(SWOLL_FAIL_SEQ);
			return 0;
		}
		if (!next)
			break;
	}
	return 0;
}
