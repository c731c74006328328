package test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// fill makes a directory with a file, a link and a directory with a file, none of them with the usual mode.
func fill(t *testing.T, dir string) {
	t.Helper()
	file, sub := filepath.Join(dir, "a"), filepath.Join(dir, "sub")
	for _, step := range []func() error{
		func() error { return os.MkdirAll(sub, 0o755) },
		func() error { return os.Chmod(sub, 0o711|os.ModeSetgid) },
		func() error { return os.WriteFile(file, []byte("a\n"), 0o640) },
		func() error { return os.Symlink("a", filepath.Join(dir, "link")) },
		func() error { return os.WriteFile(filepath.Join(sub, "b"), []byte("b\n"), 0o604) },
		func() error { return os.Chtimes(file, time.Time{}, time.Unix(1e9, 0)) },
		func() error { return os.Chmod(dir, 0o750) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// filled is what stat prints of it.
const filled = "a 640 regular file\nlink 777 symbolic link\nsub 2711 directory\nsub/b 604 regular file\n"

// TestContainerCopyUp: a tmpfs that asks for it begins with what the image has there, and has its mode unless another is given.
func TestContainerCopyUp(t *testing.T) {
	needRoot(t) // files of the host that only root may read
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, func(c *specs.Spec) {
			shell(`for d in /full /other /plain; do cd $d; stat -c '%n %a %F' $d; stat -c '%n %a %F' * */* 2>/dev/null; done; ` +
				`cat /full/a /full/sub/b; stat -c %Y /full/a; echo new >/full/a; cat /full/a; df -k /full | grep -c 1024`)(c)
			for at, options := range map[string][]string{
				"/full": {"tmpcopyup", "size=1m"}, "/other": {"rw", "tmpcopyup", "mode=700"}, "/plain": nil,
			} {
				c.Mounts = append(c.Mounts, specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs", Options: options})
			}
		})
		e.provide("stat df")
		for _, dir := range []string{"full", "other", "plain"} {
			fill(t, filepath.Join(e.bundle, "rootfs", dir))
		}
		want := "/full 750 directory\n" + filled + "/other 700 directory\n" + filled + "/plain 750 directory\na\nb\n1000000000\nnew\n1\n"
		if r := e.do("run", "copying"); r.status != 0 || r.stdout != want {
			t.Errorf("got %v\nwant %s", r, want)
		}
	})
}

// TestContainerOverlay: an overlay of engines (podman's volumes with :O, and images as volumes) shows what lies under it and keeps changes from it.
func TestContainerOverlay(t *testing.T) {
	needRoot(t) // as above
	lower, none := filepath.Join(t.TempDir(), "low:er"), t.TempDir()
	fill(t, lower)
	configured(t,
		`cd /over; stat -c '%n %a %F' * */*; echo new >a; cat a; cd /image; cat a; touch b 2>/dev/null || echo read-only; ls /sys/fs/cgroup/systemd 2>/dev/null || echo none`,
		filled+"new\na\nread-only\nnone\n",
		func(_ *engine, c *specs.Spec) {
			under := filepath.Join(filepath.Dir(lower), `low\:er`)
			for at, layers := range map[string][]string{
				"/over": {"lowerdir=" + under, "upperdir=" + none, "workdir=" + none, "private"}, "/image": {"lowerdir=" + none + ":" + under, "private"},
			} {
				c.Mounts = append(c.Mounts, specs.Mount{Destination: at, Type: "overlay", Source: "/nothing", Options: layers})
			}
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/sys/fs/cgroup/systemd", Type: "bind", Source: lower, Options: []string{"bind"}})
		})
	if text, _ := os.ReadFile(filepath.Join(lower, "a")); string(text) != "a\n" {
		t.Errorf("under the overlay is %q", text)
	}
}
