package kernel

import (
	"sync/atomic"
	"testing"
	"time"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/ktime"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// TestExecByThread: whichever thread calls exec, it is the only one left and has the
// id of the process.
func TestExecByThread(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		for _, leaderEnds := range []bool{false, true} {
			var bystanders atomic.Int32
			id := g.fork(func(g *guest) {
				me := g.getpid()
				for range 3 {
					g.thread(func(g *guest) {
						bystanders.Add(1)
						g.spinForever()
					})
				}
				g.eventually("all run", func(*Task) bool { return bystanders.Load() == 3 })
				child := g.fork(exits(4))
				g.thread(func(g *guest) {
					if leaderEnds {
						g.eventually("the leader has ended", func(tk *Task) bool { return tk.tg.threads() == 4 })
					}
					g.block(unix.SIGUSR1)
					g.tkill(g.gettid(), unix.SIGUSR1)
					if err := g.exec(func(g *guest) {
						if pid, tid := g.getpid(), g.gettid(); pid != me || tid != me {
							t.Errorf("process %d, thread %d after exec, want %d", pid, tid, me)
						}
						g.do(func(tk *Task) error {
							if n := tk.tg.threads(); n != 1 || tk.tg.leader != tk {
								t.Errorf("%d threads, leader %v", n, tk.tg.leader == tk)
							}
							return nil
						})
						if own, _ := pendingOf(g); own != signal.SetOf(unix.SIGUSR1) {
							t.Errorf("pending %#x after exec", own)
						}
						// Children stay, whoever made them.
						g.expectExit(child, ExitStatus{Code: 4})
						g.exitGroup(6)
					}); err != nil {
						t.Errorf("exec: %v", err)
					}
				})
				if leaderEnds {
					g.block(unix.SIGUSR2)
					g.tkill(me, unix.SIGUSR2) // goes with the thread
					g.exit(0)
				}
				idle(g)
			})
			g.expectExit(id, ExitStatus{Code: 6})
		}
	})
}

// TestExecsRace: of several threads that call exec at once, and one that ends the process, one wins.
func TestExecsRace(t *testing.T) {
	for i := range 20 {
		newMachine(t).run(0, func(g *guest) {
			var winners atomic.Int32
			id := g.fork(func(g *guest) {
				for range 4 {
					g.thread(func(g *guest) {
						g.exec(func(g *guest) {
							winners.Add(1)
							g.exitGroup(2)
						})
						t.Error("a loser of the race goes on")
					})
				}
				if i%2 == 0 {
					g.exitGroup(1)
				}
				idle(g)
			})
			r := g.reap(id)
			if won := winners.Load(); won > 1 || won == 1 != (r.Exit.Code == 2) || won == 0 && i%2 == 1 {
				t.Errorf("%d programs began, the process ended with %+v", won, r.Exit)
			}
		})
	}
}

func TestExecResets(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		g.catch(0, nil, unix.SIGUSR1)
		g.ignore(unix.SIGUSR2)
		g.block(unix.SIGTERM)
		g.kill(g.getpid(), unix.SIGTERM)
		g.do(func(tk *Task) error {
			*tk.AltStack() = signal.Stack{Base: 0x1000, Size: 0x10000}
			tk.SetParentDeathSignal(unix.SIGHUP)
			_, err := tk.tg.SetITimer(ITimerReal, ktime.Setting{Value: int64(time.Hour)})
			return err
		})
		g.exec(func(g *guest) {
			g.do(func(tk *Task) error {
				for sig, want := range map[signal.Signal]uint64{unix.SIGUSR1: signal.HandlerDefault, unix.SIGUSR2: signal.HandlerIgnore} {
					if a, _ := tk.Action(sig); a.Handler != want {
						t.Errorf("action of %v is %#x", sig, a.Handler)
					}
				}
				if tk.SignalMask() != signal.SetOf(unix.SIGTERM) {
					t.Errorf("mask %#x", tk.SignalMask())
				}
				if _, group := tk.PendingSignals(); group != signal.SetOf(unix.SIGTERM) {
					t.Errorf("pending %#x", group)
				}
				if tk.AltStack().Size != 0 {
					t.Errorf("alternate stack %+v", *tk.AltStack())
				}
				if s := tk.ParentDeathSignal(); s != unix.SIGHUP {
					t.Errorf("parent-death signal %v", s)
				}
				if s, err := tk.tg.ITimer(ITimerReal); err != nil || s.Value == 0 {
					t.Errorf("interval timer %+v, %v", s, err)
				}
				return nil
			})
		})
	})
}

// goneFile is a file that can be mapped; gone is called when it is not any more.
type goneFile struct{ gone func() }

func (f *goneFile) AddMapping(*mm.MemoryManager, mm.Range, uint64, bool) error { return nil }
func (f *goneFile) RemoveMapping(*mm.MemoryManager, mm.Range, uint64, bool)    { f.gone() }
func (f *goneFile) MappedName() (path string, major, minor uint32, ino uint64) { return "", 0, 0, 0 }
func (f *goneFile) Translate(off, length uint64, write bool) (mm.Backing, error) {
	return mm.Backing{}, unix.EFAULT
}

// TestExecNamesFirst: whoever sees the memory of the new program sees its name too, while the old memory is being given up.
func TestExecNamesFirst(t *testing.T) {
	newMachine(t).run(0, func(g *guest) {
		name := ""
		g.do(func(tk *Task) error {
			tk.SetName("before")
			old := tk.MM()
			_, err := old.MMap(mm.MMapOpts{Length: mm.PageSize, Prot: platform.Read, Private: true, File: &goneFile{func() {
				if tk.MM() != old {
					name = tk.Name()
				}
			}}})
			return err
		})
		g.exec(func(g *guest) {
			g.do(func(tk *Task) error {
				if name != tk.Name() {
					t.Errorf("called %q with the new memory, then %q", name, tk.Name())
				}
				return nil
			})
		})
	})
}

func TestTextBusy(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		open := func(tk *Task) (*vfs.File, error) {
			return vfs.Open(tk, tk.WalkArgs(), "/prog", vfs.OpenArgs{Flags: unix.O_WRONLY})
		}
		g.do(func(tk *Task) error {
			if f, err := open(tk); err != unix.ETXTBSY {
				t.Errorf("writing to the program that runs: %v, %v", f, err)
			}
			return nil
		})
	})
	f, err := vfs.Open(anybody{}, vfs.WalkArgs{Root: m.k.first.Mount.Root(), Start: m.k.first.Mount.Root()}, "/prog", vfs.OpenArgs{Flags: unix.O_WRONLY})
	if err != nil {
		t.Fatalf("writing to a program that ran: %v", err)
	}
	f.DecRef()
}
