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
	pending := q.Pending()
	calls := make([]Call, len(pending))
	failed, err := p.changeAll(pending, calls)
	if err != nil {
		return err
	}
	if failed == 0 {
		q.Done()
		return nil
	}
	var again []platform.Change
	for i, c := range pending {
		if c.Op == platform.Map && calls[i].Errno != 0 {
			again = append(again, c)
		}
	}
	forget()
	if err := p.Reset(); err != nil || len(again) == 0 {
		return err
	}
	failed, err = p.changeAll(again, calls)
	if err == nil && failed != 0 {
		return failed
	}
	for _, c := range again {
		q.Add(c)
	}
	q.Done()
	return err
}

// changeAll makes the calls for list, in the room of calls, and returns one of their errors.
func (p *Process) changeAll(list []platform.Change, calls []Call) (failed unix.Errno, err error) {
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
	if err := p.Do(calls); err != nil {
		return 0, err
	}
	for i := range calls {
		if e := calls[i].Errno; e != 0 {
			failed = e
		}
	}
	return failed, nil
}
