package proc

import (
	"bytes"

	"gosentry/fs/vfs"
)

// netTables are the tables of sockets and their headings.
var netTables = []struct{ name, heading string }{
	{"unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"},
}

// netDir makes /proc/PID/net.
func netDir(d *taskDir) vfs.Inode {
	dir := d.fs.NewDir(0o555)
	for _, table := range netTables {
		dir.Add(table.name, d.file(0o444, inSteps(func(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
			b.WriteString(table.heading)
			b.Write(d.task.Sockets(table.name))
			return nil
		}), nil))
	}
	return dir
}
