package oci

import (
	"fmt"
	"os"
	"path"
	"strings"
)

// A control group can be named as systemd names its units (slice:prefix:name). The unit then lies below its slices, each
// of which has the names of those above it: a.slice, a.slice/a-b.slice.

// systemdRuns is there on hosts whose control groups are systemd's to make.
const systemdRuns = "/run/systemd/system"

// ofSystemd tells whether a control group's path is of systemd's kind.
func ofSystemd(name string) bool {
	return strings.Count(name, ":") == 2 && !strings.HasPrefix(name, "/")
}

// systemdPath is where systemd would make the group.
func systemdPath(name string) (string, error) {
	f := strings.Split(name, ":")
	slice, unit := f[0], f[2]
	if slice == "" {
		slice = "system.slice"
	}
	dir, ok := expandSlice(slice)
	if !ok || unit == "" || strings.Contains(f[1]+unit, "/") {
		return "", fmt.Errorf("%q is not SLICE:PREFIX:NAME", name)
	}
	if strings.HasSuffix(unit, ".slice") {
		return path.Join(dir, unit), nil
	}
	if f[1] != "" {
		unit = f[1] + "-" + unit
	}
	return path.Join(dir, unit+".scope"), nil
}

// expandSlice is the path of a slice, with those above it.
func expandSlice(slice string) (string, bool) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if name == "-" {
		return "/", ok
	}
	dir := "/"
	for i := range name {
		if name[i] == '-' {
			dir = path.Join(dir, name[:i]+".slice")
		}
	}
	bad := name == "" || strings.Contains(name, "/") || strings.Contains("-"+name+"-", "--")
	return path.Join(dir, slice), ok && !bad
}

// systemdIsThere tells whether systemd runs on the host.
func systemdIsThere() bool {
	_, err := os.Stat(systemdRuns)
	return err == nil
}
