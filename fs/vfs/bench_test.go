package vfs_test

import (
	"testing"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

func benchTree(b *testing.B) *tree {
	return newTree(b).make("usr/", "usr/lib/", "usr/lib/x86_64/", "usr/lib/x86_64/libc.so", "lib->usr/lib", "f")
}

func walkBench(b *testing.B, c vfs.Caller, name string) {
	tr := benchTree(b)
	a := tr.args()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vfs.Walk(c, a, name); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWalkOne(b *testing.B)     { walkBench(b, root, "f") }
func BenchmarkWalkDeep(b *testing.B)    { walkBench(b, root, "/usr/lib/x86_64/libc.so") }
func BenchmarkWalkUser(b *testing.B)    { walkBench(b, as(1000, 1000), "/usr/lib/x86_64/libc.so") }
func BenchmarkWalkSymlink(b *testing.B) { walkBench(b, root, "/lib/x86_64/libc.so") }

func BenchmarkWalkParallel(b *testing.B) {
	tr := benchTree(b)
	b.RunParallel(func(pb *testing.PB) {
		a := tr.args()
		for pb.Next() {
			if _, err := vfs.Walk(root, a, "/usr/lib/x86_64/libc.so"); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkWalkAbsent(b *testing.B) {
	tr := benchTree(b)
	a := tr.args()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vfs.Walk(root, a, "/usr/lib/none"); err != unix.ENOENT {
			b.Fatal(err)
		}
	}
}

func BenchmarkStat(b *testing.B) {
	tr := benchTree(b)
	p := tr.path("/usr/lib/x86_64/libc.so")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vfs.Stat(root, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenClose(b *testing.B) {
	tr := benchTree(b)
	a := tr.args()
	b.ReportAllocs()
	for b.Loop() {
		f, err := vfs.Open(root, a, "/usr/lib/x86_64/libc.so", vfs.OpenArgs{})
		if err != nil {
			b.Fatal(err)
		}
		f.DecRef()
	}
}

func BenchmarkCreateUnlink(b *testing.B) {
	tr := benchTree(b)
	a := tr.args()
	b.ReportAllocs()
	for b.Loop() {
		f, err := vfs.Open(root, a, "new", vfs.OpenArgs{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o644})
		if err != nil {
			b.Fatal(err)
		}
		f.DecRef()
		if err := vfs.UnlinkAt(root, a, "new"); err != nil {
			b.Fatal(err)
		}
	}
}

func ioBench(b *testing.B, size int, do func(f *vfs.File, buf *mm.Buffer) (int, error)) {
	tr := benchTree(b)
	f := tr.open(root, "f", unix.O_RDWR)
	defer f.DecRef()
	data := make([]byte, size)
	if _, err := f.PWrite(root, mm.BytesBuffer(data), 0); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	buf := mm.BytesBuffer(data)
	for b.Loop() {
		*buf = *mm.BytesBuffer(data)
		if n, err := do(f, buf); n != size || err != nil {
			b.Fatal(n, err)
		}
	}
}

func read(f *vfs.File, buf *mm.Buffer) (int, error)  { return f.PRead(root, buf, 0) }
func write(f *vfs.File, buf *mm.Buffer) (int, error) { return f.PWrite(root, buf, 0) }

func BenchmarkRead4K(b *testing.B)  { ioBench(b, 4096, read) }
func BenchmarkWrite4K(b *testing.B) { ioBench(b, 4096, write) }
func BenchmarkRead1M(b *testing.B)  { ioBench(b, 1<<20, read) }

func BenchmarkReadHole(b *testing.B) {
	tr := benchTree(b)
	f := tr.open(root, "f", unix.O_RDWR)
	defer f.DecRef()
	tr.must(f.Truncate(root, 0))
	tr.must(f.Truncate(root, 1<<20))
	data := make([]byte, 4096)
	buf := mm.BytesBuffer(data)
	b.ReportAllocs()
	for b.Loop() {
		*buf = *mm.BytesBuffer(data)
		if n, err := read(f, buf); n != 4096 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkPipe(b *testing.B) {
	r, w := pipe.New(vfs.NewSystem(), root, 0)
	defer r.DecRef()
	defer w.DecRef()
	data := make([]byte, 4096)
	buf := mm.BytesBuffer(data)
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		*buf = *mm.BytesBuffer(data)
		if _, err := w.Write(root, buf); err != nil {
			b.Fatal(err)
		}
		*buf = *mm.BytesBuffer(data)
		if _, err := r.Read(root, buf); err != nil {
			b.Fatal(err)
		}
	}
}
