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
	}{{vfs.NoSuid, "nosuid"}, {vfs.NoDev, "nodev"}, {vfs.NoExec, "noexec"}, {vfs.NoSymFollow, "nosymfollow"}} {
		if f&o.flag != 0 {
			options = append(options, o.name)
		}
	}
	if f&vfs.NoAtime != 0 {
		return strings.Join(append(options, "noatime"), ",")
	}
	return strings.Join(append(options, "relatime"), ",")
}

// mountFile makes a stepper that writes a line for each mount below the task's
// root, with the place of the mount as the task sees it.
func mountFile(write func(b *bytes.Buffer, m *vfs.Mount, at string)) stepper {
	return func(d *taskDir, _ vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
		p := d.task.Places()
		if p.Mounts == nil || !p.Root.Ok() {
			return 0, false, nil
		}
		mounts := p.Mounts.Mounts()
		i := min(cursor, uint64(len(mounts)))
		for ; i < uint64(len(mounts)) && b.Len() < stepSize; i++ {
			if at, reachable := vfs.PathName(p.Root, mounts[i].Root()); reachable {
				write(b, mounts[i], at)
			}
		}
		return i, i < uint64(len(mounts)), nil
	}
}

func writeMounts(b *bytes.Buffer, m *vfs.Mount, at string) {
	fmt.Fprintf(b, "%s %s %s %s 0 0\n", escape(m.Source()), escape(at), m.FSType(), mountOptions(m.Flags()))
}

func writeMountinfo(b *bytes.Buffer, m *vfs.Mount, at string) {
	parent := m.ID()
	if below, ok := m.Parent(); ok {
		parent = below.Mount.ID()
	}
	major, minor := m.Device()
	within := "/" + m.Root().Name()
	fmt.Fprintf(b, "%d %d %d:%d %s %s %s - %s %s %s\n", m.ID(), parent, major, minor, escape(within),
		escape(at), mountOptions(m.Flags()), m.FSType(), escape(m.Source()), superOption(m.Flags()))
}

// superOption is the option of the file system itself.
func superOption(f vfs.MountFlags) string {
	if f&vfs.ReadOnly != 0 {
		return "ro"
	}
	return "rw"
}

func writeMountstats(b *bytes.Buffer, m *vfs.Mount, at string) {
	fmt.Fprintf(b, "device %s mounted on %s with fstype %s\n", escape(m.Source()), escape(at), m.FSType())
}
