package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gosentry/sentry/abi"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxConfig bounds config.json, in bytes.
const maxConfig = 16 << 20

// Bundle is a directory with the configuration of a container.
type Bundle struct {
	Dir    string // absolute
	Config *specs.Spec
	text   []byte
}

// LoadBundle reads and checks the configuration in dir.
func LoadBundle(dir string) (*Bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "config.json")
	text, err := readBounded(name, maxConfig)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the bundle's configuration: %w (--bundle DIR names a bundle, sentry spec writes a config.json)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the bundle's configuration: %w", err)
	}
	b := &Bundle{Dir: dir, text: text}
	if b.Config, err = parseConfig(text); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// parseConfig reads a configuration; its error names the field.
func parseConfig(text []byte) (*specs.Spec, error) {
	var s specs.Spec
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&s); err != nil {
		return nil, err
	}
	return &s, check(&s)
}

func readBounded(name string, limit int64) ([]byte, error) {
	// Who opens a pipe waits for its writer, unless told not to.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	text := make([]byte, info.Size())
	n, err := f.ReadAt(text, 0)
	if n < len(text) {
		return nil, fmt.Errorf("%s changed while it was read: %w", name, err)
	}
	return text, nil
}

// rootDir is the absolute path of the container's root file system.
func (b *Bundle) rootDir() string {
	p := b.Config.Root.Path
	if !filepath.IsAbs(p) {
		p = filepath.Join(b.Dir, p)
	}
	return filepath.Clean(p)
}

// fieldError is a field that cannot be honoured.
type fieldError struct{ field, why string }

func (e *fieldError) Error() string { return e.field + ": " + e.why }

func refuse(field, why string, args ...any) error {
	return &fieldError{field, fmt.Sprintf(why, args...)}
}

// check refuses what is malformed and what cannot be honoured.
func check(s *specs.Spec) error {
	switch {
	case !strings.HasPrefix(s.Version, "1."):
		return refuse("ociVersion", "%q is not a version 1 of the specification", s.Version)
	case s.Root == nil || s.Root.Path == "":
		return refuse("root.path", "missing")
	case s.Windows != nil:
		return refuse("windows", "this is a runtime for Linux containers")
	case s.Solaris != nil:
		return refuse("solaris", "this is a runtime for Linux containers")
	case s.VM != nil:
		return refuse("vm", "this runtime has no virtual machine to configure")
	case s.ZOS != nil:
		return refuse("zos", "this is a runtime for Linux containers")
	case s.FreeBSD != nil:
		return refuse("freebsd", "this is a runtime for Linux containers")
	}
	if err := checkNames(s); err != nil {
		return err
	}
	if s.Process != nil {
		if err := CheckProcess(s.Process, "process"); err != nil {
			return err
		}
	}
	if err := checkHooks(s.Hooks); err != nil {
		return err
	}
	if s.Linux == nil {
		return nil
	}
	return checkLinux(s.Linux)
}

// checkNames refuses names that sethostname(2) and setdomainname(2) do not take.
func checkNames(s *specs.Spec) error {
	for _, n := range []struct{ field, name string }{{"hostname", s.Hostname}, {"domainname", s.Domainname}} {
		if len(n.name) > abi.UtsFieldSize-1 {
			return refuse(n.field, "%q has %d bytes, more than %d", n.name, len(n.name), abi.UtsFieldSize-1)
		}
	}
	return nil
}

func checkLinux(l *specs.Linux) error {
	if err := checkNamespaces(l.Namespaces); err != nil {
		return err
	}
	switch {
	case l.IntelRdt != nil:
		return refuse("linux.intelRdt", "not supported")
	case len(l.NetDevices) > 0:
		return refuse("linux.netDevices", "there is no network inside yet")
	case l.MemoryPolicy != nil:
		return refuse("linux.memoryPolicy", "memory inside has no nodes")
	case l.MountLabel != "":
		return refuse("linux.mountLabel", "there is no SELinux inside")
	case len(l.TimeOffsets) > 0:
		return refuse("linux.timeOffsets", "not supported yet")
	}
	if name := l.RootfsPropagation; name != "" && propagations[name].Kind == 0 {
		return refuse("linux.rootfsPropagation", "%q is not known", name)
	}
	if err := checkPaths(l); err != nil {
		return err
	}
	if ofSystemd(l.CgroupsPath) {
		if _, err := systemdPath(l.CgroupsPath); err != nil {
			return refuse("linux.cgroupsPath", "%v", err)
		}
	}
	if err := checkMappings(l); err != nil {
		return err
	}
	if _, err := seccompProgram(l.Seccomp); err != nil {
		return err
	}
	if _, err := devices(l); err != nil {
		return err
	}
	if p := l.Personality; p != nil && (p.Domain != specs.PerLinux || len(p.Flags) > 0) {
		return refuse("linux.personality", "only LINUX without flags is supported")
	}
	return nil
}

func checkNamespaces(list []specs.LinuxNamespace) error {
	for i, n := range list {
		field := fmt.Sprintf("linux.namespaces[%d]", i)
		switch n.Type {
		case specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace,
			specs.UTSNamespace, specs.UserNamespace, specs.CgroupNamespace, specs.TimeNamespace:
		default:
			return refuse(field+".type", "%q is not known", n.Type)
		}
		for _, o := range list[:i] {
			if o.Type == n.Type {
				return refuse(field+".type", "%q is named twice", n.Type)
			}
		}
	}
	return nil
}

func checkPaths(l *specs.Linux) error {
	for field, list := range map[string][]string{"linux.maskedPaths": l.MaskedPaths, "linux.readonlyPaths": l.ReadonlyPaths} {
		for i, p := range list {
			if !filepath.IsAbs(p) {
				return refuse(fmt.Sprintf("%s[%d]", field, i), "%q is not an absolute path", p)
			}
		}
	}
	return nil
}
