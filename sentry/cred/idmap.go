package cred

import (
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxExtents is how many lines a map of ids may have.
const maxExtents = 340

// Extent is one line of a map of ids: Count ids from Inside on are those from Outside on.
type Extent struct{ Inside, Outside, Count uint32 }

// IDMap says which ids of a user namespace are which ids of the initial one.
type IDMap struct{ extents []Extent }

// in returns the id in the initial namespace.
func (m *IDMap) in(id uint32) (uint32, bool) {
	if m == nil {
		return NoID, false
	}
	for _, e := range m.extents {
		if d := id - e.Inside; id >= e.Inside && d < e.Count {
			return e.Outside + d, true
		}
	}
	return NoID, false
}

// out returns the id in the namespace.
func (m *IDMap) out(id uint32) (uint32, bool) {
	if m == nil {
		return NoID, false
	}
	for _, e := range m.extents {
		if d := id - e.Outside; id >= e.Outside && d < e.Count {
			return e.Inside + d, true
		}
	}
	return NoID, false
}

// inAll is in for all ids of an extent that starts at id.
func (m *IDMap) inAll(id, count uint32) (uint32, bool) {
	for _, e := range m.extents {
		if d := id - e.Inside; id >= e.Inside && d < e.Count && count <= e.Count-d {
			return e.Outside + d, true
		}
	}
	return NoID, false
}

// MapUID, MapGID and MapProject select a map of a namespace.
const (
	MapUID MapKind = iota
	MapGID
	MapProject
)

// MapKind tells the three maps of a user namespace apart.
type MapKind int

func (ns *UserNamespace) toKernel(k MapKind, id uint32) (uint32, bool) {
	if ns.Initial() {
		return id, id != NoID
	}
	return ns.mapOf(k).Load().in(id)
}

func (ns *UserNamespace) fromKernel(k MapKind, id uint32) (uint32, bool) {
	if ns.Initial() {
		return id, id != NoID
	}
	return ns.mapOf(k).Load().out(id)
}

// ToUID returns the user that a guest in ns calls id; false when it has none of that id.
func (ns *UserNamespace) ToUID(id uint32) (UID, bool) {
	u, ok := ns.toKernel(MapUID, id)
	return UID(u), ok
}

// ToGID returns the group that a guest in ns calls id; false when it has none of that id.
func (ns *UserNamespace) ToGID(id uint32) (GID, bool) {
	g, ok := ns.toKernel(MapGID, id)
	return GID(g), ok
}

// FromUID returns the id of a user in ns, false when it has none there.
func (ns *UserNamespace) FromUID(u UID) (uint32, bool) { return ns.fromKernel(MapUID, uint32(u)) }

// FromGID returns the id of a group in ns, false when it has none there.
func (ns *UserNamespace) FromGID(g GID) (uint32, bool) { return ns.fromKernel(MapGID, uint32(g)) }

// ShowUID returns the id of a user as a guest in ns is told it: Overflow when it has none.
func (ns *UserNamespace) ShowUID(u UID) uint32 {
	if id, ok := ns.FromUID(u); ok {
		return id
	}
	return Overflow
}

// ShowGID returns the id of a group as a guest in ns is told it: Overflow when it has none.
func (ns *UserNamespace) ShowGID(g GID) uint32 {
	if id, ok := ns.FromGID(g); ok {
		return id
	}
	return Overflow
}

// Has tells whether both a user and a group have ids in ns.
func (ns *UserNamespace) Has(u UID, g GID) bool {
	_, uidOK := ns.FromUID(u)
	_, gidOK := ns.FromGID(g)
	return uidOK && gidOK
}

// Root returns the user that is root in ns; false when there is none.
func (ns *UserNamespace) Root() (UID, bool) { return ns.ToUID(0) }

// Extents returns a map of ns for a reader in viewer: Outside are ids there, NoID for none. Its own map, a
// reader sees as it is in the parent.
func (ns *UserNamespace) Extents(k MapKind, viewer *UserNamespace) []Extent {
	if ns.Initial() {
		return []Extent{{0, 0, NoID}}
	}
	if viewer == ns {
		viewer = ns.Parent
	}
	m := ns.mapOf(k).Load()
	if m == nil {
		return nil
	}
	shown := make([]Extent, len(m.extents))
	for i, e := range m.extents {
		e.Outside, _ = viewer.fromKernel(k, e.Outside)
		shown[i] = e
	}
	return shown
}

// parseExtents reads what was written to a map's file; EINVAL.
func parseExtents(text string) ([]Extent, error) {
	var all []Extent
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		words := strings.Fields(line)
		if len(words) != 3 || len(all) == maxExtents {
			return nil, unix.EINVAL
		}
		var n [3]uint32
		for i, w := range words {
			v, err := strconv.ParseUint(w, 10, 64)
			if err != nil {
				return nil, unix.EINVAL
			}
			n[i] = uint32(v)
		}
		e := Extent{n[0], n[1], n[2]}
		if e.Inside == NoID || e.Outside == NoID || e.Inside+e.Count <= e.Inside || e.Outside+e.Count <= e.Outside {
			return nil, unix.EINVAL
		}
		for _, o := range all {
			if overlap(e.Inside, o.Inside, e.Count, o.Count) || overlap(e.Outside, o.Outside, e.Count, o.Count) {
				return nil, unix.EINVAL
			}
		}
		all = append(all, e)
	}
	return all, nil
}

func overlap(a, b, countA, countB uint32) bool { return a <= b+(countB-1) && b <= a+(countA-1) }

// WriteMap sets a map of ns, once. opener are the credentials with which its file was
// opened, and writer those of who writes. EPERM, EINVAL.
func (ns *UserNamespace) WriteMap(k MapKind, text string, opener, writer *Credentials) error {
	if ns.Initial() || opener.UserNS != ns && opener.UserNS != ns.Parent {
		return unix.EPERM
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.mapOf(k).Load() != nil || k != MapProject && !opener.HasIn(unix.CAP_SYS_ADMIN, ns) {
		return unix.EPERM
	}
	extents, err := parseExtents(text)
	if err != nil {
		return err
	}
	if !ns.mayMap(k, extents, opener, writer) {
		return unix.EPERM
	}
	for i, e := range extents {
		lower, ok := e.Outside, true
		if !ns.Parent.Initial() {
			m := ns.Parent.mapOf(k).Load()
			if m == nil {
				return unix.EPERM
			}
			lower, ok = m.inAll(e.Outside, e.Count)
		}
		if !ok {
			return unix.EPERM
		}
		extents[i].Outside = lower
	}
	ns.mapOf(k).Store(&IDMap{extents})
	return nil
}

func (ns *UserNamespace) mapOf(k MapKind) *atomic.Pointer[IDMap] {
	switch k {
	case MapUID:
		return &ns.uids
	case MapGID:
		return &ns.gids
	}
	return &ns.projects
}

// mayMap tells whether these ids of the parent may be mapped into ns. Outside of the extents are the parent's ids.
func (ns *UserNamespace) mayMap(k MapKind, extents []Extent, opener, writer *Credentials) bool {
	if k == MapProject {
		return true
	}
	if k == MapUID && !ns.mayMapRoot(extents, opener) {
		return false
	}
	if len(extents) == 1 && extents[0].Count == 1 && ns.Owner == opener.EUID {
		id := extents[0].Outside
		if u, ok := ns.Parent.ToUID(id); k == MapUID && ok && u == opener.EUID {
			return true
		}
		if g, ok := ns.Parent.ToGID(id); k == MapGID && ok && g == opener.EGID && ns.denySetgroups.Load() {
			return true
		}
	}
	need := unix.CAP_SETUID
	if k == MapGID {
		need = unix.CAP_SETGID
	}
	return writer.HasIn(need, ns.Parent) && opener.HasIn(need, ns.Parent)
}

// mayMapRoot looks at a map of the parent's root, by which ns could give files capabilities that the
// parent heeds.
func (ns *UserNamespace) mayMapRoot(extents []Extent, opener *Credentials) bool {
	for _, e := range extents {
		if e.Outside == 0 {
			if opener.UserNS == ns {
				return ns.couldSetFCap
			}
			return opener.HasIn(unix.CAP_SETFCAP, ns.Parent)
		}
	}
	return true
}

// SetgroupsAllowed tells whether setgroups(2) may be used in ns, once it has a map of groups.
func (ns *UserNamespace) SetgroupsAllowed() bool { return ns.Initial() || !ns.denySetgroups.Load() }

// MaySetgroups tells whether setgroups(2) may be used in ns now.
func (ns *UserNamespace) MaySetgroups() bool {
	return ns.Initial() || !ns.denySetgroups.Load() && ns.gids.Load() != nil
}

// AllowSetgroups is a write to /proc/PID/setgroups; EPERM to allow what is denied, or to deny it
// once there is a map of groups.
func (ns *UserNamespace) AllowSetgroups(allow bool) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	switch denied := ns.denySetgroups.Load(); {
	case allow && denied, !allow && (ns.Initial() || ns.gids.Load() != nil):
		return unix.EPERM
	case !allow:
		ns.denySetgroups.Store(true)
	}
	return nil
}
