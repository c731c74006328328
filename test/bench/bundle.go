package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"gosentry/sentry/oci"
)

// bundleRow is the name of the row that runs a container from start to end.
const bundleRow = "bundle"

// setUpBundle makes an OCI bundle of busybox whose program ends at once.
func setUpBundle(dir string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	c := oci.DefaultConfig()
	c.Process.Terminal, c.Process.Args, c.Process.Rlimits = false, []string{"/bin/true"}, nil
	config, err := json.Marshal(c)
	if err != nil {
		return err
	}
	bin := filepath.Join(dir, "rootfs/bin")
	for _, name := range []string{bin, filepath.Join(dir, "rootfs/proc"), filepath.Join(dir, "rootfs/dev"), filepath.Join(dir, "rootfs/sys")} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "true"), program, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
}

// bundleSeries is the row of a container; a host without busybox has none.
func bundleSeries(dir string) []series {
	bundle := filepath.Join(dir, "bundle")
	if err := setUpBundle(bundle); err != nil {
		fmt.Fprintln(os.Stderr, "no bundle:", err)
		return nil
	}
	return []series{single(bundleRow, 9, func(w way) (float64, error) {
		runtime := w.runtime()
		return runTimed(way{prefix: runtime}, "--root", filepath.Join(dir, "containers"), "run", "--bundle", bundle, fmt.Sprint("c", os.Getpid()))
	})}
}

// runtime is how a way runs containers: its flags without the verb "do" and what is behind that; runc where it is native.
func (w way) runtime() []string {
	if len(w.prefix) == 0 {
		return []string{"runc"}
	}
	args := slices.DeleteFunc(slices.Clone(w.prefix), func(a string) bool { return a == "do" || a == "--" })
	if w.name == "runsc ptrace" {
		args = append(args, "--ignore-cgroups")
	}
	return args
}
