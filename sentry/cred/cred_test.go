package cred

import (
	"testing"

	"golang.org/x/sys/unix"
)

// user returns credentials without privilege with these ids.
func user(r, e, s UID) *Credentials {
	c := New(r, GID(r), nil, nil)
	c.EUID, c.SUID, c.FSUID = e, s, e
	c.EGID, c.SGID, c.FSGID = GID(e), GID(s), GID(e)
	c.Permitted, c.Effective = 0, 0
	return c
}

type ids struct{ r, e, s, fs UID }

func uids(c *Credentials) ids { return ids{c.RUID, c.EUID, c.SUID, c.FSUID} }
func gids(c *Credentials) ids { return ids{UID(c.RGID), UID(c.EGID), UID(c.SGID), UID(c.FSGID)} }

// TestSetIDs runs the same table for users and groups.
func TestSetIDs(t *testing.T) {
	const no = NoID
	root := New(0, 0, nil, nil)
	for _, c := range []struct {
		name  string
		start *Credentials
		call  string
		args  [3]uint32
		want  ids
		err   error
	}{
		{"root sets all", root, "set", [3]uint32{5}, ids{5, 5, 5, 5}, nil},
		{"to the real id", user(5, 6, 7), "set", [3]uint32{5}, ids{5, 5, 7, 5}, nil},
		{"to the saved id", user(5, 6, 7), "set", [3]uint32{7}, ids{5, 7, 7, 7}, nil},
		{"to the effective id", user(5, 6, 7), "set", [3]uint32{6}, ids{}, unix.EPERM},
		{"to another", user(5, 6, 7), "set", [3]uint32{0}, ids{}, unix.EPERM},

		{"re: swap", user(5, 6, 6), "setre", [3]uint32{6, 5}, ids{6, 5, 5, 5}, nil},
		{"re: effective to saved", user(5, 6, 7), "setre", [3]uint32{no, 7}, ids{5, 7, 7, 7}, nil},
		{"re: effective to real", user(5, 6, 7), "setre", [3]uint32{no, 5}, ids{5, 5, 7, 5}, nil},
		{"re: real to saved", user(5, 6, 7), "setre", [3]uint32{7, no}, ids{}, unix.EPERM},
		{"re: to another", user(5, 6, 7), "setre", [3]uint32{no, 8}, ids{}, unix.EPERM},
		{"re: nothing", user(5, 6, 7), "setre", [3]uint32{no, no}, ids{5, 6, 7, 6}, nil},
		{"re: root", root, "setre", [3]uint32{no, 9}, ids{0, 9, 9, 9}, nil},

		{"res: rotate", user(5, 6, 7), "setres", [3]uint32{7, 5, 6}, ids{7, 5, 6, 5}, nil},
		{"res: saved to another", user(5, 6, 7), "setres", [3]uint32{no, no, 8}, ids{}, unix.EPERM},
		{"res: root", root, "setres", [3]uint32{1, 2, 3}, ids{1, 2, 3, 2}, nil},
	} {
		u, g, uerr, gerr := callBoth(c.start, c.call, c.args)
		if uerr != c.err || gerr != c.err {
			t.Errorf("%s: %v for users, %v for groups, want %v", c.name, uerr, gerr, c.err)
			continue
		}
		if uerr == nil && (uids(u) != c.want || gids(g) != c.want) {
			t.Errorf("%s: users %v, groups %v, want %v", c.name, uids(u), gids(g), c.want)
		}
	}
	if uids(root) != (ids{}) {
		t.Error("published credentials were changed")
	}
}

func callBoth(c *Credentials, call string, a [3]uint32) (u, g *Credentials, uerr, gerr error) {
	switch call {
	case "set":
		u, uerr = c.SetUID(UID(a[0]))
		g, gerr = c.SetGID(GID(a[0]))
	case "setre":
		u, uerr = c.SetREUID(a[0], a[1])
		g, gerr = c.SetREGID(a[0], a[1])
	case "setres":
		u, uerr = c.SetRESUID(a[0], a[1], a[2])
		g, gerr = c.SetRESGID(a[0], a[1], a[2])
	}
	return u, g, uerr, gerr
}

func TestFileSystemIDs(t *testing.T) {
	c := user(5, 6, 7)
	for id, allowed := range map[UID]bool{5: true, 6: true, 7: true, 8: false} {
		if got := c.SetFSUID(id); (got.FSUID == id) != allowed {
			t.Errorf("setfsuid %d: %d", id, got.FSUID)
		}
		if got := c.SetFSGID(GID(id)); (got.FSGID == GID(id)) != allowed {
			t.Errorf("setfsgid %d: %d", id, got.FSGID)
		}
	}
	root := New(0, 0, nil, nil)
	other := root.SetFSUID(5)
	if other.Has(unix.CAP_DAC_OVERRIDE) || !other.Has(unix.CAP_KILL) {
		t.Errorf("effective %#x with another file-system id", other.Effective)
	}
	if back := other.SetFSUID(0); back.Effective != AllCaps {
		t.Errorf("effective %#x with root's again", back.Effective)
	}
}

func TestUIDChangesMoveCapabilities(t *testing.T) {
	root := New(0, 0, nil, nil)
	root.Inheritable, root.Ambient = 1, 1
	gone, _ := root.SetUID(5)
	if gone.Permitted != 0 || gone.Effective != 0 || gone.Ambient != 0 {
		t.Errorf("all ids left root: %+v", gone)
	}
	keep, err := root.SetKeepCaps(true)
	if err != nil {
		t.Fatal(err)
	}
	kept, _ := keep.SetUID(5)
	if kept.Permitted != AllCaps || kept.Effective != 0 || kept.Ambient != 0 {
		t.Errorf("with keepcaps: %+v", kept)
	}
	half, _ := root.SetREUID(NoID, 5)
	if half.Permitted != AllCaps || half.Effective != 0 || half.Ambient != 1 {
		t.Errorf("effective id left root: %+v", half)
	}
	back, err := half.SetRESUID(NoID, 0, NoID)
	if err != nil || back.Effective != AllCaps {
		t.Errorf("and came back: %+v, %v", back, err)
	}
	fixed, err := root.SetSecureBits(SecureNoSetuidFixup)
	if err != nil {
		t.Fatal(err)
	}
	still, _ := fixed.SetUID(5)
	if still.Effective != AllCaps {
		t.Errorf("without fix-up: %+v", still)
	}
}

func TestCapset(t *testing.T) {
	c := user(5, 5, 5)
	c.Permitted, c.Inheritable, c.Bounding, c.Ambient = 0b0111, 0b1001, 0b0011, 0b0001
	for _, x := range []struct {
		e, p, i CapSet
		want    error
	}{
		{0b0011, 0b0111, 0b1011, nil},
		{0b1000, 0b0111, 0, unix.EPERM},      // effective beyond permitted
		{0, 0b1111, 0, unix.EPERM},           // permitted grows
		{0, 0b0111, 0b1100, unix.EPERM},      // inheritable beyond bounding
		{0, 0b0111, 1 << 20, unix.EPERM},     // inheritable beyond permitted
		{0b0001, 0b0110, 0b0001, unix.EPERM}, // effective beyond the new permitted
	} {
		n, err := c.SetCaps(x.e, x.p, x.i)
		if err != x.want {
			t.Errorf("capset %b %b %b: %v", x.e, x.p, x.i, err)
		}
		if err == nil && n.Ambient != c.Ambient&x.p&x.i {
			t.Errorf("ambient %b", n.Ambient)
		}
	}
	if n, _ := c.SetCaps(0, 0, 0b0001); n.Ambient != 0 {
		t.Error("ambient beyond permitted")
	}
}

func TestBoundingAmbientSecureBits(t *testing.T) {
	root := New(0, 0, nil, nil)
	n, err := root.DropBounding(unix.CAP_KILL)
	if err != nil || n.Bounding != AllCaps&^(1<<unix.CAP_KILL) || n.Permitted != AllCaps {
		t.Errorf("drop: %v", err)
	}
	if _, err := root.DropBounding(64); err != unix.EINVAL {
		t.Errorf("drop of what is none: %v", err)
	}
	if _, err := user(5, 5, 5).DropBounding(1); err != unix.EPERM {
		t.Errorf("drop without privilege: %v", err)
	}
	c := user(5, 5, 5)
	c.Permitted, c.Inheritable = 0b11, 0b101
	if a, err := c.RaiseAmbient(0); err != nil || a.Ambient != 1 || a.ClearAmbient().Ambient != 0 {
		t.Errorf("raise: %v", err)
	}
	for _, bad := range []uint64{1, 2} {
		if _, err := c.RaiseAmbient(bad); err != unix.EPERM {
			t.Errorf("raise %d: %v", bad, err)
		}
	}
	if _, err := c.RaiseAmbient(41); err != unix.EINVAL {
		t.Errorf("raise of what is none: %v", err)
	}
	locked, err := root.SetSecureBits(SecureKeepCaps<<1 | SecureNoRoot)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locked.SetKeepCaps(true); err != unix.EPERM {
		t.Errorf("a locked setting: %v", err)
	}
	if _, err := locked.SetSecureBits(SecureNoRoot); err != unix.EPERM {
		t.Errorf("unlocking: %v", err)
	}
	if _, err := root.SetSecureBits(1 << 20); err != unix.EPERM {
		t.Errorf("unknown bit: %v", err)
	}
}

func TestHasIn(t *testing.T) {
	top := &UserNamespace{}
	child := &UserNamespace{Parent: top, Owner: 5, Level: 1}
	root, owner, inside := New(0, 0, nil, top), New(5, 5, nil, top), New(5, 5, nil, child)
	inside.Effective = AllCaps
	for _, x := range []struct {
		c    *Credentials
		ns   *UserNamespace
		want bool
	}{{root, top, true}, {root, child, true}, {owner, top, false}, {owner, child, true}, {inside, child, true}, {inside, top, false}} {
		if got := x.c.HasIn(unix.CAP_KILL, x.ns); got != x.want {
			t.Errorf("uid %d in level %d: %v", x.c.RUID, x.ns.Level, got)
		}
	}
}
