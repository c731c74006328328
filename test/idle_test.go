package test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// idleFor is how long a sandbox is watched that has nothing to do.
	idleFor = 10 * time.Second
	// idleMost is how much processor time all its threads may take together: less than a clock tick.
	idleMost = time.Millisecond
	// idleTries is how often it is watched: Go's runtime has something to do every two minutes, and more on a host without time.
	idleTries = 3
)

// TestIdle has sandboxes work for a while and then wait, in a process that sleeps, one that reads and one that waits for a
// child: they take no processor time. All platforms wait at the same time.
func TestIdle(t *testing.T) {
	t.Parallel()
	eachPlatform(t, func(t *testing.T, platform string) {
		t.Parallel()
		cmd := exec.Command(sentry(t), "do", "--platform="+platform, "--", "/bin/sh", "-c",
			`i=0; while [ $i -lt 100 ]; do i=$((i+1)); /bin/true; done; echo worked; cat >/dev/null & sleep 1000; true`)
		cmd.Env, cmd.SysProcAttr = environment(), &syscall.SysProcAttr{Setpgid: true}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		defer in.Close()
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		var took time.Duration
		for range idleTries {
			before := settled(t, cmd.Process.Pid)
			time.Sleep(idleFor)
			used, _ := processorTime(cmd.Process.Pid)
			if took = used - before; took <= idleMost {
				return
			}
		}
		t.Errorf("%v of processor time in %v", took, idleFor)
	})
}

// settled waits until the sandbox of process pid has done what it had to, and returns what it has used so far.
func settled(t *testing.T, pid int) time.Duration {
	t.Helper()
	last, since := time.Duration(-1), time.Now()
	for end := since.Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		used, threads := processorTime(pid)
		if used != last {
			last, since = used, time.Now()
		} else if time.Since(since) > 2*time.Second && threads > 4 {
			return used
		}
	}
	t.Fatal("it never comes to rest")
	return 0
}

// processorTime adds up what the threads of a process and of its descendants have used, in the host's ns, and counts them.
func processorTime(pid int) (used time.Duration, threads int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(filepath.Join(task, "schedstat"))
		if f := strings.Fields(string(text)); len(f) > 0 {
			ns, _ := strconv.ParseInt(f[0], 10, 64)
			used += time.Duration(ns)
			threads++
		}
		text, _ = os.ReadFile(filepath.Join(task, "children"))
		for _, child := range strings.Fields(string(text)) {
			id, _ := strconv.Atoi(child)
			u, n := processorTime(id)
			used, threads = used+u, threads+n
		}
	}
	return used, threads
}
