package linux

// ipcCalls are the calls of System V interprocess communication and of POSIX message queues.
func ipcCalls() []Call {
	return []Call{
		{29, "shmget", "hex uint hex", "no SHM_HUGETLB", sysShmget},
		{30, "shmat", "int ptr hex", "", sysShmat},
		{31, "shmctl", "int int ptr", "SHM_LOCK is remembered, the host may still page", sysShmctl},
		{64, "semget", "hex int hex", "", sysSemget},
		{65, "semop", "int ptr uint", "", sysSemop},
		{66, "semctl", "int int int ptr", "", sysSemctl},
		{67, "shmdt", "ptr", "", sysShmdt},
		{68, "msgget", "hex hex", "", sysMsgget},
		{69, "msgsnd", "int ptr uint hex", "", sysMsgsnd},
		{70, "msgrcv", "int ptr uint int hex", "", sysMsgrcv},
		{71, "msgctl", "int int ptr", "", sysMsgctl},
		{240, "mq_open", "path open mode ptr", "", sysMqOpen},
		{241, "mq_unlink", "path", "", sysMqUnlink},
		{242, "mq_timedsend", "fd ptr uint uint ptr", "", sysMqTimedsend},
		{243, "mq_timedreceive", "fd ptr uint ptr ptr", "", sysMqTimedreceive},
		{244, "mq_notify", "fd ptr", "", sysMqNotify},
		{245, "mq_getsetattr", "fd ptr ptr", "", sysMqGetsetattr},
		{220, "semtimedop", "int ptr uint ptr", "", sysSemtimedop},
	}
}
