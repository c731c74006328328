package proc

import (
	"bytes"
	"strings"

	"gosentry/fs/vfs"
)

// ipcFiles are the files of /proc/sys that each IPC namespace has its own of, by directory.
var ipcFiles = map[string][]string{
	"kernel": {"sem", "shmmax", "shmall", "shmmni", "shm_rmid_forced", "msgmax", "msgmnb", "msgmni",
		"sem_next_id", "shm_next_id", "msg_next_id"},
	"fs/mqueue": {"queues_max", "msg_max", "msg_default", "msgsize_max", "msgsize_default"},
}

func (f *fileSystem) ipcKnobs(t *tree) {
	for dir, names := range ipcFiles {
		for _, name := range names {
			t.add(dir+"/"+name, f.ipcKnob(dir, name))
		}
	}
}

func (f *fileSystem) ipcKnob(dir, name string) vfs.Inode {
	return f.NewKnob(0o644, func(c vfs.Caller, b *bytes.Buffer) error {
		text, err := f.processes.IPCKnob(c, dir, name)
		b.WriteString(text + "\n")
		return err
	}, func(c vfs.Caller, data []byte) error {
		line, _, _ := strings.Cut(string(data), "\n")
		return f.processes.SetIPCKnob(c, dir, name, line)
	})
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
