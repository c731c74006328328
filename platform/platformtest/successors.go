package platformtest

import (
	"math/rand/v2"
	"testing"

	"gosentry/platform"
)

// testSuccessors has address spaces follow each other, each with little mapped, and much of that where the one before had it: each has what it mapped
// and nothing else. Some have a second thread for a while.
func testSuccessors(t *testing.T, e *env) {
	const at, pages, first = 0x50000000, 8, 200
	rnd := rand.New(rand.NewPCG(1, 2))
	c, second := e.context(nil), e.context(nil)
	for i := range pages + 1 {
		e.poke((first+i)*page, uint64(1000+i))
	}
	kinds := make([]int, pages)
	for range 100 {
		as := e.space(calls...)
		want, words := make([]string, pages), make([]uint64, pages)
		for i := range kinds {
			if rnd.IntN(3) == 0 {
				kinds[i] = rnd.IntN(5)
			}
			of := i
			if kinds[i] > 2 {
				of++
			}
			words[i], want[i] = uint64(1000+of), "rw"
			switch change := e.file(at+uint64(i)*page, page, uint64(first+of)*page, rw); kinds[i] {
			case 0:
				want[i] = "none"
			case 1, 3:
				change.Prot, want[i] = platform.Read, "r"
				fallthrough
			default:
				e.apply(as, change)
			}
		}
		e.check(c, as, at, want, words)
		if rnd.IntN(4) == 0 {
			e.check(second, as, at, want, words)
		}
		second.Leave()
		if rnd.IntN(3) == 0 {
			e.apply(as, unmap(at+page, page), protect(at+2*page, 3*page, platform.Read))
			if rnd.IntN(2) == 0 {
				e.want(c, as, start(), platform.Syscall)
			}
		}
		c.Leave()
		as.Release()
	}
}
