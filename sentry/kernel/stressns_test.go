package kernel

import (
	"math/rand/v2"
	"time"

	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// crewSize is how many threads of one process TestStress begins with, and begins again when few tasks are left.
const crewSize = 8

// crew is a process whose threads all do random things.
func (s *stress) crew(g *guest) {
	for range crewSize - 1 {
		g.clone(s.process, ForkArgs{Share: threadShare})
	}
	s.process(g)
}

// keepGoing has crews at work until the time is over. When all wait for each other, they are killed.
func (s *stress) keepGoing(g *guest) {
	for round, done := 1, int64(0); time.Now().Before(s.end); round++ {
		if s.deserted() {
			g.fork(s.crew)
		}
		g.call(func(tk *Task) (uint64, error) { return 0, tk.BlockFor(nil, 10*time.Millisecond) })
		g.kill(-1, unix.SIGCONT)
		if now := s.done.Load(); round%32 == 0 {
			if now-done < 100 {
				g.kill(-1, unix.SIGKILL)
			}
			done = now
		}
		for {
			if r, err := g.wait(WaitArgs{Exited: true, All: true, NoHang: true}); err != nil || r.PID == 0 {
				break
			}
		}
	}
}

// deserted tells whether too few tasks are left to do much.
func (s *stress) deserted() (yes bool) {
	s.m.locked(func() { yes = s.m.k.rootPIDNS.tasks < 2+crewSize })
	return yes
}

// unshare enters a user namespace, mostly with root's id in it, so that there can be another below, or prepares pid
// namespaces and others for the children.
func (s *stress) unshare(g *guest, r *rand.Rand) {
	fresh := []Fresh{FreshUser, FreshUser | FreshPID, FreshPID, FreshTime, FreshIPC | FreshUTS, FreshCgroup}[r.IntN(6)]
	g.call(func(tk *Task) (uint64, error) {
		if err := tk.Unshare(Unshare{Fresh: fresh, Files: r.IntN(2) == 0}); err != nil || fresh&FreshUser == 0 || r.IntN(4) == 0 {
			return 0, err
		}
		return 0, tk.mapRoot()
	})
}

// mapRoot gives root its id in the user namespace that t has made.
func (t *Task) mapRoot() error {
	c := t.Creds()
	for _, kind := range []cred.MapKind{cred.MapUID, cred.MapGID} {
		if err := c.UserNS.WriteMap(kind, "0 0 1", c, c); err != nil {
			return err
		}
	}
	return nil
}
