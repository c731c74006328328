package host

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

const (
	// The guest sees one device, so inode numbers of the host's other devices below
	// the root are told apart by the bits from inoBits on.
	inoBits    = 48
	maxDevices = 1 << 13
)

// inoFor makes an inode number that is unique in the tree of a device's index and the host's number.
// Numbers too large for that are mixed; the top bit keeps them apart from the others.
func inoFor(dev uint16, ino uint64) uint64 {
	if ino < 1<<inoBits {
		return ino | uint64(dev)<<inoBits
	}
	if dev == 0 && ino < 1<<62 {
		return ino | 1<<62
	}
	const odd = 0x9e3779b97f4a7c15
	return (ino^(uint64(dev)+1)*odd)&(1<<62-1) | 1<<63
}

// attrFrom translates what statx(2) told. The device is left to the VFS: the tree is one file system.
func attrFrom(st *unix.Statx_t, dev uint16) vfs.Attr {
	return vfs.Attr{
		Ino:       inoFor(dev, st.Ino),
		Mode:      uint32(st.Mode),
		Nlink:     st.Nlink,
		UID:       cred.UID(st.Uid),
		GID:       cred.GID(st.Gid),
		RdevMajor: st.Rdev_major,
		RdevMinor: st.Rdev_minor,
		Size:      int64(min(st.Size, 1<<63-1)),
		Blocks:    int64(min(st.Blocks, 1<<63-1)),
		BlockSize: st.Blksize,
		Atime:     timeFrom(st.Atime),
		Mtime:     timeFrom(st.Mtime),
		Ctime:     timeFrom(st.Ctime),
		Btime:     timeFrom(st.Btime),
	}
}

func timeFrom(ts unix.StatxTimestamp) unix.Timespec {
	return unix.Timespec{Sec: ts.Sec, Nsec: int64(ts.Nsec)}
}

func deviceOf(st *unix.Statx_t) uint64 {
	return uint64(st.Dev_major)<<32 | uint64(st.Dev_minor)
}
