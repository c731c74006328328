package platformtest

import (
	"testing"

	"gosentry/platform"
)

// Bench runs the benchmarks.
func Bench(b *testing.B, newPlatform New) {
	b.Run("getpid", func(b *testing.B) {
		e := newEnv(b, newPlatform(b))
		as := e.space(0x0f, 0x05, 0xeb, 0xfc)
		c := e.p.NewContext(nil)
		regs := start()
		for b.Loop() {
			e.want(c, as, regs, platform.Syscall)
			regs.Rax = 39
		}
		c.Leave()
	})
}
