package test

func archiveScripts() []script {
	const data = `mkdir -p d/e; seq 60000 >d/f; head -c 3000000 /dev/zero >d/e/z; for i in 1 2 3; do cat d/f; done >d/e/big; ln d/f d/e/hard; ln -s ../f d/e/soft; chmod 604 d/f; touch -d '2021-03-04 05:06:07 UTC' d/f d/e; `
	return []script{
		{name: "tar", text: data + `tar cf a.tar --sort=name --owner=0 --group=0 --mtime=@0 d; md5sum a.tar; mkdir o; tar xf a.tar -C o; diff -r d o/d && echo same; tar tvf a.tar | awk '{ print $1, $3, $6, $7, $8 }'; tar czf a.tgz --sort=name d; tar xzOf a.tgz d/e/big | md5sum; tar cJf a.txz d && tar tf a.txz | wc -l; tar --zstd -cf a.tzst d 2>&1 && tar tf a.tzst | wc -l; cp -a d old; echo more >>d/f; touch -d '2021-03-04 UTC' d/f; tar rf a.tar d/f; tar df a.tar d/e/big; echo $?; tar xf none.tar 2>&1; echo $?; tar cSf sp.tar d/e/z; stat -c %s sp.tar; tar xpf a.tar -C o --keep-newer-files 2>/dev/null; stat -c '%a %Y %h' o/d/f`},
		{name: "gzip", text: data + `gzip -9nk d/f; gzip -l d/f.gz | tail -1 | awk '{ print $1, $2 }'; md5sum d/f.gz; gunzip -c d/f.gz | cmp - d/f && echo same; gzip -nr d/e 2>&1 | sort; ls d/e; gzip -t d/e/*.gz && echo fine; zgrep -c 99 d/f.gz; echo junk | gunzip 2>&1; echo $?`},
		{name: "xz_threads", needs: []string{"xz"}, text: data + `xz -kT4 --block-size=100KiB d/e/big && xz -l d/e/big.xz | awk 'NR > 1 { print $2 }'; md5sum d/e/big.xz; xz -dcT4 d/e/big.xz | cmp - d/e/big && echo same; xz -t d/e/big.xz; echo $?; xz -0 <d/e/z | wc -c`},
		{name: "zstd_threads", needs: []string{"zstd"}, text: data + `zstd -q -T4 -10 d/e/big -o b.zst && md5sum b.zst; zstd -q -dc b.zst | cmp - d/e/big && echo same; zstd -q -t b.zst; echo $?; zstd -q -T0 --rm d/f && ls d; zstd -q -d d/f.zst && stat -c '%a %Y' d/f; zstd -qb1e1 -i0 d/f >/dev/null 2>&1; echo $?`},
		{name: "rsync", needs: []string{"rsync"}, text: data + `rsync -aH --delete d/ o/; diff -r d o && echo same; stat -c '%a %Y %h' o/f; stat -c %Y o/e; echo new >d/new; rm d/e/z; touch -d '2022-01-01 UTC' d; rsync -ai --delete d/ o/ | sort; rsync -a --checksum --exclude=e d/ p/; ls p; rsync -a --info=stats1 d/ o/ | grep -c total; rsync -rn --list-only d/ | awk '{ print $1, $5 }'; rsync -a none/ o/ 2>&1 | head -1; rsync -a --inplace --no-whole-file d/e/big o/e/big; cmp d/e/big o/e/big && echo same; ls -A o`},
		{name: "zip", needs: []string{"zip", "unzip"}, text: data + `zip -qr a.zip d && unzip -q a.zip -d o && diff -r d o/d && echo same; unzip -l a.zip | tail -1 | awk '{ print $2 }'; unzip -tq a.zip`},
	}
}

func otherScripts() []script {
	return []script{
		{name: "git", needs: []string{"git"}, text: gitScript},
		{name: "perl_core_modules", needs: []string{"perl", "prove"}, text: perlScript},
		{name: "node_timers", needs: []string{"node"}, text: "cat >t.js <<'E'\n" + nodeTimers + "\nE\nnode t.js; echo $?"},
		{name: "node_fs", needs: []string{"node"}, text: "cat >t.js <<'E'\n" + nodeFS + "\nE\nnode t.js; echo $?"},
		{name: "node_processes", needs: []string{"node"}, text: "cat >t.js <<'E'\n" + nodeProcesses + "\nE\nnode t.js; echo $?"},
		{name: "sqlite3", needs: []string{"sqlite3"}, text: `sqlite3 t.db <<'E'
create table t(a integer primary key, b text); begin; with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t(b) select 'row ' || i from n; commit;
create index x on t(b); select count(*), max(b) from t; .mode csv
select * from t where a in (3, 7); pragma journal_mode=wal; delete from t where a % 2; vacuum; pragma integrity_check;
.schema
.dump t
E
sqlite3 t.db 'select count(*) from t; select * from none' 2>&1 | tail -2; sqlite3 t.db '.backup b.db' && sqlite3 b.db 'select sum(a) from t'; (sqlite3 t.db 'begin exclusive; select 1;' '.shell touch held; until test -e tried; do sleep 0.05; done' 'commit') & until test -e held; do sleep 0.05; done; sqlite3 t.db 'insert into t(b) values(1)' 2>&1 | grep -o locked; touch tried; wait; rm held tried; ls; seq 5 >s.csv; sqlite3 :memory: 'create table s(x)' '.import s.csv s' 'select sum(x) from s'`},
		{name: "inotify", needs: []string{"/usr/bin/python3"}, text: "cat >t.py <<'E'\n" + inotifyScript + "\nE\n/usr/bin/python3 -B t.py"},
		{name: "tail_follow", text: `d=$(mktemp -d -p /dev/shm) && cd $d; has() { until grep -q $1 out; do sleep 0.05; done; }; : >out; echo a >f; timeout 60 tail -n +1 -F f >out 2>/dev/null & has a; echo b >>f; has b; mv f g; echo c >f; has c; kill %1; wait; cat out; rm -r $d`},
		{name: "system_info", text: `nproc --all >/dev/null; echo $?; getconf _NPROCESSORS_ONLN >/dev/null; echo $?; [ "$(nproc)" = "$(cat /sys/devices/system/cpu/online | awk -F- '{ print $NF + 1 }')" ] && echo cpus; cat /sys/kernel/mm/transparent_hugepage/enabled | tr -d '[]'; ls -d /sys/fs/cgroup /sys/devices/system/cpu/cpu0; lscpu >/dev/null 2>&1; echo $?; free -m | head -1; uptime >/dev/null; echo $?; df / | wc -l; stat -f -c %T /proc /sys /dev/shm; mount | grep -c ' on / '; findmnt -n -o FSTYPE /proc; ulimit -n | wc -l; umount /nowhere 2>&1; ionice; chrt -p $$ | head -1 | sed 's/[0-9]*.s/P/'; vmstat 2>/dev/null | wc -l`},
	}
}

const gitScript = `export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='2020-01-01 00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00 +0000'
git init -q -b main r; cd r; for i in $(seq 30); do mkdir -p d$((i % 4)); seq $((i * 20)) >d$((i % 4))/f$i; done; ln -s d1 l; git add . ; git status --short | head -3; git commit -qm one; echo x >>d1/f1; git commit -qam two; git tag -a v1 -m v1
git log --format='%H %s'; git branch side; git checkout -q side; echo y >n; git add n; git commit -qm three; git checkout -q main; git merge -q --no-ff -m merge side; git log --graph --oneline | cat; git show --stat HEAD~1 | tail -2
git gc -q; git count-objects -v | grep -E '^(count|packs|in-pack)'; git fsck --full 2>&1; cd ..; git clone -q r c 2>&1; (cd c; git log --oneline | wc -l; git status; git config remote.origin.url | sed 's,.*/,,'; echo z >>n; git commit -qam four; git push -q origin HEAD:new)
git -C r branch; git clone -q --bare file://$PWD/r b 2>&1; git -C b rev-parse HEAD; git clone -q --depth 1 file://$PWD/r s; git -C s log --oneline | wc -l; git -C r archive HEAD | tar t | wc -l; git -C r grep -c 599; git -C r blame -s d1/f1 | tail -1; cd r; git stash list; git rebase -q side 2>&1; git diff HEAD~2 --shortstat; git mv n m; git rm -qr d2; git status --short | tail -2; git reset -q --hard; git clean -fdq; git worktree add -q ../w side2 2>&1 | head -1; git bisect start -q HEAD HEAD~2 >/dev/null; git bisect run true | tail -1; git notes add -m hi; git format-patch -q -1; ls *.patch`

const perlScript = `mkdir t; cat >t/core.t <<'E'
use strict; use warnings; use Test::More;
use List::Util qw(sum shuffle first); use Storable qw(dclone store retrieve); use File::Temp qw(tempdir); use File::Find; use IO::Select; use IO::Handle; use Time::HiRes qw(time sleep alarm);
use POSIX qw(:sys_wait_h strftime); use Digest::MD5 qw(md5_hex); use Encode; use Data::Dumper; use Cwd; use IPC::Open3; use Fcntl qw(:flock SEEK_SET); use Socket;
is(sum(1 .. 100), 5050); is(scalar(my @a = shuffle(1 .. 50)), 50);
my $d = tempdir(CLEANUP => 1); store({ a => [1, 2] }, "$d/s"); is_deeply(retrieve("$d/s"), { a => [1, 2] });
my $n = 0; find(sub { $n++ }, $d); is($n, 2);
pipe(my $r, my $w); my $pid = fork; if (!$pid) { syswrite $w, "child"; POSIX::_exit(6) }
ok(IO::Select->new($r)->can_read(5)); sysread $r, my $b, 10; is($b, "child"); waitpid $pid, 0; is(WEXITSTATUS($?), 6);
my $t = time; sleep 0.1; cmp_ok(time - $t, ">=", 0.099);
my $got = 0; { local $SIG{ALRM} = sub { $got++ }; alarm 0.05; select undef, undef, undef, 2; } is($got, 1);
my $p = open3(my $in, my $out, undef, "cat"); print $in "x\n"; close $in; is(<$out>, "x\n"); waitpid $p, 0; is($?, 0);
socketpair(my $x, my $y, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; syswrite $x, "sock"; sysread $y, $b, 10; is($b, "sock");
open my $f, "+>", "$d/f"; ok(flock $f, LOCK_EX); open my $g, "<", "$d/f"; ok(!flock($g, LOCK_SH | LOCK_NB));
is(md5_hex("a" x 1000), "cabe45dcc9ae5b66ba86600cca6b8ba8"); is(strftime("%F", gmtime 86400), "1970-01-02"); is(length(encode("UTF-8", "\x{263a}")), 3);
is(qx(echo sub), "sub\n"); is(system("exit 3;") >> 8, 3); kill 0, $$ or die; is(getcwd(), $ENV{PWD}); my @s = stat "/"; ok(@s == 13);
eval { die { code => 5 } }; is($@->{code}, 5); ok(-d "/", "dir"); ok(!-e "/none"); is($! + 0, 2);
done_testing;
E
prove t 2>&1 | sed 's/, *[0-9.]* wallclock.*//'; prove -v t | grep -c ^ok; perl -MConfig -e 'print "$Config{archname}\n"; if ($Config{usethreads}) { require threads; print threads->create(sub { $_[0] * 2 }, 21)->join, "\n" }'; perl -e 'print "$0 $$\n" =~ /\d/ ? 1 : 0; exec "sh", "-c", "echo execed; exit 9"'; echo $?; echo a b c | perl -lane 'print $F[1]'; seq 5 >f; perl -i.bak -pe 's/3/three/' f; cat f f.bak | md5sum; perl -e 'local $SIG{__WARN__} = sub { print "warned @_" }; warn "x\n"; $SIG{INT} = sub { print "int\n"; exit 2 }; kill INT => $$; sleep 2'; echo $?`

const nodeTimers = `
const o = [];
setTimeout(() => o.push('t30'), 30); setTimeout(() => o.push('t10'), 10); setImmediate(() => o.push('imm')); process.nextTick(() => o.push('tick'));
Promise.resolve().then(() => o.push('micro'));
let n = 0; const i = setInterval(() => { if (++n == 3) { clearInterval(i); o.push('int'); } }, 20);
process.on('SIGUSR2', () => { o.push('sig'); }); setTimeout(() => process.kill(process.pid, 'SIGUSR2'), 100);
const s = process.hrtime.bigint();
const end = () => {
  if (o.length < 7) return setTimeout(end, 10);
  console.log(o.slice(0, 2), o.slice(2).sort(), Number(process.hrtime.bigint() - s) / 1e6 >= 299); process.exitCode = 4;
};
setTimeout(end, 300); process.on('exit', (c) => { console.log('exit', c); });
console.log(require('os').cpus().length > 0, require('os').totalmem() > 0, process.memoryUsage().rss > 0, process.title.length > 0, process.platform);`

const nodeFS = `
const fs = require('fs'), path = require('path'), zlib = require('zlib'), crypto = require('crypto');
fs.mkdirSync('a/b', { recursive: true }); fs.writeFileSync('a/f', 'hello'); fs.appendFileSync('a/f', ' world'); fs.symlinkSync('f', 'a/l');
console.log(fs.readFileSync('a/l', 'utf8'), fs.statSync('a/f').size, fs.readdirSync('a'), fs.realpathSync('a/l').endsWith('a/f'));
fs.cpSync('a', 'c', { recursive: true }); fs.renameSync('c/f', 'c/g'); fs.copyFileSync('a/f', 'c/h'); fs.rmSync('a', { recursive: true });
console.log(fs.readdirSync('c', { withFileTypes: true }).map((e) => [e.name, e.isDirectory(), e.isSymbolicLink()]), fs.existsSync('a'));
try { fs.openSync('none') } catch (e) { console.log(e.code, e.message) }
(async () => {
  const p = fs.promises;
  await Promise.all([...Array(20).keys()].map((i) => p.writeFile('x' + i, String(i).repeat(1000))));
  console.log((await Promise.all([...Array(20).keys()].map((i) => p.readFile('x' + i)))).map((b) => b.length).join());
  await require('stream/promises').pipeline(fs.createReadStream('x7'), zlib.createGzip(), fs.createWriteStream('x7.gz'));
  console.log(zlib.gunzipSync(fs.readFileSync('x7.gz')).length, crypto.createHash('sha256').update(fs.readFileSync('x3')).digest('hex').slice(0, 12), (await p.mkdtemp('tmp-')).length);
  const seen = new Set(), w = fs.watch('.', (e, f) => { seen.add(f); if (f == 'end') { w.close(); console.log([...seen].sort()); } });
  const h = await p.open('big', 'w+'); await h.truncate(5000); await h.write('q', 4999); console.log((await h.stat()).size, (await h.read(Buffer.alloc(2), 0, 2, 4998)).bytesRead); await h.close();
  setTimeout(() => { fs.writeFileSync('w1', '1'); fs.unlinkSync('w1'); fs.writeFileSync('end', ''); }, 100);
})();`

const nodeProcesses = `
const cp = require('child_process'), { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
if (!isMainThread) { parentPort.postMessage(workerData * 2); return; }
if (process.send) { process.on('message', (m) => { process.send({ back: m }); process.disconnect(); }); return; }
console.log(cp.execSync('echo sync').toString(), cp.spawnSync('sh', ['-c', 'cat; exit 3'], { input: 'abc' }).status);
try { cp.execFileSync('false') } catch (e) { console.log(e.status) }
(async () => {
  console.log(await new Promise((r) => { const c = cp.spawn('sh', ['-c', 'cat; echo err >&2; kill -9 $$']); let o = ''; c.stdout.on('data', (d) => o += d); c.stderr.on('data', (d) => o += d); c.on('close', (s, g) => r([o, s, g])); c.stdin.end('in\n'); }));
  console.log(await new Promise((r) => cp.exec('exit 7', (e) => r(e.code))), await new Promise((r) => cp.spawn('/no/such').on('error', (e) => r(e.code))));
  console.log(await new Promise((r) => { const c = cp.fork(__filename); c.on('message', r); c.send({ x: 1 }); }));
  console.log(await Promise.all([1, 2, 3].map((n) => new Promise((r) => new Worker(__filename, { workerData: n }).on('message', r)))));
  const c = cp.spawn('sleep', ['60']); setTimeout(() => c.kill(), 50); console.log(await new Promise((r) => c.on('exit', (s, g) => r([s, g]))));
  const a = new SharedArrayBuffer(8), v = new Int32Array(a); console.log(Atomics.wait(v, 0, 0, 20), WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])));
  const net = require('net'); const s = net.createServer((c) => c.end('served')).listen('sock', () => { net.connect('sock').on('data', (d) => { console.log(String(d)); s.close(); }); });
})();`

const inotifyScript = `
import ctypes, os, struct, select
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
os.makedirs("d/sub"); open("d/old", "w").write("x")
ALL = 0xfff
w1 = libc.inotify_add_watch(fd, b"d", ALL); w2 = libc.inotify_add_watch(fd, b"d/old", ALL)
print(w1, w2, libc.inotify_add_watch(fd, b"d", ALL), libc.inotify_add_watch(fd, b"none", ALL), ctypes.get_errno(), libc.inotify_add_watch(fd, b"d/old", 0x01000000 | ALL), ctypes.get_errno())
cookies = {}
def drain(what):
    print(what)
    while True:
        try: b = os.read(fd, 65536)
        except BlockingIOError: return
        while b:
            wd, mask, cookie, n = struct.unpack("iIII", b[:16])
            print("  ", wd, hex(mask), cookies.setdefault(cookie, len(cookies)), b[16:16 + n].rstrip(b"\0"), n)
            b = b[16 + n:]
drain("none")
f = open("d/new", "w"); f.write("hi"); f.flush(); f.close(); drain("create")
open("d/new").read(); drain("read")
os.chmod("d/new", 0o600); os.truncate("d/new", 1); os.utime("d/new"); drain("attributes")
os.rename("d/new", "d/new2"); os.rename("d/new2", "out"); os.rename("out", "d/in"); drain("rename")
os.link("d/old", "d/link"); os.symlink("x", "d/sym"); os.mkdir("d/dir"); os.rmdir("d/dir"); os.unlink("d/sym"); drain("names")
open("d/old", "a").write("y"); os.listdir("d"); drain("watched file")
os.rename("d/old", "d/moved"); os.unlink("d/link"); os.unlink("d/moved"); drain("gone")
p = select.poll(); p.register(fd, select.POLLIN); print(p.poll(0)); os.mkdir("d/z"); print(p.poll(0) == [(fd, 1)])
print(libc.inotify_rm_watch(fd, w1), libc.inotify_rm_watch(fd, w1), ctypes.get_errno()); drain("removed")
w = libc.inotify_add_watch(fd, b"d", 0x80000000 | 0x100); os.mkdir("d/a1"); os.mkdir("d/a2"); drain("oneshot")
w = libc.inotify_add_watch(fd, b"d", 0x400); os.system("rm -r d"); drain("self")
print(libc.inotify_add_watch(fd, b".", 0), ctypes.get_errno(), libc.inotify_add_watch(0, b".", 1), ctypes.get_errno() in (22,))`
