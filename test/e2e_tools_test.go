package test

// toolScripts use GNU's and others' tools.
func toolScripts() []script {
	return []script{
		{name: "cat_tac_nl", text: `seq 3 >f; cat f - <f | nl; tac f; cat -A <<E
a	b
E`},
		{name: "cp_mv_rm", text: `mkdir -p a/b; echo x >a/b/f; cp -r a c; mv a/b d; ls -R; rm -r c; cp -p d/f g; ln g h; ln -s g s; ls; rm -i g </dev/null 2>/dev/null; rmdir a; rm -rf d; ls`},
		{name: "cp_preserve", text: `echo t >f; touch -d '2020-02-02 02:02:02 UTC' f; chmod 640 f; cp -a f g; TZ=UTC stat -c '%a %y %s' g; cp --sparse=always f h; cmp f h; dd if=/dev/zero of=big bs=1M count=0 seek=4 2>/dev/null; stat -c %s big`},
		{name: "ls", text: `touch b a; mkdir c; chmod 751 c; ls -1F; ls -ld c | cut -c1-10; ls nothing; echo $?; ls -a | head -2; ls -i a | grep -c .`},
		{name: "stat", text: `echo 12345 >f; stat -c '%n %s %F %h %a' f /dev/null; stat -c '%n %F %h %a' .; stat -c %i f | grep -c '^[0-9]*$'; stat -f -c %T /proc | tr -d '\n' | wc -c`},
		{name: "touch_date", text: `touch -d '2001-01-01 UTC' f; TZ=UTC date -r f +%Y-%m-%dT%H:%M:%S; [ f -ot . ] && echo older; date -u -d @86400 +%F; date +%s | grep -c .`},
		{name: "sort_uniq", text: `printf '3 c\n1 a\n2 b\n1 a\n' >f; sort f; sort -rn f | uniq -c; sort -u -k2 f; seq 50000 | sort -R | sort -n | tail -1; seq 200000 | shuf | sort -S 1M -n | head -2`},
		{name: "cut_paste_join_comm", text: `printf 'a:1\nb:2\n' >x; printf 'a:3\nb:4\n' >y; cut -d: -f2 x | paste -sd+; paste x y; join -t: x y; comm x y; tr -d 0-9 <x; fold -w3 <<<"" 2>/dev/null || echo abcdef | fold -w3; expand -t4 <<E
	x
E`},
		{name: "head_tail", text: `seq 100 >f; head -n -97 f; tail -n +99 f; tail -c 4 f; head -c 5 f; tail -f f >o & p=$!; until test -s o; do sleep 0.05; done; echo more >>f; until grep -q more o; do sleep 0.05; done; kill $p; tail -1 o`},
		{name: "split_csplit", text: `seq 10 >f; split -l 4 f p; ls p*; cat paa; csplit -s f 5; wc -l xx*; cat pa? | cmp - f && echo same`},
		{name: "wc_sum", text: `seq 1000 >f; wc f; md5sum f; sha256sum f | cut -c1-16; cksum f; sha1sum f >s; sha1sum -c s; b2sum f | cut -c1-8; base64 f | head -1; sum f`},
		{name: "od_xxd", text: `printf 'hello\0world' | od -c; printf 'AB' | od -An -tx1; seq 5 | od -An -tu2`},
		{name: "tee_cat_dd", text: `echo x | tee a b; cat a b; dd if=/dev/zero bs=512 count=3 2>/dev/null | wc -c; echo abcdef | dd bs=1 skip=2 count=3 2>/dev/null; echo; dd if=/dev/zero of=f bs=1M count=3 conv=fsync 2>&1 | head -2; stat -c %s f`},
		{name: "truncate_fallocate", text: `truncate -s 10K f; stat -c %s f; truncate -s -1K f; stat -c '%s' f; fallocate -l 8192 g && stat -c %s g; du -k g | cut -f1`},
		{name: "chmod_chown", text: `touch f; chmod u=rwx,go-rwx f; stat -c %a f; chmod +t .; mkdir d; chmod 2755 d; stat -c %A d; install -m 700 f g; stat -c %a g; chmod -R a+r d; chmod 000 f; stat -c %A f`},
		{name: "ln_readlink", text: `mkdir d; touch d/f; ln -s d/f l; readlink l; readlink -f l | sed 's,.*/d,d,'; realpath --relative-to=. l; ln -sfn nowhere l; readlink -e l; echo $?; basename a/b/c.txt .txt; dirname a/b`},
		{name: "mktemp_tempfiles", text: `f=$(mktemp ./tXXXXXX); test -f $f && echo made; d=$(mktemp -d); test -d $d && rmdir $d && echo dir`},
		{name: "seq_expr_test", text: `seq -s, 5; seq 3 -1 1; expr 3 \* 4; expr abc : 'a\(.\)'; [ 3 -gt 2 ] && echo gt; test -d . && echo dir; factor 360; numfmt --to=iec 123456789; printf '%s\n' {1..3} | wc -l`},
		{name: "yes_timeout", text: `timeout 60 yes | head -c 100000 | wc -c; timeout 3 sh -c 'trap "echo term; exit 3" TERM; sleep 50'; echo $?`},
		{name: "env_nohup_id", text: `env -u HOME sh -c 'echo ${HOME-none}'; id -u; id -g; nohup sh -c 'echo nohup' 2>/dev/null; whoami >/dev/null; echo $?; nproc | grep -c .; uname -s; uname -m; hostname >/dev/null; echo $?; tty; arch`},
		{name: "sleep_date", text: `s=$(date +%s%N); sleep 0.2; e=$(date +%s%N); [ $(( (e - s) / 1000000 )) -ge 200 ] && echo slept`},
		{name: "grep", text: `seq 200 >f; grep -c 7 f; grep -n '^1.*9$' f; grep -v '[0-9]\{2\}' f | tr '\n' ' '; grep -o '1.' f | sort | uniq -c | head -3; grep -E '^(1|2)0+$' f; grep nothing f; echo $?; mkdir d; cp f d; grep -rl 199 . | sort; grep -q x nofile 2>/dev/null; echo $?; grep -P '(?<=1)5' f | head -2; echo 'MiXed' | grep -i mixed`},
		{name: "sed", text: `seq 5 | sed -n '2,4p'; seq 5 | sed 's/[24]/<&>/;/3/d'; seq 6 | sed 'N;s/\n/-/'; echo hello | sed 'y/el/ip/'; seq 3 >f; sed -i '2s/.*/two/' f; cat f; sed -e '1i\top' -e '$a\end' f; sed -n '$=' f; echo abc | sed -E 's/(a)(b)/\2\1/'; seq 9 | sed ':a;N;$!ba;s/\n/,/g'`},
		{name: "awk_mawk", needs: []string{"mawk"}, text: awkScript("mawk")},
		{name: "awk_gawk", needs: []string{"gawk"}, text: awkScript("gawk")},
		{name: "find", text: `mkdir -p a/b/c; touch a/x.c a/b/y.h a/b/c/z.c; ln -s a l; find . -name '*.c' | sort; find . -type d | sort; find a -maxdepth 1 | sort; find . -type l; find . -name '*.c' -exec echo got {} \; | sort; find . -name '*.h' -exec basename {} +; find . -newer a/x.c -name none; find . -empty -type f | wc -l; find a -depth -delete; ls; find /etc/passwd -printf '%f %m\n'; find . -perm -755 -type d | head -1`},
		{name: "find_usr_include", text: `find /usr/include -name 'std*.h' 2>/dev/null | sort | head -20; find /usr/share/doc -maxdepth 1 2>/dev/null | wc -l`},
		{name: "xargs", text: `seq 10 | xargs -n 3 echo; seq 4 | xargs -I{} echo '<{}>'; printf 'a b\0c\0' | xargs -0 -n1 echo; seq 8 | xargs -P 4 -n 1 sh -c 'exit 0'; echo $?; echo x | xargs false; echo $?; seq 100000 | xargs echo | wc -w`},
		{name: "tar_gzip", text: `mkdir -p d/e; seq 1000 >d/f; ln -s f d/l; chmod 640 d/f; mkfifo d/p; touch -d '2020-01-01 UTC' d/f; tar cf t.tar d; tar tf t.tar | sort; mkdir out; tar xpf t.tar -C out; diff -r --no-dereference d/f out/d/f && stat -c '%a %Y %F' out/d/f out/d/l out/d/p | sed 's/ [0-9]* symb/ symb/;s/ [0-9]* fifo/ fifo/'; tar czf - d | tar tzf - | wc -l; gzip -k d/f; zcat d/f.gz | cmp - d/f && echo same; gunzip -c d/f.gz | wc -l; tar cf - d 2>/dev/null | (cd out && tar xf -); ls out/d`},
		{name: "xz_bzip2", needs: []string{"xz", "bzip2"}, text: `seq 20000 >f; xz -k f; bzip2 -k f; xzcat f.xz | cmp - f; bzcat f.bz2 | cmp - f; ls; xz -T2 -dc f.xz | md5sum`},
		{name: "diff_patch", needs: []string{"patch"}, text: `seq 10 >a; sed 's/5/five/' a >b; diff -u --label a --label b a b >p; cat p; patch a <p; cmp a b && echo same; diff a b; echo $?; cmp a p; diff -rq . . ; echo $?`},
		{name: "ps_top", needs: []string{"ps"}, text: `sleep 100 & p=$!; until grep -q ^sleep /proc/$p/comm && grep -q '^State:.S' /proc/$p/status; do sleep 0.01; done; ps -o comm= -p $p; ps -o stat= -p $p | cut -c1; ps -o ppid= -p $p | tr -d ' ' | grep -qx $$ && echo child; kill $p; wait $p 2>/dev/null; ps -p $p >/dev/null; echo $?`},
		{name: "pgrep_kill", needs: []string{"pgrep"}, text: `sleep 31.5 & until grep -q ^sleep /proc/$!/comm; do :; done; pgrep -P $$ -x sleep | wc -l; { pkill -P $$ -x sleep; wait $!; echo $?; } 2>/dev/null`},
		{name: "maps", text: `sed -n 's,^[^/]* /,/,p' /proc/self/maps | sort -u; cp /bin/sleep here; ./here 30 & until grep -q ^here /proc/$!/comm && grep -q '^State:.S' /proc/$!/status; do sleep 0.01; done; rm here; sed -n 's,^[^/]* /.*/,,p' /proc/$!/maps | sort -u | grep here; kill $!`},
		{name: "flock", needs: []string{"flock"}, text: `flock f sh -c 'echo locked; flock -n f echo again; echo $?'; (flock 9; echo in) 9>f; flock -w 0.1 f true; echo $?`},
		{name: "setsid_nice", needs: []string{"setsid", "ionice"}, text: `setsid -w sh -c 'ps -o sid= -p $$ | tr -d " " | grep -qx $$ && echo leader'; nice -n 5 nice; taskset -c 0 grep Cpus_allowed_list /proc/self/status; echo $?`},
		{name: "setpriv", needs: []string{"setpriv"}, text: `[ $(id -u) = 0 ] || exit 0; setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'id -u; id -g; touch /etc/x; cat /etc/shadow' 2>&1; setpriv --reuid=1000 sh -c 'kill -0 1' 2>&1 | grep -c permitted`},
		{name: "unshare_nsenter", needs: []string{"unshare", "nsenter", "ps"}, text: `unshare -Urpf --mount-proc sh -c 'id -u; ps -o pid=,comm= >p; tr -s " " <p; rm p; cat /proc/self/uid_map | tr -s " "'
unshare -Urmn sh -c 'mount -t tmpfs x /mnt && echo in >/mnt/f && cat /mnt/f; mount --bind /mnt /tmp && cat /tmp/f; umount /tmp; wc -l </proc/net/unix'; ls /mnt/f 2>/dev/null
unshare -Uru --time --monotonic 100000 sh -c 'hostname inside; uname -n; cat /proc/self/timens_offsets | tr -s " "'
[ $(id -u) = 0 ] || exit 0
unshare -uf sh -c 'hostname there; echo >up; exec sleep 100' & until test -s up; do sleep 0.01; done; nsenter -t $(pgrep -P $!) -u uname -n; kill $(pgrep -P $!) $!`},
		{name: "bc_dc", needs: []string{"bc"}, text: `echo 'scale=20; 4*a(1)' | bc -l; echo '2^200' | bc`},
		{name: "perl", needs: []string{"perl"}, text: `perl -e 'my %h; $h{$_ % 7}++ for 1..10000; print join(",", map {"$_=$h{$_}"} sort keys %h), "\n"; $p = open(my $f, "-|", "echo sub"); print <$f>; $SIG{ALRM} = sub { print "alarm\n"; exit 3 }; alarm 1; sleep 50'; echo $?; perl -e 'pipe(R, W); if (!fork) { print W "from child\n"; exit 4 } close W; print <R>; wait; print $? >> 8, "\n"'`},
		{name: "python", needs: []string{"python3"}, text: `PYTHONDONTWRITEBYTECODE=1 python3 -S - <<'E'
import os, subprocess, threading, signal, sys, tempfile, mmap, select, time
print(sum(i * i for i in range(10000)))
print(subprocess.run(["sh", "-c", "echo sub; exit 3"], capture_output=True))
r = []
ts = [threading.Thread(target=lambda i=i: r.append(i)) for i in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sorted(r))
signal.signal(signal.SIGUSR1, lambda *a: print("signal"))
os.kill(os.getpid(), signal.SIGUSR1)
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 8192); f.flush()
    m = mmap.mmap(f.fileno(), 8192); m[0:3] = b"abc"; print(m[:4]); m.close()
p = os.pipe(); os.write(p[1], b"q"); print(select.select([p[0]], [], [], 1)[0] == [p[0]])
try: open("/nonexistent")
except OSError as e: print(e)
t = time.monotonic(); time.sleep(0.05); print(time.monotonic() - t >= 0.05)
E`},
		{name: "gcc", needs: []string{"cc"}, text: `cat >h.c <<'E'
#include <stdio.h>
int main(void) { for (int i = 0; i < 3; i++) printf("hello %d\n", i); return 7; }
E
cc -O2 -Wall -o h h.c && ./h; echo $?; cc -S -o - h.c | grep -c call; cc -c nothing.c 2>&1 | tail -1 | cut -c1-30`},
		{name: "make", needs: []string{"make"}, text: `printf 'all: a b\na b:\n\t@sleep 0.1; echo made $@\n' >Makefile; make -j1; make -j2 | sort; make nothing 2>&1; echo $?`},
		{name: "strace", needs: []string{"strace"}, text: `strace -ff -o o -e signal=none -e trace=execve,dup2,exit_group,getppid sh -c '(echo sub | cat); exec sh -c "exit 3"'; echo $?; cat o.* | sed 's/[0-9a-fx]*[0-9][0-9a-f]*/N/g' | sort; strace -f -c -o c sh -c 'true; (true)'; grep -c exit_group c; sleep 100 & p=$!; (until grep -q '^TracerPid:.[1-9]' /proc/$p/status; do sleep 0.05; done; sleep 0.3; kill $p) & timeout 60 strace -qq -p $p 2>&1 | sed 's/{.*//' | tail -1`},
		{name: "strace_inject", needs: []string{"strace"}, text: `strace -qq -o o -e trace=chdir -e inject=chdir:error=ENOSPC sh -c 'cd /' 2>&1 | sed 's/.*cd/cd/'; cat o; strace --seccomp-bpf -f -qq -o o -e signal=none -e trace=chdir sh -c 'cd /; (cd /tmp)'; sed 's/^[0-9]* *//' o`},
		{name: "gdb", needs: []string{"gdb", "cc"}, text: `cat >g.c <<'E'
#include <stdio.h>
int fact(int n) { return n < 2 ? 1 : n * fact(n - 1); }
int main(void) { int r = fact(5); printf("fact %d\n", r); fflush(stdout); __builtin_trap(); }
E
cc -g -O0 -no-pie -o g g.c; gdb -nx -batch -ex 'set startup-with-shell off' -ex 'set debuginfod enabled off' -ex 'break fact if n == 2' -ex run -ex bt -ex 'print n' -ex finish -ex stepi -ex 'info registers rip' -ex 'delete' -ex continue -ex 'p $_siginfo.si_signo' -ex kill ./g 2>&1 | sed '/libthread_db/d;s/process [0-9]*/process N/'`},
		{name: "git", needs: []string{"git"}, text: `export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='2020-01-01 00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00 +0000'; git init -q -b main r && cd r && echo 1 >f && git add f && git commit -qm one && echo 2 >>f && git diff --stat && git commit -qam two && git log --format='%h %s' && git fsck 2>&1; git status --short; git gc -q; git show --stat HEAD | tail -1`},
	}
}

func awkScript(awk string) string {
	return awk + ` 'BEGIN { for (i = 0; i < 1000; i++) s += i; print s; printf "%.3f %5s|%-5s|\n", 3.14159, "a", "b"; print length("abc"), substr("hello", 2, 3), toupper("x"); split("a:b:c", p, ":"); print p[3]; "echo sub" | getline v; print v; print "sorted" | "cat"; close("cat"); exit 3 }'; echo $?; seq 100 | ` + awk + ` '$1 % 10 == 0 { t += $1; n++ } END { print t / n, NR }'; printf 'k 1\nj 2\nk 3\n' | ` + awk + ` '{ a[$1] += $2 } END { for (k in a) print k, a[k] }' | sort; echo a,b | ` + awk + ` -F, -v x=5 '{ print $2, x > "/dev/stderr" }'; ` + awk + ` 'BEGIN { system("exit 4"); while (("seq 3" | getline l) > 0) print "l" l }'`
}

// appletScripts use only busybox, as the function b.
func appletScripts() []script {
	return []script{
		{name: "list", text: `b --list | b wc -l`},
		{name: "echo_printf", text: `b echo hello; b printf '%d %s\n' 5 x; b true; b false; echo $?`},
		{name: "text", text: `b seq 20 >f; b head -n 2 f; b tail -n 2 f; b sort -rn f | b head -n 1; b grep -c 1 f; b sed -n 3p f; b cut -c1 f | b uniq -c; b wc f; b tr 0-9 a-j <f | b tail -n 1; b rev f | b tail -n 1; b paste -s f 2>/dev/null; b nl f | b head -n 1; b tac f | b head -n 1`},
		{name: "files", text: `b mkdir -p a/c; b touch a/f; b ln -s f a/l; b cp -r a d; b mv d e; b ls e; b rm -r e; b find a | b sort; b stat -c %a a; b chmod 700 a; b stat -c %A a; b readlink a/l; b du -s a >/dev/null; echo $?; b df . >/dev/null; echo $?; b rmdir a/c; b test -L a/l && echo link; b realpath a >/dev/null`},
		{name: "archive", text: `b mkdir d; b seq 1000 >d/f; b tar cf t d; b tar tf t; b gzip -c d/f | b gunzip | b cmp - d/f && echo same; b tar czf t.gz d && b tar tzf t.gz; b bzip2 -k d/f; b ls d; b md5sum d/f; b sha256sum d/f; b cpio --help >/dev/null 2>&1; echo $?`},
		{name: "awk_vi", text: `b seq 10 | b awk '{ s += $1 } END { print s }'; b awk 'BEGIN { while (i < 5000) i++; print i }'; echo 3+4 | b bc; b expr 6 / 2; b dc -e '2 3 * p'`},
		{name: "processes", text: `b sleep 20 & p=$!; { b kill $p; wait $p; echo $?; } 2>/dev/null; b timeout 1 b sleep 0 2>/dev/null; b nice b 2>/dev/null; b env X=1 /bin/sh -c 'echo $X'; b ps >/dev/null; echo $?; b id -u; b setsid /bin/true; echo $?; b xargs echo got <<E
a b
E`},
		{name: "dates", text: `b date -u -d @0 +%F; b usleep 1000; b cal 1 2020; b time /bin/true 2>/dev/null; echo $?; b uptime >/dev/null; echo $?`},
		{name: "system", text: `b uname -s; b nproc >/dev/null; echo $?; b free >/dev/null; echo $?; b hostname >/dev/null; echo $?; b mount >/dev/null; echo $?; b mktemp -u tXXXXXX | b wc -c; b which sh; b printenv PATH; b pwd | b sed 's,.*/,,'; b ttysize >/dev/null 2>&1; b tty`},
		{name: "sh", text: `b sh -c 'for i in 1 2 3; do echo $i | busybox cat; done; trap "echo x" EXIT; exit 5' 2>/dev/null; echo $?; b ash -c 'echo $((5*5)) | (read x; echo $x)'; echo 'echo from file $1' >s; b sh s arg; b sh <<E
echo from stdin
E`},
		{name: "dd_od", text: `b dd if=/dev/zero bs=1000 count=3 2>/dev/null | b wc -c; echo AB | b od -c; echo AB | b hexdump -C; echo hi | b xxd; b yes | b head -n 2; b base64 <<E
encode
E`},
		{name: "diff_patch", text: `b seq 5 >x; b sed s/3/three/ x >y; b diff x y; b diff -u -L x -L y x y | b patch -s x; b cmp x y && echo same; b comm x y | b head -n 1; b split -l 2 x; b ls`},
	}
}
