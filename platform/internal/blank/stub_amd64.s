#include "textflag.h"

// Numbers shared with layout.go.
#define CODE   $0x7fffffffe000
#define ORDERS $0x7fffffffd000
#define ERRNOS $0x7fffffffe800
#define ACK     4
#define COUNT   8
#define FD      12
#define OFFSET  16
#define PARENT  24
#define RESULTS 64
#define CALLS   320
#define CALLSIZE 56

#define SYS_mmap           9
#define SYS_rt_sigprocmask 14
#define SYS_pwrite64       18
#define SYS_lseek          8
#define SYS_pause          34
#define SYS_clone          56
#define SYS_exit           60
#define SYS_getppid        110
#define SYS_prctl          157
#define SYS_futex          202

// stub is what the leader of a blank process runs, from a copy at CODE. It has
// no stack and never returns. R15: page of orders, R14: lists done, R12: index
// of the call, BX: its address.
TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
begin:
	MOVQ ORDERS, R15
	XORL R14, R14
	MOVL $SYS_prctl, AX
	MOVL $1, DI            // PR_SET_PDEATHSIG
	MOVL $9, SI            // SIGKILL
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	MOVL $SYS_getppid, AX
	SYSCALL
	CMPQ AX, PARENT(R15)
	JNE  die

wait:
	MOVL (R15), R13
	CMPL R13, R14
	JNE  run
	MOVL $SYS_futex, AX
	MOVQ R15, DI
	XORL SI, SI            // FUTEX_WAIT
	MOVL R14, DX
	XORL R10, R10
	SYSCALL
	JMP  wait

run:
	MOVL R13, R14
	XORL R12, R12
	LEAQ CALLS(R15), BX

next:
	CMPL R12, COUNT(R15)
	JAE  done
	MOVQ 0(BX), AX
	MOVQ 8(BX), DI
	MOVQ 16(BX), SI
	MOVQ 24(BX), DX
	MOVQ 32(BX), R10
	MOVQ 40(BX), R8
	MOVQ 48(BX), R9
	MOVQ AX, R13
	SYSCALL
	CMPQ R13, $SYS_clone
	JEQ  cloned
	CMPQ AX, $-4095
	JAE  failed

advance:
	INCL R12
	ADDQ $CALLSIZE, BX
	JMP  next

failed:
	NEGQ AX
	CMPQ AX, $255
	JBE  known
	MOVL $255, AX

known:
	MOVQ ERRNOS, SI
	LEAQ (SI)(AX*4), SI
	MOVL FD(R15), DI
	MOVL $4, DX
	MOVQ OFFSET(R15), R10
	LEAQ RESULTS(R10)(R12*4), R10
	MOVL $SYS_pwrite64, AX
	SYSCALL
	JMP  advance

	// The id of a new process or thread is handed over as a file position; the
	// new one's R9 tells a process (the offset of its page of orders) from a thread (0) and
	// from a guest, which starts where the call's tls argument says.
cloned:
	CMPQ  AX, $-4095
	JAE   failed
	TESTQ AX, AX
	JEQ   child
	MOVL  FD(R15), DI
	MOVQ  AX, SI
	XORL  DX, DX           // SEEK_SET
	MOVL  $SYS_lseek, AX
	SYSCALL
	JMP   advance

done:
	MOVL FD(R15), DI
	MOVQ ERRNOS, SI
	ADDQ $4, SI
	MOVL $4, DX
	MOVQ OFFSET(R15), R10
	ADDQ $ACK, R10
	MOVL $SYS_pwrite64, AX
	SYSCALL
	LEAQ ACK(R15), DI
	MOVL $1, SI            // FUTEX_WAKE
	MOVL $1, DX
	MOVL $SYS_futex, AX
	SYSCALL
	JMP  wait

child:
	TESTQ R9, R9
	JEQ   park
	MOVQ  R9, AX
	SHRQ  $40, AX
	JNE   guest
	MOVL  FD(R15), R8
	MOVQ  ORDERS, DI
	MOVL  $4096, SI
	MOVL  $1, DX           // PROT_READ
	MOVL  $0x11, R10       // MAP_SHARED|MAP_FIXED
	MOVL  $SYS_mmap, AX
	SYSCALL
	CMPQ  AX, R15
	JEQ   begin

die:
	MOVL $SYS_exit, AX
	MOVL $1, DI
	SYSCALL
	JMP  die

guest:
	JMP R8

park:
	MOVL $SYS_pause, AX
	SYSCALL
	JMP  park

	// The mark by which copyStub finds the end.
	BYTE $0xcc; BYTE $0xcc; BYTE $0xcc; BYTE $0xcc
	BYTE $0xcc; BYTE $0xcc; BYTE $0xcc; BYTE $0xcc
	RET

// func stubAddr() *byte
TEXT ·stubAddr(SB), NOSPLIT, $0-8
	LEAQ ·stub(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func forkTemplate(a *forkArgs)
//
// The fork has two steps. The first child shares the caller's memory, stops
// being known to a C library's restartable sequences by that, and has no thread of
// the caller beside it; it makes the template, a copy, as its sibling. Neither
// touches the stack, which all share or have a copy of.
TEXT ·forkTemplate(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ a+0(FP), BX
	MOVL $SYS_rt_sigprocmask, AX
	MOVL $2, DI            // SIG_SETMASK
	LEAQ 24(BX), SI        // a.all
	LEAQ 32(BX), DX        // a.old
	MOVL $8, R10
	SYSCALL
	MOVL $SYS_clone, AX
	MOVL $0x4500, DI       // CLONE_VM|CLONE_VFORK|CLONE_FILES
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	TESTQ AX, AX
	JEQ  middle
	MOVQ AX, 8(BX)         // a.middle
	MOVL $SYS_rt_sigprocmask, AX
	MOVL $2, DI
	LEAQ 32(BX), SI
	XORL DX, DX
	MOVL $8, R10
	SYSCALL
	RET

middle:
	MOVL $SYS_clone, AX
	MOVL $0x8400, DI       // CLONE_PARENT|CLONE_FILES
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	TESTQ AX, AX
	JEQ  template
	MOVQ AX, 0(BX)         // a.pid
	JMP  quit

template:
	MOVQ CODE, DI
	MOVL $4096, SI
	MOVL $5, DX            // PROT_READ|PROT_EXEC
	MOVL $0x11, R10        // MAP_SHARED|MAP_FIXED
	MOVL 16(BX), R8        // a.code
	XORL R9, R9
	MOVL $SYS_mmap, AX
	SYSCALL
	MOVQ CODE, DI
	CMPQ AX, DI
	JNE  quit
	MOVQ ORDERS, DI
	MOVL $4096, SI
	MOVL $1, DX            // PROT_READ
	MOVL $0x11, R10
	MOVL 20(BX), R8        // a.orders
	XORL R9, R9
	MOVL $SYS_mmap, AX
	SYSCALL
	MOVQ ORDERS, DI
	CMPQ AX, DI
	JNE  quit
	MOVQ CODE, AX
	JMP  AX

quit:
	MOVL $SYS_exit, AX
	XORL DI, DI
	SYSCALL
	JMP  quit
