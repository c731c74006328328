package oci

import (
	"fmt"
	"path/filepath"
	"strings"

	"gosentry/fs/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Mount is a file system of the container.
type Mount struct {
	Type     string // bind, overlay, or the name of a file system of the kernel inside
	Source   string // of a bind, or what lies under an overlay: an absolute path of the host
	At       string // absolute path inside
	ReadOnly bool
	NoSuid   bool
	NoDev    bool
	NoExec   bool
	Data     string // the file system's own options, separated by commas
	Bind     int    // of a Source: its number among the sandbox's directories
	CopyUp   bool   // of a tmpfs: it begins with what is in the directory that it is mounted on
	// Propagation is what is done to the mount, in this order.
	Propagation []Propagation
}

// Propagation makes a mount pass on what is mounted on it, or not (mount_namespaces(7)). Nothing inside has a peer on the host, so it
// is about mounts of the kernel inside alone.
type Propagation struct {
	Kind      int  // MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE
	Recursive bool // also the mounts on it
}

// propagations are the names of the configuration.
var propagations = map[string]Propagation{
	"shared": {Kind: unix.MS_SHARED}, "rshared": {unix.MS_SHARED, true},
	"slave": {Kind: unix.MS_SLAVE}, "rslave": {unix.MS_SLAVE, true},
	"private": {Kind: unix.MS_PRIVATE}, "rprivate": {unix.MS_PRIVATE, true},
	"unbindable": {Kind: unix.MS_UNBINDABLE}, "runbindable": {unix.MS_UNBINDABLE, true},
}

// rootPropagation is what is done to the root; Kind 0: nothing. That it be private is, as in runc 1.2, about what lies above it on a host:
// what mounts say of themselves stays.
func rootPropagation(name string) Propagation {
	if p := propagations[name]; p.Kind != unix.MS_PRIVATE {
		return p
	}
	return Propagation{}
}

// switches are mount options that turn something on or off.
var switches = map[string]func(*Mount){
	"ro":     func(m *Mount) { m.ReadOnly = true },
	"rw":     func(m *Mount) { m.ReadOnly = false },
	"nosuid": func(m *Mount) { m.NoSuid = true },
	"suid":   func(m *Mount) { m.NoSuid = false },
	"nodev":  func(m *Mount) { m.NoDev = true },
	"dev":    func(m *Mount) { m.NoDev = false },
	"noexec": func(m *Mount) { m.NoExec = true },
	"exec":   func(m *Mount) { m.NoExec = false },
	"rro":    func(m *Mount) { m.ReadOnly = true },
	"bind":   func(m *Mount) { m.Type = "bind" },
	"rbind":  func(m *Mount) { m.Type = "bind" },

	"tmpcopyup": func(m *Mount) { m.CopyUp = true },
}

// harmless are options that change nothing that can be seen inside: times of access are not kept in
// the overlay.
const harmless = " defaults async sync dirsync atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime lazytime " +
	"nolazytime remount mand nomand loud silent iversion noiversion symfollow copy nocopy z Z U "

// mountOf reads a mount of the configuration.
func mountOf(m specs.Mount, bundle, field string) (Mount, error) {
	out := Mount{Type: m.Type, Source: m.Source, At: filepath.Clean("/" + m.Destination)}
	if !filepath.IsAbs(m.Destination) {
		return out, refuse(field+".destination", "%q is not an absolute path", m.Destination)
	}
	if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
		return out, refuse(field+".uidMappings", "a mount cannot have ids of its own")
	}
	var data []string
	for _, o := range m.Options {
		switch set, kind := switches[o], propagations[o]; {
		case set != nil:
			set(&out)
		case kind.Kind != 0:
			out.Propagation = append(out.Propagation, kind)
		case strings.Contains(harmless, " "+o+" "):
		case strings.HasPrefix(o, "context=") || o == "idmap" || o == "ridmap":
			return out, refuse(field+".options", "%q is not supported", o)
		default:
			data = append(data, o)
		}
	}
	switch out.Type {
	case "bind":
	case "overlay":
		return out, out.overlay(data, field)
	default:
		out.Data = strings.Join(data, ",")
		return out, checkType(&out, field)
	}
	// A bind mount has no file system of its own to read data: mount(2) ignores it.
	if !filepath.IsAbs(out.Source) {
		out.Source = filepath.Join(bundle, out.Source)
	}
	return out, nil
}

// ownKernel makes of a bind of what shows the host's kernel a mount of the file system of the same kind of the kernel inside. A part of one is refused,
// and so are those that it does not have. What a tree of files has of them below is hidden by fs/host.
func (m *Mount) ownKernel(field string) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if unix.Stat(m.Source, &st) != nil || unix.Statfs(m.Source, &fs) != nil {
		return nil // whoever opens it says why
	}
	const rootIno = 1 // of a whole proc or sysfs
	switch kind := host.KernelType(&fs); {
	case kind == "cgroup", kind == "cgroup2", kind == "mqueue", (kind == "proc" || kind == "sysfs") && st.Ino == rootIno:
		m.Type, m.Source = kind, kind
	case kind != "":
		return refuse(field+".source", "%s: its file system, %s, shows the host's kernel, which no container sees", m.Source, kind)
	case host.Device(&st) != host.Devices():
	case m.At == "/dev" && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		m.Type, m.Source = "devtmpfs", "devtmpfs"
	default:
		return refuse(field+".source", "%s: it is among the devices of the host, which no container sees", m.Source)
	}
	return nil
}

func checkType(m *Mount, field string) error {
	switch m.Type {
	case "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs":
		return nil
	case "":
		return refuse(field+".type", "missing")
	}
	return refuse(field+".type", "%q is not a file system of the kernel inside", m.Type)
}

// mounts reads all mounts of the configuration.
func (b *Bundle) mounts() ([]Mount, error) {
	var list []Mount
	groups := "\x00" // where control groups are
	for i, m := range b.Config.Mounts {
		field := fmt.Sprintf("mounts[%d]", i)
		out, err := mountOf(m, b.Dir, field)
		if err != nil {
			return nil, err
		}
		// What engines show of the host's other hierarchies has no place in the one that there is inside.
		if out.Type == "bind" && strings.HasPrefix(out.At, groups+"/") {
			continue
		}
		if out.Type == "bind" {
			if err := out.ownKernel(field); err != nil {
				return nil, err
			}
		}
		if out.Type == "cgroup" || out.Type == "cgroup2" {
			groups = out.At
		}
		list = append(list, out)
	}
	return list, nil
}
