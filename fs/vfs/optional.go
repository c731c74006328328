package vfs

import "gosentry/sentry/waiter"

// What an Inode may have besides.
type (
	// TypeOps saves an Attr call for each new name: the S_IFMT part of the mode.
	TypeOps interface{ FileType() uint32 }

	// PermissionOps replaces the usual check of mode bits by the inode's own, even for a privileged caller. want is made
	// of MayRead, MayWrite and MayExec.
	PermissionOps interface {
		Permission(c Caller, want uint32) error
	}

	// TmpfileOps is a directory in which O_TMPFILE makes unnamed regular files.
	TmpfileOps interface {
		Tmpfile(c Caller, a NewAttr) (Inode, error)
	}

	// MountHolder is an inode that does not last by itself and can be mounted all the same: a namespace's. Mounted is told of
	// each mount, false refuses, and Unmounted of its end. PrivateMount tells that copies of a mount namespace go without it.
	MountHolder interface {
		Mounted() bool
		Unmounted()
		PrivateMount() bool
	}

	// HoldOps is told of open files that have no FileOps of the inode (O_PATH), so
	// that the data of an unlinked file stays while one may be opened through them.
	// Unhold follows each Hold that returned true.
	HoldOps interface {
		Hold() bool
		Unhold()
	}
)

// What a FileOps may have besides; see also inode.go.
type (
	// OpenWaitOps is for files whose open(2) goes on only when something else
	// happened: a FIFO waits for its other end. The caller of Open waits
	// (waiter.All) until Opened is true, or gives the file up when interrupted.
	OpenWaitOps interface{ Opened() bool }

	// AtimeOps is told that reads leave no time of access whatever the flags say: the mount or the file keeps none.
	AtimeOps interface{ KeepNoAtime() }
	// FlagOps is told of status flags set by F_SETFL.
	FlagOps interface{ SetFlags(flags int) }

	// AsyncOps is for files that tell by signal what happens (O_ASYNC): In, Out and HUp, each as often as it does.
	AsyncOps interface{ AsyncQueue() *waiter.Queue }

	// SizerOps is a pipe's F_GETPIPE_SZ and F_SETPIPE_SZ, in bytes.
	SizerOps interface {
		PipeSize() int
		SetPipeSize(c Caller, size int) (int, error)
	}

	// SealOps is F_GET_SEALS and F_ADD_SEALS.
	SealOps interface {
		Seals() uint32
		AddSeals(seals uint32) error
	}
)
