package sandbox

import (
	"os"
	"path"
	"strings"
)

// kernelTypes are the file systems that show the host's kernel rather than files.
const kernelTypes = " proc sysfs devtmpfs devpts mqueue cgroup cgroup2 debugfs tracefs securityfs configfs " +
	"fusectl bpf pstore efivarfs binfmt_misc hugetlbfs rpc_pipefs autofs nsfs selinuxfs smackfs resctrl "

// kernelMounts lists, relative to dir, the places below it where the host has
// mounted its kernel's file systems. A guest that shares the rest of dir must not see them, not even
// under what its own kernel mounts there.
func kernelMounts(dir string) []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return hideFor(dir, []string{"/proc", "/sys", "/dev"})
	}
	return hideFor(dir, append(parseMounts(string(text)), "/dev"))
}

// parseMounts returns the mount points of the kernel's file systems from mountinfo's text; see proc_pid_mountinfo(5).
func parseMounts(text string) []string {
	var points []string
	// Blanks and backslashes are in octal there.
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(text) {
		mount, source, ok := strings.Cut(line, " - ")
		fields, types := strings.Fields(mount), strings.Fields(source)
		if ok && len(fields) > 4 && len(types) > 0 && strings.Contains(kernelTypes, " "+types[0]+" ") {
			points = append(points, plain.Replace(fields[4]))
		}
	}
	return points
}

// hideFor makes absolute paths relative to dir and leaves out those elsewhere.
func hideFor(dir string, points []string) []string {
	base := strings.TrimSuffix(path.Clean(dir), "/") + "/"
	var list []string
	for _, p := range points {
		if below, ok := strings.CutPrefix(p, base); ok && below != "" {
			list = append(list, below)
		}
	}
	return list
}
