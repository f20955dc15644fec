//! What the shell says in its own name, and the files that it starts with.

/// Shown at boot.
pub(crate) const BANNER: &str = "\
\x1b[1mVivarium sim\x1b[0m - a simulated shell: no kernel, no processes, there at once.
bash syntax, pipes, redirection and some 150 commands work, on files in memory.
Type \x1b[1mhelp\x1b[0m for what there is. For real Linux, switch the engine above the
terminal, or open this page with \x1b[1m?engine=kernel\x1b[0m.

";

/// Ctrl-D on an empty line.
pub(crate) const HOW_TO_LEAVE: &str = "\
There is nothing to log out of here. Switch the engine above the terminal to leave,
or type exit for a fresh shell.
";

/// After `exit`.
pub(crate) const FRESH_SHELL: &str =
    "exit\nThe shell has ended. Here is a fresh one; the files are still there.\n";

/// `help` without arguments; the list of commands follows.
pub(crate) const HELP: &str = "\
This shell is SIMULATED. It is an interpreter for bash and its usual commands that runs
in a Web Worker of this page. There is no kernel, there are no processes and no network,
and the files live in memory: they are gone when the machine is restarted.

Works:     pipes, redirection, here-documents, globs, variables, arrays, arithmetic,
           functions, loops, $(...), background jobs, PS1
Editing:   arrows, Home, End, Ctrl-A E B F K U W Y T L, Alt-B F D, Tab completes,
           Up and Ctrl-R find earlier lines, Ctrl-C interrupts
Does not:  programs that draw the screen, reading from the keyboard (read, cat without
           a file), compiled programs, apt

For all of these there is the real Linux: switch the engine above the terminal, or open
this page with ?engine=kernel.

Commands:
";

/// Commands that people try and that only a real Linux has.
pub(crate) const ONLY_LINUX: &[&str] = &[
    "apt",
    "apt-get",
    "cc",
    "docker",
    "dmesg",
    "dpkg",
    "emacs",
    "g++",
    "gcc",
    "gdb",
    "git",
    "htop",
    "ifconfig",
    "init",
    "insmod",
    "ip",
    "iptables",
    "lsblk",
    "lscpu",
    "lsmod",
    "lspci",
    "modprobe",
    "mount",
    "nano",
    "nc",
    "netstat",
    "node",
    "npm",
    "passwd",
    "perl",
    "ping",
    "pip",
    "pip3",
    "poweroff",
    "python",
    "python3",
    "reboot",
    "ruby",
    "screen",
    "shutdown",
    "ss",
    "ssh",
    "strace",
    "stty",
    "su",
    "systemctl",
    "tmux",
    "top",
    "traceroute",
    "umount",
    "useradd",
    "vi",
    "vim",
];

/// The answer to one of [`ONLY_LINUX`].
pub(crate) fn only_linux(name: &str) -> String {
    format!(
        "{name}: not in the simulated shell. Switch to the real kernel: the engine switcher\n\
         above the terminal, or ?engine=kernel in the address.\n"
    )
}

/// Files at boot, by path.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("/home/user/README.md", README),
    ("/home/user/examples/primes.sh", PRIMES),
    ("/home/user/examples/planets.csv", PLANETS),
    ("/etc/os-release", OS_RELEASE),
    ("/etc/hostname", "vivarium\n"),
    ("/etc/motd", "Vivarium sim: a simulated shell.\n"),
    ("/proc/version", "Vivarium sim (simulated; there is no kernel here)\n"),
];

/// Directories at boot.
pub(crate) const DIRECTORIES: &[&str] =
    &["/tmp", "/var", "/var/tmp", "/var/log", "/opt", "/usr/local", "/mnt", "/home/user/examples"];

const OS_RELEASE: &str = "\
PRETTY_NAME=\"Vivarium sim (simulated)\"
NAME=\"Vivarium sim\"
ID=vivarium-sim
VERSION_ID=\"0.1\"
";

const README: &str = "\
# Welcome

This is the simulated shell of Vivarium. It is there at once, but it is no Linux:
`uname -a` says so too. Try

    bash examples/primes.sh 50
    sort -t, -k2 -n examples/planets.csv | column -t -s,
    for n in 1 2 3; do echo \"$n squared is $((n * n))\"; done | tee squares.txt
    help

For the real thing, switch the engine above the terminal.
";

const PRIMES: &str = "\
#!/bin/bash
# Primes up to a number, by trial division.
limit=${1:-30}
for ((n = 2; n <= limit; n++)); do
    prime=1
    for ((d = 2; d * d <= n; d++)); do
        if ((n % d == 0)); then prime=0; break; fi
    done
    ((prime)) && printf '%d ' \"$n\"
done
echo
";

const PLANETS: &str = "\
Mercury,58,4879
Venus,108,12104
Earth,150,12756
Mars,228,6792
Jupiter,778,142984
Saturn,1432,120536
Uranus,2867,51118
Neptune,4515,49528
";
