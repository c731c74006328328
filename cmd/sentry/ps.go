package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gosentry/sentry/control"
	"gosentry/sentry/oci"

	"github.com/urfave/cli/v3"
)

// listProcesses prints the processes of a container: their ids as JSON, or a table as ps(1) prints it with the same arguments.
func listProcesses(cmd *cli.Command, r *oci.Runtime, id string, args []string) (int, error) {
	switch format := cmd.String("format"); format {
	case "json":
		ids, err := r.Processes(id)
		if err != nil {
			return 0, err
		}
		if ids == nil {
			ids = []int32{}
		}
		return 0, json.NewEncoder(os.Stdout).Encode(ids)
	case "table":
		columns, err := psColumns(args)
		if err != nil {
			return 0, err
		}
		list, err := r.Look(id)
		if err != nil {
			return 0, err
		}
		return 0, printProcesses(columns, list)
	default:
		return 0, badFlag("format", format, "give table or json")
	}
}

// column is one of the table.
type column struct {
	name string // of ps -o; others are its aliases there
	head string
	text func(p *control.ProcessInfo) string
}

// usual are the columns of ps -ef.
const usual = "uid,pid,ppid,c,stime,tty,time,args"

// psAliases are further names of columns.
var psAliases = map[string]string{
	"user": "uid", "euser": "uid", "ruser": "uid", "euid": "uid", "ruid": "uid", "cmd": "args", "command": "args", "ucmd": "comm",
	"pgrp": "pgid", "sess": "sid", "session": "sid", "thcount": "nlwp", "state": "s", "stat": "s", "start": "stime", "start_time": "stime",
	"tt": "tty", "tname": "tty", "cputime": "time", "vsize": "vsz", "rssize": "rss", "pcpu": "c", "%cpu": "c",
}

func number[N int | int32 | uint32 | uint64](n N) string { return fmt.Sprint(n) }

// psTable are all columns.
var psTable = []column{
	{"uid", "UID", func(p *control.ProcessInfo) string { return number(p.UID) }},
	{"pid", "PID", func(p *control.ProcessInfo) string { return number(p.PID) }},
	{"ppid", "PPID", func(p *control.ProcessInfo) string { return number(p.PPID) }},
	{"pgid", "PGID", func(p *control.ProcessInfo) string { return number(p.Group) }},
	{"sid", "SID", func(p *control.ProcessInfo) string { return number(p.Session) }},
	{"c", "C", func(p *control.ProcessInfo) string {
		return number(int(100 * p.CPU / max(time.Since(p.Start), time.Millisecond)))
	}},
	{"s", "S", func(p *control.ProcessInfo) string { return string(rune(p.State)) }},
	{"nlwp", "NLWP", func(p *control.ProcessInfo) string { return number(p.Threads) }},
	{"stime", "STIME", func(p *control.ProcessInfo) string { return started(p.Start) }},
	{"tty", "TTY", func(p *control.ProcessInfo) string { return ttyName(p.TTY) }},
	{"time", "TIME", func(p *control.ProcessInfo) string { return clock(p.CPU) }},
	{"etime", "ELAPSED", func(p *control.ProcessInfo) string { return clock(time.Since(p.Start)) }},
	{"vsz", "VSZ", func(p *control.ProcessInfo) string { return number(p.Size >> 10) }},
	{"rss", "RSS", func(p *control.ProcessInfo) string { return number(p.Resident >> 10) }},
	{"comm", "COMMAND", func(p *control.ProcessInfo) string { return printable(p.Name) }},
	{"args", "CMD", func(p *control.ProcessInfo) string {
		args := strings.TrimRight(strings.ReplaceAll(string(p.Args), "\x00", " "), " ")
		return cmp.Or(printable([]byte(args)), "["+printable(p.Name)+"]")
	}},
}

// psColumns reads arguments of ps(1): which processes are chosen does not matter, as it is always the container's.
func psColumns(args []string) ([]column, error) {
	names := ""
	for i := 0; i < len(args); i++ {
		word := strings.TrimPrefix(args[i], "-")
		before, list, asked := strings.Cut(word, "o")
		if strings.Trim(before, "Aeadxwfujlc") != "" {
			return nil, fmt.Errorf("ps: the argument %q is not known (-ef, aux and -o LIST are)", args[i])
		}
		if !asked {
			continue
		}
		if list == "" && i+1 < len(args) {
			i++
			list = args[i]
		}
		names += "," + list
	}
	var columns []column
	for name := range strings.FieldsFuncSeq(cmp.Or(names, usual), func(r rune) bool { return r == ',' || r == ' ' }) {
		c, err := psColumn(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// psColumn finds a column by its name, which NAME=HEAD gives another head.
func psColumn(text string) (column, error) {
	name, head, renamed := strings.Cut(text, "=")
	name = cmp.Or(psAliases[name], name)
	for _, c := range psTable {
		if c.name == name {
			if renamed {
				c.head = head
			}
			return c, nil
		}
	}
	return column{}, fmt.Errorf("ps: there is no column %q", text)
}

func printProcesses(columns []column, list []control.ProcessInfo) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 1, ' ', 0)
	row := func(text func(c column) string) {
		var fields []string
		for _, c := range columns {
			fields = append(fields, text(c))
		}
		fmt.Fprintln(w, strings.Join(fields, "\t"))
	}
	row(func(c column) string { return c.head })
	for i := range list {
		row(func(c column) string { return c.text(&list[i]) })
	}
	return w.Flush()
}

// started is when a process began, as ps shows it: the time of today, the day of others.
func started(t time.Time) string {
	t = t.Local()
	if time.Since(t) < 24*time.Hour {
		return t.Format("15:04")
	}
	return t.Format("Jan02")
}

// clock is a time in hours, minutes and seconds.
func clock(d time.Duration) string {
	s := int(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// ptsMajor is the device number of pseudo-terminals.
const ptsMajor = 136

func ttyName(device uint32) string {
	major, minor := device>>8&0xfff, device&0xff|device>>12&0xfff00
	switch {
	case device == 0:
		return "?"
	case major == ptsMajor:
		return fmt.Sprint("pts/", minor)
	}
	return fmt.Sprint(major, ":", minor)
}

// printable shows what a guest has chosen: nothing in it may reach a terminal as it is.
func printable(b []byte) string {
	text := strconv.Quote(string(b))
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text[1 : len(text)-1])
}
