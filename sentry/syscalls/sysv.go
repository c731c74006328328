package syscalls

import (
	"time"

	"gosentry/sentry/ipc"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// SemOperate is semtimedop(2); a negative timeout means none. A signal ends it with EINTR, never to be restarted.
func SemOperate(t *kernel.Task, id int32, ops []ipc.SemOp, timeout time.Duration) error {
	w, err := t.SysV().Semaphores.Operate(t.IPCCaller(), id, ops, t.SemUndo())
	if w == nil || err != nil {
		return err
	}
	err = t.BlockFor(w.Done(), timeout)
	if served, result := w.Cancel(); served {
		return result
	}
	if err == unix.ETIMEDOUT {
		return unix.EAGAIN
	}
	return unix.EINTR
}

// MsgSend is msgsnd(2).
func MsgSend(t *kernel.Task, id int32, msg ipc.Message, noWait bool) error {
	for {
		w, err := t.SysV().Messages.Send(t.IPCCaller(), id, msg, noWait)
		if w == nil || err != nil {
			return err
		}
		t.Block(w.Done()) //nolint:errcheck // Cancel tells whether there was an answer
		told, _, err := w.Cancel()
		if !told {
			return kernel.ERESTARTNOHAND
		}
		if err != nil {
			return err
		}
	}
}

// MsgReceive is msgrcv(2).
func MsgReceive(t *kernel.Task, id int32, want ipc.MsgWant) (*ipc.Message, error) {
	for {
		msg, w, err := t.SysV().Messages.Receive(t.IPCCaller(), id, want)
		if w == nil || err != nil {
			return msg, err
		}
		t.Block(w.Done()) //nolint:errcheck // Cancel tells whether there was an answer
		told, msg, err := w.Cancel()
		switch {
		case !told:
			return nil, kernel.ERESTARTNOHAND
		case err != unix.EAGAIN:
			return msg, err
		}
	}
}
