package signal

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestDefaults(t *testing.T) {
	want := map[Disposition]Set{
		Ignore:   SetOf(unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH),
		Continue: SetOf(unix.SIGCONT),
		Stop:     StopSignals,
		Core: SetOf(unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS,
			unix.SIGFPE, unix.SIGSEGV, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGSYS),
	}
	for sig := Signal(1); sig <= Max; sig++ {
		expected := Terminate
		for d, s := range want {
			if s.Has(sig) {
				expected = d
			}
		}
		if got := Default(sig); got != expected {
			t.Errorf("signal %d: %d, want %d", sig, got, expected)
		}
	}
}

func TestHandlers(t *testing.T) {
	var h Handlers
	for _, sig := range []Signal{0, 65, unix.SIGKILL, unix.SIGSTOP} {
		if _, err := h.Set(sig, Action{}); err != unix.EINVAL {
			t.Errorf("action of %d: %v, want EINVAL", sig, err)
		}
	}
	caught := Action{Handler: 0x1000, Flags: FlagResetHand | FlagUnsupported | FlagSigInfo, Mask: All}
	h.Set(unix.SIGUSR1, caught)
	h.Set(unix.SIGUSR2, Action{Handler: HandlerIgnore, Flags: FlagRestart})
	old, err := h.Set(unix.SIGUSR1, caught)
	if err != nil || old.Flags != FlagResetHand|FlagSigInfo || old.Mask != All&^Unblockable {
		t.Errorf("kept %+v, %v", old, err)
	}
	ignored, c := h.Sets()
	if ignored != SetOf(unix.SIGUSR2) || c != SetOf(unix.SIGUSR1) {
		t.Errorf("sets %#x %#x", ignored, c)
	}
	fork, exec := h.Copy(), h.CopyForExec()
	if fork.Get(unix.SIGUSR1) != old || exec.Get(unix.SIGUSR1) != (Action{}) {
		t.Error("a caught signal after fork or exec")
	}
	if exec.Get(unix.SIGUSR2) != (Action{Handler: HandlerIgnore}) {
		t.Error("an ignored signal after exec")
	}
	if a := h.Deliver(unix.SIGUSR1); a.Handler != 0x1000 || h.Get(unix.SIGUSR1).Handler != HandlerDefault {
		t.Error("SA_RESETHAND")
	}
	if fork.Get(unix.SIGUSR1).Handler != 0x1000 {
		t.Error("the copy changed with the original")
	}
	h.ForceDefault(unix.SIGUSR2)
	if h.Get(unix.SIGUSR2).Handler != HandlerDefault {
		t.Error("forced default")
	}
}

func TestIgnores(t *testing.T) {
	for _, c := range []struct {
		sig     Signal
		handler uint64
		want    bool
	}{
		{unix.SIGCHLD, HandlerDefault, true}, {unix.SIGCHLD, 0x1000, false},
		{unix.SIGCONT, HandlerDefault, false}, {unix.SIGCONT, HandlerIgnore, true},
		{unix.SIGTERM, HandlerDefault, false}, {unix.SIGTERM, HandlerIgnore, true},
	} {
		if got := (Action{Handler: c.handler}).Ignores(c.sig); got != c.want {
			t.Errorf("%v with handler %#x: %v", c.sig, c.handler, got)
		}
	}
}

func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		sig  Signal
		code int32
		want Layout
	}{
		{unix.SIGTERM, CodeUser, LayoutKill}, {unix.SIGTERM, CodeTkill, LayoutRT},
		{unix.SIGSEGV, SegvMapErr, LayoutFault}, {unix.SIGSEGV, CodeKernel, LayoutKill},
		{unix.SIGSEGV, CodeUser, LayoutKill}, {unix.SIGSEGV, CodeQueue, LayoutRT},
		{unix.SIGCHLD, CldExited, LayoutChild}, {unix.SIGCHLD, 7, LayoutKill},
		{unix.SIGPOLL, PollIn, LayoutPoll}, {40, PollIn, LayoutPoll}, {40, CodeSigIO, LayoutPoll},
		{40, CodeTimer, LayoutTimer}, {unix.SIGSYS, SysSeccomp, LayoutSys}, {40, 0x100, LayoutKill},
	} {
		i := Info{Signo: c.sig, Code: c.code}
		if got := i.Layout(); got != c.want {
			t.Errorf("signal %d code %d: layout %d, want %d", c.sig, c.code, got, c.want)
		}
	}
}

func TestAltStack(t *testing.T) {
	none := NoStack()
	s, err := Stack{Base: 0x1000, Size: 0x4000}.Check(none, 0x9000, MinStackSize)
	if err != nil || !s.Enabled() {
		t.Fatal(s, err)
	}
	for sp, on := range map[uint64]bool{0x1000: false, 0x1001: true, 0x5000: true, 0x5001: false} {
		if s.Contains(sp) != on {
			t.Errorf("sp %#x: on the stack %v", sp, !on)
		}
	}
	if _, err := (Stack{Base: 0x8000, Size: 0x4000}).Check(s, 0x2000, MinStackSize); err != unix.EPERM {
		t.Errorf("change while in use: %v", err)
	}
	if _, err := (Stack{Size: 100}).Check(none, 0, MinStackSize); err != unix.ENOMEM {
		t.Errorf("small stack: %v", err)
	}
	if _, err := (Stack{Flags: 8, Size: 0x4000}).Check(none, 0, MinStackSize); err != unix.EINVAL {
		t.Errorf("unknown flag: %v", err)
	}
	if got := s.Status(0x2000).Flags; got != StackOnStack {
		t.Errorf("status on it: %#x", got)
	}
	if got := none.Status(0x2000).Flags; got != StackDisable {
		t.Errorf("status without: %#x", got)
	}
	auto, err := Stack{Base: 0x1000, Size: 0x4000, Flags: StackAutoDisarm}.Check(none, 0, MinStackSize)
	if err != nil || auto.Contains(0x2000) {
		t.Error("a stack that disarms itself is never in use", err)
	}
	off, err := Stack{Flags: StackDisable, Size: 5, Base: 7}.Check(s, 0x9000, MinStackSize)
	if err != nil || off.Enabled() || off.Base != 0 {
		t.Errorf("disabled: %+v, %v", off, err)
	}
}
