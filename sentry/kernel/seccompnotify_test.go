package kernel

import (
	"testing"

	"gosentry/sentry/callfilter"

	"golang.org/x/sys/unix"
)

// TestListenerUnderFire: children call while two threads answer, some are killed; in the end the listener closes, and no
// call is left waiting.
func TestListenerUnderFire(t *testing.T) {
	const children, calls = 6, 60
	newMachine(t).run(0, func(g *guest) {
		l := NewCallListener(true)
		g.do(func(t *Task) error {
			_, err := t.AddCallFilter(callfilter.Program{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}, false, l)
			return err
		})
		for range 2 {
			g.thread(func(g *guest) {
				for {
					if _, err := g.call(func(t *Task) (uint64, error) { return 0, l.answerNext(t) }); err != nil {
						return
					}
				}
			})
		}
		var ids []int32
		for range children {
			ids = append(ids, g.fork(func(g *guest) {
				for range calls {
					g.call(func(tk *Task) (uint64, error) {
						_, result, err := l.ask(tk, tk.judgedCall())
						if err == nil && result != 7 && result != negative(unix.ENOSYS) {
							t.Errorf("result %d", result)
						}
						return 0, nil
					})
				}
			}))
		}
		g.kill(ids[0], unix.SIGKILL)
		for _, id := range ids[:children-1] {
			g.reap(id)
		}
		l.Release()
		g.reap(ids[children-1])
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.calls) != 0 || l.users != 3 {
			t.Errorf("%d calls wait, %d threads have the filter", len(l.calls), l.users)
		}
	})
}

// answerNext answers one call with 7; ENOENT once the listener is closed.
func (l *CallListener) answerNext(t *Task) error {
	n, err := l.next(t)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return unix.ENOENT
	}
	if told, err := l.toldLocked(n.id); err == nil {
		told.answerLocked(7, false)
	}
	return nil
}
