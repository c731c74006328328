package proc

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// settings are the fixed files below /proc/sys: what the kernel does and cannot
// do otherwise. A path is created with its directories.
var settings = []struct{ path, value string }{
	{"fs/aio-max-nr", "65536"},
	{"fs/aio-nr", "0"},
	{"fs/epoll/max_user_watches", "1000000"},
	{"fs/leases-enable", "1"},
	{"fs/mount-max", "100000"},
	{"fs/overflowgid", "65534"},
	{"fs/overflowuid", "65534"},
	{"fs/pipe-user-pages-hard", "0"},
	{"fs/pipe-user-pages-soft", "16384"},
	{"fs/protected_fifos", "0"},
	{"fs/protected_hardlinks", "1"},
	{"fs/protected_regular", "0"},
	{"fs/protected_symlinks", "1"},
	{"fs/suid_dumpable", "0"},
	{"kernel/cap_last_cap", "40"},
	{"kernel/kptr_restrict", "1"},
	{"kernel/ngroups_max", "65536"},
	{"kernel/overflowgid", "65534"},
	{"kernel/overflowuid", "65534"},
	{"kernel/perf_event_paranoid", "4"},
	{"kernel/printk", "4\t4\t1\t7"},
	{"kernel/pty/max", "4096"},
	{"kernel/pty/nr", "0"},
	{"kernel/randomize_va_space", "2"},
	{"kernel/random/entropy_avail", "256"},
	{"kernel/random/poolsize", "256"},
	{"kernel/sched_rr_timeslice_ms", "100"},
	{"kernel/sched_rt_period_us", "1000000"},
	{"kernel/sched_rt_runtime_us", "950000"},
	{"kernel/seccomp/actions_avail", "kill_process kill_thread trap errno user_notif trace log allow"},
	{"kernel/sysrq", "0"},
	{"kernel/tainted", "0"},
	{"kernel/unprivileged_bpf_disabled", "2"},
	{"kernel/yama/ptrace_scope", "0"},
	{"net/core/somaxconn", "4096"},
	{"net/ipv4/ip_local_port_range", "32768\t60999"},
	{"net/ipv4/tcp_rmem", "4096\t131072\t6291456"},
	{"net/ipv4/tcp_wmem", "4096\t16384\t4194304"},
	{"vm/mmap_min_addr", "65536"},
	{"vm/nr_hugepages", "0"},
	{"vm/overcommit_kbytes", "0"},
	{"vm/overcommit_memory", "1"},
	{"vm/overcommit_ratio", "50"},
	{"vm/swappiness", "60"},
}

// tree builds directories by path.
type tree struct {
	fs   *fileSystem
	root *pseudo.Dir
	dirs map[string]*pseudo.Dir
}

func (t *tree) dir(path string) *pseudo.Dir {
	if path == "" {
		return t.root
	}
	if d := t.dirs[path]; d != nil {
		return d
	}
	parent, name := split(path)
	d := t.fs.NewDir(0o555)
	t.dirs[path] = d
	t.dir(parent).Add(name, d)
	return d
}

func (t *tree) add(path string, inode vfs.Inode) {
	parent, name := split(path)
	t.dir(parent).Add(name, inode)
}

func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// sysctl makes /proc/sys.
func (f *fileSystem) sysctl() vfs.Inode {
	t := &tree{fs: f, root: f.NewDir(0o555), dirs: make(map[string]*pseudo.Dir)}
	for _, s := range settings {
		t.add(s.path, f.NewText(0o444, s.value+"\n"))
	}
	for path, value := range map[string]func(*Info) any{
		"kernel/ostype":         func(i *Info) any { return i.Sysname },
		"kernel/osrelease":      func(i *Info) any { return i.Release },
		"kernel/version":        func(i *Info) any { return i.Version },
		"kernel/arch":           func(i *Info) any { return i.Machine },
		"kernel/random/boot_id": func(i *Info) any { return i.BootID },
		"fs/file-max":           func(i *Info) any { return i.MaxFiles },
		"fs/file-nr":            func(i *Info) any { return fmt.Sprintf("%d\t0\t%d", i.OpenFiles, i.MaxFiles) },
	} {
		t.add(path, f.infoFile(func(b *bytes.Buffer, i *Info) { fmt.Fprintln(b, value(i)) }))
	}
	for _, k := range f.processes.Knobs() {
		t.add(k.Name, f.number(k))
	}
	for _, k := range f.processes.NetKnobs() {
		t.add(k.Name, f.netSetting(k))
	}
	t.add("kernel/random/uuid", f.NewFile(0o444, func(_ vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(newUUID() + "\n")
		return nil
	}))
	f.ipcKnobs(t)
	t.add("kernel/hostname", f.nameKnob(func(host, _ string) string { return host },
		func(c vfs.Caller, s string) error { return f.processes.SetNames(c, s, "") }))
	t.add("kernel/domainname", f.nameKnob(func(_, domain string) string { return domain },
		func(c vfs.Caller, s string) error { return f.processes.SetNames(c, "", s) }))
	t.add("kernel/core_pattern", f.corePattern())
	t.limitFiles()
	return t.root
}

// maxName is the length of host and domain names.
const maxName = 64

func (f *fileSystem) nameKnob(pick func(host, domain string) string, set func(vfs.Caller, string) error) vfs.Inode {
	return f.NewKnob(0o644, func(c vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(pick(f.processes.Names(c)) + "\n")
		return nil
	}, func(c vfs.Caller, data []byte) error {
		name, _, _ := strings.Cut(string(data), "\n")
		return set(c, name[:min(len(name), maxName)])
	})
}

func (f *fileSystem) corePattern() vfs.Inode {
	return f.NewKnob(0o644, func(_ vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(f.processes.CorePattern() + "\n")
		return nil
	}, func(_ vfs.Caller, data []byte) error {
		pattern, _, _ := strings.Cut(string(data), "\n")
		return f.processes.SetCorePattern(pattern)
	})
}

// number makes the file of a number that can be changed; what is written is in decimal, octal or
// hexadecimal notation.
func (f *fileSystem) number(k Knob) vfs.Inode {
	mode := uint32(0o644)
	if k.Everyone {
		mode = 0o666
	}
	return f.NewKnob(mode, func(c vfs.Caller, b *bytes.Buffer) error {
		fmt.Fprintln(b, k.Get(c))
		return nil
	}, func(c vfs.Caller, data []byte) error {
		word, _, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
		n, err := strconv.ParseInt(word, 0, 64)
		if err != nil {
			return unix.EINVAL
		}
		return k.Set(c, n)
	})
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
