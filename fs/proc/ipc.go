package proc

import (
	"bytes"
	"strings"

	"gosentry/fs/vfs"
)

// ipcKnobs makes the files of /proc/sys/kernel that each IPC namespace has its own of.
func (f *fileSystem) ipcKnobs(t *tree) {
	for _, name := range []string{"sem", "shmmax", "shmall", "shmmni", "shm_rmid_forced", "msgmax", "msgmnb", "msgmni"} {
		t.add("kernel/"+name, f.NewKnob(0o644, func(c vfs.Caller, b *bytes.Buffer) error {
			text, err := f.processes.IPCKnob(c, name)
			b.WriteString(text + "\n")
			return err
		}, func(c vfs.Caller, data []byte) error {
			line, _, _ := strings.Cut(string(data), "\n")
			return f.processes.SetIPCKnob(c, name, line)
		}))
	}
}

// sysvipc makes /proc/sysvipc.
func (f *fileSystem) sysvipc() vfs.Inode {
	d := f.NewDir(0o555)
	for _, name := range []string{"msg", "sem", "shm"} {
		d.Add(name, f.NewFile(0o444, func(c vfs.Caller, b *bytes.Buffer) error {
			f.processes.IPCTable(c, name, b)
			return nil
		}))
	}
	return d
}
