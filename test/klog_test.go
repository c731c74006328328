package test

import (
	"regexp"
	"testing"
)

// TestKernelLog: what programs log by /dev/kmsg is in the kernel's log until that is cleared, for who may read it.
func TestKernelLog(t *testing.T) {
	const script = `echo '<3>urgent' >/dev/kmsg; echo plain >/dev/kmsg; busybox dmesg -r; head -n 2 /dev/kmsg
busybox dmesg -c | wc -l; busybox dmesg; timeout 20 setpriv --reuid 1000 --clear-groups busybox dmesg
echo 0 >/proc/sys/kernel/dmesg_restrict; echo later >/dev/kmsg; setpriv --reuid 1000 --clear-groups busybox dmesg; exit 0`
	want := regexp.MustCompile(`^<5>\[ *\d+\.\d{6}\] Linux version .*
<11>\[.*\] urgent
<12>\[.*\] plain
5,0,\d+,-;Linux version .*
11,1,\d+,-;urgent
3
\[.*\] later
$`)
	eachPlatform(t, func(t *testing.T, platform string) {
		needRoot(t)
		r := command{argv: []string{"sh", "-c", script}}.sandbox(t, platform)
		if r.status != 0 || !want.MatchString(r.stdout) {
			t.Errorf("%v", r)
		}
	})
}
