package sandbox

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// idMaps are the maps of the new user namespace.
type idMaps struct {
	uid, gid  []syscall.SysProcIDMap
	setgroups bool
}

// ownIDs maps the caller alone, which every caller may.
func ownIDs() idMaps {
	uid, gid := os.Getuid(), os.Getgid()
	return idMaps{
		uid: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		gid: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
	}
}

// allIDs maps every id of the caller's own user namespace as itself; false when
// the caller may not.
func allIDs() (idMaps, bool) {
	if !hasCapabilities(unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETFCAP) {
		return idMaps{}, false
	}
	uid, err := identity("/proc/self/uid_map")
	if err != nil {
		return idMaps{}, false
	}
	gid, err := identity("/proc/self/gid_map")
	if err != nil {
		return idMaps{}, false
	}
	return idMaps{uid: uid, gid: gid, setgroups: true}, true
}

// identity reads an id map (inside, outside, count a line) and maps what is
// inside as itself.
func identity(file string) ([]syscall.SysProcIDMap, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var maps []syscall.SysProcIDMap
	for line := range strings.Lines(string(text)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil {
			return nil, err
		}
		maps = append(maps, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: count})
	}
	return maps, nil
}

// hasCapabilities tells whether the process has all of them in effect.
func hasCapabilities(caps ...int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	for _, c := range caps {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}
