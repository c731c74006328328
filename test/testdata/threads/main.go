// Threads is a static Go program that keeps several threads and the garbage collector busy and
// prints what must come out the same everywhere.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	runtime.GOMAXPROCS(4)
	for _, step := range []struct {
		name string
		run  func() (string, error)
	}{
		{"goroutines", goroutines}, {"garbage", garbage}, {"threads", threads}, {"pipes", pipes},
		{"files", files}, {"timers", timers}, {"processes", processes}, {"signals", signals}, {"panic", panics},
	} {
		out, err := step.run()
		fmt.Printf("%s: %s %v\n", step.name, out, err)
	}
	os.Exit(6)
}

func goroutines() (string, error) {
	var sum atomic.Int64
	var wg sync.WaitGroup
	ch := make(chan int)
	for range 100 {
		wg.Go(func() {
			for v := range ch {
				sum.Add(int64(v))
			}
		})
	}
	for i := range 20000 {
		ch <- i
	}
	close(ch)
	wg.Wait()
	return fmt.Sprint(sum.Load()), nil
}

// garbage makes linked structures on several threads while the collector runs.
func garbage() (string, error) {
	type node struct {
		next *node
		data [64]byte
	}
	var wg sync.WaitGroup
	var bad atomic.Int32
	for g := range 8 {
		wg.Go(func() {
			for range 60 {
				var list *node
				for i := range 2000 {
					n := &node{next: list}
					n.data[5] = byte(i + g)
					list = n
				}
				i := 1999
				for n := list; n != nil; n = n.next {
					if n.data[5] != byte(i+g) {
						bad.Add(1)
					}
					i--
				}
			}
		})
	}
	wg.Wait()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("%d bad, collected %v", bad.Load(), m.NumGC > 2), nil
}

func threads() (string, error) {
	var wg sync.WaitGroup
	results := make([]string, 16)
	for i := range results {
		wg.Go(func() {
			runtime.LockOSThread()
			h := sha256.New()
			for k := range 2000 {
				fmt.Fprint(h, i, k)
				if k%500 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			results[i] = fmt.Sprintf("%x", h.Sum(nil)[:2])
		})
	}
	wg.Wait()
	return fmt.Sprint(results), nil
}

func pipes() (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	go func() {
		for range 1000 {
			w.Write(bytes.Repeat([]byte("x"), 1000))
		}
		w.Close()
	}()
	n, err := io.Copy(io.Discard, r)
	return fmt.Sprint(n), err
}

func files() (string, error) {
	dir, err := os.MkdirTemp(".", "go")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, i*100), 0o600); err != nil {
			return "", err
		}
	}
	var total int64
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			total += info.Size()
		}
		return err
	})
	_, missing := os.Open(filepath.Join(dir, "none"))
	return fmt.Sprint(total, errors.Is(missing, os.ErrNotExist)), err
}

func timers() (string, error) {
	start := time.Now()
	ticks := 0
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	after := time.After(100 * time.Millisecond)
	for {
		select {
		case <-tick.C:
			ticks++
		case <-after:
			took := time.Since(start)
			return fmt.Sprint(ticks >= 5, took >= 100*time.Millisecond, took < 5*time.Second), nil
		}
	}
}

func processes() (string, error) {
	var out []string
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			b, err := exec.Command("/bin/sh", "-c", fmt.Sprintf("echo child %d; exit %d", i, i)).Output()
			mu.Lock()
			defer mu.Unlock()
			out = append(out, fmt.Sprint(string(bytes.TrimSpace(b)), " ", err))
		})
	}
	wg.Wait()
	sort.Strings(out)
	return fmt.Sprint(out), nil
}

func signals() (string, error) {
	c := make(chan os.Signal, 10)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGCHLD)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		return "", err
	}
	got := <-c
	for got == syscall.SIGCHLD { // that of a child which has been waited for may come late
		got = <-c
	}
	return fmt.Sprint(got), nil
}

func panics() (out string, err error) {
	defer func() { out = fmt.Sprint(recover()) }()
	var p *int
	*p = 1
	return "", nil
}
