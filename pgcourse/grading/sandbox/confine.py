"""Ways to take rights away from this process, by Linux system calls and nothing else: x86-64 and aarch64.

seccomp (which system calls), Landlock (which files), limits (how much), namespaces (what can be seen), identity (who).
Each function raises OSError where the kernel refuses; none of them ever goes on with less than was asked for.
"""

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# prctl
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_KEEPCAPS, _SET_SECCOMP, _CAPBSET_DROP = 1, 4, 8, 22, 24
_SET_MM, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 35, 38, 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_DAC_READ_SEARCH = 2


def _prctl(option: int, *arguments: int) -> None:
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(_libc.prctl(ctypes.c_int(option), *values), f"prctl {option}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(name: str, *arguments) -> int:
    return _checked(_libc.syscall(ctypes.c_long(_number(name)), *arguments), name)


# ----------------------------------------------------------------------------------------------------------------------
# Identity


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends. ``parent``: its pid, since it may have ended already."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def hide_memory(hidden: bool = True) -> None:
    """No other process of this user may read or trace this one, nor those forked from it."""
    _prctl(_SET_DUMPABLE, not hidden)


def become(user: int, *, may_read_all: bool = False) -> None:
    """From root to an unprivileged user, for good.

    may_read_all: keep the right to read any file (an interpreter in /root, say); what files there are is for others to limit.
    """
    os.setgroups([])
    _drop_bounding_set()
    _prctl(_SET_KEEPCAPS, 1)
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _set_capabilities(1 << _CAP_DAC_READ_SEARCH if may_read_all else 0)


def drop_capabilities() -> None:
    """Give up what privileges there are, and ever regaining any."""
    _drop_bounding_set()
    _prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    _set_capabilities(0)
    no_new_privileges()


def no_new_privileges() -> None:
    _prctl(_SET_NO_NEW_PRIVS, 1)


def _drop_bounding_set() -> None:
    for capability in range(64):
        with suppress(OSError):  # those the kernel does not know; without CAP_SETPCAP there is nothing to drop
            _prctl(_CAPBSET_DROP, capability)


def _set_capabilities(mask: int) -> None:
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    low, high = mask & 0xFFFFFFFF, mask >> 32
    _syscall("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))  # effective, permitted, inheritable


# ----------------------------------------------------------------------------------------------------------------------
# Namespaces

_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_NOSUID, _NODEV, _NOEXEC, _RDONLY = 2, 4, 8, 1


def private_mounts(box: str, size: int, inodes: int) -> None:
    """A view of the file system of its own, with an empty folder ``box`` in memory and an empty /proc."""
    user, group = os.geteuid(), os.getegid()
    hide_memory(False)  # a hidden process cannot write its own maps
    _checked(_libc.unshare(_NEWUSER | _NEWNS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount_tmpfs(box, _NOSUID | _NODEV | _NOEXEC, f"size={size},nr_inodes={inodes},mode=700")
    _mount_tmpfs("/proc", _NOSUID | _NODEV | _NOEXEC | _RDONLY, "size=4096,nr_inodes=2")
    hide_memory()


def _mount_tmpfs(place: str, flags: int, options: str) -> None:
    arguments = b"tmpfs", place.encode(), b"tmpfs", ctypes.c_ulong(flags), options.encode()
    _checked(_libc.mount(*arguments), f"mount {place}")


# ----------------------------------------------------------------------------------------------------------------------
# Limits


def address_space() -> tuple[int, int]:
    """How many bytes of data this process has, and of addresses in all."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    data, size = (int(status[key].split()[0]) * 1024 for key in ("VmData", "VmSize"))
    return data, size


def limit(held: tuple[int, int], *, memory: int, seconds: int, processes: int, file_size: int, open_files: int) -> None:
    """Bound what this process may use, for good.

    held: its ``address_space()``, on top of which it may have ``memory`` bytes. seconds: of computing time, from now on.
    """
    import resource  # which Windows has not, where the judge's side imports this module too

    data, size = held
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    limits = {
        resource.RLIMIT_DATA: data + memory,
        resource.RLIMIT_AS: size + memory + (256 << 20),  # also what is shared and thus no data; stacks of threads
        resource.RLIMIT_CPU: spent + seconds + 1,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, value in limits.items():
        _, hard = resource.getrlimit(which)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))


# ----------------------------------------------------------------------------------------------------------------------
# Landlock

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights on files a version of Landlock knows; 16 from version 5 on."""
OLDEST_LANDLOCK = 3
"""Before it, a file could be cut to nothing by whoever may read it."""


def landlock_version() -> int:
    """Version of the kernel's Landlock interface; 0 where there is none."""
    if _libc is None or platform.machine() not in _MACHINES:
        return 0
    create = ctypes.c_long(_number("landlock_create_ruleset"))
    return max(0, _libc.syscall(create, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def read_only(files: Iterable[str], folders: Iterable[str]) -> None:
    """From now on only these can be opened, and only for reading: files (and all in folders given as such), lists of folders.

    Connections and signals to the outside are off too where the kernel's Landlock knows of them.
    """
    version = landlock_version()
    if version < OLDEST_LANDLOCK:
        raise OSError(errno.ENOSYS, f"Landlock {OLDEST_LANDLOCK} or newer is needed; this kernel has {version or 'none'}")
    network = 0b11 if version >= 4 else 0  # bind, connect
    scope = 0b11 if version >= 6 else 0  # abstract sockets, signals
    attributes = struct.pack("=QQQ", (1 << _FILE_RIGHTS.get(version, 16)) - 1, network, scope)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _syscall("landlock_create_ruleset", attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path, rights in [(path, _READ_FILE | _READ_DIR) for path in files] + [(path, _READ_DIR) for path in folders]:
            _grant(rules, path, rights)
        no_new_privileges()
        _syscall("landlock_restrict_self", rules, ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _grant(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _READ_FILE
        _syscall("landlock_add_rule", rules, ctypes.c_int(1), struct.pack("=Qi", rights, place), ctypes.c_uint32(0))
    finally:
        os.close(place)


# ----------------------------------------------------------------------------------------------------------------------
# seccomp


def filter_system_calls() -> None:
    """From now on no other process can be made, reached or signalled, nor the network, nor a file's owner, mode or times.

    Which system calls that are is listed below. Computing, threads, reading files and writing them where a folder allows it
    stay possible. Also refused is what computing never needs: the seldom-used parts of a kernel are its weak ones.
    """
    program = b"".join(struct.pack("=HBBI", *each) for each in _program(os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    no_new_privileges()
    whole = Program(len(program) // 8, ctypes.addressof(buffer))
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(ctypes.c_int(_SET_SECCOMP), ctypes.c_ulong(2), ctypes.byref(whole), zero, zero), "seccomp")


_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4
"""Where in its input a filter finds these; argument n is at 16 + 8 n, its lower half first on both kinds of machine."""


def _program(own: int) -> list[tuple[int, int, int, int]]:
    """The filter, as (code, jump if true, jump if false, operand); ``own`` is the process it is for."""
    machine = _MACHINES[platform.machine()]
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, machine.architecture), _answer(_KILL), (_LOAD, 0, 0, _NUMBER)]
    # Numbers beyond those known here, among them x86-64's second set: as if the kernel were older.
    program += [(_AT_LEAST, 0, 1, _FIRST_UNKNOWN), _answer(_REFUSE | errno.ENOSYS)]
    for error, names in _REFUSED.items():
        for name in names.split():
            if (number := machine.numbers.get(name)) is not None:
                program += [(_EQUAL, 0, 1, number), _answer(_REFUSE | error)]
    for name, argument, values in _WITH_OWN_PID:
        program += _only(machine.numbers[name], argument, [own, *values])
    for name, argument, values in _ONLY_WITH:
        program += _only(machine.numbers[name], argument, values)
    for name, argument, values in _NOT_WITH:
        program += _never(machine.numbers[name], argument, values)
    # A thread is the only thing clone may make, in no new namespace.
    program += [
        *((_EQUAL, 0, 5, machine.numbers["clone"]), (_LOAD, 0, 0, 16)),
        *((_ANY_BIT, 0, 2, _CLONE_THREAD), (_ANY_BIT, 1, 0, _CLONE_NEW_ANY)),
        *(_answer(_ALLOW), _answer(_REFUSE | errno.EPERM)),
    ]
    return [*program, _answer(_ALLOW)]


def _answer(value: int) -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, value


def _only(number: int, argument: int, allowed: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Allow this call with these values of an argument (its lower half: an int) alone."""
    tests = [(_EQUAL, len(allowed) - place, 0, value & 0xFFFFFFFF) for place, value in enumerate(allowed)]
    body = [(_LOAD, 0, 0, 16 + 8 * argument), *tests, _answer(_REFUSE | errno.EPERM), _answer(_ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]


def _never(number: int, argument: int, refused: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Refuse this call with these values of an argument (its lower half: an int)."""
    tests = [(_EQUAL, len(refused) - place, 0, value & 0xFFFFFFFF) for place, value in enumerate(refused)]
    body = [(_LOAD, 0, 0, 16 + 8 * argument), *tests, _answer(_ALLOW), _answer(_REFUSE | errno.EPERM)]
    return [(_EQUAL, 0, len(body), number), *body]


_CLONE_THREAD = 0x00010000
_CLONE_NEW_ANY = 0x7E020080
_FIRST_UNKNOWN = 450

_REFUSED = {
    errno.EPERM: """
        fork vfork execve execveat
        ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp get_robust_list
        pidfd_open pidfd_getfd pidfd_send_signal tkill rt_sigqueueinfo rt_tgsigqueueinfo setpriority ioprio_set
        mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr
        setns unshare quotactl quotactl_fd name_to_handle_at open_by_handle_at
        chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat
        setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr mknod mknodat
        flock inotify_init inotify_init1 fanotify_init
        setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset
        bpf perf_event_open userfaultfd add_key request_key keyctl memfd_secret personality modify_ldt
        move_pages mbind set_mempolicy migrate_pages splice tee vmsplice
        shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl semtimedop mq_open mq_unlink
        kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff syslog acct
        settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname iopl ioperm lookup_dcookie vhangup
        nfsservctl uselib ustat sysfs _sysctl landlock_create_ruleset landlock_add_rule landlock_restrict_self
    """,
    errno.EACCES: "socket socketpair connect bind listen accept accept4 sendmsg sendmmsg",
    # Then clone, files and simpler reading are used. The last three tell which parts of a file are in memory, which another
    # submission could have seen to.
    errno.ENOSYS: "clone3 memfd_create io_uring_setup io_uring_enter io_uring_register preadv2 pwritev2 mincore",
}
"""Which system calls get which error."""

_WITH_OWN_PID: list[tuple[str, int, tuple[int, ...]]] = [
    ("kill", 0, ()),
    ("tgkill", 0, ()),
    ("prlimit64", 0, (0,)),
    ("sched_setaffinity", 0, (0,)),
    ("sched_setscheduler", 0, (0,)),
    ("sched_setparam", 0, (0,)),
    ("sched_setattr", 0, (0,)),
]
"""Calls that name a process: which argument does, and what besides the own pid means this very process."""

_ONLY_WITH: list[tuple[str, int, tuple[int, ...]]] = [
    # Duplicating a descriptor, its own flags, reading the open file's. Not: locks, leases, hints, and the open file's flags,
    # by which two submissions could talk; signals to others through a file's owner.
    ("fcntl", 1, (0, 1, 2, 3, 1030)),
    # Is it a terminal, how wide, how much is there to be read; a descriptor's own flags. Not: typing into a terminal, and the
    # attributes of a file, which its owner may change without opening it for writing.
    ("ioctl", 1, (0x5401, 0x5413, 0x541B, 0x5450, 0x5451, 0x802C542A)),
]
"""Calls, which argument says what to do, and what alone may be done."""

_NOT_WITH: list[tuple[str, int, tuple[int, ...]]] = [
    # Outliving its parent, being traced, moving its memory map; but a process may hide.
    ("prctl", 0, (_SET_PDEATHSIG, _SET_DUMPABLE, _SET_MM, 0x59616D61)),
]
"""Calls, which argument says what to do, and what may not be done."""


class _Machine:
    """A processor's name for seccomp, and its numbers of system calls."""

    def __init__(self, architecture: int, table: str):
        self.architecture = architecture
        words = table.split()
        self.numbers = {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        """
        _sysctl 156 accept 43 accept4 288 acct 163 add_key 248 adjtimex 159 bind 49 bpf 321 capset 126 chmod 90 chown 92
        chroot 161 clock_adjtime 305 clock_settime 227 clone 56 clone3 435 connect 42 delete_module 176 execve 59 execveat 322
        fanotify_init 300 fchmod 91 fchmodat 268 fchown 93 fchownat 260 fcntl 72 finit_module 313 flock 73 fork 57
        fremovexattr 199 fsconfig 431 fsetxattr 190 fsmount 432 fsopen 430 fspick 433 futimesat 261 get_robust_list 274
        init_module 175 inotify_init 253 inotify_init1 294 io_uring_enter 426 io_uring_register 427 io_uring_setup 425 ioctl 16
        ioperm 173 iopl 172 ioprio_set 251 kcmp 312 kexec_file_load 320 kexec_load 246 keyctl 250 kill 62 landlock_add_rule 445
        landlock_create_ruleset 444 landlock_restrict_self 446 lchown 94 listen 50 lookup_dcookie 212 lremovexattr 198
        lsetxattr 189 mbind 237 memfd_create 319 memfd_secret 447 migrate_pages 256 mincore 27 mknod 133 mknodat 259
        modify_ldt 154 mount 165 mount_setattr 442 move_mount 429 move_pages 279 mq_open 240 mq_unlink 241 msgctl 71 msgget 68
        msgrcv 70 msgsnd 69 name_to_handle_at 303 nfsservctl 180 open_by_handle_at 304 open_tree 428 perf_event_open 298
        personality 135 pidfd_getfd 438 pidfd_open 434 pidfd_send_signal 424 pivot_root 155 prctl 157 preadv2 327 prlimit64 302
        process_madvise 440 process_mrelease 448 process_vm_readv 310 process_vm_writev 311 ptrace 101 pwritev2 328 quotactl 179
        quotactl_fd 443 reboot 169 removexattr 197 request_key 249 rt_sigqueueinfo 129 rt_tgsigqueueinfo 297
        sched_setaffinity 203 sched_setattr 314 sched_setparam 142 sched_setscheduler 144 semctl 66 semget 64 semop 65
        semtimedop 220 sendmmsg 307 sendmsg 46 set_mempolicy 238 setdomainname 171 setfsgid 123 setfsuid 122 setgid 106
        setgroups 116 sethostname 170 setns 308 setpriority 141 setregid 114 setresgid 119 setresuid 117 setreuid 113
        settimeofday 164 setuid 105 setxattr 188 shmat 30 shmctl 31 shmget 29 socket 41 socketpair 53 splice 275 swapoff 168
        swapon 167 sysfs 139 syslog 103 tee 276 tgkill 234 tkill 200 umount2 166 unshare 272 uselib 134 userfaultfd 323
        ustat 136 utime 132 utimensat 280 utimes 235 vfork 58 vhangup 153 vmsplice 278
        """,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        """
        accept 202 accept4 242 acct 89 add_key 217 adjtimex 171 bind 200 bpf 280 capset 91 chroot 51 clock_adjtime 266
        clock_settime 112 clone 220 clone3 435 connect 203 delete_module 106 execve 221 execveat 281 fanotify_init 262 fchmod 52
        fchmodat 53 fchown 55 fchownat 54 fcntl 25 finit_module 273 flock 32 fremovexattr 16 fsconfig 431 fsetxattr 7
        fsmount 432 fsopen 430 fspick 433 get_robust_list 100 init_module 105 inotify_init1 26 io_uring_enter 426
        io_uring_register 427 io_uring_setup 425 ioctl 29 ioprio_set 30 kcmp 272 kexec_file_load 294 kexec_load 104 keyctl 219
        kill 129 landlock_add_rule 445 landlock_create_ruleset 444 landlock_restrict_self 446 listen 201 lookup_dcookie 18
        lremovexattr 15 lsetxattr 6 mbind 235 memfd_create 279 memfd_secret 447 migrate_pages 238 mincore 232 mknodat 33
        mount 40 mount_setattr 442 move_mount 429 move_pages 239 mq_open 180 mq_unlink 181 msgctl 187 msgget 186 msgrcv 188
        msgsnd 189 name_to_handle_at 264 nfsservctl 42 open_by_handle_at 265 open_tree 428 perf_event_open 241 personality 92
        pidfd_getfd 438 pidfd_open 434 pidfd_send_signal 424 pivot_root 41 prctl 167 preadv2 286 prlimit64 261
        process_madvise 440 process_mrelease 448 process_vm_readv 270 process_vm_writev 271 ptrace 117 pwritev2 287 quotactl 60
        quotactl_fd 443 reboot 142 removexattr 14 request_key 218 rt_sigqueueinfo 138 rt_tgsigqueueinfo 240
        sched_setaffinity 122 sched_setattr 274 sched_setparam 118 sched_setscheduler 119 semctl 191 semget 190 semop 193
        semtimedop 192 sendmmsg 269 sendmsg 211 set_mempolicy 237 setdomainname 162 setfsgid 152 setfsuid 151 setgid 144
        setgroups 159 sethostname 161 setns 268 setpriority 140 setregid 143 setresgid 149 setresuid 147 setreuid 145
        settimeofday 170 setuid 146 setxattr 5 shmat 196 shmctl 195 shmget 194 socket 198 socketpair 199 splice 76 swapoff 225
        swapon 224 syslog 116 tee 77 tgkill 131 tkill 130 umount2 39 unshare 97 userfaultfd 282 utimensat 88 vhangup 58
        vmsplice 75
        """,
    ),
}


def _number(name: str) -> int:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOSYS, f"isolation is not written for {platform.machine()}: only for {', '.join(_MACHINES)}")
    return machine.numbers[name]
