package kernel

import (
	"math"
	"sync"

	"gosentry/fs/proc"
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// maxPort is the highest number of a port.
const maxPort = 1<<16 - 1

// netSettings are what an administrator sets of a network namespace. There is no network that would follow them: they are kept for
// those who set them when a container begins, and look later.
type netSettings struct {
	// Guarded by mu.
	mu sync.Mutex
	// tags are numbers without a meaning to the kernel (net/ipv4/conf/*/tag in /proc/sys).
	tagAll, tagDefault, tagLoopback int64
	forward                         int64       // net/ipv4/ip_forward
	firstPort                       int64       // below it ports are root's: net/ipv4/ip_unprivileged_port_start
	ping                            [2]cred.GID // the groups that may ping, from one to another: net/ipv4/ping_group_range
}

// nobodyPings is the range of groups with nothing in it, as Linux writes it.
var nobodyPings = [2]cred.GID{1, 0}

// reset gives a namespace what one starts with; first is the initial one's, nil for that itself.
func (s *netSettings) reset(first *netSettings) {
	s.firstPort, s.ping = 1024, nobodyPings
	if first == nil {
		return
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	s.tagAll, s.tagDefault, s.tagLoopback = first.tagAll, first.tagDefault, first.tagDefault
	s.forward = first.forward
}

// NetKnobs implements proc.Processes.
func (v *ProcView) NetKnobs() []proc.NetKnob {
	const dir = "net/ipv4/"
	return []proc.NetKnob{
		v.netNumber(dir+"conf/all/tag", math.MinInt32, math.MaxInt32, func(s *netSettings) *int64 { return &s.tagAll }),
		v.netNumber(dir+"conf/default/tag", math.MinInt32, math.MaxInt32, func(s *netSettings) *int64 { return &s.tagDefault }),
		v.netNumber(dir+"conf/lo/tag", math.MinInt32, math.MaxInt32, func(s *netSettings) *int64 { return &s.tagLoopback }),
		v.netNumber(dir+"ip_forward", math.MinInt32, math.MaxInt32, func(s *netSettings) *int64 { return &s.forward }),
		v.netNumber(dir+"ip_unprivileged_port_start", 0, maxPort, func(s *netSettings) *int64 { return &s.firstPort }),
		{Name: dir + "ping_group_range", Owner: v.netOwner, Get: v.pingGroups, Set: v.setPingGroups},
	}
}

// netOf returns the network namespace of who asks, its container's for the sentry itself.
func (v *ProcView) netOf(c vfs.Caller) *NetNamespace {
	if t := taskOf(c); t != nil {
		if ns := t.Namespaces(); ns != nil {
			return ns.Net
		}
	}
	return v.in.ns.Net
}

func (v *ProcView) netOwner(c vfs.Caller) *cred.UserNamespace { return v.netOf(c).Owner() }

// netNumber is a setting of one number between lo and hi.
func (v *ProcView) netNumber(name string, lo, hi int64, pick func(*netSettings) *int64) proc.NetKnob {
	return proc.NetKnob{
		Name:  name,
		Owner: v.netOwner,
		Get: func(c vfs.Caller) []int64 {
			s := &v.netOf(c).settings
			s.mu.Lock()
			defer s.mu.Unlock()
			return []int64{*pick(s)}
		},
		Set: func(c vfs.Caller, values []int64) error {
			n, err := within(lo, hi)(values[0])
			if err != nil {
				return err
			}
			s := &v.netOf(c).settings
			s.mu.Lock()
			defer s.mu.Unlock()
			*pick(s) = n
			return nil
		},
	}
}

func (v *ProcView) pingGroups(c vfs.Caller) []int64 {
	s, user := &v.netOf(c).settings, c.Creds().UserNS
	s.mu.Lock()
	defer s.mu.Unlock()
	return []int64{int64(user.ShowGID(s.ping[0])), int64(user.ShowGID(s.ping[1]))}
}

// setPingGroups sets the range of groups; one whose end is before its start is nobody's. EINVAL for groups that the caller's user namespace
// does not have.
func (v *ProcView) setPingGroups(c vfs.Caller, values []int64) error {
	var ping [2]cred.GID
	for i, n := range values {
		gid, ok := c.Creds().UserNS.ToGID(uint32(n))
		if n < 0 || n > math.MaxInt32 || !ok {
			return unix.EINVAL
		}
		ping[i] = gid
	}
	if values[1] < values[0] || ping[1] < ping[0] {
		ping = nobodyPings
	}
	s := &v.netOf(c).settings
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ping = ping
	return nil
}
