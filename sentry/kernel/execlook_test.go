package kernel

import (
	"bytes"
	"testing"

	"gosentry/sentry/abi"

	"golang.org/x/sys/unix"
)

// TestVectorOfNewRights gives a process the memory of a program with other rights: the auxiliary vector, which tells where all is in that, changes
// with it, and who could see the old one does not see the new one.
func TestVectorOfNewRights(t *testing.T) {
	m := newMachine(t)
	m.run(1000, func(g *guest) {
		child := g.fork(func(g *guest) {
			g.do(func(tk *Task) error {
				self, other := procTask{t: tk}, tk.tg.parent.leader
				if old, err := self.OpenAuxv(other); err != nil || old == nil {
					t.Errorf("before: %v %v", old, err)
				}
				file, err := tk.OpenExec("/prog")
				if err != nil {
					return err
				}
				defer file.DecRef()
				p, err := tk.load(&ExecArgs{File: file, Filename: "/prog", Argv: []string{"prog"}})
				if err != nil {
					return err
				}
				p.creds = tk.k.Credentials(0, 0, nil)
				tk.installImage(p)
				if _, err := self.OpenAuxv(other); err != unix.EACCES {
					t.Errorf("for who could see the old one: %v", err)
				}
				if now, err := self.OpenAuxv(tk); err != nil || !bytes.Equal(now, abi.AppendAuxv(nil, p.img.Auxv)) {
					t.Errorf("after: %v, %v", now, err)
				}
				return nil
			})
		})
		g.wait(WaitArgs{Kind: WaitPID, ID: child, Exited: true}) //nolint:errcheck // its end is enough
	})
}
