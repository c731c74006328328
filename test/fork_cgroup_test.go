package test

// cgroupForkRows are the rows about control groups.
func cgroupForkRows() []forkRow {
	return []forkRow{
		{name: "I09_group_binding", program: "cgroups", root: true, needs: needCgroups},
		{name: "I21_migration_takes_both", program: "cgroups", root: true, needs: needCgroups},
		{name: "I21_migration_at_each_step", inKernel: "sentry/kernel"},
		{name: "L01_into_cgroup", program: "cgroups", root: true, needs: needCgroups},
		{name: "L07_pids_limit", program: "cgroups", root: true, want: pidsLimitReport},
	}
}

// pidsLimitReport is what cgroups(7) and the kernel's documentation of the pids controller say; hosts often have
// that controller elsewhere.
const pidsLimitReport = `group: ok
controllers: pids
max: max
on: ok
below: max
text: '-1' EINVAL
text: 'x' EINVAL
text: '' ok
text: '99999999999' EINVAL
two: ok
attach: ok
current: 1
fork: ok
beside a zombie: EAGAIN
current: 2
reaped: ok
thread: 0
beside a thread: EAGAIN
events: max 2
of its group: max 0
local: max 2
peak: 2
lowered: 2
then: EAGAIN
max: ok
after: 0
moved past the limit: 1
fork: EAGAIN
`
