package oci

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writeWhole makes or replaces a file at once. A new file has no name before it is whole, so a process that is killed
// leaves nothing of it. Only a rename replaces a file, and for that it has the name of spare for a moment, longer where the file system has no
// files without a name; what is left there goes with the next write.
func writeWhole(name string, text []byte) error {
	for tries := writeTries; ; tries-- {
		err := tryWhole(name, text)
		if err != unix.ENOENT && err != unix.EEXIST || tries == 0 {
			return err
		}
	}
}

// writeTries is how often others who write the same file may get in the way.
const writeTries = 100

// tryWhole is writeWhole, but for ENOENT and EEXIST, which mean that another process has done something to the spare name.
func tryWhole(name string, text []byte) error {
	f, err := os.OpenFile(filepath.Dir(name), unix.O_TMPFILE|os.O_WRONLY, 0o600)
	if err != nil {
		return writeSpare(name, text)
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	switch err := link(f, name); err {
	case nil:
		return nil
	case unix.EEXIST:
		return replace(f, name)
	default:
		return writeSpare(name, text)
	}
}

// spare is the name of a file on its way to name.
func spare(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"-new")
}

// link gives a file without a name one. EEXIST.
func link(f *os.File, name string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

// replace puts a file without a name in the place of another.
func replace(f *os.File, name string) error {
	os.Remove(spare(name)) //nolint:errcheck // it is not there, as a rule
	if err := link(f, spare(name)); err != nil {
		return err
	}
	err := unix.Rename(spare(name), name)
	if err != nil {
		os.Remove(spare(name)) //nolint:errcheck // another process may have taken it
	}
	return err
}

// writeSpare writes the file under its other name first.
func writeSpare(name string, text []byte) error {
	os.Remove(spare(name)) //nolint:errcheck // it is not there, as a rule
	f, err := os.OpenFile(spare(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(spare(name), name)
	}
	if err != nil {
		os.Remove(spare(name)) //nolint:errcheck // the file's own error is told
	}
	return err
}
