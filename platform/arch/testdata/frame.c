// What the host's kernel makes of signal frames.
//   frame deliver: reads an XSAVE area from the standard input, loads it and known registers, takes a
//     SIGILL on an alternate stack, and writes the frame: its address, its length, its bytes.
//   frame return: writes the address of a landing place; reads the address and length of a frame
//     and its bytes, puts it there and has rt_sigreturn take it; writes the registers and
//     the XSAVE area found at the landing place.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { STACK = 0x10000000, STACK_SIZE = 0x10000, FPU_MAX = 16384 };

uint64_t regs[18]; // in the order of struct sigcontext; rip is not filled in
uint64_t features;
unsigned char fpu[FPU_MAX] __attribute__((aligned(64)));
unsigned char own_stack[65536] __attribute__((aligned(64)));

static void all(int w, void *p, size_t n) {
	for (char *c = p; n;) {
		ssize_t r = w ? write(1, c, n) : read(0, c, n);
		if (r <= 0)
			_exit(9);
		c += r, n -= r;
	}
}

static void handler(int sig, siginfo_t *info, void *p) {
	ucontext_t *uc = p;
	uint64_t start = (uint64_t)uc - 8;
	char *fp = (char *)uc->uc_mcontext.fpregs;
	uint64_t len = (uint64_t)fp + *(uint32_t *)(fp + 468) - start;
	all(1, &start, 8);
	all(1, &len, 8);
	all(1, (void *)start, len);
	_exit(0);
}

extern void trap(void), landing(void);
asm(".globl trap\n"
    "trap:\n"
    "	mov features(%rip), %eax\n"
    "	mov features+4(%rip), %edx\n"
    "	xrstor64 fpu(%rip)\n"
    "	mov $0xa08, %r8; mov $0xa09, %r9; mov $0xa0a, %r10; mov $0xa0b, %r11\n"
    "	mov $0xa0c, %r12; mov $0xa0d, %r13; mov $0xa0e, %r14; mov $0xa0f, %r15\n"
    "	mov $0xa10, %rdi; mov $0xa11, %rsi; mov $0xa12, %rbp; mov $0xa13, %rbx\n"
    "	mov $0xa14, %rdx; mov $0xa15, %rax; mov $0xa16, %rcx\n"
    "	ud2\n"
    ".globl landing\n"
    "landing:\n"
    "	mov %r8, regs(%rip); mov %r9, regs+8(%rip); mov %r10, regs+16(%rip); mov %r11, regs+24(%rip)\n"
    "	mov %r12, regs+32(%rip); mov %r13, regs+40(%rip); mov %r14, regs+48(%rip); mov %r15, regs+56(%rip)\n"
    "	mov %rdi, regs+64(%rip); mov %rsi, regs+72(%rip); mov %rbp, regs+80(%rip); mov %rbx, regs+88(%rip)\n"
    "	mov %rdx, regs+96(%rip); mov %rax, regs+104(%rip); mov %rcx, regs+112(%rip); mov %rsp, regs+120(%rip)\n"
    "	pushf\n"
    "	pop regs+136(%rip)\n"
    "	mov features(%rip), %eax\n"
    "	mov features+4(%rip), %edx\n"
    "	xsave64 fpu(%rip)\n"
    "	lea own_stack+65536(%rip), %rsp\n"
    "	cld\n"
    "	call landed\n");

void landed(void) {
	all(1, regs, sizeof regs);
	all(1, fpu, FPU_MAX);
	_exit(0);
}

static void deliver(void) {
	stack_t s = {.ss_sp = (void *)STACK, .ss_size = STACK_SIZE};
	struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	uint64_t len;
	all(0, &len, 8);
	all(0, fpu, len);
	if (sigaltstack(&s, NULL) || sigaction(SIGILL, &a, NULL))
		_exit(8);
	trap();
}

static void come_back(void) {
	uint64_t place = (uint64_t)landing, frame[2];
	all(1, &place, 8);
	all(0, frame, 16);
	all(0, (void *)frame[0], frame[1]);
	asm volatile("mov %0, %%rsp\n mov $15, %%eax\n syscall\n ud2" ::"r"(frame[0] + 8) : "memory");
}

int main(int argc, char **argv) {
	features = argc == 3 ? strtoull(argv[2], NULL, 0) : 0;
	if (mmap((void *)STACK, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)STACK)
		return 7;
	if (!strcmp(argv[1], "deliver"))
		deliver();
	come_back();
}
