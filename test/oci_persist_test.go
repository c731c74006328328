package test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// persistScript writes to the root and to a volume, as root and as user 7.
const persistScript = `echo root >/made; mkdir /tmp/d; chown 5:6 /made /tmp/d; chmod 4711 /made; ln /made /hard; ln -s made /soft; ` +
	`touch /etc/gone && rm /etc/gone; chown 7:7 /data; echo secret >/data/root; chmod 600 /data/root; ` +
	`cat /theirs; exec su u -c 'umask 77; echo x >/data/own && chmod 640 /data/own && cat /data/own; cat /data/root; echo y >/etc/no; touch /made'`

// TestContainerPersist compares what a container of runc's would leave on the host with what ours does: with --persist the same, and else nothing but
// what it writes to volumes.
func TestContainerPersist(t *testing.T) {
	needRoot(t)
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, c := range []struct {
			persist, readOnly bool
			want              string // what is on the host
		}{
			{true, false, "hard 5:6 4711\nmade 5:6 4711\nsoft 0:0 777\ntmp/d 5:6 755\ndata 7:7 755\ndata/own 7:7 640\ndata/root 0:0 600\n"},
			{true, true, "data 7:7 755\ndata/own 7:7 640\ndata/root 0:0 600\n"},
			{false, false, "data 0:0 755\ndata/root 0:0 600\n"},
		} {
			t.Run(fmt.Sprintf("persist=%v,readOnly=%v", c.persist, c.readOnly), func(t *testing.T) {
				e, volume := persistEngine(t, platform, c.readOnly)
				args := []string{"run", "persisting"}
				if c.persist {
					args = append([]string{"--persist"}, args...)
				}
				r := e.do(args...)
				if want := map[bool]string{true: "theirs\nx\n"}[c.persist]; r.stdout != want {
					t.Errorf("want %q: %v", want, r)
				}
				got := owners(t, filepath.Join(e.bundle, "rootfs"), "hard", "made", "soft", "tmp/d", "etc/gone", "etc/no") +
					owners(t, filepath.Dir(volume), "data", "data/own", "data/root")
				if got != c.want {
					t.Errorf("on the host is\n%swant\n%s", got, c.want)
				}
			})
		}
	})
}

// TestContainerPersistSeen: who enters the container's mount namespace, as podman does to copy files, finds its root and volumes there;
// the sandbox itself has an empty root all the same.
func TestContainerPersistSeen(t *testing.T) {
	needRoot(t)
	need(t, "nsenter")
	volume := t.TempDir()
	e := newEngine(t, platforms()[0], func(c *specs.Spec) {
		shell("echo root >/made; echo volume >/to/data/made; exec sleep 1000")(c)
		c.Root.Readonly = false
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/to/data", Type: "bind", Source: volume})
	})
	e.must("--persist", "run", "-d", "seen")
	defer e.do("delete", "--force", "seen")
	var s specs.State
	if err := json.Unmarshal([]byte(e.must("state", "seen")), &s); err != nil {
		t.Fatal(err)
	}
	e.must("exec", "seen", "sh", "-c", "until test -s /to/data/made; do sleep 0.05; done")
	inside := command{dir: e.bundle}.run(t, []string{"nsenter", "-m", "-t", fmt.Sprint(s.Pid), "/bin/busybox", "sh", "-c", "/bin/cat /made /to/data/made; echo new >/new"})
	if inside.status != 0 || inside.stdout != "root\nvolume\n" {
		t.Error(inside)
	}
	expect(t, "what was made outside", e.must("exec", "seen", "cat", "/new"), "new\n")
	if list, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", s.Pid)); err != nil || len(list) > 0 {
		t.Errorf("the sandbox's root has %v, %v", list, err)
	}
	expect(t, "the sandbox's capabilities", effective(t, s.Pid), "000000000000001b")
	blanks := 0
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.Pid))
	for _, thread := range threads {
		text, _ := os.ReadFile(thread)
		for child := range strings.FieldsSeq(string(text)) {
			pid, _ := strconv.Atoi(child)
			expect(t, "a process of the guest's has the capabilities", effective(t, pid), "0000000000000000")
			blanks++
		}
	}
	if blanks == 0 {
		t.Error("the guest's processes are not to be seen")
	}
}

// effective are the capabilities in effect of a process of the host, as proc(5) has them.
func effective(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "CapEff:\t")
	set, _, _ := strings.Cut(after, "\n")
	return set
}

// persistEngine makes a bundle whose root has a file of another user that nobody else may read, and a volume.
func persistEngine(t *testing.T, platform string, readOnly bool) (e *engine, volume string) {
	volume = filepath.Join(t.TempDir(), "data")
	e = newEngine(t, platform, func(c *specs.Spec) {
		shell(persistScript)(c)
		all := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETUID", "CAP_SETGID"}
		c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		c.Root.Readonly = readOnly
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: volume})
	})
	root := filepath.Join(e.bundle, "rootfs")
	e.provide("ln chown chmod mkdir rm su")
	err := os.Mkdir(volume, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "theirs"), []byte("theirs\n"), 0o600)
	}
	if err == nil {
		err = os.Chown(filepath.Join(root, "theirs"), 8, 8)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\nu:x:7:7::/:/bin/sh\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e, volume
}

// owners lists those names below dir that exist, with their owners and modes.
func owners(t *testing.T, dir string, names ...string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		var st unix.Stat_t
		switch err := unix.Lstat(filepath.Join(dir, name), &st); err {
		case nil:
			fmt.Fprintf(&b, "%s %d:%d %o\n", name, st.Uid, st.Gid, st.Mode&0o7777)
		case unix.ENOENT:
		default:
			t.Fatal(&fs.PathError{Op: "lstat", Path: name, Err: err})
		}
	}
	return b.String()
}
