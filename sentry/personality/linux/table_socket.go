package linux

// socketCalls are the calls about sockets.
func socketCalls() []Call {
	return []Call{
		{41, "socket", "int hex int", "AF_UNIX; of AF_NETLINK what mq_notify needs", sysSocket},
		{42, "connect", "fd sockaddr uint", "", sysConnect},
		{43, "accept", "fd ptr ptr", "", sysAccept},
		{44, "sendto", "fd buf uint hex sockaddr uint", "no MSG_OOB", sysSendto},
		{45, "recvfrom", "fd ptr uint hex ptr ptr", "no MSG_OOB", sysRecvfrom},
		{46, "sendmsg", "fd ptr hex", "no MSG_OOB", sysSendmsg},
		{47, "recvmsg", "fd ptr hex", "no MSG_OOB", sysRecvmsg},
		{48, "shutdown", "fd int", "", sysShutdown},
		{49, "bind", "fd sockaddr uint", "", sysBind},
		{50, "listen", "fd int", "", sysListen},
		{51, "getsockname", "fd ptr ptr", "", sysGetsockname},
		{52, "getpeername", "fd ptr ptr", "", sysGetpeername},
		{53, "socketpair", "int hex int ptr", "AF_UNIX only", sysSocketpair},
		{54, "setsockopt", "fd int int ptr uint", "what unix(7) sockets have of level SOL_SOCKET", sysSetsockopt},
		{55, "getsockopt", "fd int int ptr ptr", "what unix(7) sockets have of level SOL_SOCKET", sysGetsockopt},
		{288, "accept4", "fd ptr ptr hex", "", sysAccept4},
		{299, "recvmmsg", "fd ptr uint hex ptr", "", sysRecvmmsg},
		{307, "sendmmsg", "fd ptr uint hex", "", sysSendmmsg},
	}
}
