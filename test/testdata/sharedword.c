// A word in a file that several processes map: "wait FILE" sleeps until it changes, "wake FILE" changes it and says how many
// were woken. The waiter gives up after a minute.
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc != 3)
		return 2;
	int fd = open(argv[2], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 4096) != 0)
		return 3;
	unsigned *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (word == MAP_FAILED)
		return 4;
	if (strcmp(argv[1], "wait") == 0) {
		struct timespec patience = {60, 0};
		long r = syscall(SYS_futex, word, FUTEX_WAIT, 0, &patience, NULL, 0);
		printf("waited: %ld, word %u\n", r, *word);
		return 0;
	}
	for (int i = 0; i < 5000; i++) {
		// The word stays 0 until somebody waits.
		if (syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) == 1) {
			__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
			printf("woken: 1\n");
			return 0;
		}
		usleep(10000);
	}
	printf("nobody waits\n");
	return 0;
}
