#include "textflag.h"

// func WhileClear(word *uint32, bits uint32, n uint64) bool
TEXT ·WhileClear(SB), NOSPLIT, $0-25
	MOVQ word+0(FP), DI
	MOVL bits+8(FP), SI
	MOVQ n+16(FP), R12
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	ADDQ AX, R12

again:
	MOVL $8, CX // RDTSC takes longer than PAUSE

look:
	TESTL SI, (DI)
	JNE  changed
	PAUSE
	DECL CX
	JNE  look
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	CMPQ AX, R12
	JCS  again
	MOVB $0, ret+24(FP)
	RET

changed:
	MOVB $1, ret+24(FP)
	RET
