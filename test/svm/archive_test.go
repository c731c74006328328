package svm

import (
	"bytes"
	"fmt"
	"os"
	"slices"
)

// File modes in an archive.
const (
	modeDirectory = 0o040755
	modeProgram   = 0o100755
	modeConsole   = 0o020600
)

// archive makes an initramfs of host files, given by their names inside: cpio's newc format.
func archive(files map[string]string) []byte {
	a := &writer{}
	for _, d := range []string{"bin", "lib", "dev", "test", "test/guest", "test/fork", "test/hostile", "test/programs"} {
		a.add(d, modeDirectory, nil, 0, 0)
	}
	a.add("dev/console", modeConsole, nil, 5, 1)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		data, err := os.ReadFile(files[name])
		if err != nil {
			panic(err)
		}
		a.add(name, modeProgram, data, 0, 0)
	}
	a.add("TRAILER!!!", 0, nil, 0, 0)
	return a.Bytes()
}

type writer struct {
	bytes.Buffer
	inode int
}

// add appends an entry; major and minor are a device's.
func (w *writer) add(name string, mode int, data []byte, major, minor int) {
	w.inode++
	w.WriteString("070701")
	for _, v := range []int{w.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0} {
		fmt.Fprintf(w, "%08X", v)
	}
	w.WriteString(name + "\x00")
	w.pad()
	w.Write(data)
	w.pad()
}

// pad fills up to a multiple of four bytes.
func (w *writer) pad() { w.Write(make([]byte, -w.Len()&3)) }
