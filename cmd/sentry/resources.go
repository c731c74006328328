package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"gosentry/sentry/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v3"
)

// resourceVerbs are about what containers use and may use.
func resourceVerbs() []containerVerb {
	return []containerVerb{
		{name: "update", usage: "change a container's limits", args: "ID", id: true, flags: updateFlags(), run: updateContainer},
		{name: "events", usage: "print what a container uses, and when a process was killed for want of memory, as JSON", args: "ID", id: true,
			flags: []cli.Flag{
				&cli.BoolFlag{Name: "stats", Usage: "once"},
				&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "every `TIME`"},
			},
			run: showEvents},
		{name: "wait", usage: "wait for a container's end and print its exit status as JSON", args: "ID", id: true,
			run: func(_ *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) {
				status, err := r.Wait(id)
				if err != nil {
					return 0, err
				}
				return 0, printJSON(map[string]any{"id": id, "exitStatus": status})
			}},
	}
}

// notLimited are flags of update that are accepted and change nothing.
const notLimited = "blkio-weight cpu-burst cpu-rt-period cpu-rt-runtime cpu-idle kernel-memory kernel-memory-tcp memory-reservation memory-swap"

func updateFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: "take the limits from a JSON `FILE` as in linux.resources, - for standard input"},
		&cli.StringFlag{Name: "memory", Usage: "`SIZE` in bytes, as 512M or 4G; -1 for no limit"},
		&cli.Int64Flag{Name: "pids-limit", Usage: "`N` processes and threads; -1 for no limit"},
		&cli.Uint64Flag{Name: "cpu-share", Usage: "`N` shares of the host's processor time, 1024 being usual"},
		&cli.Int64Flag{Name: "cpu-quota", Usage: "`N` µs of the host's processor time in each period; -1 for no limit"},
		&cli.Uint64Flag{Name: "cpu-period", Usage: "`N` µs"},
		&cli.StringFlag{Name: "cpuset-cpus", Usage: "the host's processors, as `0-2,5`"},
		&cli.StringFlag{Name: "cpuset-mems", Usage: "the host's memory nodes, as `0-1`"},
	}
	for name := range strings.FieldsSeq(notLimited) {
		flags = append(flags, &cli.StringFlag{Name: name, Usage: "accepted; it is not limited"})
	}
	return flags
}

func updateContainer(cmd *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) {
	res, err := givenResources(cmd.String("resources"))
	if err != nil {
		return 0, err
	}
	if text := cmd.String("memory"); text != "" {
		limit, err := memoryLimit(text)
		if err != nil {
			return 0, err
		}
		res.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	if cmd.IsSet("pids-limit") {
		n := cmd.Int64("pids-limit")
		res.Pids = &specs.LinuxPids{Limit: &n}
	}
	setCPU(cmd, res)
	return 0, r.Update(id, res)
}

// setCPU adds what flags say of processor time.
func setCPU(cmd *cli.Command, res *specs.LinuxResources) {
	c := res.CPU
	if c == nil {
		c = new(specs.LinuxCPU)
	}
	for name, to := range map[string]**uint64{"cpu-share": &c.Shares, "cpu-period": &c.Period} {
		if n := cmd.Uint64(name); cmd.IsSet(name) {
			*to = &n
		}
	}
	if n := cmd.Int64("cpu-quota"); cmd.IsSet("cpu-quota") {
		c.Quota = &n
	}
	for name, to := range map[string]*string{"cpuset-cpus": &c.Cpus, "cpuset-mems": &c.Mems} {
		if cmd.IsSet(name) {
			*to = cmd.String(name)
		}
	}
	res.CPU = c
}

// maxResources bounds the file of update --resources, in bytes.
const maxResources = 1 << 20

func givenResources(file string) (*specs.LinuxResources, error) {
	in := os.Stdin
	switch file {
	case "":
		return &specs.LinuxResources{}, nil
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxResources))
	if err != nil {
		return nil, err
	}
	return oci.ReadResources(text)
}

// memoryLimit reads a size, or -1.
func memoryLimit(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= -1 {
		return n, nil
	}
	n, ok := parseSize(text)
	if !ok {
		return 0, badFlag("memory", text, "give a size, or -1")
	}
	return int64(n), nil
}

func showEvents(cmd *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) {
	out := json.NewEncoder(os.Stdout)
	if cmd.Bool("stats") {
		e, err := r.Stats(id)
		if err != nil {
			return 0, err
		}
		return 0, out.Encode(e)
	}
	interval := cmd.Duration("interval")
	if interval <= 0 {
		return 0, badFlag("interval", fmt.Sprint(interval), "give a time above 0")
	}
	return 0, r.Events(id, interval, func(e oci.Event) error {
		if err := out.Encode(e); err != nil {
			return errors.New("nobody reads the events")
		}
		return nil
	})
}
