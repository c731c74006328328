package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
)

// stateNames are the states as status spells them.
var stateNames = map[byte]string{
	'R': "running", 'S': "sleeping", 'D': "disk sleep", 'T': "stopped",
	't': "tracing stop", 'X': "dead", 'Z': "zombie", 'I': "idle",
}

// writeStatus writes /proc/PID/status.
func writeStatus(d *taskDir, c vfs.Caller, b *bytes.Buffer) error {
	s := d.task.Status(d.process)
	writeIdentity(d, c.Creds().UserNS, b, &s)
	if m := d.task.Memory(); m != nil {
		writeMemory(b, m)
	}
	fmt.Fprintf(b, "Threads:\t%d\n", s.Threads)
	fmt.Fprintf(b, "SigQ:\t%d/%d\n", s.SignalsQueued, d.task.Limits().Soft(limits.SigPending))
	creds := d.task.Creds()
	for _, line := range []struct {
		name string
		set  uint64
	}{
		{"SigPnd", uint64(s.Pending)}, {"ShdPnd", uint64(s.SharedPending)}, {"SigBlk", uint64(s.Blocked)},
		{"SigIgn", uint64(s.Ignored)}, {"SigCgt", uint64(s.Caught)},
		{"CapInh", uint64(creds.Inheritable)}, {"CapPrm", uint64(creds.Permitted)},
		{"CapEff", uint64(creds.Effective)}, {"CapBnd", uint64(creds.Bounding)},
		{"CapAmb", uint64(creds.Ambient)},
	} {
		fmt.Fprintf(b, "%s:\t%016x\n", line.name, line.set)
	}
	noNew := 0
	if creds.NoNewPrivs {
		noNew = 1
	}
	fmt.Fprintf(b, "NoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%d\n", noNew, s.Seccomp, s.SeccompCount)
	b.WriteString("Speculation_Store_Bypass:\tunknown\nSpeculationIndirectBranch:\tunknown\n")
	writeCPUs(b, d.fs.processes.Info().CPUs, s.Affinity)
	fmt.Fprintf(b, "voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t%d\n", s.Switches, s.Preemptions)
	return nil
}

// writeIDs writes the numbers of one process in several namespaces, the outermost first.
func writeIDs(b *bytes.Buffer, name string, ids []int32) {
	b.WriteString(name + ":")
	for _, id := range ids {
		fmt.Fprintf(b, "\t%d", id)
	}
	b.WriteByte('\n')
}

// writeIdentity writes names and ids, those of users as a reader in ns knows them.
func writeIdentity(d *taskDir, ns *cred.UserNamespace, b *bytes.Buffer, s *Status) {
	c := d.task.Creds()
	fmt.Fprintf(b, "Name:\t%s\nUmask:\t%04o\nState:\t%c (%s)\n",
		escapeName(s.Name), s.Umask, s.State, stateNames[s.State])
	fmt.Fprintf(b, "Tgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n", s.TGID, s.TID, s.PPID, s.TracerPID)
	fmt.Fprintf(b, "Uid:\t%d\t%d\t%d\t%d\n", ns.ShowUID(c.RUID), ns.ShowUID(c.EUID), ns.ShowUID(c.SUID), ns.ShowUID(c.FSUID))
	fmt.Fprintf(b, "Gid:\t%d\t%d\t%d\t%d\n", ns.ShowGID(c.RGID), ns.ShowGID(c.EGID), ns.ShowGID(c.SGID), ns.ShowGID(c.FSGID))
	fmt.Fprintf(b, "FDSize:\t%d\nGroups:\t", s.FDSize)
	for _, g := range c.Groups {
		fmt.Fprintf(b, "%d ", ns.ShowGID(g))
	}
	if len(c.Groups) == 0 {
		b.WriteByte(' ')
	}
	b.WriteByte('\n')
	for _, line := range []struct {
		name string
		ids  []int32
	}{{"NStgid", s.TGIDs}, {"NSpid", s.TIDs}, {"NSpgid", s.ProcessGroups}, {"NSsid", s.Sessions}} {
		writeIDs(b, line.name, line.ids)
	}
	kernel := 0
	if s.KernelThread {
		kernel = 1
	}
	fmt.Fprintf(b, "Kthread:\t%d\n", kernel)
}

// escapeName escapes what would break a line.
func escapeName(name string) string {
	return strings.NewReplacer("\n", `\n`, `\`, `\\`).Replace(name)
}

func writeMemory(b *bytes.Buffer, m *mm.MemoryManager) {
	s := m.Stats()
	code := (m.Layout().Code.Length() + mm.PageSize - 1) &^ (mm.PageSize - 1)
	for _, line := range []struct {
		name  string
		bytes uint64
	}{
		{"VmPeak", s.PeakSize}, {"VmSize", s.Size}, {"VmLck", s.Locked}, {"VmPin", 0},
		{"VmHWM", s.PeakRSS}, {"VmRSS", s.Resident}, {"RssAnon", s.Anonymous}, {"RssFile", s.FileRSS},
		{"RssShmem", 0}, {"VmData", s.Data}, {"VmStk", s.Stack}, {"VmExe", code},
		{"VmLib", s.Exec - min(s.Exec, code)}, {"VmPTE", 0}, {"VmSwap", 0}, {"HugetlbPages", 0},
	} {
		fmt.Fprintf(b, "%s:\t%8d kB\n", line.name, line.bytes/1024)
	}
	b.WriteString("CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n")
}

// writeCPUs tells which of n processors a thread may use.
func writeCPUs(b *bytes.Buffer, n int, affinity []uint64) {
	n = max(n, 1)
	may := func(cpu int) bool {
		return cpu < n && (affinity == nil || cpu/64 < len(affinity) && affinity[cpu/64]&(1<<(cpu%64)) != 0)
	}
	fmt.Fprintf(b, "Cpus_allowed:\t%s\nCpus_allowed_list:\t%s\n", cpuMask(n, may), cpuList(n, may))
	b.WriteString("Mems_allowed:\t1\nMems_allowed_list:\t0\n")
}

// cpuMask is the mask of those of n processors that may be used, in words of 32 bits, the highest first.
func cpuMask(n int, may func(cpu int) bool) string {
	const word = 32
	var words []string
	for first := (n - 1) / word * word; first >= 0; first -= word {
		bits := uint32(0)
		for i := range word {
			if may(first + i) {
				bits |= 1 << i
			}
		}
		words = append(words, fmt.Sprintf("%0*x", (min(n-first, word)+3)/4, bits))
	}
	return strings.Join(words, ",")
}

// cpuList is the list of those of n processors that may be used: numbers and ranges, with commas between.
func cpuList(n int, may func(cpu int) bool) string {
	var list []string
	for first := 0; first < n; first++ {
		if !may(first) {
			continue
		}
		last := first
		for may(last + 1) {
			last++
		}
		if first == last {
			list = append(list, strconv.Itoa(first))
		} else {
			list = append(list, fmt.Sprintf("%d-%d", first, last))
		}
		first = last
	}
	return strings.Join(list, ",")
}
