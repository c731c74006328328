package host

import (
	"slices"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// kernelTypes are the file systems in which a kernel shows itself, or what it is asked to do, rather than files, by the numbers that
// statfs(2) tells.
var kernelTypes = map[int64]string{
	unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs", unix.CGROUP_SUPER_MAGIC: "cgroup", unix.CGROUP2_SUPER_MAGIC: "cgroup2",
	unix.DEVPTS_SUPER_MAGIC: "devpts", 0x19800202: "mqueue", unix.BINFMTFS_MAGIC: "binfmt_misc", 0x62656570: "configfs",
	unix.DEBUGFS_MAGIC: "debugfs", unix.TRACEFS_MAGIC: "tracefs", unix.PSTOREFS_MAGIC: "pstore", unix.EFIVARFS_MAGIC: "efivarfs",
	unix.SECURITYFS_MAGIC: "securityfs", unix.SELINUX_MAGIC: "selinuxfs", unix.SMACK_MAGIC: "smackfs", unix.AAFS_MAGIC: "apparmorfs",
	unix.BPF_FS_MAGIC: "bpf", 0x65735543: "fusectl", 0x67596969: "rpc_pipefs", 0x6e667364: "nfsd", unix.AUTOFS_SUPER_MAGIC: "autofs",
	unix.NSFS_MAGIC: "nsfs", unix.PID_FS_MAGIC: "pidfs", unix.ANON_INODE_FS_MAGIC: "anon_inodefs", unix.PIPEFS_MAGIC: "pipefs",
	unix.SOCKFS_MAGIC: "sockfs", unix.DMA_BUF_MAGIC: "dmabuf", unix.SECRETMEM_MAGIC: "secretmem", unix.HUGETLBFS_MAGIC: "hugetlbfs",
	unix.USBDEVICE_SUPER_MAGIC: "usbfs", unix.BINDERFS_SUPER_MAGIC: "binder", unix.XENFS_SUPER_MAGIC: "xenfs",
	unix.OPENPROM_SUPER_MAGIC: "openpromfs", unix.RDTGROUP_SUPER_MAGIC: "resctrl",
}

// ofFiles are file systems that have files and may say nevertheless that they have no room for any: without a limit, or because
// somebody else keeps them.
var ofFiles = map[int64]bool{
	unix.TMPFS_MAGIC: true, unix.RAMFS_MAGIC: true, unix.OVERLAYFS_SUPER_MAGIC: true, unix.FUSE_SUPER_MAGIC: true,
	unix.NFS_SUPER_MAGIC: true, unix.CIFS_SUPER_MAGIC: true, unix.SMB2_SUPER_MAGIC: true, unix.V9FS_MAGIC: true,
	unix.CEPH_SUPER_MAGIC: true, unix.AFS_SUPER_MAGIC: true, unix.AFS_FS_MAGIC: true, unix.ECRYPTFS_SUPER_MAGIC: true,
}

// KernelType names the kind of a file system that shows the host's kernel; "" for one of files. A kind that nobody has heard of is a kernel's
// if it has no room for files at all, as df(1) has it, too.
func KernelType(s *unix.Statfs_t) string {
	if name := kernelTypes[s.Type]; name != "" {
		return name
	}
	if s.Blocks == 0 && !ofFiles[s.Type] {
		return "kernel's"
	}
	return ""
}

// Device is the number of the device that st tells of, for Config.
func Device(st *unix.Stat_t) uint64 {
	return uint64(unix.Major(st.Dev))<<32 | uint64(unix.Minor(st.Dev))
}

// Devices is the device of the file system where the host keeps its devices, for Config; 0 where that is the root's.
func Devices() uint64 {
	var dev, root unix.Stat_t
	if unix.Stat("/dev", &dev) != nil || unix.Stat("/", &root) != nil || dev.Dev == root.Dev {
		return 0
	}
	return Device(&dev)
}

// hides tells whether what fd, which st tells of, leads to is the host's kernel's and not for guests.
func (c *Config) hides(fd int, st *unix.Statx_t) (bool, error) {
	if c.Devices != 0 && deviceOf(st) == c.Devices {
		return true, nil
	}
	var s unix.Statfs_t
	for {
		if err := unix.Fstatfs(fd, &s); err != unix.EINTR {
			return err == nil && KernelType(&s) != "", err
		}
	}
}

// vet fills in st of fd, which was just opened below dir; EACCES where that came upon something hidden. dir is none such, so it is
// enough to ask where the host mounted something.
func (t *tree) vet(dir *handle, fd int, st *unix.Statx_t) error {
	err := statAt(fd, "", st)
	if err != nil || deviceOf(st) == dir.dev {
		return err
	}
	kernel, err := t.cfg.hides(fd, st)
	if kernel {
		return unix.EACCES
	}
	return err
}

// meet tells whether name below dir, of a device that is not known, is hidden. It fills in st again.
func (t *tree) meet(dir *handle, name string, st *unix.Statx_t) (kernel bool, err error) {
	fd, err := openAt(dir.fd, name, unix.O_PATH, 0)
	if err != nil {
		return false, err
	}
	defer closeFD(fd)
	switch err = t.vet(dir, fd, st); err {
	case nil:
		t.learn(deviceOf(st))
	case unix.EACCES:
		return true, nil
	}
	return false, err
}

// movable tells whether a name below dir may be removed or moved: EBUSY where something is mounted on it. To the host that
// would not be in the way: it is mounted in another mount namespace, where it would be unmounted.
func (dir *handle) movable(name string) error {
	var st unix.Statx_t
	if statAt(dir.fd, name, &st) == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return unix.EBUSY
	}
	return nil
}

// nameable tells whether n, and other unless that is nil, may get further names. EPERM for devices where the host would open them: one could
// take the name of a file that is about to be opened, and some do something as soon as they are.
func (t *tree) nameable(n *inode, other vfs.Inode) error {
	if t.cfg.NoDev {
		return nil
	}
	kinds := []uint32{n.kind()}
	if o, err := t.own(other); err == nil {
		kinds = append(kinds, o.kind())
	}
	if slices.Contains(kinds, unix.S_IFCHR) || slices.Contains(kinds, unix.S_IFBLK) {
		return unix.EPERM
	}
	return nil
}

// hidden stands for what the host's kernel shows under a name: an empty directory, or a file that cannot be opened.
type hidden struct {
	vfs.Inode
	dev, ino uint64 // the host's
}

func newHidden(st *unix.Statx_t) *hidden {
	fs := &pseudo.FS{Magic: unix.TMPFS_MAGIC}
	h := &hidden{dev: deviceOf(st), ino: st.Ino}
	ino := inoFor(maxDevices-1, st.Ino)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		d := fs.NewDir(0o555)
		d.SetIno(ino)
		h.Inode = d
	} else {
		n := fs.NewNode(unix.S_IFREG)
		n.SetIno(ino)
		h.Inode = n
	}
	return h
}

// is tells whether st is about it.
func (h *hidden) is(st *unix.Statx_t) bool { return h.dev == deviceOf(st) && h.ino == st.Ino }
