package overlay

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"gosentry/fs/host/fstest"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// find visits everything below dir as find(1) does: a listing a directory, an lstat an entry.
func find(b testing.TB, g *fstest.Guest, dir string) (files int) {
	f, err := g.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0
	}
	entries, err := g.Entries(f, 1000)
	must(b, err)
	f.DecRef()
	for _, e := range entries {
		if e.Name == "." || e.Name == ".." {
			continue
		}
		files++
		path := dir + "/" + e.Name
		st, err := g.Lstat(path)
		if err != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			files += find(b, g, path)
		}
	}
	return files
}

func BenchmarkFind(b *testing.B) {
	g, _ := guest(b, "/", memory)
	b.ReportAllocs()
	files := 0
	for b.Loop() {
		g.NS.System().DropCache()
		files = find(b, g, "/usr/lib")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(files), "ns/file")
	b.ReportMetric(float64(files), "files")
}

func BenchmarkFindNative(b *testing.B) {
	files := 0
	for b.Loop() {
		files = 0
		_ = filepath.WalkDir("/usr/lib", func(path string, _ os.DirEntry, _ error) error {
			var st unix.Stat_t
			files++
			return unix.Lstat(path, &st)
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(files), "ns/file")
}

// BenchmarkCachedBytes keeps every inode of a large tree alive.
func BenchmarkCachedBytes(b *testing.B) {
	lower := lowerTree(b, "/")
	file, err := mm.NewMemoryFile(memory)
	must(b, err)
	for b.Loop() {
		root, err := New(lower, Config{File: file})
		must(b, err)
		before := heap()
		kept := keep(root, "usr/lib", nil)
		after := heap()
		b.ReportMetric(float64(after-before)/float64(len(kept)), "B/file")
		runtime.KeepAlive(kept)
	}
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

func keep(dir vfs.Inode, name string, kept []vfs.Inode) []vfs.Inode {
	first := name
	rest := ""
	if d, r := filepath.Split(name); d != "" {
		first, rest = filepath.Clean(d), r
	}
	i, err := dir.Lookup(nil, first)
	if err != nil {
		return kept
	}
	if rest != "" {
		return keep(i, rest, kept)
	}
	kept = append(kept, i)
	if a, _ := i.Attr(); !a.IsDir() {
		return kept
	}
	ops, err := i.Open(nil, unix.O_RDONLY)
	if err != nil {
		return kept
	}
	defer ops.Release()
	_ = ops.(vfs.DirOps).ReadDir(nil, 0, func(e vfs.Dirent) bool {
		if e.Name != "." && e.Name != ".." {
			kept = keep(i, e.Name, kept)
		}
		return true
	})
	return kept
}

func BenchmarkOpenClose(b *testing.B) {
	g, _ := guest(b, "/", memory)
	b.ReportAllocs()
	for b.Loop() {
		f, err := g.Open("/usr/bin/env", unix.O_RDONLY, 0)
		must(b, err)
		f.DecRef()
	}
}

func BenchmarkStat(b *testing.B) {
	g, _ := guest(b, "/", memory)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Stat("/usr/bin/env"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPread(b *testing.B) {
	g, _ := guest(b, "/", memory)
	must(b, g.Create("/tmp/above", 0o600))
	must(b, g.WriteAt("/tmp/above", make([]byte, 1<<16), 0))
	for name, path := range map[string]string{"below": "/usr/bin/env", "above": "/tmp/above"} {
		b.Run(name, func(b *testing.B) {
			f, err := g.Open(path, unix.O_RDONLY, 0)
			must(b, err)
			defer f.DecRef()
			var p [4096]byte
			buf := mm.BytesBuffer(nil)
			b.ReportAllocs()
			for b.Loop() {
				*buf = *mm.BytesBuffer(p[:])
				if n, err := f.PRead(g.C, buf, 8192); n != 4096 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkCreateUnlink(b *testing.B) {
	g, _ := guest(b, "/", memory)
	b.ReportAllocs()
	for b.Loop() {
		must(b, g.Create("/tmp/new", 0o600))
		must(b, g.Unlink("/tmp/new"))
	}
}
