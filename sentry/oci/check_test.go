package oci

import (
	"encoding/json"
	"strings"
	"testing"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// base is a configuration with which all is well.
const base = `{"ociVersion":"1.2.0","root":{"path":"/"},"process":{"args":["sh"],"cwd":"/"},"linux":{}}`

// parseChanged reads base with a part replaced: part is JSON whose objects are merged into it.
func parseChanged(t *testing.T, part string) error {
	t.Helper()
	var whole, change map[string]any
	for text, to := range map[string]*map[string]any{base: &whole, part: &change} {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	merge(whole, change)
	text, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseConfig(text)
	if err != nil {
		return err
	}
	_, err = (&Bundle{Dir: "/", Config: s}).container("x")
	return err
}

func merge(to, from map[string]any) {
	for k, v := range from {
		below, isMap := v.(map[string]any)
		old, both := to[k].(map[string]any)
		if isMap && both {
			merge(old, below)
			continue
		}
		to[k] = v
	}
}

// TestRefusedFields has what cannot be honoured: the error begins with the field's name.
func TestRefusedFields(t *testing.T) {
	for _, c := range []struct{ part, field string }{
		{`{"ociVersion":"2.0.0"}`, "ociVersion"},
		{`{"hostname":"` + strings.Repeat("h", 65) + `"}`, "hostname"},
		{`{"domainname":"` + strings.Repeat("d", 65) + `"}`, "domainname"},
		{`{"root":{"path":""}}`, "root.path"},
		{`{"root":{"path":"/nothing/here"}}`, "root.path"},
		{`{"root":{"path":"/etc/passwd"}}`, "root.path"},
		{`{"windows":{"layerFolders":["x"]}}`, "windows"},
		{`{"solaris":{}}`, "solaris"},
		{`{"vm":{"kernel":{"path":"/k"}}}`, "vm"},
		{`{"zos":{}}`, "zos"},
		{`{"linux":{"cgroupsPath":"machine:x:y"}}`, "linux.cgroupsPath"},
		{`{"linux":{"cgroupsPath":"machine.slice:x:"}}`, "linux.cgroupsPath"},
		{`{"process":{"args":[]}}`, "process.args"},
		{`{"process":{"args":[""]}}`, "process.args"},
		{`{"process":{"cwd":"tmp"}}`, "process.cwd"},
		{`{"process":{"env":["A=1","B"]}}`, "process.env[1]"},
		{`{"process":{"selinuxLabel":"x"}}`, "process.selinuxLabel"},
		{`{"process":{"execCPUAffinity":{"initial":"0"}}}`, "process.execCPUAffinity"},
		{`{"process":{"rlimits":[{"type":"RLIMIT_SPEED","soft":1,"hard":1}]}}`, "process.rlimits"},
		{`{"process":{"rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}]}}`, "process.rlimits"},
		{`{"process":{"rlimits":[{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_CPU","soft":1,"hard":1}]}}`, "process.rlimits"},
		{`{"process":{"oomScoreAdj":1001}}`, "process.oomScoreAdj"},
		{`{"process":{"scheduler":{"policy":"SCHED_DEADLINE"}}}`, "process.scheduler.policy"},
		{`{"process":{"scheduler":{"policy":"SCHED_OTHER","nice":20}}}`, "process.scheduler.nice"},
		{`{"process":{"scheduler":{"policy":"SCHED_FIFO"}}}`, "process.scheduler.priority"},
		{`{"process":{"scheduler":{"policy":"SCHED_OTHER","priority":3}}}`, "process.scheduler.priority"},
		{`{"process":{"scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_DL_OVERRUN"]}}}`, "process.scheduler.flags"},
		{`{"process":{"ioPriority":{"class":"IOPRIO_CLASS_FAST"}}}`, "process.ioPriority.class"},
		{`{"process":{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}}`, "process.ioPriority.priority"},
		{`{"hooks":{"poststop":[{"path":"true"}]}}`, "hooks.poststop[0].path"},
		{`{"hooks":{"createRuntime":[{"path":"/bin/true"},{"path":"/bin/true","timeout":0}]}}`, "hooks.createRuntime[1].timeout"},
		{`{"mounts":[{"destination":"tmp","type":"tmpfs"}]}`, "mounts[0].destination"},
		{`{"mounts":[{"destination":"/tmp","type":"ext4"}]}`, "mounts[0].type"},
		{`{"mounts":[{"destination":"/tmp"}]}`, "mounts[0].type"},
		{`{"mounts":[{"destination":"/tmp","source":"/","options":["bind","idmap"]}]}`, "mounts[0].options"},
		{`{"mounts":[{"destination":"/o","type":"overlay","options":["upperdir=/x"]}]}`, "mounts[0].options"},
		{`{"mounts":[{"destination":"/o","type":"overlay","options":["lowerdir=/etc","upperdir=/usr"]}]}`, "mounts[0].options"},
		{`{"mounts":[{"destination":"/o","type":"overlay","options":["lowerdir=/etc:/usr"]}]}`, "mounts[0].options"},
		{`{"mounts":[{"destination":"/o","type":"overlay","options":["lowerdir=/etc","speed=7"]}]}`, "mounts[0].options"},
		{`{"mounts":[{"destination":"/t","type":"tmpfs","uidMappings":[{"size":1}]}]}`, "mounts[0].uidMappings"},
		{`{"linux":{"namespaces":[{"type":"family"}]}}`, "linux.namespaces[0].type"},
		{`{"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}`, "linux.namespaces[1].type"},
		{`{"linux":{"namespaces":[{"type":"user"}]}}`, "linux.uidMappings"},
		{`{"linux":{"uidMappings":[{"size":1}]}}`, "linux.uidMappings"},
		{`{"linux":{"namespaces":[{"type":"user"}],"uidMappings":[{"size":1}],"gidMappings":[{"size":0}]}}`, "linux.gidMappings[0].size"},
		{`{"linux":{"intelRdt":{}}}`, "linux.intelRdt"},
		{`{"linux":{"mountLabel":"x"}}`, "linux.mountLabel"},
		{`{"linux":{"timeOffsets":{"monotonic":{"secs":1}}}}`, "linux.timeOffsets"},
		{`{"linux":{"rootfsPropagation":"far"}}`, "linux.rootfsPropagation"},
		{`{"linux":{"personality":{"domain":"LINUX32"}}}`, "linux.personality"},
		{`{"linux":{"devices":[{"path":"/dev/sda","type":"b"}]}}`, "linux.devices[0].path"},
		{`{"linux":{"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}],"resources":{"devices":[{"allow":true,"type":"c","major":10,"minor":229}]}}}`, "linux.devices[0].path"},
		{`{"linux":{"devices":[{"path":"null","type":"c","major":1,"minor":3}]}}`, "linux.devices[0].path"},
		{`{"linux":{"devices":[{"path":"/dev/null","type":"x","major":1,"minor":3}]}}`, "linux.devices[0].type"},
		{`{"linux":{"devices":[{"path":"/dev/null","type":"c","major":-1,"minor":3}]}}`, "linux.devices[0]"},
		{`{"mounts":[{"destination":"/x","type":"bind","source":"/proc/self"}]}`, "mounts[0].source"},
		{`{"mounts":[{"destination":"/x","type":"bind","source":"/proc/version"}]}`, "mounts[0].source"},
		{`{"mounts":[{"destination":"/t","type":"tmpfs"},{"destination":"/x","source":"/sys/kernel","options":["rbind","ro"]}]}`, "mounts[1].source"},
		{`{"linux":{"maskedPaths":["proc"]}}`, "linux.maskedPaths"},
		{`{"linux":{"readonlyPaths":["proc"]}}`, "linux.readonlyPaths"},
		{`{"linux":{"resources":{"memory":{"limit":4096}}}}`, "linux.resources.memory.limit"},
		{`{"linux":{"resources":{"pids":{"limit":-2}}}}`, "linux.resources.pids.limit"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOTIFY"}}}`, "linux.seccomp.defaultAction"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_ARM"]}}}`, "linux.seccomp.architectures"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","flags":["FAST"]}}}`, "linux.seccomp.flags[0]"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l"}}}`, "linux.seccomp.listenerPath"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"STOP"}]}}}`, "linux.seccomp.syscalls[0].action"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_ALLOW"}]}}}`, "linux.seccomp.syscalls[0].names"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":65536}]}}}`,
			"linux.seccomp.syscalls[0].action"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}}}`,
			"linux.seccomp.syscalls[0].args[0]"},
		{`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":0,"op":"ALMOST"}]}]}}}`,
			"linux.seccomp.syscalls[0].args[0]"},
	} {
		err := parseChanged(t, c.part)
		if err == nil || !strings.HasPrefix(err.Error(), c.field) {
			t.Errorf("%s: %v, want an error that begins with %s", c.part, err, c.field)
		}
	}
}

// TestKernelMounts: what of the host's kernel is bound whole is the file system of that kind of the kernel inside.
func TestKernelMounts(t *testing.T) {
	for source, want := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/proc/..": "bind", "/etc/passwd": "bind", "/nothing": "bind"} {
		bind := specs.Mount{Destination: "/at", Type: "bind", Source: source, Options: []string{"rbind", "ro"}}
		list, err := (&Bundle{Dir: "/", Config: &specs.Spec{Mounts: []specs.Mount{bind}}}).mounts()
		if err != nil || list[0].Type != want || !list[0].ReadOnly || list[0].At != "/at" {
			t.Errorf("%s: %+v, %v, want type %s", source, list, err, want)
		}
	}
}

// TestAcceptedFields has what is honoured, or may be ignored.
func TestAcceptedFields(t *testing.T) {
	for _, part := range []string{
		`{}`,
		`{"annotations":{"a":"b"},"hostname":"h","domainname":"d"}`,
		`{"hostname":"` + strings.Repeat("h", 64) + `","domainname":"` + strings.Repeat("d", 64) + `"}`,
		`{"process":{"apparmorProfile":"x","ioPriority":{"class":"IOPRIO_CLASS_IDLE"},"consoleSize":{"height":1,"width":2}}}`,
		`{"process":{"scheduler":{"policy":"SCHED_RR","priority":5,"flags":["SCHED_FLAG_RESET_ON_FORK"]}}}`,
		`{"mounts":[{"destination":"/t","type":"tmpfs","options":["nosuid","noexec","mode=700","size=1m"]}]}`,
		`{"linux":{"resources":{"cpu":{"shares":5},"memory":{"limit":-1},"pids":{"limit":0},"devices":[{"allow":false}]},"cgroupsPath":"/a"}}`,
		`{"linux":{"namespaces":[{"type":"user"}],"uidMappings":[{"hostID":1000,"size":1}],"gidMappings":[{"hostID":1000,"size":1}]}}`,
		`{"process":{"capabilities":{"bounding":["CAP_FLY"]}}}`,
		`{"mounts":[{"destination":"/tmp","source":"/","options":["bind","shared","rslave","runbindable"]}],"linux":{"rootfsPropagation":"rshared"}}`,
		`{"linux":{"rootfsPropagation":"rslave","personality":{"domain":"LINUX"},"devices":[{"path":"/dev/null","type":"c","major":1,"minor":3}]}}`,
		`{"linux":{"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}],"resources":{"devices":[{"allow":true,"access":"rwm"}]}}}`,
	} {
		if err := parseChanged(t, part); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}

// TestSchedule has the numbers that the kernel inside knows.
func TestSchedule(t *testing.T) {
	got, err := schedule(&specs.Process{
		Scheduler:  &specs.Scheduler{Policy: specs.SchedRR, Priority: 5, Nice: -3, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}},
		IOPriority: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6},
	})
	want := control.Schedule{Policy: 2 | 0x40000000, Priority: 5, Nice: -3, IOPriority: 2<<13 | 6}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestSystemdPaths(t *testing.T) {
	for from, want := range map[string]string{
		"machine.slice:libpod:x":     "/machine.slice/libpod-x.scope",
		"machine.slice::x":           "/machine.slice/x.scope",
		":docker:x":                  "/system.slice/docker-x.scope",
		"-.slice:a:x":                "/a-x.scope",
		"a-b-c.slice:cri:x":          "/a.slice/a-b.slice/a-b-c.slice/cri-x.scope",
		"kubepods.slice:a:pod.slice": "/kubepods.slice/pod.slice",
	} {
		if got, err := systemdPath(from); got != want || err != nil || !ofSystemd(from) {
			t.Errorf("%s: %q, %v; want %q", from, got, err, want)
		}
	}
	for _, bad := range []string{"a:b:c", "a--b.slice:b:c", "-a.slice:b:c", "a-.slice:b:c", "x/y.slice:b:c", ".slice:b:c", "a.slice:b:", "a.slice:b:c/d"} {
		if got, err := systemdPath(bad); err == nil {
			t.Errorf("%s: %q", bad, got)
		}
	}
}
