package tmpfs

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// WithOptions returns cfg changed by mount(2)'s options of tmpfs(5): size, nr_blocks, nr_inodes,
// mode, uid, gid; those about huge pages, swap and memory policy have no effect. EINVAL for others.
func (cfg Config) WithOptions(options string) (Config, error) {
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		if err := cfg.set(name, value); err != nil {
			return cfg, unix.EINVAL
		}
	}
	return cfg, nil
}

func (cfg *Config) set(name, value string) (err error) {
	var n uint64
	switch name {
	case "size":
		cfg.Size, err = cfg.size(value)
	case "nr_blocks":
		n, err = amount(value)
		cfg.Size = n * pageSize
	case "nr_inodes":
		n, err = amount(value)
		cfg.Inodes = min(n, maxInodes)
	case "mode":
		n, err = strconv.ParseUint(value, 8, 12)
		cfg.Mode = uint32(n)
	case "uid":
		n, err = strconv.ParseUint(value, 10, 32)
		known := false
		if cfg.UID, known = cfg.IDs.ToUID(uint32(n)); !known {
			return unix.EINVAL
		}
	case "gid":
		n, err = strconv.ParseUint(value, 10, 32)
		known := false
		if cfg.GID, known = cfg.IDs.ToGID(uint32(n)); !known {
			return unix.EINVAL
		}
	case "", "huge", "mpol", "noswap", "inode32", "inode64":
	default:
		return unix.EINVAL
	}
	return err
}

// size is a size in bytes, or as a percentage of what there is, rounded up to pages.
func (cfg *Config) size(value string) (uint64, error) {
	n := uint64(0)
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		p, err := strconv.ParseUint(percent, 10, 7)
		if err != nil {
			return 0, err
		}
		n = cfg.File.Limit() / 100 * p
	} else {
		var err error
		if n, err = amount(value); err != nil {
			return 0, err
		}
	}
	return min((n+pageSize-1)/pageSize*pageSize, cfg.File.Limit()), nil
}

// amount is a number with one of the suffixes k, m, g; EINVAL where it is out of all proportion.
func amount(value string) (uint64, error) {
	shift := 0
	if value != "" {
		shift = 10 * (strings.IndexByte("kmg", value[len(value)-1]|0x20) + 1)
	}
	if shift > 0 {
		value = value[:len(value)-1]
	}
	n, err := strconv.ParseUint(value, 0, 63)
	if err != nil || n > 1<<(50-shift) {
		return 0, unix.EINVAL
	}
	return n << shift, nil
}
