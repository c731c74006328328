package oci

import (
	"fmt"
	"path/filepath"

	"gosentry/fs/dev"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Device is a node to make.
type Device struct {
	Path         string // absolute, inside
	Mode         uint32 // with the type
	Major, Minor uint32
	UID, GID     uint32 // as seen inside
}

// deviceKinds are the types of a configuration.
var deviceKinds = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

// devices reads linux.devices. One of the host's is refused, unless the container may use all that there are, as a privileged one: it
// gets nodes for them then, with nothing behind.
func devices(l *specs.Linux) ([]Device, error) {
	var list []Device
	all := allDevices(l.Resources)
	for i, d := range l.Devices {
		field := fmt.Sprintf("linux.devices[%d]", i)
		kind := deviceKinds[d.Type]
		exists := kind == unix.S_IFIFO || dev.Exists(kind, uint32(d.Major), uint32(d.Minor))
		switch {
		case !filepath.IsAbs(d.Path):
			return nil, refuse(field+".path", "%q is not an absolute path", d.Path)
		case kind == 0:
			return nil, refuse(field+".type", "%q is not known", d.Type)
		case d.Major < 0 || d.Minor < 0 || d.Major >= 1<<12 || d.Minor >= 1<<20:
			return nil, refuse(field, "%d:%d are no numbers of a device", d.Major, d.Minor)
		case !exists && !all:
			return nil, refuse(field+".path", "%s: devices of the host do not exist inside", d.Path)
		}
		n := Device{Path: filepath.Clean(d.Path), Mode: kind | 0o666, Major: uint32(d.Major), Minor: uint32(d.Minor)}
		if d.FileMode != nil {
			n.Mode = kind | uint32(*d.FileMode)&0o7777
		}
		for from, to := range map[*uint32]*uint32{d.UID: &n.UID, d.GID: &n.GID} {
			if from != nil {
				*to = *from
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// allDevices tells whether every device is allowed by one rule that names none.
func allDevices(r *specs.LinuxResources) bool {
	if r == nil {
		return false
	}
	for _, d := range r.Devices {
		whole := (d.Type == "" || d.Type == "a") && (d.Major == nil || *d.Major < 0) && (d.Minor == nil || *d.Minor < 0)
		if d.Allow && whole {
			return true
		}
	}
	return false
}
