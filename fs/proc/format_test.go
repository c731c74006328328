package proc

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// hostFile returns a file of the host's own /proc, or skips the test.
func hostFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + name)
	if err != nil {
		t.Skip("the host's /proc: ", err)
	}
	return string(b)
}

// fieldNames are what stands before the colons.
func fieldNames(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, name)
		}
	}
	return names
}

// value is what stands behind a colon in a host's file.
func value(text, name string) string {
	for line := range strings.Lines(text) {
		if n, v, ok := strings.Cut(line, ":"); ok && n == name {
			return strings.TrimSuffix(v, "\n")
		}
	}
	return ""
}

func number64(t *testing.T, s string, base int) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(s, " kB")), base, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestStatusAsOnHost rebuilds the host's status of this process from its values.
func TestStatusAsOnHost(t *testing.T) {
	host := hostFile(t, "self/status")
	w := newWorld(t)
	task := w.kernel.tasks[77]
	num := func(name string) uint64 { return number64(t, value(host, name), 10) }
	set := func(name string) uint64 { return number64(t, value(host, name), 16) }
	ids := func(name string) []int32 {
		var list []int32
		for _, f := range strings.Fields(value(host, name)) {
			list = append(list, int32(number64(t, f, 10)))
		}
		return list
	}
	s := &task.status
	s.Name, s.State = strings.TrimSpace(value(host, "Name")), strings.TrimSpace(value(host, "State"))[0]
	s.TID, s.TGID, s.PPID = int32(num("Pid")), int32(num("Tgid")), int32(num("PPid"))
	s.TracerPID = int32(num("TracerPid"))
	s.Umask = uint32(number64(t, value(host, "Umask"), 8))
	s.FDSize, s.Threads = int(num("FDSize")), int(num("Threads"))
	s.TGIDs, s.TIDs, s.ProcessGroups, s.Sessions = ids("NStgid"), ids("NSpid"), ids("NSpgid"), ids("NSsid")
	s.Pending, s.SharedPending = signal.Set(set("SigPnd")), signal.Set(set("ShdPnd"))
	s.Blocked, s.Ignored, s.Caught = signal.Set(set("SigBlk")), signal.Set(set("SigIgn")), signal.Set(set("SigCgt"))
	queued, limit, _ := strings.Cut(strings.TrimSpace(value(host, "SigQ")), "/")
	s.SignalsQueued = number64(t, queued, 10)
	task.limits = limits.New(limits.Defaults(number64(t, limit, 10)))
	s.Seccomp, s.SeccompCount = int(num("Seccomp")), int(num("Seccomp_filters"))
	s.Switches, s.Preemptions = num("voluntary_ctxt_switches"), num("nonvoluntary_ctxt_switches")
	c := task.creds
	u, g := ids("Uid"), ids("Gid")
	c.RUID, c.EUID, c.SUID, c.FSUID = cred.UID(u[0]), cred.UID(u[1]), cred.UID(u[2]), cred.UID(u[3])
	c.RGID, c.EGID, c.SGID, c.FSGID = cred.GID(g[0]), cred.GID(g[1]), cred.GID(g[2]), cred.GID(g[3])
	c.Groups = nil
	for _, id := range ids("Groups") {
		c.Groups = append(c.Groups, cred.GID(id))
	}
	c.Inheritable, c.Permitted = cred.CapSet(set("CapInh")), cred.CapSet(set("CapPrm"))
	c.Effective, c.Bounding = cred.CapSet(set("CapEff")), cred.CapSet(set("CapBnd"))
	c.Ambient, c.NoNewPrivs = cred.CapSet(set("CapAmb")), num("NoNewPrivs") == 1
	task.memory = newMemory(t)
	w.kernel.info.CPUs = len(regexp.MustCompile(`(?m)^cpu\d+ `).FindAllString(hostFile(t, "stat"), -1))

	compareStatus(t, host, w.mustRead("/proc/77/status"))
}

func compareStatus(t *testing.T, host, ours string) {
	t.Helper()
	// Sizes and the machine's own are compared in form, the rest in full.
	differ := regexp.MustCompile(`^(Vm.*|Rss.*|THP_enabled|Speculation.*|Cpus_allowed.*|Mems_allowed.*|Huge.*)$`)
	newer := regexp.MustCompile(`^(Kthread|x86_Thread_features.*|untag_mask|Seccomp_filters)$`)
	hostNames := slices.DeleteFunc(fieldNames(host), newer.MatchString)
	ourNames := slices.DeleteFunc(fieldNames(ours), newer.MatchString)
	if !slices.Equal(hostNames, ourNames) {
		t.Errorf("fields\n%v\non the host\n%v", ourNames, hostNames)
	}
	for _, name := range ourNames {
		a, b := value(ours, name), value(host, name)
		if differ.MatchString(name) {
			a, b = digits.ReplaceAllString(a, "0"), digits.ReplaceAllString(b, "0")
			if strings.HasSuffix(a, " kB") && a != b && len(value(ours, name)) != len(value(host, name)) {
				t.Errorf("%s: form %q, on the host %q", name, value(ours, name), value(host, name))
			}
			continue
		}
		if a != b {
			t.Errorf("%s: %q, on the host %q", name, a, b)
		}
	}
}

var digits = regexp.MustCompile(`\d+`)

// TestStatFields checks the place of every value by proc_pid_stat(5).
func TestStatFields(t *testing.T) {
	w := newWorld(t)
	task := w.kernel.tasks[77]
	task.status = Status{
		Name: "a) (b", State: 'T', TID: 77, TGID: 77, PPID: 4, ProcessGroup: 5, Session: 6, TTY: 34816, TTYGroup: 8,
		MinorFaults: 10, ChildMinor: 11, MajorFaults: 12, ChildMajor: 13,
		UserTime: 14 * tick, SystemTime: 15 * tick, ChildUser: 16 * tick, ChildSystem: 17 * tick,
		Nice: -3, Threads: 20, StartTime: 22 * tick,
		Pending: 1<<30 | 1<<31, Blocked: 32, Ignored: 33, Caught: 34,
		ExitSignal: 17, CPU: 1, ExitStatus: 256, WaitChannel: "pipe", Dumpable: true,
	}
	m := newMemory(t)
	mapped(t, m, 4*mm.PageSize, "x")
	m.EditLayout(func(l *mm.Layout) {
		l.Code, l.Data = mm.Range{Start: 26, End: 27}, mm.Range{Start: 45, End: 46}
		l.StackStart, l.BrkStart = 28, 47
		l.Args, l.Env = mm.Range{Start: 48, End: 49}, mm.Range{Start: 50, End: 51}
	})
	task.memory = m
	line := w.mustRead("/proc/77/stat")
	rest, ok := strings.CutPrefix(line, "77 (a) (b) T ")
	if !ok {
		t.Fatalf("begins as %q", line)
	}
	fields := strings.Fields(rest)
	if host := hostFile(t, "self/stat"); len(fields) != len(strings.Fields(host[strings.LastIndexByte(host, ')')+1:]))-1 {
		t.Errorf("%d fields behind the state", len(fields))
	}
	want := map[int]string{
		4: "4", 5: "5", 6: "6", 7: "34816", 8: "8", 10: "10", 11: "11", 12: "12", 13: "13", 14: "14", 15: "15", 16: "16", 17: "17",
		18: "17", 19: "-3", 20: "20", 21: "0", 22: "22", 23: fmt.Sprint(4 * mm.PageSize), 24: "1",
		25: "18446744073709551615", 26: "26", 27: "27", 28: "28",
		31: fmt.Sprint(1 << 30), 32: "32", 33: "33", 34: "34", 35: "1", 38: "17", 39: "1", 40: "0", 41: "0",
		45: "45", 46: "46", 47: "47", 48: "48", 49: "49", 50: "50", 51: "51", 52: "256",
	}
	for i, f := range fields {
		if expected, ok := want[i+4]; ok && f != expected {
			t.Errorf("field %d: %s, want %s", i+4, f, expected)
		}
	}
	// Who may not look into the process learns no addresses.
	w.add(newFakeTask(9, 2000))
	w.kernel.tasks[9].memory = m
	other, err := w.read(w.user, "/proc/9/stat")
	if err != nil {
		t.Fatal(err)
	}
	hidden := strings.Fields(other)
	for field, expected := range map[int]string{23: fmt.Sprint(4 * mm.PageSize), 26: "1", 27: "1", 28: "0", 45: "0", 48: "0", 51: "0", 52: "0"} {
		if hidden[field-1] != expected {
			t.Errorf("to others field %d is %s, want %s", field, hidden[field-1], expected)
		}
	}
}

// TestMapsAsOnHost writes the host's own mappings of this process.
func TestMapsAsOnHost(t *testing.T) {
	form := regexp.MustCompile(`^(\w+)-(\w+) (....) (\w+) (\w+):(\w+) (\d+) *(.*)\n$`)
	for line := range strings.Lines(hostFile(t, "self/maps")) {
		f := form.FindStringSubmatch(line)
		if f == nil {
			t.Fatalf("the host says %q", line)
		}
		v := mm.VMA{
			Range:   mm.Range{Start: mm.Addr(number64(t, f[1], 16)), End: mm.Addr(number64(t, f[2], 16))},
			Private: f[3][3] == 'p', Offset: number64(t, f[4], 16), Major: uint32(number64(t, f[5], 16)),
			Minor: uint32(number64(t, f[6], 16)), Ino: number64(t, f[7], 10), Name: f[8],
		}
		for i, p := range []platform.Prot{platform.Read, platform.Write, platform.Exec} {
			if f[3][i] != '-' {
				v.Prot |= p
			}
		}
		var b bytes.Buffer
		new(fileSystem).writeMapping(nil, &b, &v)
		if b.String() != line {
			t.Errorf("%q, on the host %q", b.String(), line)
		}
	}
}

func TestSmapsAsOnHost(t *testing.T) {
	w := newWorld(t)
	m := newMemory(t)
	mapped(t, m, 3*mm.PageSize, "touched")
	w.kernel.tasks[77].memory = m
	heading := regexp.MustCompile(`(?m)^[0-9a-f]+-[0-9a-f]+ .*\n`)
	newer := regexp.MustCompile(`^(Pss_Dirty|KSM|THPeligible|ProtectionKey)$`)
	for name, fields := range map[string]int{"smaps": 3, "smaps_rollup": 0} {
		ours, host := w.mustRead("/proc/77/"+name), hostFile(t, "self/"+name)
		first := func(s string) []string {
			parts := heading.Split(s, 3)
			return slices.DeleteFunc(fieldNames(parts[1]), newer.MatchString)
		}
		if a, b := first(ours), first(host); !slices.Equal(a, b) {
			t.Errorf("%s: fields\n%v\non the host\n%v", name, a, b)
		}
		if fields > 0 && value(ours, "Size") != "                 12 kB" {
			t.Errorf("size %q", value(ours, "Size"))
		}
		if value(ours, "Rss") != "                   4 kB" {
			t.Errorf("%s: resident %q", name, value(ours, "Rss"))
		}
	}
	if maps := w.mustRead("/proc/77/maps"); strings.Count(maps, "\n") != 2 || !strings.HasSuffix(maps, vsyscall) {
		t.Errorf("maps %q", maps)
	}
}

func TestLimitsAsOnHost(t *testing.T) {
	host := hostFile(t, "self/limits")
	var table limits.Table
	for r := range table {
		var l unix.Rlimit
		if err := unix.Getrlimit(r, &l); err != nil {
			t.Fatal(err)
		}
		table[r] = limits.Limit{Soft: l.Cur, Hard: l.Max}
	}
	w := newWorld(t)
	w.kernel.tasks[77].limits = limits.New(table)
	if got := w.mustRead("/proc/77/limits"); got != host {
		t.Errorf("%s\non the host\n%s", got, host)
	}
}

// TestFormsAsOnHost compares files with every number replaced.
func TestFormsAsOnHost(t *testing.T) {
	w := newWorld(t)
	w.kernel.info = Info{Sysname: "Linux", Release: "6.1", Version: "#1", Load: [3]float64{1, 2.5, 0}, Running: 1, Tasks: 5, LastPID: 7, Uptime: 12_345_678_901, Idle: 5e6}
	for _, name := range []string{"io", "statm", "schedstat", "oom_score", "oom_score_adj", "uid_map", "loginuid", "personality", "timerslack_ns", "coredump_filter", "setgroups"} {
		host, err := os.ReadFile("/proc/self/" + name)
		if err != nil {
			continue
		}
		a := digits.ReplaceAllString(w.mustRead("/proc/77/"+name), "0")
		if b := digits.ReplaceAllString(string(host), "0"); a != b {
			t.Errorf("%s: %q, on the host %q", name, a, b)
		}
	}
	for _, name := range []string{"uptime", "loadavg", "swaps"} {
		a, b := w.mustRead("/proc/"+name), hostFile(t, name)
		if name == "swaps" {
			b, _, _ = strings.Cut(b, "\n")
			b += "\n"
		}
		if digits.ReplaceAllString(a, "0") != digits.ReplaceAllString(b, "0") {
			t.Errorf("%s: %q, on the host %q", name, a, b)
		}
	}
	if got := w.mustRead("/proc/uptime"); got != "12.34 0.00\n" {
		t.Errorf("uptime %q", got)
	}
}

func TestSystemFilesAsOnHost(t *testing.T) {
	w := newWorld(t)
	w.kernel.info = Info{CPUs: 2, MemTotal: 24731700 << 10, FileSystems: []string{"proc", "tmpfs"}, BootTime: 9e9,
		CPUInfo: "processor\t: 0\nflags\t\t: fpu amx_tile avx amx_int8\n\n"}
	host := fieldNames(hostFile(t, "meminfo"))
	at := 0
	for _, name := range fieldNames(w.mustRead("/proc/meminfo")) {
		i := slices.Index(host[at:], name)
		if i < 0 {
			if !slices.Contains([]string{"NFS_Unstable", "Bounce", "WritebackTmp", "AnonHugePages", "Percpu", "KReclaimable"}, name) {
				t.Errorf("meminfo: %s is not on the host, or in another order", name)
			}
			continue
		}
		at += i + 1
	}
	if got := value(w.mustRead("/proc/meminfo"), "MemTotal"); got != "       24731700 kB" {
		t.Errorf("MemTotal %q", got)
	}
	stat := w.mustRead("/proc/stat")
	for line := range strings.Lines(hostFile(t, "stat")) {
		name, values, _ := strings.Cut(line, " ")
		if strings.HasPrefix(name, "cpu") && name > "cpu1" {
			continue
		}
		form := regexp.MustCompile(`(?m)^` + name + ` .*$`).FindString(stat)
		if name != "intr" && len(strings.Fields(form)) != len(strings.Fields(values))+1 {
			t.Errorf("stat: %q, on the host %q", form, line)
		}
	}
	for name, want := range map[string]string{
		"cpuinfo":     "processor\t: 0\nflags\t\t: fpu avx\n\n",
		"filesystems": "nodev\tproc\nnodev\ttmpfs\n",
	} {
		if got := w.mustRead("/proc/" + name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	a, b := w.mustRead("/proc/sys/kernel/random/uuid"), w.mustRead("/proc/sys/kernel/random/uuid")
	if a == b || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n$`).MatchString(a) {
		t.Errorf("uuids %q %q", a, b)
	}
}

// TestSettingsAreOnHost looks for settings that the host does not have.
func TestSettingsAreOnHost(t *testing.T) {
	hostFile(t, "sys/kernel/ostype")
	w := newWorld(t)
	missing := 0
	for _, s := range settings {
		w.mustRead("/proc/sys/" + s.path)
		if _, err := os.Stat("/proc/sys/" + s.path); err != nil {
			missing++
			t.Logf("not on this host: %s", s.path)
		}
	}
	if missing > len(settings)/4 {
		t.Errorf("%d of %d settings are not on the host", missing, len(settings))
	}
}

func TestCPUMasks(t *testing.T) {
	for _, c := range []struct {
		n          int
		may        []uint64
		mask, list string
	}{
		{1, nil, "1", "0"}, {2, nil, "3", "0-1"}, {2, []uint64{2}, "2", "1"}, {2, []uint64{^uint64(0)}, "3", "0-1"}, {8, []uint64{1}, "01", "0"},
		{32, nil, "ffffffff", "0-31"}, {33, nil, "1,ffffffff", "0-32"}, {64, []uint64{0xb}, "00000000,0000000b", "0-1,3"},
		{70, []uint64{1 << 63, 1}, "01,80000000,00000000", "63-64"}, {70, []uint64{1}, "00,00000000,00000001", "0"},
	} {
		var b bytes.Buffer
		writeCPUs(&b, c.n, c.may)
		if want := fmt.Sprintf("Cpus_allowed:\t%s\nCpus_allowed_list:\t%s\n", c.mask, c.list); !strings.HasPrefix(b.String(), want) {
			t.Errorf("%d processors, %x:\n%swant\n%s", c.n, c.may, b.String(), want)
		}
	}
}
