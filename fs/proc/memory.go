package proc

import (
	"bytes"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Files that show a process's memory are of the address space that it had when they were opened, as those who may look into
// the process could do then: after an exec they show nothing, not the new program's, which may be others' secret. An open file
// has no share in the address space; it is a user only while it reads.

// openMemory is what such a file does first: ESRCH, also when there is no memory, EACCES. attach is for who may also change it.
func (d *taskDir) openMemory(c vfs.Caller, attach bool) (*mm.MemoryManager, error) {
	m, err := d.openMappings(c, attach)
	if m == nil && err == nil {
		return nil, unix.ESRCH
	}
	return m, err
}

// openMappings is openMemory for files that can be opened when there is no memory: nil.
func (d *taskDir) openMappings(c vfs.Caller, attach bool) (*mm.MemoryManager, error) {
	if !d.task.Exists() {
		return nil, unix.ESRCH
	}
	return d.task.OpenMemory(c, attach)
}

// memStepper is a stepper for a file that shows m.
type memStepper func(d *taskDir, m *mm.MemoryManager, c vfs.Caller, cursor uint64, b *bytes.Buffer) (next uint64, more bool, err error)

// steps makes steps of m, nil for none; gone is the error once there is no memory.
func (step memStepper) steps(d *taskDir, m *mm.MemoryManager, gone error) steps {
	return func(c vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
		if m == nil || !m.IncUsers() {
			return 0, false, gone
		}
		defer m.DecUsers()
		return step(d, m, c, cursor, b)
	}
}

// ofMappings returns a table's make for a file that lists mappings. Without memory it is empty.
func ofMappings(step memStepper) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode {
		f := d.file(0o444, nil, nil)
		f.open = func(c vfs.Caller) (steps, error) {
			m, err := d.openMappings(c, false)
			return d.mappingSteps(m, step), err
		}
		return f
	}
}

func (d *taskDir) mappingSteps(m *mm.MemoryManager, step memStepper) steps {
	return d.whileItExists(func(_ *taskDir, c vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
		return step.steps(d, m, nil)(c, cursor, b)
	})
}

// ofMemory returns a table's make for a file that is made of memory; gone is what a read says once there is none.
func ofMemory(mode uint32, step memStepper, gone error) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode {
		f := d.file(mode, nil, nil)
		f.open = func(c vfs.Caller) (steps, error) {
			m, err := d.openMemory(c, false)
			return step.steps(d, m, gone), err
		}
		return f
	}
}

// auxvFile is /proc/PID/auxv: the vector of the program that ran at open, also after that has ended.
func auxvFile(d *taskDir) vfs.Inode {
	f := d.file(0o400, nil, nil)
	f.open = func(c vfs.Caller) (steps, error) {
		if !d.task.Exists() {
			return nil, unix.ESRCH
		}
		auxv, err := d.task.OpenAuxv(c)
		if auxv == nil && err == nil {
			err = unix.ESRCH
		}
		return whole(func(_ vfs.Caller, b *bytes.Buffer) error {
			b.Write(auxv)
			return nil
		}), err
	}
	return f
}
