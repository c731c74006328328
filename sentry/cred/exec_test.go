package cred

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

type execCase struct {
	name   string
	c      *Credentials
	f      ExecFile
	unsafe bool

	euid, suid           UID
	permitted, effective CapSet
	ambient              CapSet
	secure               bool
}

func TestExec(t *testing.T) {
	const a, b = CapSet(1 << 5), CapSet(1 << 7)
	root := New(0, 0, nil, nil)
	plain := user(5, 5, 5)
	suidRoot := ExecFile{Mode: unix.S_ISUID | 0o755}
	suid8 := ExecFile{Mode: unix.S_ISUID | 0o755, UID: 8}
	withAmbient := plain.Copy()
	withAmbient.Permitted, withAmbient.Inheritable, withAmbient.Ambient = a|b, a, a
	noNew := plain.SetNoNewPrivs()
	bounded := plain.Copy()
	bounded.Bounding = b
	rootNoRoot := root.Copy()
	rootNoRoot.SecureBits = SecureNoRoot
	rootSuid8 := root.Copy()
	rootSuid8.EUID, rootSuid8.SUID, rootSuid8.FSUID = 8, 8, 8
	heir := plain.Copy()
	heir.Inheritable = a

	for _, x := range []execCase{
		{"plain program", plain, ExecFile{}, false, 5, 5, 0, 0, 0, false},
		{"root", root, ExecFile{}, false, 0, 0, AllCaps, AllCaps, 0, false},
		{"root without its privilege", rootNoRoot, ExecFile{}, false, 0, 0, 0, 0, 0, false},
		{"set-uid root", plain, suidRoot, false, 0, 0, AllCaps, AllCaps, 0, true},
		{"set-uid another", plain, suid8, false, 8, 8, 0, 0, 0, true},
		{"root runs set-uid another", root, suid8, false, 8, 8, AllCaps, 0, 0, true},
		{"saved id follows", user(5, 6, 7), ExecFile{}, false, 6, 6, 0, 0, 0, true},
		{"set-uid with a bounding set", bounded, suidRoot, false, 0, 0, b, b, 0, true},
		{"no new privileges", noNew, suidRoot, false, 5, 5, 0, 0, 0, false},
		{"somebody could interfere", plain, suidRoot, true, 5, 5, 0, 0, 0, true},
		{"root is interfered with", root, suid8, true, 8, 8, AllCaps, 0, 0, true},
		{"ambient", withAmbient, ExecFile{}, false, 5, 5, a, a, a, false},
		{"set-uid ends ambient", withAmbient, suid8, false, 8, 8, 0, 0, 0, true},
		{"file capabilities", plain, ExecFile{Caps: &FileCaps{Permitted: b, Effective: true}}, false, 5, 5, b, b, 0, true},
		{"file capabilities, not effective", plain, ExecFile{Caps: &FileCaps{Permitted: b}}, false, 5, 5, b, 0, 0, true},
		{"inherited", heir, ExecFile{Caps: &FileCaps{Inheritable: a | b}}, false, 5, 5, a, 0, 0, true},
		{"file capabilities end ambient", withAmbient, ExecFile{Caps: &FileCaps{}}, false, 5, 5, 0, 0, 0, false},
		{"file capabilities, no new privileges", noNew, ExecFile{Caps: &FileCaps{Permitted: b, Effective: true}}, false, 5, 5, 0, 0, 0, true},
		{"set-uid root with capabilities", plain, ExecFile{Mode: unix.S_ISUID, Caps: &FileCaps{Permitted: b, Effective: true}}, false, 0, 0, b, b, 0, true},
		{"real root only", rootSuid8, ExecFile{}, false, 8, 8, AllCaps, 0, 0, true},
	} {
		checkExec(t, x)
	}
	caps := &FileCaps{Permitted: a, Effective: true}
	if _, _, err := bounded.Exec(ExecFile{Caps: caps}, false); err != unix.EPERM {
		t.Errorf("capabilities out of bounds: %v", err)
	}
}

func checkExec(t *testing.T, x execCase) {
	t.Helper()
	n, secure, err := x.c.Exec(x.f, x.unsafe)
	if err != nil {
		t.Errorf("%s: %v", x.name, err)
		return
	}
	if n.EUID != x.euid || n.SUID != x.suid || n.FSUID != x.euid || n.RUID != x.c.RUID {
		t.Errorf("%s: users %v", x.name, uids(n))
	}
	if n.Permitted != x.permitted || n.Effective != x.effective || n.Ambient != x.ambient {
		t.Errorf("%s: permitted %#x effective %#x ambient %#x", x.name, n.Permitted, n.Effective, n.Ambient)
	}
	if secure != x.secure {
		t.Errorf("%s: secure %v", x.name, secure)
	}
}

func TestExecSetGID(t *testing.T) {
	c := user(5, 5, 5)
	for mode, want := range map[uint32]GID{unix.S_ISGID | 0o755: 9, unix.S_ISGID | 0o744: 5, 0o755: 5} {
		n, secure, _ := c.Exec(ExecFile{Mode: mode, GID: 9}, false)
		if n.EGID != want || n.SGID != want || secure != (want == 9) {
			t.Errorf("mode %o: group %d, secure %v", mode, n.EGID, secure)
		}
	}
	kept, _ := c.SetKeepCaps(true)
	if n, _, _ := kept.Exec(ExecFile{}, false); n.keepsCaps() {
		t.Error("keepcaps outlives exec")
	}
}

func TestParseFileCaps(t *testing.T) {
	words := func(w ...uint32) []byte {
		var b []byte
		for _, v := range w {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return b
	}
	f, err := ParseFileCaps(words(capRevision2|1, 1<<13, 1<<2, 1<<8, 1<<9))
	if err != nil || *f != (FileCaps{1<<13 | 1<<40, 1 << 2, true, 0}) {
		t.Errorf("revision 2: %+v, %v", f, err)
	}
	f, err = ParseFileCaps(words(capRevision1, 3, 1))
	if err != nil || *f != (FileCaps{3, 1, false, 0}) {
		t.Errorf("revision 1: %+v, %v", f, err)
	}
	if f, err = ParseFileCaps(words(capRevision3, 3, 0, 0, 0, 1000)); err != nil || f.Permitted != 3 {
		t.Errorf("revision 3: %+v, %v", f, err)
	}
	for _, bad := range [][]byte{nil, {1}, words(capRevision2, 1, 1), words(0x04000000, 0, 0, 0, 0), words(capRevision3, 0, 0, 0, 0)} {
		if _, err := ParseFileCaps(bad); err != unix.EINVAL {
			t.Errorf("%x: %v", bad, err)
		}
	}
}
