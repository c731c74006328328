package oci

import (
	"fmt"
	"slices"
	"strings"

	"gosentry/sentry/control"
	"gosentry/sentry/limits"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CheckProcess refuses what a process cannot have; field is where it stands in the configuration.
func CheckProcess(p *specs.Process, field string) error {
	switch {
	case len(p.Args) == 0 || p.Args[0] == "":
		return refuse(field+".args", "names no program")
	case !strings.HasPrefix(p.Cwd, "/"):
		return refuse(field+".cwd", "%q is not an absolute path", p.Cwd)
	case p.SelinuxLabel != "":
		return refuse(field+".selinuxLabel", "there is no SELinux inside")
	case p.ExecCPUAffinity != nil:
		return refuse(field+".execCPUAffinity", "not supported")
	}
	for i, e := range p.Env {
		if !strings.Contains(e, "=") {
			return refuse(fmt.Sprintf("%s.env[%d]", field, i), "%q is not NAME=VALUE", e)
		}
	}
	if _, err := limitTable(p.Rlimits); err != nil {
		return refuse(field+".rlimits", "%v", err)
	}
	if _, err := schedule(p); err != nil {
		return fmt.Errorf("%s.%w", field, err)
	}
	if adj := p.OOMScoreAdj; adj != nil && (*adj < -1000 || *adj > 1000) {
		return refuse(field+".oomScoreAdj", "%d is not within -1000 and 1000", *adj)
	}
	return nil
}

// defaultUmask is that of a process whose configuration has none.
const defaultUmask = 0o22

// ProcessOf translates a checked process.
func ProcessOf(p *specs.Process) *control.Process {
	table, _ := limitTable(p.Rlimits)
	times, _ := schedule(p)
	out := &control.Process{
		Args: control.BytesOf(p.Args), Env: control.BytesOf(p.Env), Cwd: control.Bytes(p.Cwd),
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids, Umask: defaultUmask,
		Capabilities: capabilities(p.Capabilities), NoNewPrivs: p.NoNewPrivileges, Limits: table, Terminal: p.Terminal, Schedule: times,
	}
	if p.User.Umask != nil {
		out.Umask = *p.User.Umask & 0o777
	}
	if p.OOMScoreAdj != nil {
		out.OOMScoreAdj = int32(*p.OOMScoreAdj)
	} else {
		out.OOMScoreAdj = InheritedOOMScoreAdj()
	}
	return out
}

// rlimitNames are the resources by their numbers.
var rlimitNames = []string{
	"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
	"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
}

// maxProcesses is RLIMIT_NPROC where the configuration has none.
const maxProcesses = 1 << 20

func limitTable(list []specs.POSIXRlimit) (limits.Table, error) {
	table := limits.Defaults(maxProcesses)
	var seen [len(table)]bool
	for _, l := range list {
		name, ok := strings.CutPrefix(l.Type, "RLIMIT_")
		r := slices.Index(rlimitNames, name)
		switch {
		case !ok || r < 0:
			return table, fmt.Errorf("%q is not known", l.Type)
		case seen[r]:
			return table, fmt.Errorf("%q is named twice", l.Type)
		case l.Soft > l.Hard:
			return table, fmt.Errorf("%s: the soft limit %d is above the hard one %d", l.Type, l.Soft, l.Hard)
		}
		seen[r] = true
		table[r] = limits.Limit{Soft: l.Soft, Hard: l.Hard}
	}
	files := &table[limits.NoFile]
	files.Hard = min(files.Hard, limits.MaxNoFile)
	files.Soft = min(files.Soft, files.Hard)
	return table, nil
}

// capabilityNames are the capabilities by their numbers (capabilities(7)).
var capabilityNames = []string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// capabilities are the sets of a configuration. What is not known is left out, as the specification wants it.
func capabilities(c *specs.LinuxCapabilities) *control.Capabilities {
	var out control.Capabilities
	if c == nil {
		return &out
	}
	for _, set := range []struct {
		to    *uint64
		names []string
	}{
		{&out.Bounding, c.Bounding}, {&out.Effective, c.Effective}, {&out.Inheritable, c.Inheritable},
		{&out.Permitted, c.Permitted}, {&out.Ambient, c.Ambient},
	} {
		for _, n := range set.names {
			if bit := capability(n); bit >= 0 {
				*set.to |= 1 << bit
			}
		}
	}
	return &out
}

// capability is a capability's number, -1 for a name that is not known.
func capability(name string) int {
	return slices.Index(capabilityNames, strings.TrimPrefix(name, "CAP_"))
}

// unknownCapabilities are the names that capabilities leaves out.
func unknownCapabilities(c *specs.LinuxCapabilities) (list []string) {
	if c == nil {
		return nil
	}
	for _, n := range slices.Concat(c.Bounding, c.Effective, c.Inheritable, c.Permitted, c.Ambient) {
		if capability(n) < 0 && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}
