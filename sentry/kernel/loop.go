package kernel

import (
	"errors"
	"fmt"
	"runtime/debug"

	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Personality is an operating system as its programs see it: numbers, layouts,
// frames. All tasks of a process share one.
type Personality interface {
	// Name is the system's name, "linux".
	Name() string
	// Syscall answers the call in t.Regs and sets its result. An ERESTART error
	// is returned instead of being set.
	Syscall(t *Task) error
	// ForkChild makes c.Regs, those of its parent in the call, the ones that the child of a
	// fork begins with. Nobody else sees c yet.
	ForkChild(c *Task, a *ForkArgs)
	// PushFrame makes t.Regs run the handler of act. An error means that the
	// frame could not be written.
	PushFrame(t *Task, info *signal.Info, act signal.Action, mask signal.Set) error
	// RewindToRestart makes t.Regs execute the call again that ended with err.
	RewindToRestart(t *Task, number uint64, err error)
	// Answers are the results of t's calls that nobody but t changes, and t only by other calls.
	Answers(t *Task) []platform.Answer
	// FailInterrupted makes t.Regs see EINTR as the result.
	FailInterrupted(t *Task)
}

// start runs the task's goroutine.
func (t *Task) start() {
	t.k.running.Add(1)
	go t.run()
}

func (t *Task) run() {
	defer t.k.running.Done()
	defer func() {
		if r := recover(); r != nil {
			t.k.fail(fmt.Errorf("panic in task %d (%s): %v\n%s", t.pid.numbers[0], t.Name(), r, debug.Stack()))
		}
	}()
	if t.main != nil {
		t.runMain()
	} else {
		t.runProgram()
	}
	t.exit()
	t.ctx.Release()
}

// runProgram runs guest code until the task is to end.
func (t *Task) runProgram() {
	if t.gate != nil {
		t.BlockKillable(t.gate) //nolint:errcheck // step sees that it died
	}
	t.begin()
	for t.step() {
	}
}

// begin does what a fork leaves to the child: what it costs, the parent does not wait for.
func (t *Task) begin() {
	t.MM().WarmUp()
	if t.setTID != 0 {
		t.storeTID(t, t.setTID)
	}
}

// step runs guest code once and answers what stopped it. It returns false when
// the task is to end.
func (t *Task) step() bool {
	if t.work.Load() && !t.doWork() {
		return false
	}
	t.switchMode(cpuUser)
	t.watchIfArmed()
	t.offerAnswers()
	ev, err := t.runGuest()
	t.leftGuest()
	if err != nil {
		return t.hostFailed(err)
	}
	t.call = callState{number: noCall}
	switch ev.Kind {
	case platform.Syscall:
		t.doCall()
		t.k.VFS().TellAsync()
	case platform.Syscall32:
		t.k.warnOnce("int 0x80", "the 32-bit system call interface is not built: ENOSYS")
		errno := unix.ENOSYS
		t.Regs.SetResult(uint64(-int64(errno)))
	case platform.Fault:
		t.handleFault(ev)
	}
	return true
}

func (t *Task) doCall() {
	t.hasBegun()
	t.call.number = t.Regs.Number()
	if t.hooks.Load() != 0 {
		t.doHookedCall()
		return
	}
	t.finishCall(t.personality.Syscall(t))
}

// finishCall keeps what a restart needs, and ends a process that the call found no memory for.
func (t *Task) finishCall(err error) {
	if m := t.MM(); m != nil && m.Starved() {
		t.outOfMemory()
	}
	if IsRestart(err) {
		t.call.err = err
		t.work.Store(true)
	}
}

// hostFailed ends the guest process when its host process died, and the sandbox
// for everything else.
func (t *Task) hostFailed(err error) bool {
	var died *platform.Died
	if errors.As(err, &died) {
		t.k.log.Warnf("process %d: %v", t.pid.numbers[0], died)
		t.tg.killAll(ExitStatus{Signal: unix.SIGKILL})
		return true
	}
	t.k.fail(fmt.Errorf("running guest code: %w", err))
	return false
}

// handleFault lets mm resolve a page fault, or sends the signal that Linux would.
func (t *Task) handleFault(ev platform.Event) {
	t.acct.faults.Add(1)
	info := signal.Info{Signo: ev.Signal, Code: ev.Code, Addr: ev.Addr}
	memory := ev.Signal == unix.SIGSEGV && ev.Code != signal.CodeKernel || ev.Signal == unix.SIGBUS && ev.Code == signal.BusAdrErr
	if memory && t.resolveFault(&ev, &info) {
		return
	}
	t.forceSignal(&info)
}

// resolveFault asks mm. When it returns false, info has the signal that is due.
func (t *Task) resolveFault(ev *platform.Event, info *signal.Info) bool {
	access := ev.Access
	if access == 0 && ev.Addr == t.Regs.Rip {
		access = platform.Exec
	}
	switch err := t.MM().HandleFault(mm.Addr(ev.Addr), access); err {
	case nil:
		return true
	case unix.ENOMEM:
		t.outOfMemory()
		return true
	default:
		info.Signo, info.Code = faultSignal(err)
		return false
	}
}

func faultSignal(err error) (signal.Signal, int32) {
	var bus *mm.BusError
	var fault *mm.FaultError
	switch {
	case errors.As(err, &bus):
		return unix.SIGBUS, signal.BusAdrErr
	case errors.As(err, &fault) && !fault.MapErr:
		return unix.SIGSEGV, signal.SegvAccErr
	}
	return unix.SIGSEGV, signal.SegvMapErr
}
