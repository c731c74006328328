package kernel

import (
	"math/rand/v2"

	"gosentry/sentry/cred"
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
