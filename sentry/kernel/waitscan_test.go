package kernel

import (
	"testing"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// TestWaitLooksOnce: polls of a parent with many children look at each of them only after a stop or
// continue somewhere, and miss none, not even one of an adopted child.
func TestWaitLooksOnce(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.do(func(t *Task) error { t.tg.SetSubreaper(true); return nil })
		poll := WaitArgs{Exited: true, Stopped: true, Continued: true, NoHang: true}
		expect := func(id, code int32) {
			if r, err := g.wait(poll); err != nil || r.PID != id || r.Code != code {
				t.Errorf("%+v %v, want child %d with code %d", r, err, id, code)
			}
		}
		quiet := func() (q bool) {
			g.do(func(t *Task) error {
				t.k.tree.Lock()
				defer t.k.tree.Unlock()
				q = t.tg.quietSince == t.tg.pid.ns.reports.Load()+1
				return nil
			})
			return q
		}
		stopped := func(id int32) func(*Task) bool {
			return func(t *Task) bool {
				p, _ := t.FindPID(id)
				t.k.tree.Lock()
				defer t.k.tree.Unlock()
				p.tg.sigMu.Lock()
				defer p.tg.sigMu.Unlock()
				return p.tg.stop.reportStop
			}
		}
		var ids []int32
		for range 50 {
			ids = append(ids, g.fork(idle))
		}
		expect(0, 0)
		if !quiet() {
			t.Error("the next poll looks at all children again")
		}
		id := ids[20]
		g.kill(id, unix.SIGSTOP)
		g.eventually("stop", stopped(id))
		expect(id, signal.CldStopped)
		g.kill(id, unix.SIGCONT)
		expect(id, signal.CldContinued)
		expect(0, 0)

		orphan := make(chan int32, 1)
		parent := g.fork(func(g *guest) {
			id := g.fork(idle)
			g.kill(id, unix.SIGSTOP)
			g.eventually("stop", stopped(id))
			orphan <- id
			g.sleep()
		})
		id = <-orphan
		expect(0, 0)
		g.kill(parent, unix.SIGKILL)
		g.expectExit(parent, ExitStatus{Signal: unix.SIGKILL})
		expect(id, signal.CldStopped)
		for _, id := range append(ids, id) {
			g.kill(id, unix.SIGKILL)
			g.expectExit(id, ExitStatus{Signal: unix.SIGKILL})
		}
	})
}
