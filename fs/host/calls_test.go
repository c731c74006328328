package host

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"gosentry/fs/host/fstest"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// runtimeCalls are what Go itself makes.
func runtimeCalls() []Call {
	return anyArguments(
		unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE,
		unix.SYS_MPROTECT, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
		unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_TGKILL, unix.SYS_SCHED_YIELD,
		unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_TIMER_SETTIME, unix.SYS_RSEQ,
		unix.SYS_SET_ROBUST_LIST, unix.SYS_SETITIMER, unix.SYS_FCNTL, unix.SYS_PRCTL, unix.SYS_EVENTFD2,
	)
}

const arguments = 16 // offset of the first in struct seccomp_data

// filter makes a program that allows calls and refuses all others with refusal.
func filter(t *testing.T, calls []Call, refusal unix.Errno) []unix.SockFilter {
	const allow, errno = 0x7fff0000, 0x00050000
	prog := []bpf.Instruction{}
	for _, c := range calls {
		body := []bpf.Instruction{}
		for i, k := range c.All {
			left := (len(c.All) - i - 1) * 3
			body = append(body,
				bpf.LoadAbsolute{Off: arguments + 8*uint32(k.Arg), Size: 4},
				bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: k.Mask},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: k.Value, SkipTrue: uint8(left + 1)},
			)
		}
		body = append(body, bpf.RetConstant{Val: allow})
		prog = append(prog,
			bpf.LoadAbsolute{Off: 0, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(c.Number), SkipTrue: uint8(len(body))},
		)
		prog = append(prog, body...)
	}
	prog = append(prog, bpf.RetConstant{Val: errno | uint32(refusal)})
	raw, err := bpf.Assemble(prog)
	must(t, err)
	var out []unix.SockFilter
	for _, r := range raw {
		out = append(out, unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K})
	}
	return out
}

const lockedDir = "GOSENTRY_TEST_LOCKED_DIR"

// TestLocked does everything under a filter that allows what Calls says and no more.
// The filter cannot be taken off again, so this is for a process of its own.
func TestLocked(t *testing.T) {
	dir := os.Getenv(lockedDir)
	if dir == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestLocked$", "-test.v")
		cmd.Env = append(os.Environ(), lockedDir+"="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		return
	}
	const refusal = unix.ENOTNAM // what nothing else returns
	plant(t, dir)
	unix.Umask(0)
	trees := []*fstest.Guest{guest(t, dir, writable), guest(t, dir, cached), guest(t, dir, uncached)}
	s := streams(t)
	p := kinds["fifo"](t, false)
	q := kinds["pipe"](t, true)
	fifo, err := s.File(p.inside, "")
	must(t, err)
	pipe, err := s.File(q.inside, "")
	must(t, err)
	refused := ""
	note := func(what string, err error) {
		if err == refusal {
			refused += what + "\n"
		}
	}
	if err := lock(filter(t, append(runtimeCalls(), Calls(true)...), refusal)); err != nil {
		t.Skip("no filter on system calls: ", err)
	}
	r := rand.New(rand.NewPCG(7, 7))
	for range 1500 {
		step := fstest.RandomStep(r)
		if got := step.Do(trees[0]); got == unix.ErrnoName(refusal) {
			refused += step.Name + "\n"
		}
	}
	for _, g := range trees {
		_ = fstest.Snapshot(g, "/", fstest.Options{})
		_, err := vfs.Statfs(g.C, g.NS.Root())
		note("statfs", err)
	}
	_, err = fifo.Read(root, mm.BytesBuffer(make([]byte, 1)))
	note("read", err)
	_, err = pipe.Write(root, mm.BytesBuffer(make([]byte, 1)))
	note("write", err)
	go func() { _, _ = unix.Write(p.outside, []byte("x")) }()
	readBlocking(t, fifo, 1)
	if fd, err := unix.Open("/", unix.O_RDONLY, 0); err != refusal {
		refused += "the filter lets open(2) pass\n"
		_ = unix.Close(fd)
	}
	if refused != "" {
		t.Fatal("refused:\n" + refused)
	}
	os.Exit(0)
}
