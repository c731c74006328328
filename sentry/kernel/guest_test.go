package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// A guest is a scripted program: a Go function that runs by turns with its
// task's Run. Each call that it makes is a closure, which the task executes as
// its system call. Programs have numbers, and a task begins the one that its
// stack pointer holds; so what a fork does to registers decides what a child runs.
type guest struct {
	test *machine

	// The task says goOn, true, and receives from stops what the program stops for; false ends the program.
	goOn  chan bool
	stops chan stop
	done  chan struct{}

	// What the personality tells the program at its next run.
	op     func(*Task) (uint64, error)
	ret    uint64
	err    error
	again  bool
	frames []frame

	// onSignal is the program's handler.
	onSignal func(signal.Info)
}

// stop is why a guest stops: a call, or it computes until it is interrupted.
type stop int

const (
	stopCall stop = iota
	stopSpin
)

// frame is a signal frame on the guest's stack.
type frame struct {
	info signal.Info
	mask signal.Set
}

// errEnded unwinds a program whose task is gone.
var errEnded = errors.New("the task has ended")

type script func(g *guest)

// next lets the program go on until it stops; false: it has ended.
func (g *guest) next() (stop, bool) {
	select {
	case g.goOn <- true:
	case <-g.done:
		return 0, false
	}
	select {
	case why := <-g.stops:
		return why, true
	case <-g.done:
		return 0, false
	}
}

// end ends the program, if it has not ended.
func (g *guest) end() {
	select {
	case g.goOn <- false:
		<-g.done
	case <-g.done:
	}
}

// pause stops the guest until it may go on.
func (g *guest) pause(why stop) {
	g.stops <- why
	if !<-g.goOn {
		panic(errEnded)
	}
}

// handle runs the handlers of the signals delivered, the last one first, as the
// frames lie on a stack.
func (g *guest) handle() {
	for len(g.frames) > 0 {
		f := g.frames[len(g.frames)-1]
		g.frames = g.frames[:len(g.frames)-1]
		if g.onSignal != nil {
			g.onSignal(f.info)
		}
		g.call(func(t *Task) (uint64, error) {
			t.SetSignalMask(f.mask)
			return 0, nil
		})
	}
}

// call makes one call. One that a tracer keeps from the kernel does nothing and succeeds.
func (g *guest) call(op func(*Task) (uint64, error)) (uint64, error) {
	for {
		g.op, g.ret, g.err, g.again = op, 0, nil, false
		g.pause(stopCall)
		ret, err, again := g.ret, g.err, g.again
		g.handle()
		if !again {
			return ret, err
		}
	}
}

// do makes a call that must succeed.
func (g *guest) do(op func(*Task) error) {
	if _, err := g.call(func(t *Task) (uint64, error) { return 0, op(t) }); err != nil {
		g.test.Errorf("%s: %v", caller(), err)
	}
}

// caller is the place in a test that called the function that asks.
func caller() string {
	for skip := 2; ; skip++ {
		_, file, line, ok := runtime.Caller(skip)
		if !ok {
			return "?"
		}
		if base := filepath.Base(file); base != "guest_test.go" && base != "machine_test.go" {
			return fmt.Sprintf("%s:%d", base, line)
		}
	}
}

// spin computes until a signal was handled.
func (g *guest) spin() {
	g.pause(stopSpin)
	g.handle()
}

// spinForever computes until the task ends.
func (g *guest) spinForever() {
	for {
		g.spin()
	}
}

func (g *guest) exit(code int32) {
	g.call(func(t *Task) (uint64, error) {
		t.Exit(code)
		return 0, nil
	})
}

func (g *guest) exitGroup(code int32) {
	g.call(func(t *Task) (uint64, error) {
		t.ExitGroup(code)
		return 0, nil
	})
}

// clone makes a child that runs p.
func (g *guest) clone(p script, a ForkArgs) (int32, error) {
	a.Stack = g.test.number(p)
	id, err := g.call(func(t *Task) (uint64, error) {
		fresh := a
		id, err := t.Fork(&fresh)
		return uint64(id), err
	})
	return int32(id), err
}

// fork makes a process that runs p.
func (g *guest) fork(p script) int32 {
	id, err := g.clone(p, ForkArgs{Kind: "fork", ExitSignal: unix.SIGCHLD})
	if err != nil {
		g.test.Errorf("%s: fork: %v", caller(), err)
	}
	return id
}

// thread makes a thread that runs p.
func (g *guest) thread(p script) int32 {
	id, err := g.clone(p, ForkArgs{Kind: "clone", Share: threadShare})
	if err != nil {
		g.test.Errorf("%s: thread: %v", caller(), err)
	}
	return id
}

const threadShare = ShareMM | ShareFS | ShareFiles | ShareActions | ShareThread

// exec replaces the program by p.
func (g *guest) exec(p script) error {
	_, err := g.call(func(t *Task) (uint64, error) {
		file, err := t.OpenExec("/prog")
		if err != nil {
			return 0, err
		}
		return 0, t.Exec(ExecArgs{File: file, Filename: fmt.Sprint("/", g.test.number(p)), Argv: []string{"prog"}})
	})
	return err
}

func (g *guest) wait(a WaitArgs) (r WaitResult, err error) {
	_, err = g.call(func(t *Task) (_ uint64, err error) {
		r, err = t.Wait(a)
		return 0, err
	})
	return r, err
}

// reap waits for child id, 0 meaning any, to end.
func (g *guest) reap(id int32) WaitResult {
	a := WaitArgs{Exited: true, All: true}
	if id != 0 {
		a.Kind, a.ID = WaitPID, id
	}
	r, err := g.wait(a)
	if err != nil {
		g.test.Errorf("%s: wait for %d: %v", caller(), id, err)
	}
	return r
}

// expectExit reaps a child and checks its end.
func (g *guest) expectExit(id int32, want ExitStatus) {
	if r := g.reap(id); r.PID != id || r.Exit != want {
		g.test.Errorf("%s: child %d ended as %d with %+v, want %+v", caller(), id, r.PID, r.Exit, want)
	}
}

func (g *guest) kill(pid int32, sig signal.Signal) error {
	_, err := g.call(func(t *Task) (uint64, error) { return 0, t.Kill(pid, sig, nil) })
	return err
}

func (g *guest) tkill(tid int32, sig signal.Signal) error {
	_, err := g.call(func(t *Task) (uint64, error) { return 0, t.KillThread(0, tid, sig, nil) })
	return err
}

func (g *guest) getpid() int32 {
	id, _ := g.call(func(t *Task) (uint64, error) { return uint64(t.TGID()), nil })
	return int32(id)
}

func (g *guest) gettid() int32 {
	id, _ := g.call(func(t *Task) (uint64, error) { return uint64(t.TID()), nil })
	return int32(id)
}

func (g *guest) getppid() int32 {
	id, _ := g.call(func(t *Task) (uint64, error) { return uint64(t.PPID()), nil })
	return int32(id)
}

// action sets what is done with sig.
func (g *guest) action(sig signal.Signal, a signal.Action) {
	g.do(func(t *Task) error {
		_, err := t.SetAction(sig, a)
		return err
	})
}

// catch has handler run for the signals.
func (g *guest) catch(flags uint64, handler func(signal.Info), sigs ...signal.Signal) {
	g.onSignal = handler
	for _, sig := range sigs {
		g.action(sig, signal.Action{Handler: 0x1000, Flags: flags})
	}
}

func (g *guest) ignore(sig signal.Signal) {
	g.action(sig, signal.Action{Handler: signal.HandlerIgnore})
}

func (g *guest) block(sigs ...signal.Signal) {
	g.do(func(t *Task) error {
		t.SetSignalMask(t.SignalMask().Union(signal.SetOf(sigs...)))
		return nil
	})
}

func (g *guest) unblock(sigs ...signal.Signal) {
	g.do(func(t *Task) error {
		t.SetSignalMask(t.SignalMask().Without(signal.SetOf(sigs...)))
		return nil
	})
}

// sigwait takes a pending signal of those given, waiting for it.
func (g *guest) sigwait(sigs ...signal.Signal) (info signal.Info, err error) {
	_, err = g.call(func(t *Task) (_ uint64, err error) {
		info, err = t.WaitSignal(signal.SetOf(sigs...), 10*time.Second)
		return 0, err
	})
	return info, err
}

// sleep blocks in a call until a signal comes (pause(2)).
func (g *guest) sleep() error {
	_, err := g.call(func(t *Task) (uint64, error) {
		if err := t.Block(nil); err == ERESTARTSYS {
			return 0, ERESTARTNOHAND
		}
		return 0, unix.EINTR
	})
	return err
}

// sleepOn blocks in a call that a signal restarts until ch has something.
func (g *guest) sleepOn(ch <-chan struct{}) {
	g.do(func(t *Task) error { return t.Block(ch) })
}

// eventually waits in the guest until cond holds; it fails the test after a while.
func (g *guest) eventually(what string, cond func(t *Task) bool) {
	deadline := time.Now().Add(time.Minute)
	for {
		ok, _ := g.call(func(t *Task) (uint64, error) {
			if cond(t) {
				return 1, nil
			}
			return 0, nil
		})
		if ok == 1 {
			return
		}
		if time.Now().After(deadline) {
			g.test.Errorf("%s: waited in vain until %s", caller(), what)
			return
		}
		time.Sleep(time.Millisecond)
	}
}
