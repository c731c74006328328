package test

// ipcForkRows are rows about System V objects and I/O contexts.
func ipcForkRows() []forkRow {
	return []forkRow{
		{name: "L11_semaphore_adjustments", program: "ipc"},
		{name: "L01_io_context", program: "ipc"},
		{name: "I14_shared_memory_segments", program: "ipc"},
	}
}
