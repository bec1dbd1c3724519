/*
 * A program without a C library that dies in a known chain of functions, for tests of the
 * unwinder: small enough to be kept. cmd/swolld's TestStackFixtures builds and records it,
 * in ways: with -DHANDLER in the handler of a signal.
 */
#define OUT_OF_LINE __attribute__((noinline, noclone))

static volatile long sink;
static volatile int *volatile nowhere;

OUT_OF_LINE static void die(void)
{
	sink = *nowhere;
}

#ifdef HANDLER
struct action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

/* What C libraries have handlers return to; without call frame information. */
void restore(void);
asm(".globl restore\n.type restore, @function\nrestore: movq $15, %rax\nsyscall\n.size restore, .-restore\n");

static long call(long number, long a, long b, long c, long d)
{
	register long r10 asm("r10") = d;
	long ret;

	asm volatile("syscall" : "=a"(ret) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

OUT_OF_LINE static void handler(int signal)
{
	struct action dfl = { 0, 0x04000000, restore, 0 };

	sink = call(13, signal, (long)&dfl, 0, 8);
	die();
	sink++;
}
#endif

OUT_OF_LINE static long gamma_(long a, long b, long c)
{
	volatile long room[40];

	for (long i = 0; i < 40; i++)
		room[i] = a * i + b;
	die();
	return room[a & 31] + room[b & 31] * c;
}

OUT_OF_LINE static long beta(long a, long b, long c)
{
	long x = gamma_(b, c, a), y = gamma_(a, x, b);

	return x * c + y * b + a;
}

OUT_OF_LINE static long alpha(long n)
{
	return beta(n, n + sink, n * 3) + n;
}

__attribute__((used)) static void start(long *stack)
{
#ifdef HANDLER
	struct action action = { handler, 0x44000000 /* SA_RESTORER | SA_NODEFER */, restore, 0 };

	sink = call(13, 11, (long)&action, 0, 8);
#endif
	sink += alpha(*stack);
	__builtin_trap();
}

asm(".globl _start\n.type _start, @function\n_start:\n.cfi_startproc\n.cfi_undefined rip\n"
    "xorl %ebp, %ebp\nmovq %rsp, %rdi\nandq $-16, %rsp\ncall start\nhlt\n.cfi_endproc\n.size _start, .-_start\n");
