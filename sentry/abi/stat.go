package abi

import "golang.org/x/sys/unix"

// Sizes of what describes files, in bytes.
const (
	StatSize   = 144 // struct stat
	StatxSize  = 256 // struct statx
	StatfsSize = 120 // struct statfs
)

// AppendStat appends a struct stat.
func AppendStat(b []byte, s *unix.Stat_t) []byte {
	b = append64(b, s.Dev, s.Ino, s.Nlink)
	b = append32(b, s.Mode, s.Uid, s.Gid, 0)
	b = append64(b, s.Rdev, uint64(s.Size), uint64(s.Blksize), uint64(s.Blocks))
	b = AppendTimespec(b, s.Atim)
	b = AppendTimespec(b, s.Mtim)
	b = AppendTimespec(b, s.Ctim)
	return zeros(b, 24)
}

// AppendStatx appends a struct statx.
func AppendStatx(b []byte, s *unix.Statx_t) []byte {
	start := len(b)
	b = append32(b, s.Mask, s.Blksize)
	b = append64(b, s.Attributes)
	b = append32(b, s.Nlink, s.Uid, s.Gid, uint32(s.Mode))
	b = append64(b, s.Ino, s.Size, s.Blocks, s.Attributes_mask)
	for _, t := range [...]unix.StatxTimestamp{s.Atime, s.Btime, s.Ctime, s.Mtime} {
		b = append64(b, uint64(t.Sec))
		b = append32(b, t.Nsec, 0)
	}
	b = append32(b, s.Rdev_major, s.Rdev_minor, s.Dev_major, s.Dev_minor)
	b = append64(b, s.Mnt_id)
	b = append32(b, s.Dio_mem_align, s.Dio_offset_align)
	b = append64(b, s.Subvol)
	b = append32(b, s.Atomic_write_unit_min, s.Atomic_write_unit_max, s.Atomic_write_segments_max)
	return zeros(b, start+StatxSize-len(b))
}

// AppendStatfs appends a struct statfs.
func AppendStatfs(b []byte, s *unix.Statfs_t) []byte {
	b = append64(b, uint64(s.Type), uint64(s.Bsize), s.Blocks, s.Bfree, s.Bavail, s.Files, s.Ffree)
	b = append32(b, uint32(s.Fsid.Val[0]), uint32(s.Fsid.Val[1]))
	b = append64(b, uint64(s.Namelen), uint64(s.Frsize), uint64(s.Flags))
	return zeros(b, 32)
}

// Headers of directory entries, in bytes: what stands before the name. The old form
// keeps the type in the last byte of the entry.
const (
	direntHeader   = 18
	dirent64Header = 19
	direntAlign    = 8
)

// dirent64Size is the length of a struct linux_dirent64 with a name of n bytes.
func dirent64Size(n int) int { return (dirent64Header + n + 1 + direntAlign - 1) &^ (direntAlign - 1) }

// direntSize is the length of a struct linux_dirent, as getdents(2) has it, with a name of n bytes.
func direntSize(n int) int { return (direntHeader + n + 2 + direntAlign - 1) &^ (direntAlign - 1) }

// AppendDirent64 appends a struct linux_dirent64. next is the position behind the entry.
func AppendDirent64(b []byte, ino uint64, next int64, typ uint8, name string) []byte {
	size := dirent64Size(len(name))
	b = append64(b, ino, uint64(next))
	b = le.AppendUint16(b, uint16(size))
	b = append(append(b, typ), name...)
	return zeros(b, size-dirent64Header-len(name))
}

// AppendDirent appends a struct linux_dirent.
func AppendDirent(b []byte, ino uint64, next int64, typ uint8, name string) []byte {
	size := direntSize(len(name))
	b = append64(b, ino, uint64(next))
	b = le.AppendUint16(b, uint16(size))
	b = append(b, name...)
	return append(zeros(b, size-direntHeader-len(name)-1), typ)
}
