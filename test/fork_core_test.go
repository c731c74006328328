package test

// coreForkRows are the rows of the fork routine itself.
func coreForkRows() []forkRow {
	return []forkRow{
		{name: "N05_signal_actions", program: "sharing"},
		{name: "N06_descriptor_table", program: "sharing"},
		{name: "N07_directory_and_umask", program: "sharing"},
		{name: "N08_limits", program: "sharing"},
		{name: "N09_address_space", program: "sharing"},
	}
}
