package loader

import (
	"os"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
)

// BenchmarkLoad loads the host's /bin/true with its interpreter, if it is there.
func BenchmarkLoad(b *testing.B) {
	e := newEnv(b)
	for _, name := range []string{"/bin/true", "/lib64/ld-linux-x86-64.so.2"} {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Skip(err)
		}
		e.files[name] = data
	}
	f := e.file(e.files["/bin/true"], 0o100755)
	interp := e.file(e.files["/lib64/ld-linux-x86-64.so.2"], 0o100755)
	a := e.args("/bin/true", []string{"true"}, os.Environ())
	a.Exec = f
	a.OpenExec = func(string) (*vfs.File, error) {
		interp.IncRef()
		return interp, nil
	}
	for b.Loop() {
		m, err := mm.New(fakePlatform{}, e.mem)
		if err != nil {
			b.Fatal(err)
		}
		a.MM = m
		img, err := Load(a)
		if err != nil {
			b.Fatal(err)
		}
		m.DecUsers()
		img.Exec.DecRef()
	}
}
