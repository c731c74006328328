// Package sys is the small part of sysfs that programs look at: how many processors there are and
// how they lie, huge pages, and the directories that are there on every system.
//
// The tree is made once and never changes, so there are no locks of its own. Files are
// a page long at most; what they say holds for the life of the sandbox.
package sys

import (
	"fmt"
	"strings"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// Config says what the file system tells.
type Config struct {
	CPUs int // processors that guests see, at least 1
}

// directories are there whatever they hold.
var directories = []string{
	"block", "bus", "class", "dev/block", "dev/char", "devices/system", "firmware", "fs/cgroup",
	"kernel/debug", "kernel/mm/hugepages", "kernel/security", "module", "power",
}

// New returns the root directory of a sysfs.
func New(config Config) vfs.Inode {
	t := &tree{dirs: map[string]*pseudo.Dir{}}
	t.fs.Magic = unix.SYSFS_MAGIC
	root := t.dir("")
	for _, path := range directories {
		t.dir(path)
	}
	t.text("kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
	t.text("kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force")
	t.text("kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152")
	t.processors(max(config.CPUs, 1))
	return root
}

// processors adds devices/system/cpu and node: all of one package and one node, each a core of its own.
func (t *tree) processors(count int) {
	const cpu, node = "devices/system/cpu/", "devices/system/node/"
	all, mask := list(0, count-1), bitmap(0, count-1, count)
	for _, name := range []string{"online", "possible", "present"} {
		t.text(cpu+name, all)
		t.text(node+name, "0")
	}
	t.text(cpu+"offline", "")
	t.text(cpu+"isolated", "")
	t.text(cpu+"kernel_max", fmt.Sprint(count-1))
	t.text(node+"has_cpu", "0")
	t.text(node+"node0/cpulist", all)
	t.text(node+"node0/cpumap", mask)
	t.text(node+"node0/distance", "10")
	for n := range count {
		dir := fmt.Sprintf("%scpu%d/", cpu, n)
		if n > 0 {
			t.text(dir+"online", "1")
		}
		own, ownMask := list(n, n), bitmap(n, n, count)
		for name, text := range map[string]string{
			"core_id": fmt.Sprint(n), "die_id": "0", "physical_package_id": "0",
			"core_cpus": ownMask, "core_cpus_list": own, "thread_siblings": ownMask, "thread_siblings_list": own,
			"core_siblings": mask, "core_siblings_list": all, "package_cpus": mask, "package_cpus_list": all,
		} {
			t.text(dir+"topology/"+name, text)
		}
	}
}

// list is a range of processors as lists show it: "0-3", "2".
func list(first, last int) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// bitmap is a range of count processors as masks show it: words of 32 bits, the highest first.
func bitmap(first, last, count int) string {
	words := make([]uint32, (count+31)/32)
	for n := first; n <= last; n++ {
		words[n/32] |= 1 << (n % 32)
	}
	var s []string
	for i := len(words) - 1; i >= 0; i-- {
		width := 8
		if i == len(words)-1 {
			width = (count-1)%32/4 + 1
		}
		s = append(s, fmt.Sprintf("%0*x", width, words[i]))
	}
	return strings.Join(s, ",")
}

// tree builds directories by path.
type tree struct {
	fs   pseudo.FS
	dirs map[string]*pseudo.Dir
}

func (t *tree) dir(path string) *pseudo.Dir {
	if d := t.dirs[path]; d != nil {
		return d
	}
	d := t.fs.NewDir(0o555)
	t.dirs[path] = d
	if path != "" {
		parent, name := split(path)
		t.dir(parent).Add(name, d)
	}
	return d
}

func (t *tree) text(path, text string) {
	parent, name := split(path)
	t.dir(parent).Add(name, t.fs.NewText(0o444, text+"\n"))
}

func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
