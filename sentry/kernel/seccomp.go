package kernel

import (
	"gosentry/sentry/callfilter"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Modes of seccomp(2), as prctl(2) and /proc show them.
const (
	SeccompOff    = 0
	SeccompStrict = 1
	SeccompFilter = 2
)

// callRules are what a thread may call. They never change: another set takes their place,
// with sigMu held.
type callRules struct {
	mode   int
	chain  *callfilter.Chain
	strict func(number uint64) bool // SeccompStrict: the calls that are left

	// listener is told of what the filter leaves to it; nil for none.
	listener *CallListener
	filter   *callfilter.Chain
}

// SeccompMode returns the mode of the calling thread.
func (t *Task) SeccompMode() int { return t.rules.Load().seccompMode() }

func (r *callRules) seccompMode() int {
	if r == nil {
		return SeccompOff
	}
	return r.mode
}

// SetSeccompStrict leaves the thread only the calls that allowed says. EINVAL when it has filters.
func (t *Task) SetSeccompStrict(allowed func(number uint64) bool) error {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	if t.SeccompMode() == SeccompFilter {
		return unix.EINVAL
	}
	t.setRulesLocked(&callRules{mode: SeccompStrict, strict: allowed})
	return nil
}

func (t *Task) setRulesLocked(r *callRules) {
	if !t.unlistened && r.listener != nil {
		r.listener.attend(1)
	}
	if old := t.rules.Swap(r); !t.unlistened && old != nil && old.listener != nil {
		old.listener.attend(-1)
	}
	t.hooks.Or(hookFilter)
	t.dropAnswers()
}

// leaveListener says that the thread, which ends, makes no more calls.
func (t *Task) leaveListener() {
	t.tg.sigMu.Lock()
	t.unlistened = true
	r := t.rules.Load()
	t.tg.sigMu.Unlock()
	if r != nil && r.listener != nil {
		r.listener.leave()
	}
}

// MayFilterCalls tells whether the thread may install filters: EACCES without no_new_privs or
// CAP_SYS_ADMIN.
func (t *Task) MayFilterCalls() error {
	if c := t.Creds(); !c.NoNewPrivs && !c.Has(unix.CAP_SYS_ADMIN) {
		return unix.EACCES
	}
	return nil
}

// AddCallFilter puts a filter in front of the thread's and, with all, gives the resulting
// chain to every thread of the process. It returns the id of a thread that cannot take
// it, as its own filters are others; then nothing has changed. l, which may be nil, is told of the calls that the filter leaves to
// it. EINVAL in strict mode, ENOMEM, EBUSY for a second listener.
func (t *Task) AddCallFilter(p callfilter.Program, all bool, l *CallListener) (failed int32, err error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	own := t.rules.Load()
	if own.seccompMode() == SeccompStrict {
		return 0, unix.EINVAL
	}
	rules, err := own.with(p, l)
	if err != nil {
		return 0, err
	}
	if !all {
		t.setRulesLocked(rules)
		return 0, nil
	}
	for _, o := range t.tg.tasks {
		r := o.rules.Load()
		if o != t && !o.exited && r != nil && (r.mode == SeccompStrict || !own.callFilters().Extends(r.chain)) {
			return o.pid.In(t.pidns), nil
		}
	}
	for _, o := range t.tg.tasks {
		o.setRulesLocked(rules)
		if t.Creds().NoNewPrivs {
			o.keepNoNewPrivs()
		}
	}
	return 0, nil
}

func (r *callRules) callFilters() *callfilter.Chain {
	if r == nil {
		return nil
	}
	return r.chain
}

// with returns r with one more filter, and l for those of its calls that it leaves to a listener. ENOMEM, EBUSY.
func (r *callRules) with(p callfilter.Program, l *CallListener) (*callRules, error) {
	next, err := r.callFilters().Push(p)
	if err != nil {
		return nil, err
	}
	n := &callRules{mode: SeccompFilter, chain: next, listener: l, filter: next}
	if r != nil && r.listener != nil {
		if l != nil {
			return nil, unix.EBUSY
		}
		n.listener, n.filter = r.listener, r.filter
	}
	return n, nil
}

// keepNoNewPrivs gives the thread no_new_privs, whatever it does to its credentials meanwhile.
func (t *Task) keepNoNewPrivs() {
	for {
		c := t.creds.Load()
		if c.NoNewPrivs || t.creds.CompareAndSwap(c, c.SetNoNewPrivs()) {
			return
		}
	}
}

// inheritRulesLocked gives a new thread its maker's filters, with what another thread's TSYNC did
// since its credentials were copied. The maker's sigMu is held.
func (t *Task) inheritRulesLocked(c *Task) {
	if r := t.rules.Load(); r != nil {
		c.setRulesLocked(r)
		if t.Creds().NoNewPrivs {
			c.keepNoNewPrivs()
		}
	}
}

// filterCall asks the filters about the call in hand, and says whether to carry it out. Where not, the
// registers have the result.
func (t *Task) filterCall() bool {
	r := t.rules.Load()
	switch {
	case r == nil || t.suspendsFilters():
		return true
	case r.mode == SeccompStrict:
		if r.strict(t.call.number) {
			return true
		}
		t.endThread(ExitStatus{Signal: unix.SIGKILL})
		return false
	}
	v := r.chain.Judge(t.judgedCall())
	if v.Action == callfilter.Trace {
		return t.filterTraced(v.Data)
	}
	return t.carryOut(v)
}

// suspendsFilters tells whether the tracer has switched the filters off.
func (t *Task) suspendsFilters() bool {
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	return t.tracee != nil && t.tracee.options&unix.PTRACE_O_SUSPEND_SECCOMP != 0
}

func (t *Task) judgedCall() *callfilter.Call {
	return &callfilter.Call{
		Number: uint32(t.call.number), Arch: unix.AUDIT_ARCH_X86_64, IP: t.Regs.Rip, Args: t.Regs.Args(),
	}
}

// filterTraced lets the tracer decide. What it made of the call is judged again.
func (t *Task) filterTraced(data uint16) bool {
	if !t.ptraceEvent(unix.PTRACE_EVENT_SECCOMP, uint64(data)) {
		t.Regs.SetResult(negative(unix.ENOSYS))
		return false
	}
	t.tg.sigMu.Lock()
	killed := t.killedLocked()
	t.tg.sigMu.Unlock()
	if killed || int32(t.call.number) < 0 {
		return false
	}
	t.Regs.SetResult(negative(unix.ENOSYS))
	v := t.rules.Load().chain.Judge(t.judgedCall())
	return v.Action == callfilter.Trace || t.carryOut(v)
}

// carryOut does what the filters said.
func (t *Task) carryOut(v callfilter.Verdict) bool {
	const maxErrno = 4095
	switch v.Action {
	case callfilter.Allow:
		return true
	case callfilter.Log:
		t.k.log.Infof("process %d: seccomp: call %d", t.pid.numbers[0], t.call.number)
		return true
	case callfilter.Errno:
		t.Regs.SetResult(negative(unix.Errno(min(v.Data, maxErrno))))
	case callfilter.UserNotif:
		return t.askListener(v.By)
	case callfilter.Trap:
		info := t.forbidden(v.Data)
		t.forceSignal(&info)
	case callfilter.KillThread:
		t.endThread(ExitStatus{Signal: unix.SIGSYS})
	default:
		t.endForbidden()
	}
	return false
}

// askListener leaves the call to who listens to the filter.
func (t *Task) askListener(filter *callfilter.Chain) bool {
	r := t.rules.Load()
	if r.listener == nil || r.filter != filter {
		t.Regs.SetResult(negative(unix.ENOSYS))
		return false
	}
	carryOut, result, err := r.listener.ask(t, t.judgedCall())
	switch {
	case err != nil:
		t.finishCall(err)
	case !carryOut:
		t.Regs.SetResult(result)
	}
	return err == nil && carryOut
}

// forbidden is the siginfo of SIGSYS for the call in hand, which the registers then show as not begun.
func (t *Task) forbidden(data uint16) signal.Info {
	t.Regs.SetResult(t.call.number)
	return signal.Info{
		Signo: unix.SIGSYS, Code: signal.SysSeccomp, Errno: int32(data),
		Addr: t.Regs.Rip, Syscall: int32(t.call.number), Arch: unix.AUDIT_ARCH_X86_64,
	}
}

// endForbidden ends the process by SIGSYS, whatever its handlers and its tracer say.
func (t *Task) endForbidden() {
	t.Regs.SetResult(t.call.number)
	tg := t.tg
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	if !tg.exiting {
		tg.beginCoreLocked(t, unix.SIGSYS)
		tg.killLocked(ExitStatus{Signal: unix.SIGSYS})
	}
}

// endThread ends the calling thread for a call that it may not make. The last thread to be killed
// by a filter takes the process with it as any thread does.
func (t *Task) endThread(s ExitStatus) {
	t.k.tree.RLock()
	last := t.tg.live == 1
	t.k.tree.RUnlock()
	if last && s.Signal == unix.SIGSYS {
		t.endForbidden()
		return
	}
	t.tg.sigMu.Lock()
	defer t.tg.sigMu.Unlock()
	t.dieLocked(s)
}
