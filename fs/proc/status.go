package proc

import (
	"bytes"
	"fmt"
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
	writeCPUs(b, d.fs.processes.Info().CPUs)
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

func writeCPUs(b *bytes.Buffer, n int) {
	n = max(n, 1)
	fmt.Fprintf(b, "Cpus_allowed:\t%s\nCpus_allowed_list:\t%s\n", cpuMask(n), cpuList(n))
	b.WriteString("Mems_allowed:\t1\nMems_allowed_list:\t0\n")
}

// cpuMask is the mask of n processors in words of 32 bits, the highest first.
func cpuMask(n int) string {
	words := make([]string, 0, (n+31)/32)
	if rest := n % 32; rest != 0 {
		words = append(words, fmt.Sprintf("%x", uint32(1)<<rest-1))
	}
	for range n / 32 {
		words = append(words, "ffffffff")
	}
	return strings.Join(words, ",")
}

func cpuList(n int) string {
	if n == 1 {
		return "0"
	}
	return fmt.Sprintf("0-%d", n-1)
}
