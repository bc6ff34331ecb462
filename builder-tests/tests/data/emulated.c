// What a step's program must find the same whether users and owners are real or played.  Each check that fails is printed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int failures;
#define CHECK(condition) \
    do { if (!(condition)) { printf("line %d: %s (%s)\n", __LINE__, #condition, strerror(errno)); failures++; } } while (0)

static int owned(const struct stat *s, uid_t uid, gid_t gid) { return s->st_uid == uid && s->st_gid == gid; }

static int touch(const char *path) {
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    return fd;
}

// Runs a function in a child and returns whether it found everything right.
static int in_child(void (*body)(void)) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) { failures = 0; body(); fflush(stdout); _exit(failures != 0); }
    int status = 1;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void all_looks_agree(void) {
    struct stat s;
    struct statx x;
    int fd = touch("/t/file");
    CHECK(chown("/t/file", 1000, 7) == 0);
    CHECK(stat("/t/file", &s) == 0 && owned(&s, 1000, 7));
    CHECK(lstat("/t/../t/file", &s) == 0 && owned(&s, 1000, 7));
    CHECK(fstat(fd, &s) == 0 && owned(&s, 1000, 7));
    CHECK(fstatat(fd, "", &s, AT_EMPTY_PATH) == 0 && owned(&s, 1000, 7));
    CHECK(statx(AT_FDCWD, "/t/file", 0, STATX_BASIC_STATS, &x) == 0 && x.stx_uid == 1000 && x.stx_gid == 7);
    int path = open("/t/file", O_PATH);
    CHECK(fstat(path, &s) == 0 && owned(&s, 1000, 7));
    CHECK(fchownat(path, "", 1001, -1, AT_EMPTY_PATH) == 0);
    CHECK(fstat(fd, &s) == 0 && owned(&s, 1001, 7));
    CHECK(symlink("file", "/t/link") == 0 && lchown("/t/link", 5, 6) == 0);
    CHECK(lstat("/t/link", &s) == 0 && owned(&s, 5, 6) && S_ISLNK(s.st_mode));
    CHECK(chdir("/t") == 0 && chown("link", 8, 9) == 0 && stat("file", &s) == 0 && owned(&s, 8, 9));
    // No path leads out of the root.
    CHECK(chown("../../../../../../../t/file", 10, 11) == 0 && fstat(fd, &s) == 0 && owned(&s, 10, 11));
    CHECK(chown("/t/none", 1, 1) == -1 && errno == ENOENT);
    CHECK(chown((const char *)8, 1, 1) == -1 && errno == EFAULT);
    CHECK(fchown(999, 1, 1) == -1 && errno == EBADF);
    char names[256];
    CHECK(listxattr("/t/file", names, sizeof names) == 0);
    // Only the file itself counts, not another of the same name.
    CHECK(unlink("/t/file") == 0 && close(touch("/t/file")) == 0 && stat("/t/file", &s) == 0 && owned(&s, 0, 0));
    close(fd);
    close(path);
}

static void set_user_id_bits_go(void) {
    struct stat s;
    close(touch("/t/suid"));
    CHECK(chmod("/t/suid", 06755) == 0 && chown("/t/suid", 3, 3) == 0);
    CHECK(stat("/t/suid", &s) == 0 && (s.st_mode & 07777) == 0755);
}

static void kept_capabilities(void) {
    CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0 && setresuid(1000, 1000, 1000) == 0);
    CHECK(setresgid(7, 7, 7) == -1 && errno == EPERM);
    // Effective again, as setpriv(1) makes them: version 3, all that Docker gives.
    struct { unsigned version; int pid; } header = {0x20080522, 0};
    struct { unsigned effective, permitted, inheritable; } sets[2] = {{0xa80425fb, 0xa80425fb, 0}, {0, 0, 0}};
    CHECK(syscall(SYS_capset, &header, sets) == 0);
    CHECK(setresgid(7, 7, 7) == 0 && getegid() == 7 && getuid() == 1000);
}

static void gone_for_good(void) {
    CHECK(setgroups(2, (gid_t[]){30, 20}) == 0 && setgid(7) == 0 && setuid(1000) == 0);
    CHECK(setuid(0) == -1 && errno == EPERM && setgid(0) == -1 && setgroups(0, NULL) == -1);
    gid_t groups[4];
    CHECK(getgroups(4, groups) == 2 && groups[0] == 20 && groups[1] == 30);
    struct rlimit limit;
    // As programs that start a session set all limits anew.
    for (int i = 0; i < RLIM_NLIMITS; i++) CHECK(getrlimit(i, &limit) == 0 && setrlimit(i, &limit) == 0);
    limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_LOCKS, &limit) == 0 && getuid() == 1000 && getegid() == 7);
    umask(0);
    struct stat s;
    int fd = open("/t/wide", O_CREAT | O_EXCL | O_WRONLY, 0666);
    CHECK(fstat(fd, &s) == 0 && owned(&s, 1000, 7) && (s.st_mode & 0777) == 0666);
    CHECK(mkdir("/t/widedir", 0777) == 0 && stat("/t/widedir", &s) == 0 && owned(&s, 1000, 7) && (s.st_mode & 0777) == 0777);
    CHECK(chown("/t/wide", 1001, -1) == -1 && errno == EPERM);
    CHECK(chown("/t/wide", -1, 20) == 0 && fstat(fd, &s) == 0 && owned(&s, 1000, 20));
    CHECK(mknod("/t/dev", S_IFCHR | 0600, makedev(1, 3)) == -1 && errno == EPERM);
}

static int ready[2], go[2];

// A child believes what its parent did at the fork, whatever becomes of the parent.
static void children_inherit_at_the_fork(void) {
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    if (fork() == 0) {
        if (setuid(1234)) _exit(1);
        if (fork() == 0) {
            // Its parent ends before anything is asked.
            char byte;
            while (getppid() != 1 && kill(getppid(), 0) == 0) usleep(1000);
            if (read(go[0], &byte, 1) != 1) _exit(1);
            uid_t uid = syscall(SYS_getuid);
            _exit(write(ready[1], &uid, sizeof uid) != sizeof uid);
        }
        _exit(0);
    }
    usleep(20000);
    CHECK(seteuid(77) == 0 && write(go[1], "x", 1) == 1);
    uid_t uid = 0;
    CHECK(read(ready[0], &uid, sizeof uid) == sizeof uid && uid == 1234);
}

static void *become(void *argument) { return (void *)(long)setresuid(55, 55, 55); }

static void threads_share(void) {
    pthread_t thread;
    void *result = (void *)1;
    CHECK(pthread_create(&thread, NULL, become, NULL) == 0 && pthread_join(thread, &result) == 0 && result == NULL);
    CHECK(getuid() == 55 && geteuid() == 55);
}

static void a_vfork_sees_what_is_there(void) {
    CHECK(setegid(66) == 0);
    volatile gid_t seen = 0;
    pid_t pid = vfork();
    if (pid == 0) { seen = syscall(SYS_getegid); _exit(0); }
    waitpid(pid, NULL, 0);
    CHECK(seen == 66);
}

enum { MANY = 600 };

// More processes at a time than the builder may have descriptors by half.
static void many_at_once(void) {
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    for (int i = 1; i <= MANY; i++) {
        if (fork() == 0) {
            char byte = 'y', name[32];
            close(go[1]);
            if (setresuid(i, i, i)) byte = 'n';
            if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 0) _exit(1);
            snprintf(name, sizeof name, "/t/many-%d", i);
            struct stat s;
            int fd = touch(name);
            _exit(byte == 'n' || fstat(fd, &s) || s.st_uid != i || getuid() != i);
        }
    }
    char byte;
    for (int i = 0; i < MANY; i++) CHECK(read(ready[0], &byte, 1) == 1 && byte == 'y');
    close(go[1]);
    int right = 0, status;
    while (wait(&status) > 0) right += status == 0;
    CHECK(right == MANY);
}

// Callers that are killed while they are answered leave the builder able to answer others.
static void killed_callers(void) {
    for (int round = 0; round < 60; round++) {
        pid_t pids[8];
        for (int i = 0; i < 8; i++) {
            if ((pids[i] = fork()) == 0) {
                struct stat s;
                for (;;) { chown("/t/link", i, i); stat("/t/file", &s); close(open("/t/k", O_CREAT | O_RDWR, 0600)); unlink("/t/k"); }
            }
        }
        usleep(round * 20);
        for (int i = 0; i < 8; i++) kill(pids[i], SIGKILL);
        while (wait(NULL) > 0) {}
    }
    struct stat s;
    CHECK(chown("/t/file", 21, 22) == 0 && stat("/t/file", &s) == 0 && owned(&s, 21, 22));
}

static char shared_path[64];
static volatile int flips = 1;

static void *flip(void *argument) {
    while (flips) { strcpy(shared_path, "/t/jail/a"); strcpy(shared_path, "/t/jail/b"); }
    return NULL;
}

// A path that changes while it is looked at means one of two files of the step, and never a third.
static void a_path_that_changes(void) {
    pthread_t thread;
    struct stat s;
    CHECK(mkdir("/t/jail", 0755) == 0 && symlink("../../../../../../../../../t/outside", "/t/jail/b") == 0);
    close(touch("/t/jail/a"));
    close(touch("/t/outside"));
    strcpy(shared_path, "/t/jail/a");
    CHECK(pthread_create(&thread, NULL, flip, NULL) == 0);
    for (int i = 0; i < 2000; i++) if (chown(shared_path, 31, 32) != 0) CHECK(errno == ENOENT || errno == ENOTDIR);
    flips = 0;
    pthread_join(thread, NULL);
    CHECK(stat("/t/jail/a", &s) == 0 && (owned(&s, 31, 32) || owned(&s, 0, 0)));
}

static void in_another_root(void) {
    struct stat s;
    CHECK(mkdir("/t/root", 0755) == 0 && mkdir("/t/root/t", 0755) == 0);
    close(touch("/t/root/t/inner"));
    CHECK(symlink("/t/inner", "/t/root/absolute") == 0 && symlink("../../../t/inner", "/t/root/above") == 0);
    close(touch("/t/inner"));
    CHECK(chroot("/t/root") == 0 && chdir("/") == 0);
    CHECK(chown("/absolute", 41, 42) == 0 && stat("/t/inner", &s) == 0 && owned(&s, 41, 42));
    CHECK(chown("above", 43, 44) == 0 && stat("/t/inner", &s) == 0 && owned(&s, 43, 44));
}

static void peers_are_known(void) {
    int ends[2];
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    CHECK(setegid(9) == 0 && seteuid(8) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && size == sizeof peer);
    CHECK(peer.uid == 8 && peer.gid == 9 && peer.pid == getpid());
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(mkdir("/t", 0777) == 0 && chmod("/t", 0777) == 0);
    void (*bodies[])(void) = {all_looks_agree, set_user_id_bits_go, kept_capabilities, gone_for_good, children_inherit_at_the_fork,
        threads_share, a_vfork_sees_what_is_there, many_at_once, killed_callers, a_path_that_changes, in_another_root, peers_are_known};
    for (unsigned i = 0; i < sizeof bodies / sizeof *bodies; i++) if (!in_child(bodies[i])) { printf("failed: number %u\n", i); failures++; }
    struct stat s;
    CHECK(stat("/t/inner", &s) == 0 && owned(&s, 0, 0));
    return failures != 0;
}
