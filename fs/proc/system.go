package proc

import (
	"bytes"
	"fmt"
	"strings"
)

// systemFiles are the files of the root directory that tell of the system as a
// whole.
var systemFiles = []struct {
	name     string
	generate func(b *bytes.Buffer, i *Info)
}{
	{"cmdline", func(b *bytes.Buffer, _ *Info) { b.WriteString("quiet\n") }},
	{"config.gz", writeOptions},
	{"cpuinfo", writeCPUInfo},
	{"devices", func(b *bytes.Buffer, _ *Info) { b.WriteString(devices) }},
	{"filesystems", writeFileSystems},
	{"loadavg", writeLoad},
	{"meminfo", writeMemInfo},
	{"stat", writeSystemStat},
	{"swaps", func(b *bytes.Buffer, _ *Info) { b.WriteString("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n") }},
	{"uptime", writeUptime},
	{"version", writeVersion},
	{"vmstat", writeVMStat},
}

const devices = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n"

// writeCPUInfo writes the given text without the flags of features that guests
// cannot use.
func writeCPUInfo(b *bytes.Buffer, i *Info) {
	if i.CPUInfo == "" {
		for n := range max(i.CPUs, 1) {
			fmt.Fprintf(b, "processor\t: %d\nphysical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\n\n",
				n, i.CPUs, n, i.CPUs)
		}
		return
	}
	for line := range strings.Lines(i.CPUInfo) {
		if name, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			words := strings.Fields(flags)
			b.WriteString(name + ":")
			for _, w := range words {
				if !strings.HasPrefix(w, "amx_") {
					b.WriteString(" " + w)
				}
			}
			b.WriteByte('\n')
			continue
		}
		b.WriteString(line)
	}
}

func writeFileSystems(b *bytes.Buffer, i *Info) {
	for _, t := range i.FileSystems {
		fmt.Fprintf(b, "nodev\t%s\n", t)
	}
}

func writeLoad(b *bytes.Buffer, i *Info) {
	fmt.Fprintf(b, "%.2f %.2f %.2f %d/%d %d\n", i.Load[0], i.Load[1], i.Load[2], i.Running, i.Tasks, i.LastPID)
}

func writeUptime(b *bytes.Buffer, i *Info) {
	const centi = 1e7
	fmt.Fprintf(b, "%d.%02d %d.%02d\n", i.Uptime/1e9, i.Uptime%1e9/centi, i.Idle/1e9, i.Idle%1e9/centi)
}

func writeVersion(b *bytes.Buffer, i *Info) {
	fmt.Fprintf(b, "%s version %s (gosentry) (go) %s\n", i.Sysname, i.Release, i.Version)
}

// writeMemInfo writes sizes in KiB. What has no counterpart is 0.
func writeMemInfo(b *bytes.Buffer, i *Info) {
	files := i.Cached - min(i.Cached, i.Shmem)
	for _, line := range []struct {
		name  string
		bytes uint64
	}{
		{"MemTotal", i.MemTotal}, {"MemFree", i.MemFree}, {"MemAvailable", i.MemAvailable},
		{"Buffers", 0}, {"Cached", i.Cached}, {"SwapCached", 0},
		{"Active", i.Anonymous + i.Shmem}, {"Inactive", files},
		{"Active(anon)", i.Anonymous + i.Shmem}, {"Inactive(anon)", 0},
		{"Active(file)", 0}, {"Inactive(file)", files},
		{"Unevictable", 0}, {"Mlocked", 0}, {"SwapTotal", 0}, {"SwapFree", 0},
		{"Dirty", 0}, {"Writeback", 0}, {"AnonPages", i.Anonymous}, {"Mapped", i.Mapped}, {"Shmem", i.Shmem},
		{"KReclaimable", 0}, {"Slab", 0}, {"SReclaimable", 0}, {"SUnreclaim", 0},
		{"KernelStack", 0}, {"PageTables", 0}, {"NFS_Unstable", 0}, {"Bounce", 0}, {"WritebackTmp", 0},
		{"CommitLimit", i.MemTotal}, {"Committed_AS", i.Committed},
		{"VmallocTotal", 0}, {"VmallocUsed", 0}, {"VmallocChunk", 0}, {"Percpu", 0}, {"AnonHugePages", 0},
	} {
		fmt.Fprintf(b, "%-16s%8d kB\n", line.name+":", line.bytes/1024)
	}
	for _, name := range []string{"HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"} {
		fmt.Fprintf(b, "%-16s%8d\n", name+":", 0)
	}
	fmt.Fprintf(b, "%-16s%8d kB\n", "Hugepagesize:", 2048)
}

func writeSystemStat(b *bytes.Buffer, i *Info) {
	cpus := int64(max(i.CPUs, 1))
	line := func(name string, share int64) {
		fmt.Fprintf(b, "%s %d 0 %d %d 0 0 0 0 0 0\n", name,
			i.UserTime/tick/share, i.SysTime/tick/share, i.Idle/tick/share)
	}
	line("cpu ", 1)
	for n := range cpus {
		line(fmt.Sprintf("cpu%d", n), cpus)
	}
	fmt.Fprintf(b, "intr 0\nctxt %d\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked %d\n",
		i.ContextSwitches, i.BootTime/1e9, i.Forks, max(i.Running, 1), i.Blocked)
	b.WriteString("softirq 0 0 0 0 0 0 0 0 0 0 0\n")
}

func writeVMStat(b *bytes.Buffer, i *Info) {
	const page = 4096
	fmt.Fprintf(b, "nr_free_pages %d\nnr_anon_pages %d\nnr_mapped %d\nnr_file_pages %d\nnr_shmem %d\n",
		i.MemFree/page, i.Anonymous/page, i.Mapped/page, i.Cached/page, i.Shmem/page)
	b.WriteString("pgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\noom_kill 0\n")
}
