package kernel

import (
	"fmt"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/ipc"

	"golang.org/x/sys/unix"
)

// everyFresh are the namespaces of all kinds.
const everyFresh = FreshTime<<1 - 1

// forkProps are what forks of all kinds need of their parent.
type forkProps struct {
	word   mm.Addr // memory to store ids in
	cgroup int32   // a descriptor of a group to be born in
}

// prepareForks gives the guest memory, a group, and semaphore adjustments.
func prepareForks(g *guest) forkProps {
	m, p := g.test, forkProps{word: touched(g)}
	group := makeCgroup(m, m.k, "born")
	g.do(func(tk *Task) error {
		path := m.k.VFS().AnonPath(group.Inode(), "born")
		ops, err := path.Inode().Open(tk, unix.O_RDONLY)
		if err != nil {
			return err
		}
		if p.cgroup, err = tk.FDs().NewFD(tk.Limits(), vfs.NewFile(ops, path, unix.O_RDONLY), true); err != nil {
			return err
		}
		sems := &tk.SysV().Semaphores
		set, err := sems.Get(tk.IPCCaller(), ipc.Get{Key: ipc.Private, Flags: 0o600}, 1)
		if err != nil {
			return err
		}
		_, err = sems.Operate(tk.IPCCaller(), set, []ipc.SemOp{{Op: 5, Flags: ipc.SemUndo}}, tk.SemUndo())
		return err
	})
	return p
}

// at is p with other memory, for one of many that fork at once.
func (p forkProps) at(offset int) forkProps {
	p.word += mm.Addr(offset)
	return p
}

// kinds are all kinds of forks whose failures are tried.
func (p forkProps) kinds() map[string]ForkArgs {
	kinds := map[string]ForkArgs{
		"fork":         {},
		"vfork":        {Share: ShareMM, Vfork: true},
		"vfork, held":  {Share: ShareMM, Vfork: true, HoldProcess: true},
		"thread":       {Share: threadShare, ParentTID: p.word, ClearTID: p.word},
		"sharing some": {Share: ShareMM | ShareFS | ShareFiles | ShareActions},
		"sharing none": {CleanFiles: true, ClearActions: true},
		"adjustments":  {Share: ShareSysVSem | ShareIO},
		"thread, adjustments": {
			Share: threadShare | ShareSysVSem | ShareIO, ParentTID: p.word, ClearTID: p.word,
		},
		"sibling": {Share: ShareParent},
		"pidfd":   {WantPIDFD: true, PIDFD: p.word},
		"set_tid": {SetTID: []int32{4000}},
		"high":    {HighPID: true, ToInit: true},
		"kernel":  {Main: func(t *Task) { t.ExitGroup(0) }, CleanFiles: true, ToInit: true},
		"stopped": {BornStopped: true, WaitByID: true},
		"cgroup":  {IntoCgroup: true, CgroupFD: p.cgroup},
		"cgroup, vfork": {
			IntoCgroup: true, CgroupFD: p.cgroup, Share: ShareMM, Vfork: true, WantPIDFD: true, PIDFD: p.word + 16,
		},
		"everything fresh": {
			Fresh: everyFresh, WantPIDFD: true, PIDFD: p.word + 16, SetTID: []int32{1, 4001}, ParentTID: p.word, ChildTID: p.word,
			IntoCgroup: true, CgroupFD: p.cgroup,
		},
	}
	for bit := Fresh(1); bit <= everyFresh; bit <<= 1 {
		kinds[fmt.Sprintf("fresh %#x", uint32(bit))] = ForkArgs{Fresh: bit}
		kinds[fmt.Sprintf("fresh %#x and user", uint32(bit))] = ForkArgs{Fresh: bit | FreshUser, IntoCgroup: true, CgroupFD: p.cgroup}
	}
	return kinds
}

// failWithFresh makes forks fail whose parents have made namespaces for their children, or are in others.
func failWithFresh(g *guest, p forkProps) {
	for _, fresh := range []Fresh{FreshTime, FreshPID, FreshUser, FreshCgroup | FreshUser, FreshTime | FreshUser | FreshPID} {
		for name, args := range p.kinds() {
			switch {
			case fresh&args.Fresh&FreshUser != 0, // not permitted: the user has no id there
				fresh&args.Fresh&FreshPID != 0,                      // nor below a pid namespace that nobody is in yet
				fresh&FreshPID != 0 && args.Share&ShareActions != 0: // its init ignores SIGCHLD at its end, for the parent too
				continue
			}
			if args.ToInit || args.Fresh == everyFresh || args.Share&(ShareThread|ShareParent|ShareSysVSem) != 0 || args.SetTID != nil {
				continue
			}
			g.reap(g.fork(func(g *guest) {
				g.do(func(tk *Task) error {
					if err := tk.CopyOut(p.word, make([]byte, 64)); err != nil { // the page is its own from now on
						return err
					}
					return tk.Unshare(Unshare{Fresh: fresh})
				})
				failEach(g, fmt.Sprintf("%s after unsharing %#x", name, uint32(fresh)), args)
			}))
		}
	}
}

// inventoryOfUsers adds what counts for users.
func (m *machine) inventoryOfUsers(inv inventory, tk *Task) {
	for ns := tk.Creds().UserNS; ns != nil; ns = ns.Parent {
		inv[fmt.Sprint("holders of user namespace ", ns.Ino())] = ns.Holders()
		for kind := range cred.NumKinds {
			inv[fmt.Sprintf("namespaces of kind %d in %d", kind, ns.Ino())] = ns.Made(0, kind)
		}
	}
	u := m.k.users
	u.mu.Lock()
	defer u.mu.Unlock()
	inv["tasks"], inv["queued signals"] = int64(u.tasks), int64(u.queued)
	for key, c := range u.users {
		inv[fmt.Sprintf("tasks of user %d in %d", key.uid, key.ns.Ino())] = int64(c[countTasks])
		inv[fmt.Sprintf("signals of user %d in %d", key.uid, key.ns.Ino())] = int64(c[countSignals])
	}
}
