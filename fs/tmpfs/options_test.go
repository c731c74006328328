package tmpfs_test

import (
	"testing"

	"gosentry/fs/tmpfs"

	"golang.org/x/sys/unix"
)

func TestOptions(t *testing.T) {
	base := tmpfs.Config{File: memory(t, 1<<30)}
	limit := base.File.Limit()
	for _, c := range []struct {
		options string
		want    tmpfs.Config
		err     error
	}{
		{"", tmpfs.Config{}, nil},
		{"size=1m,mode=755,uid=3,gid=4,nr_inodes=10k", tmpfs.Config{Size: 1 << 20, Mode: 0o755, UID: 3, GID: 4, Inodes: 10240}, nil},
		{"size=5000", tmpfs.Config{Size: 8192}, nil},
		{"nr_blocks=2", tmpfs.Config{Size: 8192}, nil},
		{"size=100%", tmpfs.Config{Size: limit}, nil},
		{"huge=never,inode64", tmpfs.Config{}, nil},
		{"size=1g1", tmpfs.Config{}, unix.EINVAL}, {"size=", tmpfs.Config{}, unix.EINVAL}, {"size=99999999999g", tmpfs.Config{}, unix.EINVAL},
		{"mode=99999", tmpfs.Config{}, unix.EINVAL}, {"what", tmpfs.Config{}, unix.EINVAL},
	} {
		got, err := base.WithOptions(c.options)
		if err != c.err {
			t.Errorf("%q: %v, want %v", c.options, err, c.err)
		}
		if err != nil {
			continue
		}
		if got.Size+4095 < c.want.Size || got.Size > c.want.Size+4095 || got.Mode != c.want.Mode || got.UID != c.want.UID || got.GID != c.want.GID || got.Inodes != c.want.Inodes {
			t.Errorf("%q: %+v, want %+v", c.options, got, c.want)
		}
	}
}
