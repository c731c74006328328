package test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// costForkRows are the rows of what forks cost: counts, not times, which the benchmarks show.
func costForkRows() []forkRow {
	return []forkRow{
		{name: "C01_by_mappings_not_by_memory", inKernel: "mm"},
		{name: "C02_vfork_exec_whatever_the_size", inKernel: "sentry/kernel"},
		{name: "C03_ten_thousand_children", program: "children",
			want: "created: 10000\nnone has ended: 0\nwaited for by number: 5000\nwaited for as they come: 5000, then ECHILD\n"},
	}
}

// TestSleepersHoldNothing counts the processes and threads that 2,000 sleeping children hold on the host.
func TestSleepersHoldNothing(t *testing.T) {
	program := compile(t, "fork/children.c", "-static")
	const processes, threads = 300, 800 // blank processes are a bounded cache, and one may have a second process for its guest thread
	for _, p := range forkPlatforms(t) {
		t.Run(p, func(t *testing.T) {
			cmd := exec.Command(sentry(t), "do", "--platform="+p, "--", program, "held")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			timer := time.AfterFunc(usualTime, func() { cmd.Process.Kill() })
			defer timer.Stop()
			lines := bufio.NewReader(out)
			if l, err := lines.ReadString('\n'); l != "sleeping: 2000\n" {
				t.Fatalf("%q %v", l, err)
			}
			n, m := hostTasks(cmd.Process.Pid)
			for end := time.Now().Add(patience); (n > processes || m > threads) && time.Now().Before(end); n, m = hostTasks(cmd.Process.Pid) {
				time.Sleep(20 * time.Millisecond) // until those that were killed are gone
			}
			if n == 0 || n > processes || m > threads {
				t.Errorf("%d processes with %d threads, expected up to %d with %d", n, m, processes, threads)
			}
			in.Close()
			if l, err := lines.ReadString('\n'); l != "waited for: 2000\n" {
				t.Errorf("%q %v", l, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// hostTasks counts the processes that descend from pid, itself included, and their threads.
func hostTasks(pid int) (processes, threads int) {
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/[0-9]*")
	if len(tasks) == 0 {
		return 0, 0
	}
	processes, threads = 1, len(tasks)
	for _, task := range tasks {
		b, _ := os.ReadFile(task + "/children")
		for _, f := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				n, m := hostTasks(child)
				processes, threads = processes+n, threads+m
			}
		}
	}
	return processes, threads
}
