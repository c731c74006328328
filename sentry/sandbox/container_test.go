package sandbox

import (
	"testing"

	"gosentry/sentry/control"
	"gosentry/sentry/oci"

	"github.com/google/go-cmp/cmp"
)

// TestOptionsReachContainers: what is said of all sandboxes is said of a container's.
func TestOptionsReachContainers(t *testing.T) {
	c := &oci.Container{Root: "/r", Process: &control.Process{Args: []control.Bytes{control.Bytes("p")}}}
	o := Options{Platform: "ptrace", NoPatch: true, Strace: Strace{On: true, Names: []string{"read"}}, Log: Log{File: "/l", JSON: true, Debug: true}, Persist: true}
	spec, err := o.spec(&oci.LaunchArgs{Container: c})
	if err != nil {
		t.Fatal(err)
	}
	got := Options{Platform: spec.Platform, NoPatch: spec.NoPatch, Strace: spec.Strace, Log: spec.Log, Persist: spec.Persist}
	if d := cmp.Diff(o, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
