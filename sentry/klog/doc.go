// Package klog is the log of the kernel inside, as syslog(2) and /dev/kmsg show it.
//
// A Log is a ring of records: a number that counts up, when, how urgent, and a line of text. It holds Size bytes as syslog(2) formats
// them; the oldest go first. Guests add records by /dev/kmsg, so the text of one is bounded as well. A reader keeps nothing but a
// number of a record: one that has been overwritten is found out by the number of the oldest that there is. syslog(2) has one reader
// for the whole kernel, which may stop within a record, and a mark that "clear" sets and that only reading it all obeys.
//
// Lock order: a Log's lock is innermost but for that of its queue.
package klog
