package ipc

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errWait says that operations have to wait.
var errWait = errors.New("not now")

// tryLocked does all operations or none: errWait, EAGAIN for those that may not wait, ERANGE.
func (w *SemWait) tryLocked() error {
	for i := range w.ops {
		if err := w.stepLocked(i); err != nil {
			for i--; i >= 0; i-- {
				w.backLocked(i)
			}
			return err
		}
	}
	for _, op := range w.ops {
		w.set.sems[op.Num].last = w.by
	}
	return nil
}

// stepLocked does one operation.
func (w *SemWait) stepLocked(i int) error {
	op := w.ops[i]
	sem := &w.set.sems[op.Num]
	value := sem.value + int32(op.Op)
	switch {
	case op.Op == 0 && sem.value != 0 || value < 0:
		w.blocking = op
		if op.Flags&NoWait != 0 {
			return unix.EAGAIN
		}
		return errWait
	case value > semMax:
		return unix.ERANGE
	}
	if op.Flags&SemUndo != 0 {
		adj := w.set.undos[w.undo]
		if n := int32(adj[op.Num]) - int32(op.Op); n < -semMax-1 || n > semMax {
			return unix.ERANGE
		}
		adj[op.Num] -= op.Op
	}
	sem.value = value
	return nil
}

// backLocked takes operation i back.
func (w *SemWait) backLocked(i int) {
	op := w.ops[i]
	w.set.sems[op.Num].value -= int32(op.Op)
	if op.Flags&SemUndo != 0 {
		w.set.undos[w.undo][op.Num] += op.Op
	}
}

// serveLocked carries out what waiters can have now. Those that wait for zeroes come first, since they
// change nothing; then the others in their order, from the start again after each one that was served.
func (s *Semaphores) serveLocked(set *semSet) {
	s.serveKindLocked(set, false)
	for s.serveKindLocked(set, true) {
		s.serveKindLocked(set, false)
	}
}

// serveKindLocked serves every waiter that alters nothing, or the first that can be served of those that do, and tells
// whether there was one.
func (s *Semaphores) serveKindLocked(set *semSet, alters bool) bool {
	for e := set.queue.Front(); e != nil; {
		w := e.Value.(*SemWait)
		e = e.Next()
		if w.alters() != alters {
			continue
		}
		err := w.tryLocked()
		if err == errWait {
			continue
		}
		w.finishLocked(err)
		if err == nil {
			set.otime = s.config.Now()
			if alters {
				return true
			}
		}
	}
	return false
}
