package proc

import (
	"bytes"
	"fmt"
	"strings"

	"gosentry/fs/vfs"
)

// escape makes a name one word, with octal codes for what separates them.
func escape(s string) string {
	if !strings.ContainsAny(s, " \t\n\\#") {
		return s
	}
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace(s)
}

// mountOptions are the options of one mount.
func mountOptions(f vfs.MountFlags) string {
	options := []string{"rw"}
	if f&vfs.ReadOnly != 0 {
		options[0] = "ro"
	}
	for _, o := range []struct {
		flag vfs.MountFlags
		name string
	}{{vfs.NoSuid, "nosuid"}, {vfs.NoDev, "nodev"}, {vfs.NoExec, "noexec"}, {vfs.NoDirAtime, "nodiratime"}, {vfs.NoSymFollow, "nosymfollow"}} {
		if f&o.flag != 0 {
			options = append(options, o.name)
		}
	}
	switch {
	case f&vfs.NoAtime != 0:
		options = append(options, "noatime")
	case f&vfs.StrictAtime == 0:
		options = append(options, "relatime")
	}
	return strings.Join(options, ",")
}

// mountFile makes a stepper that writes a line for each mount below the task's
// root, with the place of the mount as the task sees it.
func mountFile(write func(b *bytes.Buffer, m *vfs.Mount, at string, root vfs.Path)) stepper {
	return func(d *taskDir, _ vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
		p := d.task.Places()
		if p.Mounts == nil || !p.Root.Ok() {
			return 0, false, nil
		}
		mounts := p.Mounts.Mounts()
		i := min(cursor, uint64(len(mounts)))
		for ; i < uint64(len(mounts)) && b.Len() < stepSize; i++ {
			if at, reachable := vfs.PathName(p.Root, mounts[i].Root()); reachable {
				write(b, mounts[i], at, p.Root)
			}
		}
		return i, i < uint64(len(mounts)), nil
	}
}

func writeMounts(b *bytes.Buffer, m *vfs.Mount, at string, _ vfs.Path) {
	f := m.Flags()
	if m.FSReadOnly() {
		f |= vfs.ReadOnly
	}
	fmt.Fprintf(b, "%s %s %s %s 0 0\n", escape(m.Source()), escape(at), m.FSType(), mountOptions(f))
}

func writeMountinfo(b *bytes.Buffer, m *vfs.Mount, at string, root vfs.Path) {
	parent := m.ID()
	if below, ok := m.Parent(); ok {
		parent = below.Mount.ID()
	}
	major, minor := m.Device()
	fmt.Fprintf(b, "%d %d %d:%d %s %s %s%s - %s %s %s\n", m.ID(), parent, major, minor, escape(m.Within()),
		escape(at), mountOptions(m.Flags()), propagation(m.Propagation(root)), m.FSType(), escape(m.Source()), superOption(m))
}

// propagation is the optional fields of a line, each with a space before it.
func propagation(p vfs.Propagation) string {
	var b strings.Builder
	for _, f := range []struct {
		name string
		id   int
	}{{"shared", p.Shared}, {"master", p.Master}, {"propagate_from", p.From}} {
		if f.id != 0 {
			fmt.Fprintf(&b, " %s:%d", f.name, f.id)
		}
	}
	if p.Unbindable {
		b.WriteString(" unbindable")
	}
	return b.String()
}

// superOption is the option of the file system itself.
func superOption(m *vfs.Mount) string {
	if m.FSReadOnly() {
		return "ro"
	}
	return "rw"
}

func writeMountstats(b *bytes.Buffer, m *vfs.Mount, at string, _ vfs.Path) {
	fmt.Fprintf(b, "device %s mounted on %s with fstype %s\n", escape(m.Source()), escape(at), m.FSType())
}
