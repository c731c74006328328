package proc

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

const (
	dir = unix.DT_DIR
	reg = unix.DT_REG
	lnk = unix.DT_LNK
)

// taskEntries is what is in the directories of tasks.
var taskEntries = []entry{
	{"task", processOnly, dir, func(d *taskDir) vfs.Inode { return d.dir(0o555, threads{d}) }},
	{"fd", both, dir, func(d *taskDir) vfs.Inode { return d.newFDDir(0o500, descriptors{d}) }},
	{"fdinfo", both, dir, func(d *taskDir) vfs.Inode { return d.newFDDir(0o555, descriptorInfos{d}) }},
	{"ns", both, dir, func(d *taskDir) vfs.Inode { return d.dir(0o511, namespaces{d}) }},
	{"net", both, dir, netDir},

	{"cwd", both, lnk, link(func(p Places) vfs.Path { return p.WorkDir })},
	{"root", both, lnk, link(func(p Places) vfs.Path { return p.Root })},
	{"exe", both, lnk, link(func(p Places) vfs.Path { return p.Executable })},

	{"stat", both, reg, readable(writeStat)},
	{"statm", both, reg, readable(writeStatm)},
	{"status", both, reg, readable(writeStatus)},
	{"schedstat", both, reg, readable(writeSchedstat)},
	{"comm", both, reg, knob(writeComm, storeComm)},
	{"cmdline", both, reg, stepwise(writeCmdline)},
	{"environ", both, reg, ofMemory(0o400, writeEnviron, nil)},
	{"auxv", both, reg, auxvFile},
	{"maps", both, reg, newMapsFile},
	{"pagemap", both, reg, func(d *taskDir) vfs.Inode { return newPageMap(d) }},
	{"smaps", both, reg, ofMappings(writeSmaps)},
	{"smaps_rollup", processOnly, reg, ofMemory(0o444, writeSmapsRollup, unix.ESRCH)},
	{"mem", both, reg, func(d *taskDir) vfs.Inode { return newMemFile(d) }},
	{"limits", both, reg, readable(writeLimits)},
	{"personality", both, reg, private(0o400, writePersonality)},
	{"io", both, reg, private(0o400, writeIO)},
	{"wchan", both, reg, readable(writeWchan)},
	{"oom_score", both, reg, readable(writeOOMScore)},
	{"oom_score_adj", both, reg, knob(writeOOMScoreAdj, storeOOMScoreAdj)},
	{"oom_adj", both, reg, knob(writeOOMAdj, storeOOMAdj)},
	{"timerslack_ns", processOnly, reg, readable(writeTimerSlack)},
	{"coredump_filter", processOnly, reg, knob(writeCoreFilter, storeCoreFilter)},
	{"stopfork", processOnly, reg, knob(writeStopForks, storeStopForks)},

	{"mounts", both, reg, newMountTable(mountFile(writeMounts))},
	{"mountinfo", both, reg, newMountTable(mountFile(writeMountinfo))},
	{"mountstats", processOnly, reg, stepwise(mountFile(writeMountstats))},

	{"cgroup", both, reg, readable(writeCgroup)},
	{"cpuset", both, reg, readable(text("/\n"))},
	{"loginuid", both, reg, readable(text("4294967295"))},
	{"sessionid", both, reg, readable(text("4294967295"))},
	{"uid_map", both, reg, idMap(cred.MapUID)},
	{"gid_map", both, reg, idMap(cred.MapGID)},
	{"projid_map", both, reg, idMap(cred.MapProject)},
	{"timens_offsets", processOnly, reg, timeOffsets},
	{"setgroups", processOnly, reg, setgroups},
}
