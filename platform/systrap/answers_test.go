package systrap

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/patch"

	"golang.org/x/sys/unix"
)

const (
	asked  = 39   // the number of the call that is answered
	told   = 4242 // what with
	marker = 999  // the number of a call that is not
)

// pairCode is code at the beginning of a page that makes calls asked, whose result goes to rbx, and marker forever.
func pairCode() []byte {
	code := siteCode(asked)[:siteAt+7]
	code = append(code, 0x48, 0x89, 0xc3) // mov %rax,%rbx
	code = binary.LittleEndian.AppendUint32(append(code, 0xb8), marker)
	return append(code, 0x0f, 0x05, 0xeb, 0xed) // syscall; jmp back
}

// hotPair is a guest of pairCode with both calls patched that is about to make the first.
func hotPair(t testing.TB, p *Platform) *guest {
	t.Helper()
	g := textGuest(t, p, pairCode())
	for live := 0; live < 4; {
		g.call(t)
		if live++; !g.s.live {
			live = 0
		}
	}
	if g.regs.Rax == asked {
		g.call(t)
	}
	return g
}

func answer4242() []platform.Answer { return []platform.Answer{{Number: asked, Value: told}} }

// next fails the test unless the next event is the call number.
func (g *guest) next(t testing.TB, number uint64) {
	t.Helper()
	if g.call(t); g.regs.Rax != number {
		t.Fatalf("call %d, want %d: %+v", g.regs.Rax, number, g.regs)
	}
}

// TestAnswers has a call answered, then not, by each of two threads that take turns at the same seat.
func TestAnswers(t *testing.T) {
	p := testPlatform(t)
	g := hotPair(t, p)
	before := *g.regs
	g.SetAnswers(answer4242())
	for range 3 {
		g.next(t, marker)
		if g.regs.Rbx != told {
			t.Fatalf("the answer is %d", g.regs.Rbx)
		}
	}
	after := *g.regs
	before.Rbx, before.Rcx, before.R11 = told, after.Rcx, after.R11
	if after != before {
		t.Errorf("registers\n%+v, want\n%+v", after, before)
	}
	first := g.s
	g.Leave()
	other := &guest{context: p.NewContext(nil).(*context), as: g.as, regs: startRegs()}
	defer other.Release()
	other.next(t, asked)
	if other.s != first {
		t.Error("the second thread has another seat: this shows less than it is meant to")
	}
	other.next(t, marker)
	other.SetAnswers([]platform.Answer{{Number: asked, Value: 7}, {Number: patch.AnswerCount, Value: 1}, {Number: 1<<32 - 1}})
	if other.next(t, marker); other.regs.Rbx != 7 {
		t.Errorf("the second thread's answer is %d", other.regs.Rbx)
	}
	if g.next(t, marker); g.regs.Rbx != told {
		t.Errorf("the first thread's answer has become %d", g.regs.Rbx)
	}
	other.Leave()
	if g.next(t, marker); g.regs.Rbx != told {
		t.Errorf("the first thread's answer has become %d", g.regs.Rbx)
	}
	g.SetAnswers(nil)
	g.next(t, asked)
	g.next(t, marker)
}

// TestAnswersAny has calls of the C library's syscall(2), whose number is in rax, answered or not, and one without a stack to
// load its sixth argument from.
func TestAnswersAny(t *testing.T) {
	p := testPlatform(t)
	code := append(siteCode(0)[:siteAt], 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05) // mov 8(%rsp),%r9; syscall
	code = append(code, 0x48, 0x89, 0xc3)                                          // mov %rax,%rbx
	code = binary.LittleEndian.AppendUint32(append(code, 0xb8), marker)
	g := textGuest(t, p, append(code, 0x0f, 0x05, 0xeb, 0xed))
	call := func(number uint64) {
		t.Helper()
		g.regs.Rip, g.regs.Rax, g.regs.Rsp, g.regs.R9 = guestAt, number, guestAt, 0
	}
	for live := 0; live < 4; live++ {
		call(asked)
		if g.next(t, asked); !g.s.live {
			live = 0
		}
		if g.next(t, marker); !g.s.live {
			live = 0
		}
	}
	g.SetAnswers(answer4242())
	for _, number := range []uint64{0, asked + 1, asked + 256, 1<<40 | asked} {
		call(number)
		if g.next(t, number); g.regs.R9 != 0x9090909090909090 {
			t.Errorf("call %#x: %+v", number, g.regs)
		}
	}
	call(asked)
	if g.next(t, marker); g.regs.Rbx != told {
		t.Errorf("the answer is %d", g.regs.Rbx)
	}
	call(asked)
	g.regs.Rsp = 0x20000
	ev, err := g.Run(g.as, g.regs)
	if err != nil || ev.Kind != platform.Fault || ev.Addr != 0x20008 || g.regs.Rip != guestAt+siteAt || g.regs.Rax != asked {
		t.Errorf("without a stack: %+v %v, %+v", ev, err, g.regs)
	}
}

// TestAnswersTakenBack takes an answer back while the guest runs, and tells it then: it never gets the answer after that.
func TestAnswersTakenBack(t *testing.T) {
	p := testPlatform(t)
	code := siteCode(asked)[:siteAt+7]
	// At siteAt: the call, cmp $told,%eax; jne away; test %ebx,%ebx; mov told-flag,%ebx; je back; mov $marker,%eax; syscall.
	code = append(code, 0x3d, 0x92, 0x10, 0, 0, 0x75, 0x14, 0x85, 0xdb, 0x8b, 0x1c, 0x25, 0x00, 0x10, 0x40, 0x00, 0x74, 0xe7)
	code = binary.LittleEndian.AppendUint32(append(code, 0xb8), marker)
	code = append(code, 0x0f, 0x05, 0xeb, 0xde, 0xeb, 0xdc)
	g := textGuest(t, p, code)
	flag := g.mem[pageSize:]
	g.hot(t)
	for round := range 100 {
		binary.LittleEndian.PutUint32(flag, 0)
		g.regs.Rbx = 0
		g.SetAnswers(answer4242())
		var group sync.WaitGroup
		group.Go(func() {
			time.Sleep(time.Duration(round) * 10 * time.Microsecond)
			g.SetAnswers(nil)
			binary.LittleEndian.PutUint32(flag, 1)
		})
		g.next(t, asked)
		group.Wait()
		g.regs.Rax = 0
	}
}

// TestAnswersInterrupted interrupts a guest that does little but ask: each interrupt comes through, and where it hits an answer half
// given, the call begins anew.
func TestAnswersInterrupted(t *testing.T) {
	p := testPlatform(t)
	g := textGuest(t, p, siteCode(asked))
	g.hot(t)
	g.SetAnswers(answer4242())
	rewound := 0
	g.regs.Rip = guestAt
	for range 300 {
		time.AfterFunc(20*time.Microsecond, g.Interrupt)
		ev, err := g.Run(g.as, g.regs)
		if err != nil || ev.Kind != platform.Interrupted {
			t.Fatalf("%+v %v", ev, err)
		}
		switch g.regs.Rip {
		case guestAt + siteAt:
			rewound++
		case guestAt + siteAt + 7:
			if g.regs.Rax != told {
				t.Fatalf("behind the call: %+v", g.regs)
			}
		default:
			if g.regs.Rip > guestAt+siteAt || g.regs.Rip < guestAt {
				t.Fatalf("interrupted at %#x", g.regs.Rip)
			}
		}
	}
	if rewound == 0 {
		t.Error("no call was hit")
	}
}

// TestAnswersKept has the guest write to its page of answers, by an instruction of its own and by one of the handler's.
func TestAnswersKept(t *testing.T) {
	p := testPlatform(t)
	_, _, call, err := image()
	if err != nil {
		t.Fatal(err)
	}
	g := hotPair(t, p)
	g.SetAnswers(answer4242())
	g.next(t, marker)
	copy(g.mem, []byte{0x89, 0x07}) // mov %eax,(%rdi)
	at := uint64(0x900000)
	g.as.Apply([]platform.Change{{Op: platform.Map, File: g.codeFD, Addr: at, Length: pageSize, Prot: platform.Read | platform.Exec}})
	page := g.s.base() + answersAt
	for name, way := range map[string]struct{ rip, rdi, r11 uint64 }{
		"its own": {at, page + 8*asked, 0}, "the handler's": {call, 0, page},
	} {
		g.regs.Rip, g.regs.Rdi, g.regs.R11, g.regs.Rax = way.rip, way.rdi, way.r11, 1
		ev, err := g.Run(g.as, g.regs)
		if err != nil || ev.Kind != platform.Fault || ev.Signal != unix.SIGSEGV || ev.Access != platform.Write {
			t.Errorf("%s: %+v %v", name, ev, err)
		}
	}
	g.regs.Rip = guestAt
	if g.next(t, marker); g.regs.Rbx != told {
		t.Errorf("the answer has become %d", g.regs.Rbx)
	}
}

func BenchmarkAnswered(b *testing.B) {
	p := testPlatform(b)
	const calls = 1000
	code := siteCode(asked)[:siteAt+7]
	code = append(code, 0xff, 0xcb, 0x75, 0xf5) // dec %ebx; jnz back
	code = binary.LittleEndian.AppendUint32(append(code, 0xb8), marker)
	g := textGuest(b, p, append(code, 0x0f, 0x05, 0xeb, 0xec))
	g.hot(b)
	g.SetAnswers(answer4242())
	for b.Loop() {
		g.regs.Rbx, g.regs.Rip = calls, guestAt
		g.next(b, marker)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*calls), "ns/call")
}

// TestAnswersRacing has threads ask, each with an answer of its own that comes and goes, while the page they ask on is patched, replaced,
// unmapped and patched again.
func TestAnswersRacing(t *testing.T) {
	p := testPlatform(t)
	g := hotPair(t, p)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range uint64(3) {
		own := told + i
		c := p.NewContext(nil).(*context)
		group.Go(func() {
			defer c.Release()
			regs := startRegs()
			for {
				select {
				case <-stop:
					return
				default:
				}
				ev, err := c.Run(g.as, regs)
				switch {
				case err == nil && ev.Kind == platform.Syscall && regs.Rax == asked:
					regs.Rax = own
				case err == nil && ev.Kind == platform.Syscall && regs.Rax == marker && regs.Rbx == own:
				case err == nil && ev.Kind == platform.Fault && ev.Signal == unix.SIGSEGV && ev.Addr == regs.Rip:
					regs = startRegs() // unmapped just now
				default:
					t.Errorf("%+v %v %+v, want the answer %d", ev, err, regs, own)
					return
				}
			}
		})
		group.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Microsecond):
				}
				if round%3 == 0 {
					c.SetAnswers(nil)
				} else {
					c.SetAnswers([]platform.Answer{{Number: asked, Value: uint32(own)}})
				}
			}
		})
	}
	for round := range 100 {
		time.Sleep(300 * time.Microsecond)
		if round%5 == 4 {
			g.as.Apply([]platform.Change{{Op: platform.Unmap, Addr: guestAt, Length: pageSize}})
		}
		if err := g.as.Apply([]platform.Change{g.plain()}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	group.Wait()
}

// TestTrampolinesCode jumps to every byte of a trampoline that answers, with areas and nonsense in the registers. Another guest does not notice.
func TestTrampolinesCode(t *testing.T) {
	p := testPlatform(t)
	other := hotPair(t, p)
	other.SetAnswers(answer4242())
	var g *guest
	for at := range uint64(2 * patch.TrampolineSize) {
		for _, r11 := range []uint64{0, 1, guestAt + pageSize, other.s.base()} {
			if g == nil {
				g = hotPair(t, p)
				g.SetAnswers(answer4242())
			}
			g.regs = startRegs()
			g.regs.Rip, g.regs.R11, g.regs.Rcx = trampolinesAt+at, r11, g.s.base()
			if r11 == 1 {
				g.regs.R11, g.regs.Rcx = g.s.base(), 0
			}
			if _, err := g.bounded(t); err != nil {
				g.Leave()
				g = nil
			}
		}
		if at%32 == 0 {
			if other.next(t, marker); other.regs.Rbx != told {
				t.Fatalf("another guest's answer has become %d", other.regs.Rbx)
			}
		}
	}
}
