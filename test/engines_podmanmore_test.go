package test

import (
	"os"
	"path/filepath"
	"testing"
)

// podmanVolumes are volumes that are more than a bind.
var podmanVolumes = []engineStep{
	{args: "run --rm -v HOME:/v:O IMAGE sh -c 'echo x >/v/over; cat /v/over; grep -c . /v/over /proc/self/mounts | grep -c over'", out: "x\n1\n"},
	{args: "run --rm -v HOME:/v:ro IMAGE sh -c 'test -e /v/over || echo untouched'", out: "untouched\n"},
	{args: "run --rm --mount type=image,src=IMAGE,dst=/i IMAGE sh -c 'head -n 1 /i/etc/passwd; touch /i/x'", status: 1, out: "root:.*\n", err: "Read-only"},
	{args: "run --rm -v HOME/pod.yaml:/f:z IMAGE head -n 1 /f", out: "apiVersion: v1\n"},
	{args: "run --rm --tmpfs /etc IMAGE sh -c 'head -n 1 /etc/passwd; touch /etc/x && ls /etc/x'", out: "root:.*\n/etc/x\n"},
	{args: "run --rm -v /sys:/sys:ro -v /proc:/p -v /:/host:ro IMAGE sh -c 'cat /p/1/comm; ls -d /sys/kernel /host/etc /host/proc/1'", status: 1,
		out: "sh\n/host/etc\n/sys/kernel\n", err: "/host/proc/1"},
	{args: "run --rm -v /dev:/dev IMAGE sh -c 'echo x >/dev/null; test -e /dev/vda || ls /dev/zero'", out: "/dev/zero\n"},
	{args: "run --rm --ipc=host --pid=host --systemd=always IMAGE sh -c 'ls -d /dev/mqueue'", out: "/dev/mqueue\n"},
	{args: "run --rm -v /proc/sys:/x:ro IMAGE true", status: 126, err: `mounts\[\d+\].source: /proc/sys: its file system, proc, shows the host's kernel`},
}

// podmanHealth looks after a container, and keeps it within bounds.
var podmanHealth = []engineStep{
	{args: "run -d --name ill --healthcheck-command 'CMD-SHELL test -e /tmp/well' --healthcheck-interval 0 IMAGE sh -c 'touch /tmp/well; exec sleep 1000'", out: "-"},
	{args: "healthcheck run ill", wait: true},
	{args: "exec ill sh -c 'busybox rm /tmp/well'"},
	{args: "healthcheck run ill", status: 1, out: "-"},
	{args: "exec -w /nowhere ill true", status: 127, err: "cannot use working directory /nowhere"},
	{args: "rm -f -t 0 ill", out: "ill\n"},
	{args: "run --rm --security-opt no-new-privileges IMAGE grep NoNewPrivs /proc/self/status", out: "NoNewPrivs:\t1\n"},
	{args: "run --rm --security-opt seccomp=unconfined IMAGE grep Seccomp: /proc/self/status", out: "Seccomp:\t0\n"},
	{args: "run --rm --security-opt mask=/etc/passwd IMAGE cat /etc/passwd"},
	{args: "run --rm --cpuset-cpus 0 IMAGE busybox nproc", out: "1\n"},
	{args: "run --rm --systemd=always IMAGE ls -d /run/lock", out: "/run/lock\n"},
	{args: "run --rm --memory 32m IMAGE busybox dd if=/dev/zero of=/dev/null bs=100M count=1", status: 137},
}

// podYAML is what Kubernetes would be told.
const podYAML = `apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  restartPolicy: Never
  volumes: [{name: both, emptyDir: {}}]
  containers:
  - name: one
    image: ` + imageName + `
    command: [sh, -c, "echo shared >/s/f; exec sleep 1000"]
    volumeMounts: [{name: both, mountPath: /s}]
    resources: {limits: {memory: 64Mi}}
  - name: other
    image: ` + imageName + `
    command: [sh, -c, "until cat /s/f 2>/dev/null; do sleep 0.05; done; hostname; exec sleep 1000"]
    volumeMounts: [{name: both, mountPath: /s}]
    securityContext: {readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// podmanKube runs a pod that is described in Kubernetes' words.
var podmanKube = []engineStep{
	{args: "build -q --cgroup-parent /GROUP -f HOME/Pausefile -t localhost/pausing HOME", out: "-"},
	{args: "play kube HOME/pod.yaml", out: "-"},
	{args: "logs two-other", out: "shared\ntwo\n", wait: true},
	{args: "exec two-one grep MemTotal /proc/meminfo", out: "MemTotal: +65536 kB\n"},
	{args: "exec two-other grep CapEff /proc/self/status", out: "CapEff:\t0+\n"},
	{args: "play kube --down HOME/pod.yaml", out: "-"},
	{args: "pod ps -q"},
}

func TestPodmanMore(t *testing.T) {
	if !everything() {
		t.Skip("SENTRY_TEST_ALL is not set")
	}
	p := newPodman(t)
	for name, text := range map[string]string{
		"pod.yaml": podYAML, "Pausefile": "FROM " + imageName + "\nCMD [\"sleep\", \"1000\"]\n",
		"containers.conf": podmanConfig + "infra_image = \"localhost/pausing\"\n",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("volumes", func(t *testing.T) { p.steps(t, podmanVolumes) })
	t.Run("health", func(t *testing.T) { p.steps(t, podmanHealth) })
	t.Run("kube", func(t *testing.T) { p.steps(t, podmanKube) })
}
