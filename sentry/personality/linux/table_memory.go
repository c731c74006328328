package linux

// memoryCalls are the calls about the address space.
func memoryCalls() []Call {
	return []Call{
		{9, "mmap", "ptr uint prot mmap fd uint", "no MAP_HUGETLB, MAP_SYNC", sysMmap},
		{10, "mprotect", "ptr uint prot", "", sysMprotect},
		{11, "munmap", "ptr uint", "", sysMunmap},
		{12, "brk", "ptr", "", sysBrk},
		{25, "mremap", "ptr uint uint hex ptr", "", sysMremap},
		{26, "msync", "ptr uint hex", "", sysMsync},
		{27, "mincore", "ptr uint ptr", "", sysMincore},
		{28, "madvise", "ptr uint int", "hints about paging are accepted and not followed", sysMadvise},
		{149, "mlock", "ptr uint", "counted, the host may still page", sysMlock},
		{150, "munlock", "ptr uint", "", sysMunlock},
		{151, "mlockall", "hex", "counted, the host may still page", sysMlockall},
		{152, "munlockall", "", "", sysMunlockall},
		{216, "remap_file_pages", "ptr uint prot uint hex", "", sysRemapFilePages},
		{324, "membarrier", "int hex int", "no SYNC_CORE and RSEQ commands", sysMembarrier},
		{325, "mlock2", "ptr uint hex", "counted, the host may still page", sysMlock2},
		{329, "pkey_mprotect", "ptr uint prot int", "there are no keys", sysPkeyMprotect},
		{330, "pkey_alloc", "hex hex", "there are no keys", sysPkeyAlloc},
		{331, "pkey_free", "int", "there are no keys", sysPkeyFree},
		{462, "mseal", "ptr uint hex", "", sysMseal},
	}
}
