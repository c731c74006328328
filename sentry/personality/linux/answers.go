package linux

import (
	"gosentry/platform"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Answers implements kernel.Personality: the ids that change only by what the task does itself. An id that the user
// namespace has no number for is left out, as it may get one from outside; getppid(2) is, as parents end.
func (p *Personality) Answers(t *kernel.Task) (list []platform.Answer) {
	add := func(number, value uint32) {
		if !p.trace.wants(p.Lookup(uint64(number))) {
			list = append(list, platform.Answer{Number: number, Value: value})
		}
	}
	c := t.Creds()
	user := func(number uint32, u cred.UID) {
		if id, ok := c.UserNS.FromUID(u); ok {
			add(number, id)
		}
	}
	group := func(number uint32, g cred.GID) {
		if id, ok := c.UserNS.FromGID(g); ok {
			add(number, id)
		}
	}
	add(unix.SYS_GETPID, uint32(t.TGID()))
	add(unix.SYS_GETTID, uint32(t.TID()))
	user(unix.SYS_GETUID, c.RUID)
	user(unix.SYS_GETEUID, c.EUID)
	group(unix.SYS_GETGID, c.RGID)
	group(unix.SYS_GETEGID, c.EGID)
	return list
}
