package ipc

import (
	"bytes"
	"fmt"

	"gosentry/mm"
	"gosentry/sentry/cred"
)

// Viewer says how who reads a table sees processes and users.
type Viewer struct {
	Process func(Process) int32
	User    func(cred.UID) uint32
	Group   func(cred.GID) uint32
}

// owners are the columns that tables have in common.
func (v *Viewer) owners(p *Perm) string {
	return fmt.Sprintf("%5d %5d %5d %5d", v.User(p.UID), v.Group(p.GID), v.User(p.CUID), v.Group(p.CGID))
}

// Table writes a table of /proc/sysvipc: "sem", "shm" or "msg".
func (n *Namespace) Table(b *bytes.Buffer, name string, v Viewer) {
	switch name {
	case "sem":
		n.Semaphores.table(b, &v)
	case "shm":
		n.Memory.table(b, &v)
	case "msg":
		n.Messages.table(b, &v)
	}
}

func (s *Semaphores) table(b *bytes.Buffer, v *Viewer) {
	b.WriteString("       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets.slots.Scan(func(_ int, set *semSet) bool {
		fmt.Fprintf(b, "%10d %10d  %4o %10d %s %10d %10d\n",
			set.Key, set.ID, set.Mode, len(set.sems), v.owners(&set.Perm), set.otime, set.ctime)
		return true
	})
}

func (m *Messages) table(b *bytes.Buffer, v *Viewer) {
	b.WriteString("       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n")
	m.mu.Lock()
	var all []MsgStat
	m.queues.slots.Scan(func(_ int, q *msgQueue) bool {
		all = append(all, q.stat())
		return true
	})
	m.mu.Unlock()
	for _, q := range all {
		fmt.Fprintf(b, "%10d %10d  %4o  %10d %10d %5d %5d %s %10d %10d %10d\n",
			q.Key, q.ID, q.Mode, q.Bytes, q.Count, v.Process(q.LastSend), v.Process(q.LastRecv), v.owners(&q.Perm),
			q.Sent, q.Received, q.Changed)
	}
}

func (s *SharedMemory) table(b *bytes.Buffer, v *Viewer) {
	b.WriteString("       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid" +
		"      atime      dtime      ctime                   rss                  swap\n")
	s.mu.Lock()
	var all []ShmStat
	s.segments.slots.Scan(func(_ int, o *Segment) bool {
		all = append(all, o.stat())
		return true
	})
	s.mu.Unlock()
	for _, o := range all {
		fmt.Fprintf(b, "%10d %10d  %4o %21d %5d %5d  %5d %s %10d %10d %10d %21d %21d\n",
			o.Key, o.ID, o.Mode, o.Size, v.Process(o.Creator), v.Process(o.Last), o.Attaches, v.owners(&o.Perm),
			o.Attached, o.Detached, o.Changed, pagesOf(o.Resident())*mm.PageSize, 0)
	}
}
