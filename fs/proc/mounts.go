package proc

import (
	"bytes"
	"fmt"
	"strings"

	"gosentry/fs/vfs"
)

// escaper makes a name one word, with octal codes for what separates them.
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

// eachMount calls f for the mounts below the task's root, with the place of each
// as the task sees it.
func eachMount(d *taskDir, f func(m *vfs.Mount, at string)) {
	p := d.task.Places()
	if p.Mounts == nil || !p.Root.Ok() {
		return
	}
	for _, m := range p.Mounts.Mounts() {
		if at, reachable := vfs.PathName(p.Root, m.Root()); reachable {
			f(m, at)
		}
	}
}

func writeMounts(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	eachMount(d, func(m *vfs.Mount, at string) {
		fmt.Fprintf(b, "%s %s %s %s 0 0\n", escape(m.Source()), escape(at), m.FSType(), mountOptions(m.Flags()))
	})
	return nil
}

func writeMountinfo(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	eachMount(d, func(m *vfs.Mount, at string) {
		parent := m.ID()
		if below, ok := m.Parent(); ok {
			parent = below.Mount.ID()
		}
		major, minor := m.Device()
		within := "/" + m.Root().Name()
		fmt.Fprintf(b, "%d %d %d:%d %s %s %s - %s %s %s\n", m.ID(), parent, major, minor, escape(within),
			escape(at), mountOptions(m.Flags()), m.FSType(), escape(m.Source()), superOption(m.Flags()))
	})
	return nil
}

// superOption is the option of the file system itself.
func superOption(f vfs.MountFlags) string {
	if f&vfs.ReadOnly != 0 {
		return "ro"
	}
	return "rw"
}

func writeMountstats(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	eachMount(d, func(m *vfs.Mount, at string) {
		fmt.Fprintf(b, "device %s mounted on %s with fstype %s\n", escape(m.Source()), escape(at), m.FSType())
	})
	return nil
}
