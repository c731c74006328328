package callfilter

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRandomPrograms: what Check takes, Run ends without a fault.
func TestRandomPrograms(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	codes := []uint16{
		loadAbs, loadLen, loadImm, loadMem, loadXLen, loadXImm, loadXMem, unix.BPF_ST, unix.BPF_STX, moveToX, moveToA,
		jumpAlways, negate, unix.BPF_JMP | unix.BPF_JEQ, unix.BPF_JMP | unix.BPF_JGT | sourceX, unix.BPF_JMP | unix.BPF_JSET,
		unix.BPF_ALU | unix.BPF_DIV | sourceX, unix.BPF_ALU | unix.BPF_LSH | sourceX, unix.BPF_ALU | unix.BPF_MUL, returnA,
	}
	taken := 0
	for range 200_000 {
		p := make([]unix.SockFilter, 1+r.IntN(8))
		for i := range p {
			p[i] = unix.SockFilter{Code: codes[r.IntN(len(codes))], Jt: uint8(r.IntN(4)), Jf: uint8(r.IntN(4)), K: uint32(r.IntN(20)) * 4}
			if r.IntN(50) == 0 {
				p[i] = unix.SockFilter{Code: uint16(r.Uint32()), Jt: uint8(r.Uint32()), Jf: uint8(r.Uint32()), K: r.Uint32()}
			}
		}
		checked, err := Check(append(p, unix.SockFilter{Code: returnK}))
		if err != nil {
			continue
		}
		taken++
		c, err := (*Chain)(nil).Push(checked)
		if err != nil {
			t.Fatal(err)
		}
		c.Judge(&Call{Number: r.Uint32(), Args: [6]uint64{r.Uint64()}})
	}
	if taken < 1000 {
		t.Errorf("only %d programs were taken", taken)
	}
}

func always(v Action) Program { return Program{{Code: returnK, K: uint32(v)}} }

// TestJudge: the strictest answer counts, of equal ones the newest.
func TestJudge(t *testing.T) {
	order := []Action{KillProcess, KillThread, Trap, Errno, UserNotif, Trace, Log, Allow}
	for i, strict := range order {
		for j, lax := range order {
			var c *Chain
			for k, a := range []Action{strict | 1, lax | 2} {
				var err error
				if c, err = c.Push(always(a)); err != nil || c.Count() != k+1 {
					t.Fatal(err, c.Count())
				}
			}
			want, data := strict, uint16(1)
			if j <= i {
				want, data = lax, 2
			}
			if want == Allow {
				data = 0
			}
			if v := c.Judge(&Call{}); v.Action != want || v.Data != data && want != Allow || want != Allow && (v.By == c) != (data == 2) {
				t.Errorf("%x before %x: %x %d", strict, lax, v.Action, v.Data)
			}
		}
	}
}

func TestExtends(t *testing.T) {
	a, _ := (*Chain)(nil).Push(always(Allow))
	b, _ := a.Push(always(Log))
	other, _ := a.Push(always(Log))
	if !b.Extends(a) || !b.Extends(nil) || !a.Extends(a) || a.Extends(b) || b.Extends(other) {
		t.Error("chains are taken for others")
	}
}
