package test

import (
	"os"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestContainerDevices has the devices that every container has, those that a configuration names, and nodes that
// programs make: what exists works under any name, what does not is ENXIO.
func TestContainerDevices(t *testing.T) {
	configured(t,
		`ls /dev | grep -v mqueue; stat -c '%F %t:%T %a %u:%g' /dev/null /data/zero /dev/net/tun /dev/pipe; `+
			`head -c 3 /data/zero | wc -c; echo x >/data/zero && echo written; cat /dev/net/tun 2>&1; `+
			`mknod /tmp/full c 1 7; echo x 2>&1 >/tmp/full; mknod /dev/mine c 1 5 && head -c 4 /dev/mine | wc -c; `+
			`mknod /tmp/none b 8 0 && cat /tmp/none 2>&1; mkdir /dev/dir && ls -d /dev/dir; head -c 5 /dev/urandom | wc -c; cat /dev/tty 2>&1; true`,
		"fd\nfull\nnet\nnull\npipe\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"+
			"character special file 1:3 666 0:0\ncharacter special file 1:5 620 3:4\ncharacter special file a:c8 666 0:0\nfifo 0:0 600 0:0\n"+
			"3\nwritten\ncat: can't open '/dev/net/tun': No such device or address\n"+
			"sh: write error: No space left on device\n4\ncat: can't open '/tmp/none': No such device or address\n/dev/dir\n5\n"+
			"cat: can't open '/dev/tty': No such device or address\n",
		func(_ *engine, c *specs.Spec) {
			c.Root.Readonly = false
			mode, private, uid, gid := os.FileMode(0o620), os.FileMode(0o600), uint32(3), uint32(4)
			c.Linux.Devices = []specs.LinuxDevice{
				{Path: "/data/zero", Type: "c", Major: 1, Minor: 5, FileMode: &mode, UID: &uid, GID: &gid},
				{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
				{Path: "/dev/net/tun", Type: "c", Major: 10, Minor: 200},
				{Path: "/dev/pipe", Type: "p", FileMode: &private},
			}
			c.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
			caps := []string{"CAP_MKNOD", "CAP_DAC_OVERRIDE"}
			c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
		})
}
