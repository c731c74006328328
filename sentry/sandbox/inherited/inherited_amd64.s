#include "textflag.h"

#define SYS_getrlimit 97
#define RLIMIT_NOFILE 7

// func getOpenFiles(l *rlimit) int64
TEXT ·getOpenFiles(SB), NOSPLIT, $0-16
	MOVQ	$SYS_getrlimit, AX
	MOVQ	$RLIMIT_NOFILE, DI
	MOVQ	l+0(FP), SI
	SYSCALL
	MOVQ	AX, ret+8(FP)
	RET
