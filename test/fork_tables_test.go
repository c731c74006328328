package test

// tableForkRows are about the size of descriptor tables. The host's fs.nr_open is everybody's on it, so what needs it
// changed is compared with what its sources say.
func tableForkRows() []forkRow {
	return []forkRow{
		{name: "N06_bounds_of_tables", program: "tables", sections: "bounds", root: true},
		{name: "N06_tables_too_large", program: "tables", sections: "limit copies", root: true, want: tooLargeReport},
	}
}

const tooLargeReport = `hard limit at it: 0
hard limit past it: EPERM
soft over hard first: EINVAL
raised: ok
hard limit past the old: 0
lowered again: ok
descriptor past it: EBADF EMFILE
descriptor below: ok
and the next: EMFILE
large descriptor: ok
unshare: EMFILE
unshare more: EMFILE
fork: EMFILE
clone that shares: ran
clone that shares: ok
clone: EMFILE
close_range, marking: EMFILE
close_range, below: EMFILE
still there: ok
close_range: 0
gone: EBADF
others are there: ok
fork again: exit 3
`
