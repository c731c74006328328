package blank

import (
	"gosentry/platform"
	"gosentry/platform/internal/changes"

	"golang.org/x/sys/unix"
)

// CarryOut has the leader carry out what is pending in q, which the caller has locked. When the host refuses a part of it,
// everything is unmapped, which forget is called to say, and only what could not be mapped before is mapped again; if that fails
// too, its errno is returned.
func (p *Process) CarryOut(q *changes.Queue, forget func()) error {
	return p.CarryOutAfter(nil, q.Pending(), q, forget)
}

// CarryOutAfter is CarryOut, of list in place of what is pending, once the calls before are made, which say how they ended; of these none may
// fail. One order does for both. Where the host refuses a part, what is to be unmapped beyond what a guest may use may still be mapped.
func (p *Process) CarryOutAfter(before []Call, list []platform.Change, q *changes.Queue, forget func()) error {
	all := append(before, make([]Call, len(list))...)
	calls := callsFor(list, all[len(before):])
	if err := p.Do(all); err != nil {
		return err
	}
	copy(before, all)
	if failed := failure(before); failed != 0 {
		return failed
	}
	failed := failure(calls)
	if failed == 0 {
		q.Done()
		return nil
	}
	var again []platform.Change
	for i, c := range list {
		if c.Op == platform.Map && calls[i].Errno != 0 {
			again = append(again, c)
		}
	}
	forget()
	if p.Reset() != nil {
		return ErrDead // nobody is to go on in it: what is forgotten is still mapped
	}
	if len(again) == 0 {
		return nil
	}
	failed, err := p.changeAll(again, calls)
	if err != nil {
		return err
	}
	if failed != 0 {
		if p.Reset() != nil {
			return ErrDead
		}
		return failed
	}
	for _, c := range again {
		q.Add(c)
	}
	q.Done()
	return nil
}

// changeAll makes the calls for list, in the room of calls, and returns one of their errors.
func (p *Process) changeAll(list []platform.Change, calls []Call) (failed unix.Errno, err error) {
	calls = callsFor(list, calls)
	if err := p.Do(calls); err != nil {
		return 0, err
	}
	return failure(calls), nil
}

// failure is one of the errors of calls.
func failure(calls []Call) (failed unix.Errno) {
	for i := range calls {
		if e := calls[i].Errno; e != 0 {
			failed = e
		}
	}
	return failed
}

// callsFor returns the calls for list, in the room of calls.
func callsFor(list []platform.Change, calls []Call) []Call {
	calls = calls[:len(list)]
	for i, c := range list {
		switch c.Op {
		case platform.Map:
			calls[i] = MapCall(c.Addr, c.Length, uint8(c.Prot), c.File, c.Offset)
			if c.Fill {
				calls[i].Args[3] |= unix.MAP_POPULATE
			}
		case platform.Unmap:
			calls[i] = UnmapCall(c.Addr, c.Length)
		case platform.Protect:
			calls[i] = ProtectCall(c.Addr, c.Length, uint8(c.Prot))
		}
	}
	return calls
}

// StartOut is CarryOut without waiting. It returns what FinishOut wants, nil where it did nothing. Before FinishOut returns, no descriptor
// that is to be mapped may be closed.
func (p *Process) StartOut(q *changes.Queue) []Call {
	calls := callsFor(q.Pending(), make([]Call, q.Len()))
	if p.Start(calls) != nil {
		return nil
	}
	q.Done()
	return calls
}

// FinishOut waits for what StartOut began. When the host refused a part of it, everything is unmapped, which forget is called to say.
func (p *Process) FinishOut(calls []Call, forget func()) error {
	err := p.Await()
	if err == nil && failure(calls) != 0 {
		forget()
		err = p.Reset()
	}
	return err
}
